/* SPDX-License-Identifier: MIT
 * children_kinds KIND: starts /bin/true, or itself as "child", in one of the ways there are, and ends
 * with 0 when that went well. A "child" holds some memory for a moment; "hold MIB" holds that much
 * until its input ends. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;
static char self[4096];

static int ended_well(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return 0;
        }
    }
    return status == 0;
}

static int work(void) {
    char* block = malloc(3 << 20);
    char* mapped = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == NULL || mapped == MAP_FAILED) {
        return 1;
    }
    memset(block, 1, 3 << 20);
    memset(mapped, 2, 1 << 20);
    const int good = block[99] == 1 && mapped[99] == 2;
    free(block);
    munmap(mapped, 1 << 20);
    return good ? 0 : 1;
}

static int by_fork(void) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(work());
    }
    return ended_well(child);
}

static int by_vfork(void) {
    const pid_t child = vfork();
    if (child == 0) {
        execl(self, self, "child", (char*)NULL);
        _exit(127);
    }
    return ended_well(child);
}

static int by_vfork_alone(void) {
    const pid_t child = vfork();
    if (child == 0) {
        _exit(0);
    }
    return ended_well(child) && work() == 0;
}

static int by_spawn(void) {
    pid_t child = 0;
    char* arguments[] = {self, "child", NULL};
    return posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0 && ended_well(child);
}

/* By a name to be searched, with everything that can be asked for. */
static int by_spawnp(void) {
    pid_t child = 0;
    char* arguments[] = {"true", NULL};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 9, "/dev/null", O_RDONLY, 0);
    return posix_spawnp(&child, "true", &actions, &attributes, arguments, environ) == 0 &&
           ended_well(child);
}

static int by_system(void) { return system("exec /bin/true") == 0; }

static int by_popen(void) {
    char line[64] = "";
    FILE* f = popen("echo said", "r");
    return f != NULL && fgets(line, sizeof line, f) != NULL && strcmp(line, "said\n") == 0 &&
           pclose(f) == 0;
}

/* Without libc's fork: no handler runs. */
static int by_clone_call(void) {
    const pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) {
        _exit(work());
    }
    return ended_well(child);
}

static int run_clone(void* unused) {
    (void)unused;
    return work();
}

static int by_clone(void) {
    static char stack[256 << 10] __attribute__((aligned(16)));
    return ended_well(clone(run_clone, stack + sizeof stack, SIGCHLD, NULL));
}

/* As some runtimes start programs: memory shared, the parent stopped until the exec. */
static int run_exec(void* unused) {
    (void)unused;
    execl(self, self, "child", (char*)NULL);
    return 127;
}

static int by_clone_vm(void) {
    static char stack[256 << 10] __attribute__((aligned(16)));
    return ended_well(
        clone(run_exec, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
}

/* A daemon: its grandparent learns only through a pipe that it has worked. */
static int by_double_fork(void) {
    int ends[2];
    if (pipe(ends) != 0) {
        return 0;
    }
    const pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0) {
            close(0);
            const char good = work() == 0 ? 'y' : 'n';
            (void)!write(ends[1], &good, 1);
            _exit(0);
        }
        _exit(0);
    }
    close(ends[1]);
    char good = 'n';
    return ended_well(child) && read(ends[0], &good, 1) == 1 && good == 'y';
}

/* Everything closed, as daemons do: the ledger must not hang on a descriptor. */
static int by_closed_descriptors(void) {
    const pid_t child = fork();
    if (child == 0) {
        for (int fd = 3; fd < 1024; ++fd) {
            close(fd);
        }
        execl(self, self, "child", (char*)NULL);
        _exit(127);
    }
    return ended_well(child);
}

static int by_execveat(void) {
    const pid_t child = fork();
    if (child == 0) {
        char* arguments[] = {self, "child", NULL};
        syscall(SYS_execveat, open(self, O_RDONLY | O_CLOEXEC), "", arguments, environ,
                AT_EMPTY_PATH);
        _exit(127);
    }
    return ended_well(child);
}

/* An exec that fails: the image goes on. */
static int by_failing_exec(void) {
    return execl("/nonexistent/program", "x", (char*)NULL) == -1 && errno == ENOENT && work() == 0;
}

static int by_deep_fork(void) {
    int depth = 0;
    pid_t child = 0;
    while (depth < 20 && (child = fork()) == 0) {
        ++depth;
        if (work() != 0) {
            _exit(1);
        }
    }
    const int good = depth == 20 || ended_well(child);
    if (depth > 0) {
        _exit(good ? 0 : 1);
    }
    return good;
}

static int hold(size_t size) {
    char* held = malloc(size);
    if (held == NULL) {
        return 1;
    }
    memset(held, 1, size);
    printf("holds\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    free(held);
    return 0;
}

int main(int argc, char** argv) {
    static const struct {
        const char* name;
        int (*run)(void);
    } kinds[] = {
        {"fork", by_fork},
        {"vfork", by_vfork},
        {"vfork-alone", by_vfork_alone},
        {"spawn", by_spawn},
        {"spawnp", by_spawnp},
        {"system", by_system},
        {"popen", by_popen},
        {"clone-call", by_clone_call},
        {"clone", by_clone},
        {"clone-vm", by_clone_vm},
        {"double-fork", by_double_fork},
        {"closed", by_closed_descriptors},
        {"execveat", by_execveat},
        {"failing-exec", by_failing_exec},
        {"deep", by_deep_fork},
    };
    const char* kind = argc > 1 ? argv[1] : "";
    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0) {
        return 2;
    }
    if (strcmp(kind, "child") == 0) {
        return work();
    }
    if (strcmp(kind, "hold") == 0) {
        return hold((size_t)atol(argv[2]) << 20);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
        if (strcmp(kind, kinds[i].name) == 0) {
            return kinds[i].run() ? 0 : 1;
        }
    }
    return 2;
}
