/* SPDX-License-Identifier: MIT
 * The life of malloc's memory at the edges of threads, processes and libraries:
 *   heap_life threads N     N threads come and go, four at a time; each leaves blocks to later ones.
 *                           Prints "growth KIB": of anonymous memory since a tenth of them had gone.
 *   heap_life forks N       eight busy threads; N children free the parent's blocks, allocate, start
 *                           a thread, and end in several ways. Prints "forks N hangs H bad B".
 *   heap_life teardown      requests in key destructors (all rounds), in thread_local ones, atexit
 *                           handlers and destructor functions. Prints "torn down".
 *   heap_life unload PATH N a library that allocates when it is loaded, used and unloaded, N times.
 *                           Prints "growth KIB". */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { table_size = 512, patience_ms = 30000, threads_at_once = 4 };

static atomic_ulong wrong;
static _Atomic(unsigned char*) table[table_size];

static void require(int holds, const char* what) {
    if (!holds) {
        atomic_fetch_add(&wrong, 1);
        fprintf(stderr, "wrong: %s\n", what);
    }
}

static unsigned next(unsigned* seed) { return (*seed = *seed * 1664525u + 1013904223u) >> 8; }

/* Its size, then bytes that follow from it. */
static unsigned char* get_block(size_t size) {
    unsigned char* b = malloc(size + 16);
    if (b == NULL) {
        require(0, "malloc");
        return NULL;
    }
    memcpy(b, &size, sizeof size);
    memset(b + 16, (int)(size * 7 + 1), size);
    return b;
}
static void end_block(unsigned char* b) {
    if (b == NULL) {
        return;
    }
    size_t size = 0;
    memcpy(&size, b, sizeof size);
    const size_t step = size < 4096 ? 1 : 509;
    for (size_t i = 0; i < size; i += step) {
        if (b[16 + i] != (unsigned char)(size * 7 + 1)) {
            require(0, "a block was overwritten");
            break;
        }
    }
    free(b);
}
static size_t a_size(unsigned* seed) {
    const unsigned r = next(seed);
    return r % 97 == 0 ? 120000 : r % 13 == 0 ? next(seed) % 9000 : next(seed) % 700;
}
static void trade(unsigned* seed) {
    end_block(atomic_exchange(&table[next(seed) % table_size], get_block(a_size(seed))));
}

/* Anonymous memory that is there, in KiB; without stdio, which allocates. */
static long anonymous_kib(void) {
    static char text[4096];
    const int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return -1;
    }
    text[n] = '\0';
    const char* at = strstr(text, "\nAnonymous:");
    return at == NULL ? -1 : strtol(at + 11, NULL, 10);
}

/* ---- threads ---------------------------------------------------------------------------------- */

/* Every thread does the same, so that growth is what threads leave behind. */
static pid_t numbers[threads_at_once];
static void* short_life(void* number) {
    static const size_t sizes[] = {1, 24, 40, 100, 100, 250, 700, 900, 1500, 2900, 6000, 40000};
    enum { count = sizeof sizes / sizeof *sizes };
    const unsigned n = (unsigned)(size_t)number;
    numbers[(n - 1) % threads_at_once] = (pid_t)syscall(SYS_gettid);
    unsigned char* mine[count];
    for (unsigned i = 0; i < count; ++i) {
        mine[i] = get_block(sizes[i]);
    }
    for (unsigned i = 0; i < count; ++i) {
        if (i % 3 == n % 3) { /* for another thread to free */
            end_block(atomic_exchange(&table[i * 8 + n % 8], mine[i]));
        } else {
            end_block(mine[i]);
        }
    }
    return NULL;
}

/* A thread that was joined may still be leaving the kernel; what it had is taken over once it has. Who
 * begins before makes a cache more, which stays: rare, and not a growth. */
static void await_end(pid_t thread) {
    while (syscall(SYS_tgkill, getpid(), thread, 0) == 0) {
        sched_yield();
    }
}

static int threads(unsigned count) {
    long before = 0;
    for (unsigned i = 0; i < count; i += threads_at_once) {
        pthread_t crew[threads_at_once];
        for (unsigned t = 0; t < threads_at_once; ++t) {
            if (pthread_create(&crew[t], NULL, short_life, (void*)(size_t)(i + t + 1)) != 0) {
                perror("pthread_create");
                return 1;
            }
        }
        for (unsigned t = 0; t < threads_at_once; ++t) {
            pthread_join(crew[t], NULL);
            await_end(numbers[t]);
        }
        if (i / threads_at_once == count / threads_at_once / 10) {
            before = anonymous_kib();
        }
    }
    printf("growth %ld\n", anonymous_kib() - before);
    return atomic_load(&wrong) != 0;
}

/* ---- forks ------------------------------------------------------------------------------------ */

static atomic_int stopped;

static void* busy(void* number) {
    unsigned seed = (unsigned)(size_t)number;
    for (unsigned n = 0; !atomic_load(&stopped); ++n) {
        for (int i = 0; i < 50; ++i) {
            trade(&seed);
        }
        if (n % 4 == 0) { /* more busy threads than processors would only make the children wait */
            usleep(200);
        }
    }
    return NULL;
}
static void* childs_own(void* unused) {
    unsigned seed = 77;
    for (int i = 0; i < 300; ++i) {
        trade(&seed);
    }
    return unused;
}
static void at_childs_exit(void) {
    end_block(get_block(1000));
    for (unsigned i = 0; i < table_size; i += 2) {
        end_block(atomic_exchange(&table[i], NULL));
    }
    if (atomic_load(&wrong) != 0) {
        _exit(5);
    }
}

/* Of the parent's threads none is left, and what lies in the table is nobody's else. */
static void live_as_child(unsigned n, unsigned char* mine) {
    end_block(mine);
    unsigned seed = n;
    for (unsigned i = 0; i < table_size; ++i) {
        if ((i + n) % 3 != 0) {
            end_block(atomic_exchange(&table[i], NULL));
        }
    }
    for (int i = 0; i < 400; ++i) {
        trade(&seed);
    }
    if (n % 3 == 0) {
        pthread_t one;
        require(pthread_create(&one, NULL, childs_own, NULL) == 0 && pthread_join(one, NULL) == 0,
                "a thread");
    }
    for (int i = 0; i < 100; ++i) {
        unsigned char* b = get_block(a_size(&seed));
        unsigned char* larger = realloc(b, 200000);
        require(larger != NULL, "realloc");
        end_block(larger != NULL ? larger : b);
    }
    if (n % 2 == 0) {
        atexit(at_childs_exit);
        exit(atomic_load(&wrong) != 0);
    }
    _exit(atomic_load(&wrong) != 0);
}

/* 0 it ended well, 1 otherwise, 2 it hung. */
static int wait_for(pid_t child) {
    const int fd = (int)syscall(SYS_pidfd_open, child, 0);
    struct pollfd one = {fd, POLLIN, 0};
    int ready;
    do {
        ready = poll(&one, 1, patience_ms);
    } while (ready < 0 && errno == EINTR);
    close(fd);
    if (ready == 0) {
        fprintf(stderr, "child %d has not ended after %d ms\n", (int)child, patience_ms);
        kill(child, SIGKILL);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) {
        return 1;
    }
    if (ready != 0 && status != 0) {
        fprintf(stderr, "child %d ended with %#x\n", (int)child, (unsigned)status);
    }
    return ready == 0 ? 2 : status != 0;
}

static int forks(unsigned count) {
    pthread_t crew[8];
    for (size_t t = 0; t < 8; ++t) {
        pthread_create(&crew[t], NULL, busy, (void*)(t * 7919 + 1));
    }
    unsigned hangs = 0;
    unsigned bad = 0;
    for (unsigned n = 1; n <= count; ++n) {
        unsigned char* mine = get_block(n * 37 % 5000);
        const pid_t child = fork();
        if (child == 0) {
            live_as_child(n, mine);
        }
        const int how = child < 0 ? 1 : wait_for(child);
        hangs += how == 2;
        bad += how == 1;
        end_block(mine);
    }
    atomic_store(&stopped, 1);
    for (size_t t = 0; t < 8; ++t) {
        pthread_join(crew[t], NULL);
    }
    for (unsigned i = 0; i < table_size; ++i) {
        end_block(atomic_exchange(&table[i], NULL));
    }
    printf("forks %u hangs %u bad %lu\n", count, hangs, bad + atomic_load(&wrong));
    return hangs != 0 || bad != 0 || atomic_load(&wrong) != 0;
}

/* ---- teardown --------------------------------------------------------------------------------- */

/* What a C++ thread_local with a destructor becomes. */
extern int __cxa_thread_atexit_impl(void (*)(void*), void*, void*);
extern void* __dso_handle;

static pthread_key_t keys[3];
static _Thread_local unsigned rounds;
static atomic_uint key_rounds;
static atomic_uint local_ends;

static void end_of_key(void* block) {
    atomic_fetch_add(&key_rounds, 1);
    end_block(block);
    unsigned seed = ++rounds;
    trade(&seed);
    if (rounds < 3 * PTHREAD_DESTRUCTOR_ITERATIONS) { /* and again, until libc gives up */
        pthread_setspecific(keys[rounds % 3], get_block(rounds * 50));
    }
}
static void end_of_local(void* block) {
    atomic_fetch_add(&local_ends, 1);
    end_block(block);
    unsigned seed = 3;
    trade(&seed);
}
static void* with_specifics(void* number) {
    unsigned seed = (unsigned)(size_t)number;
    const int at_once = seed % 2 == 0; /* else the first request is a destructor's */
    if (at_once) {
        trade(&seed);
    }
    for (int i = 0; i < 3; ++i) {
        pthread_setspecific(keys[i], at_once || i != 0 ? get_block(100) : NULL);
    }
    __cxa_thread_atexit_impl(end_of_local, get_block(300), &__dso_handle);
    if (seed % 5 == 0) {
        pthread_exit(NULL);
    }
    return NULL;
}

static unsigned char* for_the_end;
static atomic_int exits;
static void at_exit(void) {
    atomic_fetch_add(&exits, 1);
    end_block(for_the_end);
    for_the_end = get_block(5000 * (size_t)atomic_load(&exits));
    unsigned seed = 9;
    for (int i = 0; i < 100; ++i) {
        trade(&seed);
    }
}
static int is_teardown;
__attribute__((destructor)) static void last_of_all(void) {
    if (!is_teardown) {
        return;
    }
    end_block(for_the_end);
    for (unsigned i = 0; i < table_size; ++i) {
        end_block(atomic_exchange(&table[i], NULL));
    }
    static const char good[] = "torn down\n";
    if (atomic_load(&wrong) == 0 && atomic_load(&exits) == 4 && atomic_load(&key_rounds) > 1000 &&
        atomic_load(&local_ends) == 400) {
        (void)!write(1, good, sizeof good - 1);
    }
}

static int teardown(void) {
    is_teardown = 1;
    for (int i = 0; i < 3; ++i) {
        pthread_key_create(&keys[i], end_of_key);
    }
    for (size_t n = 0; n < 400; n += threads_at_once) {
        pthread_t crew[threads_at_once];
        for (size_t t = 0; t < threads_at_once; ++t) {
            pthread_create(&crew[t], NULL, with_specifics, (void*)(n + t));
        }
        for (unsigned t = 0; t < threads_at_once; ++t) {
            pthread_join(crew[t], NULL);
        }
    }
    for_the_end = get_block(10);
    for (int i = 0; i < 4; ++i) {
        atexit(at_exit);
    }
    return 0;
}

/* ---- unload ----------------------------------------------------------------------------------- */

typedef void* (*guest_function)(size_t);
static void* uses_guest(void* work) {
    guest_function f = NULL;
    numbers[0] = (pid_t)syscall(SYS_gettid);
    memcpy(&f, &work, sizeof f);
    free(f(3000));
    return NULL;
}
static int unload(const char* path, unsigned count) {
    long before = 0;
    void* left[16] = {NULL};
    for (unsigned n = 0; n < count; ++n) {
        void* library = dlopen(path, RTLD_NOW);
        void* work = library != NULL ? dlsym(library, "guest_work") : NULL;
        if (work == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        pthread_t other;
        pthread_create(&other, NULL, uses_guest, work);
        guest_function f = NULL;
        memcpy(&f, &work, sizeof f);
        free(left[n % 16]); /* of a library that is gone */
        left[n % 16] = f(n % 16 * 100);
        pthread_join(other, NULL);
        await_end(numbers[0]);
        dlclose(library);
        if (n == count / 2) { /* every class has the pages it needs */
            before = anonymous_kib();
        }
    }
    const long after = anonymous_kib();
    for (unsigned i = 0; i < 16; ++i) {
        free(left[i]);
    }
    printf("growth %ld\n", after - before);
    return 0;
}

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "threads") == 0 && argc == 3) {
        return threads((unsigned)atol(argv[2]));
    }
    if (strcmp(what, "forks") == 0 && argc == 3) {
        return forks((unsigned)atol(argv[2]));
    }
    if (strcmp(what, "teardown") == 0) {
        return teardown();
    }
    if (strcmp(what, "unload") == 0 && argc == 4) {
        return unload(argv[2], (unsigned)atol(argv[3]));
    }
    fprintf(stderr, "usage: heap_life threads N | forks N | teardown | unload PATH N\n");
    return 2;
}
