/* SPDX-License-Identifier: MIT
 * hold MIB [KIB [SECONDS|PATH]]: maps and touches up to MIB MiB in pieces of KIB KiB (default 1024), stops
 * at the first refusal, prints "held N KiB", waits (until PATH, which has a slash, is there), gives
 * everything back and ends with 0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char** argv) {
    const size_t wanted = (size_t)(argc > 1 ? atol(argv[1]) : 1) << 20;
    const size_t piece = (size_t)(argc > 2 ? atol(argv[2]) : 1024) << 10;
    const char* const until = argc > 3 && strchr(argv[3], '/') != NULL ? argv[3] : NULL;
    const unsigned seconds = argc > 3 && until == NULL ? (unsigned)atol(argv[3]) : 0;
    const size_t count = wanted / piece;
    void** held = malloc(count * sizeof *held);
    size_t n = 0;
    for (; held != NULL && n < count; ++n) {
        held[n] = mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (held[n] == MAP_FAILED) {
            break;
        }
        memset(held[n], 1, piece);
    }
    printf("held %zu KiB\n", n * (piece >> 10));
    fflush(stdout);
    sleep(seconds);
    for (int i = 0; until != NULL && access(until, F_OK) != 0 && i < 12000; ++i) {
        usleep(10000);
    }
    while (n > 0) {
        munmap(held[--n], piece);
    }
    free(held);
    return 0;
}
