/* SPDX-License-Identifier: MIT
 * file_storm THREADS STEPS SEED: threads map, protect, unmap, fill, empty and resize one memfd that
 * they share and others of their own, while the main thread forks children that do the same. Says
 * "busy" with all of it under way, "over" when everything is unmapped and closed, and waits for a
 * line on standard input after each. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L
#define PAGES 512L
#define VIEWS 8

static int shared_file;
static long steps;
static atomic_int failed;

static void check(int good, const char* what) {
    if (!good) {
        perror(what);
        atomic_store(&failed, 1);
    }
}

struct view {
    char* at;
    long size;
};

static void drop(struct view* v) {
    if (v->at != NULL) {
        check(munmap(v->at, (size_t)v->size) == 0, "munmap");
        v->at = NULL;
    }
}

static void* work(void* seed) {
    unsigned random = (unsigned)(size_t)seed;
    struct view views[VIEWS] = {{NULL, 0}};
    int own = -1;
    for (long n = 0; n < steps; ++n) {
        struct view* v = &views[rand_r(&random) % VIEWS];
        if (own == -1) {
            own = memfd_create("own", MFD_CLOEXEC);
            check(own >= 0 && ftruncate(own, PAGES * PAGE) == 0, "memfd");
        }
        const int file = rand_r(&random) % 2 == 0 ? own : shared_file;
        const long first = rand_r(&random) % PAGES;
        const long size = (1 + rand_r(&random) % (PAGES - first)) * PAGE;
        switch (rand_r(&random) % 8) {
        case 0:
        case 1:
            drop(v);
            v->size = size;
            v->at = mmap(NULL, (size_t)size,
                         rand_r(&random) % 2 == 0 ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_SHARED,
                         file, first * PAGE);
            check(v->at != MAP_FAILED, "mmap");
            break;
        case 2:
        case 3:
            if (v->at != NULL) {
                check(mprotect(v->at, (size_t)v->size,
                               rand_r(&random) % 3 == 0 ? PROT_NONE : PROT_READ | PROT_WRITE) == 0,
                      "mprotect");
            }
            break;
        case 4: drop(v); break;
        case 5: check(fallocate(file, 0, first * PAGE, size) == 0, "fallocate"); break;
        case 6:
            check(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * PAGE, size) ==
                      0,
                  "punch");
            break;
        default:
            if (rand_r(&random) % 4 == 0) {
                for (int i = 0; i < VIEWS; ++i) {
                    drop(&views[i]);
                }
                close(own);
                own = -1;
            }
            break;
        }
    }
    for (int i = 0; i < VIEWS; ++i) {
        drop(&views[i]);
    }
    close(own);
    return NULL;
}

static void wait_for_line(const char* moment) {
    puts(moment);
    fflush(stdout);
    if (getchar() == EOF) {
        exit(2);
    }
}

int main(int argc, char** argv) {
    const long threads = argc > 1 ? atol(argv[1]) : 4;
    steps = argc > 2 ? atol(argv[2]) : 2000;
    const size_t seed = argc > 3 ? (size_t)atol(argv[3]) : 1;
    shared_file = memfd_create("shared", MFD_CLOEXEC);
    check(ftruncate(shared_file, PAGES * PAGE) == 0, "ftruncate");
    pthread_t running[64];
    for (long i = 0; i < threads && i < 64; ++i) {
        check(pthread_create(&running[i], NULL, work, (void*)(seed + (size_t)i)) == 0, "thread");
    }
    for (int i = 0; i < 10; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            steps = 200;
            work((void*)(seed + 1000 + (size_t)i));
            _exit(atomic_load(&failed));
        }
        int status = 0;
        check(waitpid(child, &status, 0) == child && status == 0, "child");
    }
    wait_for_line("busy");
    for (long i = 0; i < threads && i < 64; ++i) {
        pthread_join(running[i], NULL);
    }
    close(shared_file);
    close(memfd_create("occasion", MFD_CLOEXEC)); // to find out what is gone
    wait_for_line("over");
    return atomic_load(&failed);
}
