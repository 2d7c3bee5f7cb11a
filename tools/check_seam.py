#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""System calls pass through prim only: no object outside it refers to a system call wrapper of
libc or holds a syscall instruction. The bridge defines some of those names and may refer to its own.

usage: check_seam.py FILE...              archives or objects of every layer but prim; exit 1 on a leak
       check_seam.py --self-test [CC]     plants leaks in objects built with CC
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

WRAPPERS = set("""
mmap mmap64 munmap mprotect pkey_mprotect madvise posix_madvise process_madvise mremap msync mincore mlock mlock2
munlock mlockall munlockall brk sbrk shmat shmdt shmget shm_open memfd_create userfaultfd mbind
open open64 openat openat64 creat read pread pread64 readv preadv write pwrite pwrite64 writev pwritev close
close_range lseek lseek64 ftruncate ftruncate64 truncate truncate64 fallocate posix_fallocate ioctl fcntl fcntl64
dup dup2 dup3 pipe pipe2 stat stat64 fstat fstat64 lstat lstat64 fstatat fstatat64 statx access faccessat readlink
readlinkat unlink unlinkat rename renameat mkdir mkdirat rmdir chmod fchmod flock getdents64 sendfile splice
eventfd timerfd_create signalfd inotify_init1 socket socketpair connect bind accept send sendmsg recv recvmsg
syscall fork vfork _Fork clone clone3 unshare execve execv execvp execvpe execl execlp execle fexecve
posix_spawn posix_spawnp system popen waitpid wait wait3 wait4 waitid kill tgkill raise prctl arch_prctl ptrace
pidfd_open pidfd_send_signal process_vm_readv setrlimit getrlimit prlimit getrlimit64 setrlimit64 prlimit64
futex poll ppoll select pselect epoll_create1 epoll_ctl epoll_wait nanosleep clock_nanosleep usleep sleep
sched_yield sched_setaffinity sched_getaffinity getpid getppid gettid getuid geteuid
pthread_create pthread_join pthread_detach pthread_mutex_lock pthread_mutex_unlock pthread_cond_wait
pthread_cond_signal pthread_cond_broadcast pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_once
sem_wait sem_post sigaction signal sigprocmask pthread_sigmask sigaltstack setitimer timer_create
__open_2 __open64_2 __openat_2 __read_chk __pread_chk __pread64_chk __poll_chk
""".split())
SYSCALL = re.compile(r"\t(syscall|sysenter|int\s+\$0x80)\s*$")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        sys.exit(f"check_seam: {' '.join(command[:2])} failed: {done.stderr.strip()}")
    return done.stdout


def symbols(files):
    """Yields (file, member, type letter, name) for every symbol."""
    for file in files:
        for line in run("nm", "-A", "-P", file).splitlines():
            place, _, rest = line.partition(": ")
            fields = rest.split()
            if len(fields) >= 2:
                yield file, place, fields[1], fields[0].split("@")[0]


def check(files):
    """Returns (number of undefined symbols seen, list of violations)."""
    found = list(symbols(files))
    own = {name for _, _, kind, name in found if kind in "TtWwVviBbDdRr" and kind not in "wv"}
    own |= {name for _, _, kind, name in found if kind in "W"}
    undefined = [(place, name) for _, place, kind, name in found if kind in "Uwv"]
    bad = [f"{place}: refers to {name}; the system is called through prim"
           for place, name in undefined if name in WRAPPERS and name not in own]
    for file in files:
        member = function = ""
        for line in run("objdump", "-d", "--no-show-raw-insn", file).splitlines():
            if line.endswith(">:"):
                function = line.split("<", 1)[1][:-2]
            elif ":     file format" in line:
                member = line.split(":")[0]
            elif SYSCALL.search(line):
                bad.append(f"{file}({member}): a syscall instruction in {function}")
    return len(undefined), bad


PLANTED = {
    "mmap": "void* mmap(void*, unsigned long, int, int, int, long); void* f(void) { return mmap(0, 1, 0, 0, 0, 0); }",
    "syscall": "long syscall(long, ...); long f(void) { return syscall(39); }",
    "address taken": "int close(int); int (*f(void))(int) { return close; }",
    "weak": "__attribute__((weak)) int futex(void); int f(void) { return futex ? futex() : 0; }",
    "instruction": "long f(void) { long r; __asm__ volatile(\"syscall\" : \"=a\"(r) : \"a\"(39) : \"rcx\", \"r11\"); "
                   "return r; }",
    "lock": "int pthread_mutex_lock(void*); int f(void* m) { return pthread_mutex_lock(m); }",
}
INNOCENT = {
    "libc without the system": "void* memcpy(void*, const void*, unsigned long); "
                               "void f(void* a, void* b, unsigned long n) { memcpy(a, b, n); }",
    "a definition of our own": "int munmap(void* a, unsigned long n) { return a == 0 && n == 0; } "
                               "int f(void) { return munmap(0, 0); }",
}


def self_test(compiler):
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        for name, source in list(PLANTED.items()) + list(INNOCENT.items()):
            stem = Path(directory) / name.replace(" ", "_")
            stem.with_suffix(".c").write_text(source, encoding="utf-8")
            run(compiler, "-O1", "-fPIC", "-c", str(stem.with_suffix(".c")), "-o", str(stem.with_suffix(".o")))
            archive = str(stem.with_suffix(".a"))
            run("ar", "rc", archive, str(stem.with_suffix(".o")))
            _, bad = check([archive])
            if len(bad) != (1 if name in PLANTED else 0):
                failures.append(f"{name}: {bad}")
    for failure in failures:
        print(failure)
    print(f"self-test: {len(PLANTED)} planted leaks, {len(failures)} failures")
    return 1 if failures else 0


def main():
    if sys.argv[1:2] == ["--self-test"]:
        return self_test(sys.argv[2] if len(sys.argv) > 2 else "cc")
    files = sys.argv[1:]
    if not files:
        sys.exit(__doc__)
    count, bad = check(files)
    for line in bad:
        print(line)
    print(f"{len(files)} files, {count} undefined symbols, {len(bad)} violations")
    return 1 if bad or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
