// SPDX-License-Identifier: MIT
// Asks for memory as CoreCLR's collector does, perhaps with a library that passes for CoreCLR:
// commits of 128 KiB (credit is for smaller ones) in one large reservation, the same again after a
// refusal. A line for each storm of refusals: KiB granted before it; whether a page of a small
// reservation was granted in it; how many refusals in a row until a grant, 0: not within 1000.
#include <stdio.h>
#include <sys/mman.h>

enum { step = 128 << 10, storm = 16, most = 1000 };

int main(void) {
    const size_t size = (size_t)512 << 20;
    char* heap = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* other = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (heap == MAP_FAILED || other == MAP_FAILED) {
        return 1;
    }
    size_t at = 0;
    int others = 0;
    for (int row = 0, storms = 0; at < size;) {
        if (mprotect(heap + at, step, PROT_READ | PROT_WRITE) != 0) {
            if (++row == storm) {
                others = mprotect(other + storms * 4096, 4096, PROT_READ | PROT_WRITE) == 0;
            }
            if (row == most) {
                printf("%zu %d 0\n", at >> 10, others);
                return 0;
            }
            continue;
        }
        if (row >= storm) {
            printf("%zu %d %d\n", at >> 10, others, row);
            ++storms;
        }
        row = 0; // fewer than that is credit that came back
        at += step;
    }
    return 1;
}
