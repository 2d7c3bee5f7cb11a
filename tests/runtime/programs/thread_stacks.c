/* SPDX-License-Identifier: MIT
 * Threads of many kinds, for threads.py. One word says which:
 *   many N        N threads at once, of four stack sizes, with and without a guard; each prints the
 *                 stack that libc says it has and touches a part of it; then waits for a line
 *   short N       N threads one after the other, every third detached
 *   crowd N       N threads at once, three times
 *   limit         threads that touch 4 MiB each until one is refused, a line for each, and then waits for
 *                 one; then one fewer, and one more
 *   late N        at a line N threads that touch 4 MiB each; at the next one thread more, which may
 *                 be refused
 *   attributes    what was asked for is what the thread has
 *   endings       pthread_exit, cancellation at once, destructors that free, C11, tiny stacks
 *   forks N       N children while threads come and go; each starts threads of its own */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static void fail(const char* what, int code) {
    printf("failed: %s (%d)\n", what, code);
    exit(1);
}
static void require(int holds, const char* what) {
    if (!holds) {
        fail(what, errno);
    }
}

/* Pages below the caller's frame, as the program's own functions would use them. */
__attribute__((noinline)) static void touch(size_t bytes) {
    volatile char* area = __builtin_alloca(bytes);
    for (size_t i = 0; i < bytes; i += 4096) {
        area[bytes - 1 - i] = 1;
    }
}

static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;
static sem_t arrived, leave;

struct order {
    size_t touched;
    int prints;
};

static void* stand(void* given) {
    const struct order* o = given;
    touch(o->touched);
    if (o->prints) {
        pthread_attr_t a;
        void* low = NULL;
        size_t size = 0;
        require(pthread_getattr_np(pthread_self(), &a) == 0, "pthread_getattr_np");
        pthread_attr_getstack(&a, &low, &size);
        pthread_attr_destroy(&a);
        pthread_mutex_lock(&printing);
        printf("stack %lu %lu\n", (unsigned long)(uintptr_t)low,
               (unsigned long)((uintptr_t)low + size));
        pthread_mutex_unlock(&printing);
    }
    sem_post(&arrived);
    while (sem_wait(&leave) != 0) {
    }
    return NULL;
}

static void many(int count) {
    static const size_t sizes[] = {64 * 1024, 256 * 1024, 1024 * 1024, 8 * 1024 * 1024};
    static struct order orders[4], own_order = {16 * 1024, 1};
    pthread_t* threads = calloc((size_t)count, sizeof *threads);
    for (int i = 0; i < count; ++i) {
        struct order* o = &orders[i % 4];
        o->touched = sizes[i % 4] / 4;
        o->prints = 1;
        pthread_attr_t a;
        pthread_attr_init(&a);
        pthread_attr_setstacksize(&a, sizes[i % 4]);
        if (i % 8 >= 4) {
            pthread_attr_setguardsize(&a, i % 16 >= 8 ? 0 : 5 * 4096);
        }
        /* A stack of our own is ours, not libc's. */
        if (i % 50 == 49) {
            void* own = mmap(NULL, 256 * KIB, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
            pthread_attr_setstack(&a, own, 256 * KIB);
            o = &own_order;
        }
        const int e = pthread_create(&threads[i], &a, stand, o);
        pthread_attr_destroy(&a);
        if (e != 0) {
            fail("pthread_create", e);
        }
    }
    for (int i = 0; i < count; ++i) {
        sem_wait(&arrived);
    }
    puts("standing");
    fflush(stdout);
    char line[8];
    require(fgets(line, sizeof line, stdin) != NULL, "a line");
    for (int i = 0; i < count; ++i) {
        sem_post(&leave);
    }
    for (int i = 0; i < count; ++i) {
        pthread_join(threads[i], NULL);
    }
    puts("gone");
    fflush(stdout);
    require(fgets(line, sizeof line, stdin) != NULL, "a line");
}

static atomic_int finished;
static void* briefly(void* given) {
    void* block = malloc(1000);
    memset(block, 1, 1000);
    free(block);
    atomic_fetch_add(&finished, 1);
    return given;
}

static long resident(void) {
    long pages = 0, size = 0;
    FILE* f = fopen("/proc/self/statm", "r");
    require(f != NULL && fscanf(f, "%ld %ld", &size, &pages) == 2, "statm");
    fclose(f);
    return pages * 4;
}

static void one_short(int i) {
    static const size_t sizes[] = {16 * 1024 + 4096, 64 * 1024, 1024 * 1024, 8 * 1024 * 1024};
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, sizes[i % 4]);
    pthread_attr_setdetachstate(&a, i % 3 == 0 ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
    pthread_t t;
    int e = 0;
    /* Detached ones may still be going: not more than 50 of them at a time. */
    while (i - atomic_load(&finished) > 50) {
        sched_yield();
    }
    if ((e = pthread_create(&t, &a, briefly, &finished)) != 0) {
        fail("pthread_create", e);
    }
    if (i % 3 != 0) {
        void* result = NULL;
        require(pthread_join(t, &result) == 0 && result == &finished, "the thread's result");
    }
    pthread_attr_destroy(&a);
}

static void brief(int count) {
    int i = 0;
    for (; i < count / 4; ++i) {
        one_short(i);
    }
    const long before = resident();
    for (; i < count; ++i) {
        one_short(i);
    }
    while (atomic_load(&finished) < count) {
        sched_yield();
    }
    printf("growth %ld\n", resident() - before);
}

static void crowd(int count) {
    pthread_t* threads = calloc((size_t)count, sizeof *threads);
    static struct order small = {4096, 0};
    pthread_attr_t a;
    pthread_attr_init(&a);
    for (int round = 0; round < 3; ++round) {
        pthread_attr_setstacksize(&a, (size_t)(64 + round * 64) * KIB);
        for (int i = 0; i < count; ++i) {
            const int e = pthread_create(&threads[i], &a, stand, &small);
            if (e != 0) {
                fail("pthread_create", e);
            }
        }
        for (int i = 0; i < count; ++i) {
            sem_wait(&arrived);
        }
        if (round == 2) {
            puts("standing");
            fflush(stdout);
            char line[8];
            require(fgets(line, sizeof line, stdin) != NULL, "a line");
        }
        for (int i = 0; i < count; ++i) {
            sem_post(&leave);
        }
        for (int i = 0; i < count; ++i) {
            pthread_join(threads[i], NULL);
        }
    }
    puts("gone");
}

static void rest(long ms) {
    const struct timespec t = {0, ms * 1000000};
    nanosleep(&t, NULL);
}

static int never(void* given) { return given == NULL; }

static void limit(void) {
    static struct order large = {4 * 1024 * 1024, 0};
    pthread_t threads[40];
    int count = 0;
    int e = 0;
    for (; count < 40 && e == 0; ++count) {
        errno = 77;
        e = pthread_create(&threads[count], NULL, stand, &large);
        require(errno == 77, "errno is left alone");
        if (e == 0) {
            sem_wait(&arrived);
            printf("standing %d\n", count + 1);
            fflush(stdout);
            (void)!getchar(); /* what a thread has touched is sampled */
        }
    }
    --count;
    if (e != EAGAIN) {
        fail("the refusal", e);
    }
    thrd_t c11;
    require(thrd_create(&c11, never, &large) == thrd_nomem, "thrd_nomem");
    /* The program goes on, and when threads have gone there is room again. */
    for (int i = 0; i < count; ++i) {
        sem_post(&leave);
    }
    for (int i = 0; i < count; ++i) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 1200; ++i) {
        rest(50);
        if ((e = pthread_create(&threads[0], NULL, briefly, NULL)) == 0) {
            pthread_join(threads[0], NULL);
            printf("refused after %d, accepted again\n", count);
            return;
        }
    }
    fail("no thread any more", e);
}

struct seen {
    pthread_attr_t attributes;
    int policy, priority;
    sem_t done;
};
static void await_line(void) {
    int c;
    while ((c = getchar()) != '\n') {
        require(c != EOF, "a line");
    }
}

static void late(int count) {
    static struct order large = {4 * 1024 * 1024, 0};
    pthread_t t;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ready\n");
    await_line();
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (int i = 0; i < count; ++i) {
        require(pthread_create(&t, NULL, stand, &large) == 0, "a thread");
        sem_wait(&arrived);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%ld ms\n",
           (ended.tv_sec - begun.tv_sec) * 1000 + (ended.tv_nsec - begun.tv_nsec) / 1000000);
    await_line();
    const int e = pthread_create(&t, NULL, stand, &large);
    printf("%s\n", e == 0 ? "accepted" : e == EAGAIN ? "refused" : "failed");
    fflush(stdout);
    _exit(0);
}

static void* look(void* given) {
    struct seen* s = given;
    require(pthread_getattr_np(pthread_self(), &s->attributes) == 0, "pthread_getattr_np");
    struct sched_param p;
    pthread_getschedparam(pthread_self(), &s->policy, &p);
    s->priority = p.sched_priority;
    sem_post(&s->done);
    return NULL;
}

static void attributes(void) {
    struct seen s;
    pthread_attr_t a;
    pthread_t t;
    size_t size = 0, guard = 0;
    void* low = NULL;
    int state = 0;
    sem_init(&s.done, 0, 0);

    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 300 * KIB);
    pthread_attr_setguardsize(&a, 3 * 4096);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    require(pthread_create(&t, &a, look, &s) == 0, "detached");
    sem_wait(&s.done);
    pthread_attr_getdetachstate(&s.attributes, &state);
    pthread_attr_getguardsize(&s.attributes, &guard);
    pthread_attr_getstacksize(&s.attributes, &size);
    require(state == PTHREAD_CREATE_DETACHED, "detach state");
    require(guard == 3 * 4096, "guard size");
    require(size >= 290 * KIB && size <= 300 * KIB, "stack size");

    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_JOINABLE);
    char* own = mmap(NULL, 512 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_setstack(&a, own, 512 * KIB);
    require(pthread_create(&t, &a, look, &s) == 0, "own stack");
    pthread_join(t, NULL);
    pthread_attr_getstack(&s.attributes, &low, &size);
    require(low == own && size == 512 * KIB, "own stack's place");
    require(munmap(own, 512 * KIB) == 0, "own stack given back");

    pthread_attr_init(&a);
    struct sched_param p = {.sched_priority = 0};
    pthread_attr_setinheritsched(&a, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&a, SCHED_BATCH);
    pthread_attr_setschedparam(&a, &p);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    pthread_attr_setaffinity_np(&a, sizeof one, &one);
    int e = pthread_create(&t, &a, look, &s);
    if (e == EINVAL) { /* glibc takes no SCHED_BATCH in attributes */
        pthread_attr_setschedpolicy(&a, SCHED_OTHER);
        e = pthread_create(&t, &a, look, &s);
    }
    require(e == 0, "scheduling");
    pthread_join(t, NULL);
    cpu_set_t got;
    require(pthread_attr_getaffinity_np(&s.attributes, sizeof got, &got) == 0 &&
                CPU_COUNT(&got) == 1,
            "affinity");

    /* libc's own errors come through, and nothing is lost by them. */
    for (int i = 0; i < 3000; ++i) {
        pthread_attr_init(&a);
        pthread_attr_setstacksize(&a, (size_t)1 << 50);
        e = pthread_create(&t, &a, briefly, NULL);
        require(e == EAGAIN || e == ENOMEM, "a stack that nobody has");
    }
    require(pthread_create(&t, NULL, briefly, NULL) == 0, "and one that is there");
    pthread_join(t, NULL);
    puts("kept");
}

static pthread_key_t key;
static atomic_int freed;
static void free_late(void* block) {
    free(block);
    free(malloc(100));
    atomic_fetch_add(&freed, 1);
}
static void clean(void* flag) { atomic_fetch_add((atomic_int*)flag, 1); }
static atomic_int cleaned;

__attribute__((noinline)) static void leave_early(void) { pthread_exit((void*)5); }
static void* exits(void* given) {
    (void)given;
    pthread_setspecific(key, malloc(64));
    pthread_cleanup_push(clean, &cleaned);
    leave_early();
    pthread_cleanup_pop(0);
    return NULL;
}
static void* waits(void* given) {
    (void)given;
    pthread_setspecific(key, malloc(64));
    pthread_cleanup_push(clean, &cleaned);
    for (;;) {
        pause();
    }
    pthread_cleanup_pop(0);
    return NULL;
}
static int c11(void* given) { return *(int*)given + 1; }

static void endings(void) {
    pthread_t t;
    void* result = NULL;
    pthread_key_create(&key, free_late);
    for (int i = 0; i < 500; ++i) {
        require(pthread_create(&t, NULL, exits, NULL) == 0, "one that exits");
        require(pthread_join(t, &result) == 0 && result == (void*)5, "pthread_exit's value");
    }
    for (int i = 0; i < 500; ++i) {
        require(pthread_create(&t, NULL, waits, NULL) == 0, "one that waits");
        if (i % 2 == 0) {
            sched_yield();
        }
        pthread_cancel(t);
        require(pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED, "cancelled");
    }
    require(atomic_load(&cleaned) >= 500 && atomic_load(&freed) >= 500, "cleaned up");
    for (int i = 0; i < 500; ++i) {
        thrd_t c;
        int code = 0, given = i;
        require(thrd_create(&c, c11, &given) == thrd_success, "thrd_create");
        require(thrd_join(c, &code) == thrd_success && code == i + 1, "a C11 thread's value");
    }
    pthread_attr_t a;
    pthread_attr_init(&a);
    require(pthread_attr_setstacksize(&a, (size_t)PTHREAD_STACK_MIN) == 0, "the least size");
    for (int i = 0; i < 500; ++i) {
        require(pthread_create(&t, &a, briefly, NULL) == 0, "the least stack");
        pthread_join(t, NULL);
    }
    puts("ended");
}

static atomic_int stop;
static void* comes_and_goes(void* unused) {
    while (atomic_load(&stop) == 0) {
        pthread_t t;
        require(pthread_create(&t, NULL, briefly, NULL) == 0, "a thread beside forks");
        pthread_join(t, NULL);
    }
    return unused;
}

static void forks(int count) {
    pthread_t beside[3], t;
    for (int i = 0; i < 3; ++i) {
        require(pthread_create(&beside[i], NULL, comes_and_goes, NULL) == 0, "pthread_create");
    }
    for (int i = 0; i < count; ++i) {
        const pid_t child = fork();
        require(child >= 0, "fork");
        if (child == 0) {
            for (int n = 0; n < 20; ++n) {
                if (pthread_create(&t, NULL, briefly, NULL) != 0 || pthread_join(t, NULL) != 0) {
                    _exit(1);
                }
            }
            _exit(0);
        }
        int status = -1;
        require(waitpid(child, &status, 0) == child && status == 0, "a child");
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; ++i) {
        pthread_join(beside[i], NULL);
    }
    puts("forked");
}

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    const int count = argc > 2 ? atoi(argv[2]) : 0;
    sem_init(&arrived, 0, 0);
    sem_init(&leave, 0, 0);
    if (strcmp(what, "many") == 0) {
        many(count);
    } else if (strcmp(what, "short") == 0) {
        brief(count);
    } else if (strcmp(what, "crowd") == 0) {
        crowd(count);
    } else if (strcmp(what, "forks") == 0) {
        forks(count);
    } else if (strcmp(what, "limit") == 0) {
        limit();
    } else if (strcmp(what, "late") == 0) {
        late(count);
    } else if (strcmp(what, "attributes") == 0) {
        attributes();
    } else if (strcmp(what, "endings") == 0) {
        endings();
    } else {
        return 2;
    }
    return 0;
}
