/* SPDX-License-Identifier: MIT
 * Stands before the preload library in LD_PRELOAD and gives the malloc names to libc: what a
 * bridge without them would miss. */
#include <errno.h>
#include <stddef.h>

#pragma GCC visibility push(default)

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* block, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* block);

void* malloc(size_t size) { return __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return __libc_calloc(count, size); }
void* realloc(void* block, size_t size) { return __libc_realloc(block, size); }
void* memalign(size_t alignment, size_t size) { return __libc_memalign(alignment, size); }
void* aligned_alloc(size_t alignment, size_t size) { return __libc_memalign(alignment, size); }
void free(void* block) { __libc_free(block); }

int posix_memalign(void** out, size_t alignment, size_t size) {
    *out = __libc_memalign(alignment, size);
    return *out != NULL ? 0 : ENOMEM;
}
