/* SPDX-License-Identifier: MIT
 * fork_storm FORKS [THREADS]: THREADS threads (8) allocate, map, change and give back almost without rest
 * while the main thread forks. Each child allocates and gives back, some fork again or exec, some
 * leave their memory behind; one that has not ended after two seconds has hung, is named and killed.
 * Then all threads stop, everything is given back: prints "forks N hangs H bad B", waits for a line
 * and ends with 0. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { patience_ms = 30000, blocks = 64 };

static atomic_int stopped;
static atomic_ulong failures;

static unsigned next(unsigned* seed) { return *seed = *seed * 1664525u + 1013904223u; }

/* One round of everything; contents are checked before they are given back. */
static void work(unsigned* seed) {
    unsigned char* held[blocks];
    size_t sizes[blocks];
    for (unsigned i = 0; i < blocks; ++i) {
        const unsigned r = next(seed) >> 8;
        sizes[i] = r % 31 == 0 ? 300000 : r % 2048 + 1;
        held[i] = r % 5 == 0 ? calloc(1, sizes[i]) : malloc(sizes[i]);
        if (held[i] != NULL) {
            memset(held[i], (int)i, sizes[i] < 4096 ? sizes[i] : 4096);
        }
    }
    const size_t size = ((next(seed) >> 8) % 16 + 1) << 12;
    unsigned char* mapped =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped != MAP_FAILED) {
        mapped[size - 1] = 7;
        if (mprotect(mapped, 4096, PROT_READ) != 0 || mapped[size - 1] != 7 ||
            munmap(mapped, size) != 0) {
            atomic_fetch_add(&failures, 1);
        }
    }
    for (unsigned i = 0; i < blocks; ++i) {
        if (held[i] != NULL) {
            if (held[i][0] != i || held[i][(sizes[i] < 4096 ? sizes[i] : 4096) - 1] != i) {
                atomic_fetch_add(&failures, 1);
            }
            held[i] = i % 8 == 0 ? realloc(held[i], sizes[i] + 100) : held[i];
            free(held[i]);
        }
    }
}

static void* busy(void* seed) {
    unsigned s = (unsigned)(size_t)seed;
    /* Short rests: more busy threads than processors would only make the children wait. */
    for (unsigned n = 0; !atomic_load(&stopped); ++n) {
        work(&s);
        if (n % 4 == 0) {
            usleep(200);
        }
    }
    return NULL;
}

/* 0 it ended well, 1 it ended otherwise, 2 it hung. */
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
        if (getenv("FORK_STORM_KEEPS") != NULL) {
            pause(); /* for a debugger */
        }
        kill(child, SIGKILL);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) {
        return 1;
    }
    if (ready == 0) {
        return 2;
    }
    if (status != 0) {
        fprintf(stderr, "child %d ended with %#x\n", (int)child, (unsigned)status);
    }
    return status == 0 ? 0 : 1;
}

static void live_as_child(unsigned n) {
    unsigned seed = n;
    work(&seed);
    if (n % 7 == 0) {
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            work(&seed);
            _exit(atomic_load(&failures) != 0);
        }
        if (grandchild < 0 || wait_for(grandchild) != 0) {
            _exit(3);
        }
    }
    if (n % 11 == 0) {
        execl("/bin/true", "true", (char*)NULL);
        _exit(4);
    }
    if (n % 13 == 0) {
        memset(malloc(100000), 1, 100000); /* left behind */
        work(&seed);
    }
    if (n % 5 == 0) {
        exit(atomic_load(&failures) != 0);
    }
    _exit(atomic_load(&failures) != 0);
}

int main(int argc, char** argv) {
    const unsigned forks = argc > 1 ? (unsigned)atol(argv[1]) : 100;
    const unsigned count = argc > 2 ? (unsigned)atol(argv[2]) : 8;
    pthread_t* threads = calloc(count, sizeof *threads);
    for (size_t i = 0; i < count; ++i) {
        pthread_create(&threads[i], NULL, busy, (void*)(i * 7919 + 1));
    }
    unsigned hangs = 0;
    unsigned bad = 0;
    for (unsigned n = 1; n <= forks; ++n) {
        const pid_t child = fork();
        if (child == 0) {
            live_as_child(n);
        }
        const int how = child < 0 ? 1 : wait_for(child);
        hangs += how == 2;
        bad += how == 1;
    }
    atomic_store(&stopped, 1);
    for (size_t i = 0; i < count; ++i) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
    printf("forks %u hangs %u bad %lu\n", forks, hangs, bad + atomic_load(&failures));
    fflush(stdout);
    (void)!getchar();
    return 0;
}
