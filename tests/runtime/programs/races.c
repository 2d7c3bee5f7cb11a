// SPDX-License-Identifier: MIT
// races cut|halves|sequence: programs that once made the books wrong.
//   cut       four threads unmap a shared anonymous mapping page by page at the same time: each page's
//             charge must come back once (decision 23)
//   halves    two threads map and unmap the two halves of one reservation: a half that was revived must
//             not go when the other empties (decision 24)
//   sequence  children that hold most of the limit, one after another: what a child held is there for
//             the next as soon as it was waited for (decision 20)
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { page = 4096, threads = 4, pages = 64, mib = 1 << 20 };
static pthread_barrier_t barrier;
static char* base;
static int rounds = 500;

static void* cut(void* id) {
    for (int r = 0; r < rounds; ++r) {
        pthread_barrier_wait(&barrier);
        for (long i = (long)id; i < pages; i += threads) {
            munmap(base + i * page, page);
        }
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static int run_cut(void) {
    pthread_t t[threads];
    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (long i = 0; i < threads; ++i) {
        pthread_create(&t[i], NULL, cut, (void*)i);
    }
    for (int r = 0; r < rounds; ++r) {
        base = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) {
            printf("round %d: mmap refused\n", r);
            exit(1);
        }
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    }
    for (int i = 0; i < threads; ++i) {
        pthread_join(t[i], NULL);
    }
    return 0;
}

static void* half(void* which) {
    char* mine = base + (long)which * 64 * 1024;
    for (int r = 0; r < rounds * 20; ++r) {
        char* got = mmap(mine, 64 * 1024, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (got != mine) {
            continue; // the granule is changing hands: refused, which is not wrong
        }
        memset(mine, 1, 64 * 1024);
        munmap(mine, 64 * 1024);
    }
    return NULL;
}

static int run_halves(void) {
    base = mmap(NULL, 128 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t t[2];
    for (long i = 0; i < 2; ++i) {
        pthread_create(&t[i], NULL, half, (void*)i);
    }
    for (int i = 0; i < 2; ++i) {
        pthread_join(t[i], NULL);
    }
    return 0;
}

static int run_sequence(void) {
    for (int i = 0; i < 100; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            void* p =
                mmap(NULL, 40 * mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            _exit(p == MAP_FAILED ? 7 : 0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (status != 0) {
            printf("child %d was refused\n", i);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    const int r = strcmp(what, "cut") == 0        ? run_cut()
                  : strcmp(what, "halves") == 0   ? run_halves()
                  : strcmp(what, "sequence") == 0 ? run_sequence()
                                                  : 2;
    if (r == 0) {
        printf("%s: ok\n", what);
    }
    return r;
}
