// SPDX-License-Identifier: MIT
// What the malloc family promises (malloc(3), posix_memalign(3), malloc_usable_size(3) of glibc):
// contents, alignment, errors, errno; before the first constructor's caller, in signal handlers, in
// fork's children, after TLS destructors, from atexit handlers. Run naked first, then governed.
//
//   malloc_family rules       prints "rules hold"
//   malloc_family double      frees a block twice        (ends by SIGABRT)
//   malloc_family interior    frees the middle of a block (ends by SIGABRT)
//   malloc_family wild        frees an address of the stack (libc judges: SIGABRT)
//   malloc_family libc        frees blocks that libc itself gave out
//   malloc_family hold KIB    holds so much in blocks of 1 KiB, prints what it got
//   malloc_family info        mallinfo2 follows what is held; malloc_trim, malloc_stats
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" // mallinfo

#define REQUIRE(holds)                                                                             \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #holds, errno);                  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

void* __libc_malloc(size_t);
void* __libc_memalign(size_t, size_t);

static void* volatile sink; // keeps the compiler from folding pairs of calls
static volatile size_t most = SIZE_MAX;
static char* made_by_constructor;

__attribute__((constructor)) static void before_main(void) {
    made_by_constructor = strdup("made before main");
}
__attribute__((destructor)) static void after_main(void) {
    free(made_by_constructor);
    char* late = malloc(100000);
    if (late == NULL || realloc(late, 10) == NULL) {
        _exit(3);
    }
}

static int aligned(const void* p, size_t to) { return ((uintptr_t)p & (to - 1)) == 0; }

static void sizes(void) {
    for (size_t n = 0; n < 300000; n = n < 70000 ? n + 1 + n / 16 : n + 49999) {
        errno = 4711;
        unsigned char* p = malloc(n);
        REQUIRE(p != NULL && aligned(p, 16) && errno == 4711);
        REQUIRE(malloc_usable_size(p) >= n);
        memset(p, 0xa5, malloc_usable_size(p));
        unsigned char* z = calloc(n / 8 + 1, 8);
        REQUIRE(z != NULL && aligned(z, 16));
        for (size_t i = 0; i < n; ++i) {
            REQUIRE(z[i] == 0);
        }
        REQUIRE(p == NULL || n == 0 || p[n - 1] == 0xa5);
        free(z);
        free(p);
        REQUIRE(errno == 4711);
    }
    void* a = malloc(0);
    void* b = malloc(0);
    REQUIRE(a != NULL && b != NULL && a != b);
    free(a);
    free(b);
    free(NULL);
    REQUIRE(malloc_usable_size(NULL) == 0);
}

static void resizing(void) {
    unsigned char* p = NULL;
    size_t held = 0;
    uint64_t seed = 42;
    for (int step = 0; step < 3000; ++step) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const unsigned power = (unsigned)(seed >> 33) % 23;
        const size_t n = 1 + (size_t)((seed >> 40) & ((1u << power) - 1));
        unsigned char* q = step % 7 == 0 ? reallocarray(p, n, 1) : realloc(p, n);
        REQUIRE(q != NULL && aligned(q, 16));
        for (size_t i = 0; i < held && i < n; i += 61) {
            REQUIRE(q[i] == (unsigned char)(i * 7));
        }
        for (size_t i = 0; i < n; ++i) {
            q[i] = (unsigned char)(i * 7);
        }
        p = q;
        held = n;
    }
    REQUIRE(realloc(p, 0) == NULL);
    p = realloc(NULL, 100);
    REQUIRE(p != NULL);
    memset(p, 7, 100);
    errno = 0;
    REQUIRE(realloc(p, most) == NULL && errno == ENOMEM && p[99] == 7);
    errno = 0;
    REQUIRE(reallocarray(p, most / 2, 3) == NULL && errno == ENOMEM && p[0] == 7);
    free(p);
}

static void alignments(void) {
    for (size_t a = 1; a <= (size_t)1 << 22; a *= 2) {
        for (size_t n = 0; n < 200000; n = n * 3 + 1) {
            unsigned char* p = memalign(a, n);
            REQUIRE(p != NULL && aligned(p, a) && aligned(p, 16) && malloc_usable_size(p) >= n);
            memset(p, 1, n);
            unsigned char* grown = realloc(p, n + 5000);
            REQUIRE(grown != NULL && (n == 0 || grown[n - 1] == 1));
            free(grown);
            p = aligned_alloc(a, n);
            REQUIRE(p != NULL && aligned(p, a));
            free(p);
        }
    }
    void* p = memalign(3000, 10); // no power of two: rounded up
    REQUIRE(p != NULL && aligned(p, 4096));
    free(p);
    errno = 0;
    REQUIRE(memalign(SIZE_MAX, 1) == NULL && errno == EINVAL);
    p = (void*)17;
    errno = 4711;
    REQUIRE(posix_memalign(&p, 0, 8) == EINVAL && posix_memalign(&p, 4, 8) == EINVAL);
    REQUIRE(posix_memalign(&p, 24, 8) == EINVAL && posix_memalign(&p, 12345, 8) == EINVAL);
    REQUIRE(p == (void*)17 && errno == 4711);
    REQUIRE(posix_memalign(&p, 64, most - 64) == ENOMEM && p == (void*)17);
    REQUIRE(posix_memalign(&p, 4096, 0) == 0 && p != NULL && aligned(p, 4096));
    free(p);
    p = valloc(5);
    REQUIRE(p != NULL && aligned(p, 4096));
    free(p);
    p = pvalloc(5000);
    REQUIRE(p != NULL && aligned(p, 4096) && malloc_usable_size(p) >= 8192);
    free(p);
}

static void too_large(void) {
    errno = 0;
    REQUIRE(malloc(most) == NULL && errno == ENOMEM);
    errno = 0;
    REQUIRE(malloc(most / 2 + 1) == NULL && errno == ENOMEM);
    errno = 0;
    REQUIRE(calloc(most / 2, 3) == NULL && errno == ENOMEM);
    errno = 0;
    REQUIRE(memalign(4096, most - 100) == NULL && errno == ENOMEM);
    errno = 0;
    REQUIRE(pvalloc(most - 100) == NULL && errno == ENOMEM);
}

static volatile sig_atomic_t handled;

static void handler(int signal_number) {
    (void)signal_number;
    ++handled;
}

static void* churn(void* argument) {
    unsigned char* held[64] = {0};
    size_t size[64] = {0};
    uint64_t seed = (uintptr_t)argument;
    for (int step = 0; step < 40000; ++step) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const unsigned k = (unsigned)(seed >> 40) % 64;
        if (held[k] != NULL) {
            REQUIRE(held[k][0] == (unsigned char)k && held[k][size[k] - 1] == (unsigned char)k);
            free(held[k]);
        }
        size[k] = 1 + (seed >> 50) % 3000;
        held[k] = malloc(size[k]);
        REQUIRE(held[k] != NULL);
        memset(held[k], (int)k, size[k]);
    }
    for (int k = 0; k < 64; ++k) {
        free(held[k]);
    }
    return malloc(123); // freed by another thread
}

static pthread_key_t key;
static void at_thread_end(void* p) {
    free(p);
    sink = malloc(50);
    free(sink);
}

static void* with_destructor(void* unused) {
    (void)unused;
    pthread_setspecific(key, malloc(77));
    return NULL;
}

static void threads(void) {
    struct sigaction on_alarm = {.sa_handler = handler, .sa_flags = SA_RESTART};
    REQUIRE(sigaction(SIGALRM, &on_alarm, NULL) == 0);
    const struct itimerval often = {{0, 1000}, {0, 1000}};
    REQUIRE(setitimer(ITIMER_REAL, &often, NULL) == 0);
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; ++i) {
        REQUIRE(pthread_create(&t[i], NULL, churn, (void*)(i + 1)) == 0);
    }
    for (int n = 0; n < 20; ++n) { // children of a process with busy threads
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            free(malloc(1000));
            _exit(churn((void*)99) == NULL);
        }
        int status = -1;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (int i = 0; i < 4; ++i) {
        void* left = NULL;
        REQUIRE(pthread_join(t[i], &left) == 0);
        free(left);
    }
    const struct itimerval never = {{0, 0}, {0, 0}};
    REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0);
    REQUIRE(handled > 0);
    REQUIRE(pthread_key_create(&key, at_thread_end) == 0);
    for (int i = 0; i < 100; ++i) {
        REQUIRE(pthread_create(&t[0], NULL, with_destructor, NULL) == 0);
        REQUIRE(pthread_join(t[0], NULL) == 0);
    }
}

static void rules(void) {
    REQUIRE(strcmp(made_by_constructor, "made before main") == 0);
    sizes();
    resizing();
    alignments();
    too_large();
    threads();
    puts("rules hold");
}

static void hold(size_t kib) {
    size_t got = 0;
    void* last = NULL;
    for (; got < kib; ++got) {
        void** p = malloc(1024);
        if (p == NULL) {
            REQUIRE(errno == ENOMEM);
            break;
        }
        memset(p, 1, 1024);
        *p = last;
        last = p;
    }
    while (last != NULL) {
        void* next = *(void**)last;
        free(last);
        last = next;
    }
    void* again = malloc(1 << 20);
    REQUIRE(again != NULL);
    free(again);
    printf("held %zu KiB\n", got);
}

static void info(void) {
    const struct mallinfo2 before = mallinfo2();
    enum { count = 1000, size = 1000 };
    static void* block[count];
    for (int i = 0; i < count; ++i) {
        REQUIRE((block[i] = malloc(size)) != NULL);
        memset(block[i], 1, size);
    }
    const struct mallinfo2 held = mallinfo2();
    REQUIRE(held.uordblks + held.hblkhd >= before.uordblks + before.hblkhd + count * size);
    REQUIRE(held.uordblks <= held.arena && (size_t)mallinfo().uordblks == held.uordblks);
    for (int i = 0; i < count; ++i) {
        free(block[i]);
    }
    const struct mallinfo2 after = mallinfo2();
    REQUIRE(after.uordblks + count * size <= held.uordblks + 4096);
    REQUIRE(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    const int trimmed = malloc_trim(0);
    REQUIRE(trimmed == 0 || trimmed == 1);
    REQUIRE(mallinfo2().arena <= after.arena);
    malloc_stats();
    puts("info holds");
}

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "rules") == 0) {
        rules();
    } else if (strcmp(what, "double") == 0) {
        sink = malloc(3000);
        free(sink);
        free(sink);
    } else if (strcmp(what, "interior") == 0) {
        sink = malloc(3000);
        sink = (char*)sink + 48;
        free(sink);
    } else if (strcmp(what, "wild") == 0) {
        char on_stack[256];
        sink = on_stack + 64;
        free(sink);
    } else if (strcmp(what, "libc") == 0) {
        void* p = __libc_malloc(1000);
        REQUIRE(malloc_usable_size(p) >= 1000);
        memset(p, 3, 1000);
        p = realloc(p, 500000);
        REQUIRE(p != NULL && ((char*)p)[999] == 3);
        free(p);
        free(__libc_memalign(4096, 10));
        puts("passed on");
    } else if (strcmp(what, "hold") == 0 && argc > 2) {
        hold(strtoul(argv[2], NULL, 10));
    } else if (strcmp(what, "info") == 0) {
        info();
    } else {
        return 2;
    }
    return 0;
}
