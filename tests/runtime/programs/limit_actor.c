/* SPDX-License-Identifier: MIT
 * limit_actor: does what its standard input says, a line at a time, and answers each with a line.
 *   + N   maps and touches N pieces of 1 MiB: "got M", up to the first refusal
 *   - N   gives N of them back: "has M"
 *   m N   N blocks of 64 KiB by malloc, kept: "got M"
 *   k N   as +, and at the first refusal it kills itself: no answer
 * limit_actor storm THREADS PATH: so many threads map, touch and give back pieces of 1 to 4 MiB until
 * PATH is there; everything is given back; "done REFUSED". */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MIB = 1 << 20, MOST = 4096 };
static char* held[MOST];
static int count;
static atomic_int over;
static atomic_long refused;

static void* map(size_t size) {
    char* p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    p[0] = p[size - 1] = 1;
    return p;
}

static void* storm(void* seed) {
    enum { SLOTS = 24 };
    char* mine[SLOTS] = {0};
    size_t sizes[SLOTS] = {0};
    unsigned state = (unsigned)(size_t)seed;
    while (!atomic_load(&over)) {
        state = state * 1664525 + 1013904223;
        const unsigned i = (state >> 16) % SLOTS;
        if (mine[i] != NULL) {
            munmap(mine[i], sizes[i]);
            mine[i] = NULL;
        } else {
            sizes[i] = (1 + (state >> 24) % 4) * (size_t)MIB;
            mine[i] = map(sizes[i]);
            if (mine[i] == NULL) {
                atomic_fetch_add(&refused, 1);
            }
        }
    }
    for (int i = 0; i < SLOTS; ++i) {
        if (mine[i] != NULL) {
            munmap(mine[i], sizes[i]);
        }
    }
    return NULL;
}

int main(int argc, char** argv) {
    if (argc == 4) {
        const int threads = atoi(argv[2]);
        pthread_t crew[64];
        for (int i = 0; i < threads && i < 64; ++i) {
            if (pthread_create(&crew[i], NULL, storm, (void*)(size_t)(i + 1)) != 0) {
                return 2;
            }
        }
        puts("ready");
        fflush(stdout);
        for (int i = 0; access(argv[3], F_OK) != 0 && i < 30000; ++i) {
            usleep(10000);
        }
        atomic_store(&over, 1);
        for (int i = 0; i < threads && i < 64; ++i) {
            pthread_join(crew[i], NULL);
        }
        printf("done %ld\n", atomic_load(&refused));
        fflush(stdout);
        return getchar() == EOF ? 0 : 0; /* until somebody has looked */
    }
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        const int n = atoi(line + 1);
        int done = 0;
        if (line[0] == '+' || line[0] == 'k') {
            while (done < n && count < MOST && (held[count] = map(MIB)) != NULL) {
                memset(held[count++], 1, MIB);
                ++done;
            }
            if (line[0] == 'k' && done < n) {
                kill(getpid(), SIGKILL);
            }
            printf("got %d\n", done);
        } else if (line[0] == 'm') {
            void* block = NULL;
            while (done < n && (block = malloc(64 << 10)) != NULL) {
                memset(block, 1, 64 << 10);
                ++done;
            }
            printf("got %d\n", done);
        } else {
            while (done < n && count > 0) {
                munmap(held[--count], MIB);
                ++done;
            }
            printf("has %d\n", count);
        }
        fflush(stdout);
    }
    return 0;
}
