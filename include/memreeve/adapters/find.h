/* SPDX-License-Identifier: MIT
 * For the other headers of this folder: a function of a runtime that is in this process. */
#ifndef MEMREEVE_ADAPTERS_FIND_H
#define MEMREEVE_ADAPTERS_FIND_H

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Puts the address of what the program and its libraries export under this name into the pointer to a
 * function at `function`, `size` bytes large. 0: nobody does; null then. A library that was loaded
 * with RTLD_LOCAL is looked at where it is named in `library` (its file's name; null: not). Takes the
 * loader's lock. */
static inline int mrv_find_in(const char* library, const char* name, void* function, size_t size) {
    void* found = dlsym((void*)0, name); /* RTLD_DEFAULT */
    if (found == 0 && library != 0) {
        void* const loaded = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
        if (loaded != 0) {
            found = dlsym(loaded, name);
            (void)dlclose(loaded); /* it was there before, and stays */
        }
    }
    memcpy(function, &found, size < sizeof found ? size : sizeof found);
    return found != 0;
}

static inline int mrv_find(const char* name, void* function, size_t size) {
    return mrv_find_in(0, name, function, size);
}

#ifdef __cplusplus
}
#endif

#endif
