/* SPDX-License-Identifier: MIT
 * malloc_misuse CASE [SIZE] [OFFSET]: a program that misuses malloc and its kin. Addresses are printed as
 * `name = address` before they are misused. */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t size = 100;
static size_t offset = 8;
static _Alignas(16) char a_static[64]; /* what libc finds there is 0 */

/* Through a pointer that the compiler knows nothing of. */
static void (*volatile give_back)(void*) = free;
static void* (*volatile get_other)(void*, size_t) = realloc;

static char* named(const char* name, const void* p) {
    printf("%s = 0x%lx\n", name, (unsigned long)p);
    return (char*)p;
}
static char* get(void) { return named("p", malloc(size)); }

static void innocent(void) {
    char* p = get();
    memset(p, 1, size);
    p = realloc(p, 2 * size);
    free(p);
    free(NULL);
}
static void twice(void) {
    char* p = get();
    give_back(p);
    give_back(p);
}
static void twice_zeroed(void) {
    char* p = named("p", calloc(1, size));
    give_back(p);
    give_back(p);
}
static void twice_aligned(void) {
    char* p = named("p", aligned_alloc(256, size));
    give_back(p);
    give_back(p);
}
static void interior(void) {
    char* p = get();
    give_back(named("wrong", p + offset));
}
static void interior_of_free(void) {
    char* p = get();
    give_back(p);
    give_back(named("wrong", p + offset));
}
static void realloc_of_free(void) {
    char* p = get();
    give_back(p);
    p = get_other(p, 2 * size);
}
static void realloc_interior(void) {
    char* p = get();
    p = get_other(named("wrong", p + offset), 2 * size);
}
/* The old place of a block that moved. */
static void free_of_moved(void) {
    char* p = get();
    char* q = get_other(p, 100 * size);
    if (q != p) {
        give_back(p);
    }
}
static void realloc_to_nothing_then_free(void) {
    char* p = get();
    char* q = get_other(p, 0);
    if (q == NULL) {
        give_back(p);
    }
}
static void* in_thread(void* p) {
    give_back(p);
    return NULL;
}
static void by_two_threads(void) {
    char* p = get();
    pthread_t t;
    pthread_create(&t, NULL, in_thread, p);
    pthread_join(t, NULL);
    give_back(p);
}
static void by_a_thread(void) {
    char* p = get();
    give_back(p);
    pthread_t t;
    pthread_create(&t, NULL, in_thread, p);
    pthread_join(t, NULL);
}
static void in_a_child(void) {
    char* p = get();
    give_back(p);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        give_back(p);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("child: %s\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? "SIGABRT" : "lives");
}
static void child_and_parent(void) {
    char* p = get();
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        give_back(p); /* its own copy */
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("child: %d\n", status);
    give_back(p);
}
static void handler(int signal) {
    (void)signal;
    give_back(named("wrong", a_static + 16));
}
static void in_a_handler(void) {
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
}
static void stack(void) {
    _Alignas(16) volatile char zeroed[64] = {0};
    char* here = (char*)zeroed;
    give_back(named("wrong", here + 16));
}
static void global(void) { give_back(named("wrong", a_static + 16)); }
static void mapping(void) {
    give_back(named("wrong",
                    mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}
static void usable_of_free(void) {
    char* p = get();
    give_back(p);
    printf("usable: %zu\n", malloc_usable_size(p));
}
static void overrun(void) {
    char* p = get();
    char* volatile q = malloc(size);
    memset(p, 0xff, malloc_usable_size(p)); /* all of it is the program's */
    give_back(q);
    give_back(p);
}
static void sizes_that_cannot_be(void) {
    volatile size_t huge = SIZE_MAX;
    printf("%d %d %d %d\n", malloc(huge) == NULL, malloc(huge - 100) == NULL,
           calloc(huge / 2, 3) == NULL, reallocarray(NULL, huge / 2, 3) == NULL);
}
static void bad_alignment(void) {
    void* p = NULL;
    printf("%d %d %d %d\n", posix_memalign(&p, 0, 1), posix_memalign(&p, 3, 1),
           posix_memalign(&p, 24, 1), posix_memalign(&p, 4, 1));
}
static void planted(void) { exit(3); }

#define MISUSE(f)                                                                                  \
    { #f, f }
static const struct {
    const char* name;
    void (*run)(void);
} cases[] = {
    MISUSE(innocent),
    MISUSE(twice),
    MISUSE(twice_zeroed),
    MISUSE(twice_aligned),
    MISUSE(interior),
    MISUSE(interior_of_free),
    MISUSE(realloc_of_free),
    MISUSE(realloc_interior),
    MISUSE(free_of_moved),
    MISUSE(realloc_to_nothing_then_free),
    MISUSE(by_two_threads),
    MISUSE(by_a_thread),
    MISUSE(in_a_child),
    MISUSE(child_and_parent),
    MISUSE(in_a_handler),
    MISUSE(stack),
    MISUSE(global),
    MISUSE(mapping),
    MISUSE(usable_of_free),
    MISUSE(overrun),
    MISUSE(sizes_that_cannot_be),
    MISUSE(bad_alignment),
    MISUSE(planted),
};

int main(int count, char** arguments) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (count > 2) {
        size = strtoul(arguments[2], NULL, 0);
    }
    if (count > 3) {
        offset = strtoul(arguments[3], NULL, 0);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        if (count > 1 && strcmp(arguments[1], cases[i].name) == 0) {
            cases[i].run();
            puts("went on");
            return 0;
        }
    }
    fputs("malloc_misuse: no such case\n", stderr);
    return 2;
}
