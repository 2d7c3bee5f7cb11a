/* SPDX-License-Identifier: MIT
 * A library that holds memory from its loading to its unloading. */
#include <stdlib.h>
#include <string.h>

static void* held[8];

void* guest_work(size_t size);

__attribute__((constructor)) static void begin(void) {
    for (size_t i = 0; i < 8; ++i) {
        held[i] = calloc(1, 100 << i);
    }
}
__attribute__((destructor)) static void end(void) {
    for (size_t i = 0; i < 8; ++i) {
        free(held[i]);
    }
}

/* The caller frees it, perhaps when this library is gone. */
__attribute__((visibility("default"))) void* guest_work(size_t size) {
    char* block = malloc(size + 1);
    if (block != NULL) {
        memset(block, 'g', size + 1);
        void* mine =
            __atomic_exchange_n(&held[0], NULL, __ATOMIC_ACQ_REL); /* threads are in here */
        free(__atomic_exchange_n(&held[0], realloc(mine, size + 200), __ATOMIC_ACQ_REL));
    }
    return block;
}
