// SPDX-License-Identifier: MIT
// Runs of this program in a fresh process: what a process costs, and exact counts of system calls.
#pragma once

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string>

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

// What a fresh process of this program with one argument writes to standard output; empty: it failed.
inline std::string process_output(const char* argument) {
    int ends[2];
    if (pipe(ends) != 0) {
        return {};
    }
    const pid_t pid = vfork();
    if (pid == 0) {
        dup2(ends[1], 1);
        execl("/proc/self/exe", "bench", argument, static_cast<char*>(nullptr));
        _exit(127);
    }
    close(ends[1]);
    std::string text;
    char buffer[256];
    for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(n));
    }
    close(ends[0]);
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? text : std::string();
}

// User-space instructions of `times` runs of `body` in a forked child, and of two stops; < 0 when
// ptrace is refused. Exact: each is a step.
template <class F>
long count_steps(F&& body, unsigned times) {
    const pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
            _exit(99);
        }
        body(); // what happens once only
        body();
        raise(SIGSTOP);
        for (unsigned i = 0; i < times; ++i) {
            body();
        }
        raise(SIGSTOP);
        _exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        return -1;
    }
    long count = 0;
    do {
        if (ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr) != 0 ||
            waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
            return -1;
        }
        ++count;
    } while (WSTOPSIG(status) != SIGSTOP);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return count;
}

// Instructions of one run of `body`: the difference of two lengths.
template <class F>
double instructions_each(F&& body) {
    constexpr unsigned fewer = 4, more = 20;
    const long low = count_steps(body, fewer);
    const long high = low < 0 ? -1 : count_steps(body, more);
    return high < 0 ? -1 : static_cast<double>(high - low) / (more - fewer);
}

} // namespace memreeve::bench
