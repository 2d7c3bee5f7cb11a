// SPDX-License-Identifier: MIT
// Runs of this program in a fresh process: what a process costs, and exact counts of system calls.
#pragma once

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>

namespace memreeve::bench {

// CPU nanoseconds of a fresh process of this program with one argument, from exec to exit; < 0 failed.
inline double process_cpu_ns(const char* argument) {
    const pid_t pid = vfork();
    if (pid == 0) {
        execl("/proc/self/exe", "bench", argument, static_cast<char*>(nullptr));
        _exit(127);
    }
    int status = 0;
    rusage used{};
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid || status != 0) {
        return -1;
    }
    const auto ns = [](const timeval& t) {
        return (static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec)) * 1e3;
    };
    return ns(used.ru_utime) + ns(used.ru_stime);
}

// Marks the part whose system calls are counted: called before and after it.
inline void count_mark() { syscall(SYS_getpgid, 0x6d7276); }

// System calls between the two marks of a forked child that runs `body`; < 0 when ptrace is refused.
template <class F>
long count_syscalls(F&& body) {
    const pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
            _exit(99);
        }
        raise(SIGSTOP);
        body();
        _exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        return -1;
    }
    ptrace(PTRACE_SETOPTIONS, pid, nullptr,
           reinterpret_cast<void*>(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    long count = 0;
    int marks = 0;
    bool entering = true;
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr) != 0 || waitpid(pid, &status, 0) != pid ||
            WIFEXITED(status) || WIFSIGNALED(status)) {
            break;
        }
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            continue;
        }
        if (entering) {
            user_regs_struct regs{};
            ptrace(PTRACE_GETREGS, pid, nullptr, &regs);
            if (regs.orig_rax == SYS_getpgid && regs.rdi == 0x6d7276) {
                ++marks;
            } else if (marks == 1) {
                ++count;
            }
        }
        entering = !entering;
    }
    return marks == 2 ? count : -1;
}

} // namespace memreeve::bench
