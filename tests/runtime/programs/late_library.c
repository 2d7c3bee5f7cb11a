/* SPDX-License-Identifier: MIT
 * Opens and closes a library under somebody's eyes, for dlopen.py: late_library LIBRARY. After each
 * step a line tells which, and another is waited for. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIB ((size_t)1 << 20)

static void require(int holds, const char* what) {
    if (!holds) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

static void stop(const char* step) {
    char line[8];
    puts(step);
    fflush(stdout);
    require(fgets(line, sizeof line, stdin) != NULL, "a line");
}

typedef void* (*touch_function)(void);
static touch_function touch_of(void* library) {
    touch_function f = NULL;
    void* found = dlsym(library, "ballast_touch");
    memcpy(&f, &found, sizeof f);
    require(f != NULL, "ballast_touch");
    return f;
}

static const char* path;
static void* open_and_close(void* unused) {
    for (int i = 0; i < 50; ++i) {
        void* library = dlopen(path, RTLD_NOW);
        require(library != NULL, "dlopen in a thread");
        require(touch_of(library)() != NULL, "touch in a thread");
        dlclose(library);
    }
    return unused;
}

int main(int argc, char** argv) {
    require(argc == 2, "usage: late_library LIBRARY");
    path = argv[1];
    stop("before");

    void* library = dlopen(path, RTLD_NOW);
    require(library != NULL, "dlopen");
    char* end = touch_of(library)();
    stop("open");

    /* Anonymous memory directly above .bss: one mapping to the kernel, two owners to us. */
    char* above = (char*)(((uintptr_t)end + 4095) & ~(uintptr_t)4095);
    char* got = mmap(above, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(got != MAP_FAILED, "mmap above");
    memset(got, 1, 4 * MIB);
    stop(got == above ? "above" : "elsewhere");
    require(munmap(got, 4 * MIB) == 0, "munmap");

    char* place = end - 8 * MIB;
    place = (char*)(((uintptr_t)place + 4095) & ~(uintptr_t)4095);
    require(dlclose(library) == 0, "dlclose");
    stop("closed");

    /* Where .bss was lies something else now. */
    got = mmap(place, 4 * MIB, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    require(got == place, "mmap where the library was");
    memset(got, 1, 4 * MIB);
    stop("replaced");
    require(munmap(got, 4 * MIB) == 0, "munmap");

    pthread_t threads[4];
    for (int i = 0; i < 4; ++i) {
        require(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0, "pthread_create");
    }
    for (int i = 0; i < 4; ++i) {
        pthread_join(threads[i], NULL);
    }
    stop("after");
    return 0;
}
