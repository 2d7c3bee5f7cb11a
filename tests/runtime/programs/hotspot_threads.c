/* SPDX-License-Identifier: MIT
 * hotspot_threads NAME...: exports what only a JVM does, fills the limit with blocks of 1 MiB until one is
 * refused, then asks for one more under each NAME of its thread and prints "NAME granted" or "NAME refused". */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

__attribute__((visibility("default"))) void JVM_StartThread(void);
void JVM_StartThread(void) {}

static void* volatile kept; /* or the compiler takes pairs of malloc and free away */

int main(int argc, char** argv) {
    do {
        kept = malloc((size_t)1 << 20);
    } while (kept != NULL);
    for (int i = 1; i < argc; ++i) {
        prctl(PR_SET_NAME, argv[i]);
        kept = malloc((size_t)1 << 20);
        printf("%s %s\n", argv[i], kept != NULL ? "granted" : "refused");
    }
    return 0;
}
