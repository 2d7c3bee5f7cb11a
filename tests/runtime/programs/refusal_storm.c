/* SPDX-License-Identifier: MIT
 * refusal_storm WHERE KIB COUNT: fills the limit with pieces of 1 MiB and then of KIB KiB, asks for COUNT more
 * pieces of KIB KiB, all refused, and prints "refused N pauses P errno E": P counts how often the thread
 * gave up its processor by itself meanwhile. WHERE: thread, handler, stack (a handler on its own stack). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

static size_t piece;
static long wanted, refused, pauses;
static int seen;

static void* map(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long given_up(void) {
    struct rusage now;
    getrusage(RUSAGE_THREAD, &now);
    return now.ru_nvcsw;
}

static void storm(int signal) {
    (void)signal;
    const long before = given_up();
    for (long i = 0; i < wanted; ++i) {
        errno = 0;
        refused += map(piece) == MAP_FAILED;
        seen = errno;
    }
    pauses = given_up() - before;
}

int main(int argc, char** argv) {
    static char stack[1 << 16];
    piece = (size_t)atol(argv[2]) << 10;
    wanted = atol(argv[3]);
    if (argc != 4) {
        return 2;
    }
    while (map(1 << 20) != MAP_FAILED) {
    }
    while (map(piece) != MAP_FAILED) {
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = storm;
    if (strcmp(argv[1], "stack") == 0) {
        const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
        sigaltstack(&own, NULL);
        action.sa_flags = SA_ONSTACK | SA_NODEFER;
    }
    if (strcmp(argv[1], "thread") == 0) {
        storm(0);
    } else {
        sigaction(SIGUSR1, &action, NULL);
        raise(SIGUSR1);
    }
    printf("refused %ld pauses %ld errno %d\n", refused, pauses, seen == ENOMEM);
    return 0;
}
