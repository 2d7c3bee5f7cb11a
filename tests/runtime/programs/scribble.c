// SPDX-License-Identifier: MIT
// Writes over the ledger that it is governed by, then waits to be killed without asking for memory.
//
//   scribble AT=WORD...     32 bits at a place of it
//   scribble random SEED N  N words of 64 bits anywhere, most of them where something is kept
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t state;

static uint64_t up_to(uint64_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 16) % n;
}

int main(int argc, char** argv) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char line[512];
    FILE* maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, "rw-s") != NULL && strstr(line, "/memfd:memreeve-ledger") != NULL) {
            (void)sscanf(line, "%lx-%lx", &begin, &end);
        }
    }
    if (begin == 0) {
        return 3;
    }
    (void)fclose(maps);
    printf("%d\n", (int)getpid());
    (void)fflush(stdout);
    volatile unsigned char* const ledger = (volatile unsigned char*)begin;
    if (argc == 4 && strcmp(argv[1], "random") == 0) {
        state = strtoull(argv[2], NULL, 0) * 0x9e3779b97f4a7c15ULL + 1;
        for (unsigned long n = strtoul(argv[3], NULL, 0); n != 0; --n) {
            const uint64_t reach[] = {4096, 16384, end - begin};
            const uint64_t values[] = {~UINT64_C(0), up_to(8), up_to(10000), up_to(~UINT64_C(0))};
            const uint64_t at = up_to(reach[up_to(3)] / 8) * 8;
            *(volatile uint64_t*)(ledger + at) = values[up_to(4)];
        }
    } else {
        for (int i = 1; i < argc; ++i) {
            char* rest = NULL;
            const unsigned long at = strtoul(argv[i], &rest, 0);
            *(volatile uint32_t*)(ledger + at) = (uint32_t)strtoul(rest + 1, NULL, 0);
        }
    }
    (void)!write(1, "done\n", 5);
    for (;;) {
        (void)pause();
    }
}
