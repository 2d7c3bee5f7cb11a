/* SPDX-License-Identifier: MIT
 * need MIB [UNSURE_MIB FILE]: takes MIB MiB in blocks of 64 KiB and ends with 0, or with 1 when it is
 * refused one. With UNSURE_MIB it asks for that much and does without what is beyond MIB, but fails on
 * every other such occasion, counted by the length of FILE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char** argv) {
    const long block = 64 * 1024;
    const long sure = argc > 1 ? atol(argv[1]) * 16 : 0;
    const long unsure = argc > 3 ? atol(argv[2]) * 16 : 0;
    for (long i = 0; i < (unsure > sure ? unsure : sure); ++i) {
        char* p = malloc(block);
        if (p != NULL) {
            memset(p, 1, block);
            continue;
        }
        if (i < sure) {
            return 1;
        }
        FILE* f = fopen(argv[3], "a");
        if (f == NULL || fputc('.', f) == EOF) {
            return 2;
        }
        const long occasions = ftell(f);
        fclose(f);
        return occasions % 2 == 0 ? 3 : 0;
    }
    return 0;
}
