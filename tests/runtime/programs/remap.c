// SPDX-License-Identifier: MIT
// mremap where mappings of different origin lie against each other. After each step the number of pages
// that are charged for it by then is printed, and a line waited for. Exit 0: all was as it must be.
//
//   remap [governed]
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { page = 4096, granule = 65536, noreplace = 0x100000, dont_unmap = 4 };

static int wrong(const char* what) {
    printf("wrong: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void step(int pages) {
    char line[16];
    printf("%d\n", pages);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(2);
}

static char* map_at(char* where, int pages) {
    char* p = mmap(where, (size_t)pages * page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | noreplace, -1, 0);
    return p == where ? p : (wrong("mmap"), p);
}

static char* remap(char* from, int pages, int to_pages, int flags, char* to) {
    return mremap(from, (size_t)pages * page, (size_t)to_pages * page, flags, to);
}

int main(int argc, char** argv) {
    static char buffer[BUFSIZ], input[BUFSIZ];
    setvbuf(stdout, buffer, _IOLBF, sizeof buffer);
    setvbuf(stdin, input, _IOLBF, sizeof input);
    const int governed = argc > 1;
    (void)argv;
    step(0);

    // The kernel's page against two at 64 KiB, which governed are a reservation: one kernel mapping.
    char* const middle = (char*)(uintptr_t)0x7d0000010000;
    char* const first = map_at(middle - page, 1);
    map_at(middle, 2);
    for (int i = 0; i < 3; ++i)
        first[i * page] = (char)('a' + i);
    step(3);
    if (remap(first, 3, 3, 0, NULL) != first)
        wrong("mremap to the same size");
    step(3);
    if (governed) {
        // Nor may it be moved away from under the reservation.
        if (remap(first, 3, 600, MREMAP_MAYMOVE, NULL) != MAP_FAILED || errno != EFAULT)
            wrong("mremap of two mappings to a larger size");
        step(3);
    }
    if (remap(first, 3, 2, 0, NULL) != first)
        wrong("mremap to two pages");
    step(2);
    if (first[0] != 'a' || first[page] != 'b')
        wrong("the contents");
    if (remap(first, 2, 1, MREMAP_MAYMOVE, NULL) != first)
        wrong("mremap to the first page");
    step(1);
    if (munmap(first, page) != 0)
        wrong("munmap");
    step(0);
    if (remap(first, 3, 2, 0, NULL) != MAP_FAILED || errno != EFAULT)
        wrong("mremap of what is not mapped");

    // The reservation first.
    map_at(middle, 16);
    map_at(middle + granule + page, 3);
    map_at(middle + granule, 1);
    step(20);
    if (remap(middle, 20, 5, 0, NULL) != middle)
        wrong("mremap from a reservation on");
    step(5);
    if (munmap(middle, 20 * page) != 0)
        wrong("munmap of the rest");
    step(0);

    // Over what lies there, and of what stays.
    map_at(middle - 8 * page, 4);
    map_at(middle - 4 * page, 4);
    middle[-8 * page] = 'x';
    step(8);
    if (remap(middle - 8 * page, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED, middle - 4 * page) !=
        middle - 4 * page)
        wrong("mremap over another mapping");
    step(4);
    if (middle[-4 * page] != 'x')
        wrong("the contents that moved");
    char* const twin = middle - 40 * page;
    if (remap(middle - 4 * page, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED | dont_unmap, twin) != twin)
        wrong("mremap of what stays");
    if (twin[0] != 'x' || middle[-4 * page] != 0)
        wrong("the contents of what stays");
    step(8);
    if (munmap(middle - 4 * page, 4 * page) != 0)
        wrong("munmap of what stayed");
    step(4);
    if (munmap(twin, 4 * page) != 0)
        wrong("munmap of the twin");
    step(0);
    printf("done\n");
    return 0;
}
