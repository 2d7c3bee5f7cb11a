/* SPDX-License-Identifier: MIT
 * Stands before the preload library in LD_PRELOAD and gives pthread_create to libc: what a bridge
 * without it would miss. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#pragma GCC visibility push(default)

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) {
    int (*libc)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    *(void**)&libc = dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), "pthread_create");
    return libc != NULL ? libc(thread, attributes, run, argument) : EAGAIN;
}
