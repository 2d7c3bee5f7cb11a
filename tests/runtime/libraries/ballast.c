/* SPDX-License-Identifier: MIT
 * A library that weighs something, for dlopen.py: 8 MiB of .data, 8 MiB of .bss, 1 MiB for each
 * thread. */
#include <stddef.h>

enum { size = 8 << 20, thread_size = 1 << 20, page = 4096 };

static volatile char data[size] = {1};
static volatile char bss[size];
static _Thread_local volatile char mine[thread_size];

/* Touches everything; gives back where .bss ends. */
__attribute__((visibility("default"))) void* ballast_touch(void) {
    for (size_t i = 0; i < size; i += page) {
        data[i] = bss[i] = 1;
    }
    for (size_t i = 0; i < thread_size; i += page) {
        mine[i] = 1;
    }
    return (void*)(bss + size);
}
