/* SPDX-License-Identifier: MIT
 * system_call all      everything that syscall() is asked for, a line each, the same in any process
 * system_call vfork    a child of vfork() made by syscall()
 * system_call limit    what is refused at a limit of 64 MiB
 * system_call time N   nanoseconds for each of N calls that do next to nothing */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L
#define MIB (1L << 20)

static void say(const char* what, long value) {
    printf("%s: %ld\n", what, value);
    fflush(stdout);
}
static void say_error(const char* what, long result) {
    printf("%s: %ld %s\n", what, result, result == -1 ? strerrorname_np(errno) : "-");
    fflush(stdout);
}

static volatile int child_ran;
static void child_on_its_own_stack(void) {
    child_ran = 1;
    syscall(SYS_exit, 7);
}

static void memory(void) {
    char path[] = "/tmp/memreeve-test-XXXXXX";
    const int file = mkstemp(path);
    unlink(path);
    char block[2 * PAGE];
    memset(block, 'a', PAGE);
    memset(block + PAGE, 'b', PAGE);
    say("write", write(file, block, sizeof block));
    char* p = (char*)syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, file, PAGE);
    say("mmap, the sixth argument", p[0]);
    say("munmap", syscall(SYS_munmap, p, PAGE));
    say_error("mmap of nothing",
              syscall(SYS_mmap, NULL, 0L, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L));
    say_error("mmap of a bad file", syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0L));
    p = (char*)syscall(SYS_mmap, NULL, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    say("mprotect", syscall(SYS_mprotect, p, MIB, PROT_READ | PROT_WRITE));
    memset(p, 1, MIB);
    say("pkey_mprotect", syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ | PROT_WRITE, -1));
    say_error("mprotect, not aligned", syscall(SYS_mprotect, p + 1, MIB, PROT_READ));
    say("madvise", syscall(SYS_madvise, p, PAGE, MADV_DONTNEED));
    say("which emptied", p[0]);
    say("but not the next page", p[PAGE]);
    say_error("madvise of nonsense", syscall(SYS_madvise, p, PAGE, 12345));
    say("munmap", syscall(SYS_munmap, p, 4 * MIB));
    p = (char*)syscall(SYS_mmap, NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0L);
    p[MIB - 1] = 5;
    p = (char*)syscall(SYS_mremap, p, MIB, 64 * MIB, MREMAP_MAYMOVE, 0L);
    say("mremap", p[MIB - 1]);
    p[64 * MIB - 1] = 6;
    say("munmap", syscall(SYS_munmap, p, 64 * MIB));
    char* const end = (char*)syscall(SYS_brk, 0L);
    say("brk", (char*)syscall(SYS_brk, end + 8 * PAGE) - end);
    memset(end, 1, 8 * PAGE);
    say("brk back", (char*)syscall(SYS_brk, end) - end);
    say("brk of nonsense", (char*)syscall(SYS_brk, 1L) - end);
    close(file);
}

static void files(void) {
    const int file = (int)syscall(SYS_memfd_create, "data", MFD_CLOEXEC);
    say("ftruncate", syscall(SYS_ftruncate, file, MIB));
    say("fallocate", syscall(SYS_fallocate, file, 0, MIB, MIB));
    say("which made it longer", lseek(file, 0, SEEK_END));
    say_error("fallocate of nothing", syscall(SYS_fallocate, file, 0, 0L, 0L));
    say_error("ftruncate below nothing", syscall(SYS_ftruncate, file, -1L));
    say_error("memfd_create of nonsense", syscall(SYS_memfd_create, "data", 0x10000));
    const long id = syscall(SYS_shmget, IPC_PRIVATE, MIB, IPC_CREAT | 0600);
    char* p = (char*)syscall(SYS_shmat, id, NULL, 0);
    p[5] = 1;
    struct shmid_ds about;
    say("shmctl", syscall(SYS_shmctl, id, IPC_STAT, &about));
    say("attached", (long)about.shm_nattch);
    say("shmctl", syscall(SYS_shmctl, id, IPC_RMID, NULL));
    say("shmdt", syscall(SYS_shmdt, p));
    say_error("shmdt again", syscall(SYS_shmdt, p));
    close(file);
}

static int status_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void processes(void) {
    pid_t child = (pid_t)syscall(SYS_fork);
    if (child == 0) {
        syscall(SYS_exit_group, 3);
    }
    say("fork, exit_group", status_of(child));
    child = (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
    if (child == 0) {
        char* arguments[] = {"sh", "-c", "exit $WITH", NULL};
        char* environment[] = {
            "WITH=4", getenv("LD_PRELOAD") != NULL ? getenv("LD_PRELOAD") - 11 : NULL,
            getenv("MEMREEVE_LEDGER") != NULL ? getenv("MEMREEVE_LEDGER") - 16 : NULL, NULL};
        syscall(SYS_execve, "/bin/sh", arguments, environment);
        _exit(100);
    }
    say("clone, execve", status_of(child));
    child = (pid_t)syscall(SYS_fork);
    if (child == 0) {
        char* arguments[] = {"sh", "-c", "exit 5", NULL};
        extern char** environ;
        const int file = open("/bin/sh", O_PATH | O_CLOEXEC);
        syscall(SYS_execveat, file, "", arguments, environ, AT_EMPTY_PATH);
        _exit(100);
    }
    say("fork, execveat", status_of(child));
    child = (pid_t)syscall(SYS_fork);
    if (child == 0) {
        char* none[] = {NULL};
        errno = 0;
        const long r = syscall(SYS_execve, "/nowhere", none, none);
        syscall(SYS_exit_group, r == -1 && errno == ENOENT ? 6 : 100);
    }
    say("execve of nothing", status_of(child));
    // A child that shares memory and returns from syscall() on a stack of its own.
    char* stack = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t* top = (uintptr_t*)(void*)(stack + 64 * PAGE - 64);
    top[0] = (uintptr_t)child_on_its_own_stack;
    child = (pid_t)syscall(SYS_clone, (long)(CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD), top, 0L,
                           0L, 0L);
    say("clone with a stack", status_of(child));
    say("which ran", child_ran);
}

static void others(void) {
    errno = 77;
    say("getpid", syscall(SYS_getpid) == getpid());
    say("errno stays", errno);
    void* p = (void*)syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    syscall(SYS_munmap, p, PAGE);
    say("errno stays", errno);
    say_error("close", syscall(SYS_close, -1));
    say_error("no such call", syscall(100000L));
    say_error("nor this", syscall(-1L));
    int word = 1;
    say_error("futex wait", syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0));
    say("futex wake", syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    char from[] = "six arguments";
    char to[sizeof from] = "";
    struct iovec here = {to, sizeof to};
    struct iovec there = {from, sizeof from};
    say("six arguments", syscall(SYS_process_vm_readv, getpid(), &here, 1L, &there, 1L, 0L));
    say(to, 0);
    say_error("the sixth one", syscall(SYS_process_vm_readv, getpid(), &here, 1L, &there, 1L, 1L));
}

static volatile int vfork_result;
static __attribute__((noinline)) void use_stack(int depth) {
    volatile char room[512];
    memset((void*)room, depth, sizeof room);
    if (depth > 0) {
        use_stack(depth - 1);
    }
}

static int vfork_by_system_call(void) {
    for (int i = 0; i < 100; ++i) {
        const pid_t child = (pid_t)syscall(SYS_vfork);
        if (child == 0) {
            use_stack(5);
            vfork_result = i;
            _exit(i);
        }
        if (status_of(child) != i || vfork_result != i) {
            printf("child %d went wrong\n", i);
            return 1;
        }
    }
    puts("100 children of vfork");
    return 0;
}

static void at_a_limit(void) {
    say_error("mmap", syscall(SYS_mmap, NULL, 100 * MIB, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L));
    char* p =
        (char*)syscall(SYS_mmap, NULL, 100 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    say_error("mprotect", syscall(SYS_mprotect, p, 100 * MIB, PROT_READ | PROT_WRITE));
    const int file = (int)syscall(SYS_memfd_create, "data", 0);
    say_error("fallocate", syscall(SYS_fallocate, file, 0, 0L, 100 * MIB));
    say_error("ftruncate", syscall(SYS_ftruncate, file, 100 * MIB));
    say_error("mmap of it", syscall(SYS_mmap, NULL, 100 * MIB, PROT_READ, MAP_SHARED, file, 0L));
    const long id = syscall(SYS_shmget, IPC_PRIVATE, 100 * MIB, IPC_CREAT | 0600);
    say_error("shmat", syscall(SYS_shmat, id, NULL, 0));
    syscall(SYS_shmctl, id, IPC_RMID, NULL);
    char* const end = (char*)syscall(SYS_brk, 0L);
    say("brk", (char*)syscall(SYS_brk, end + 100 * MIB) - end);
    p = (char*)syscall(SYS_mmap, NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0L);
    say_error("mremap", syscall(SYS_mremap, p, 2 * MIB, 100 * MIB, MREMAP_MAYMOVE, 0L));
}

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "all") == 0) {
        memory();
        files();
        others();
        processes();
        return 0;
    }
    if (strcmp(what, "vfork") == 0) {
        return vfork_by_system_call();
    }
    if (strcmp(what, "limit") == 0) {
        at_a_limit();
        return 0;
    }
    if (strcmp(what, "time") == 0 && argc > 2) {
        const long n = atol(argv[2]);
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (long i = 0; i < n; ++i) {
            syscall(SYS_getppid);
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%.1f\n",
               ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n);
        return 0;
    }
    return 2;
}
