// SPDX-License-Identifier: MIT
#include "prim/process_view.hpp"

#include "prim/prim.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace memreeve::prim {

namespace {
long number(const void* p) noexcept { return reinterpret_cast<long>(p); }
} // namespace

bool is_privileged() noexcept { return getauxval(AT_SECURE) != 0; }

long read_link(const char* path, char* out, std::size_t size) noexcept {
    return sys(SYS_readlinkat, AT_FDCWD, number(path), number(out), static_cast<long>(size));
}

bool process_exists(int pid) noexcept { return sys(SYS_kill, pid, 0) != -ESRCH; }

long open_program(const char* path) noexcept {
    return sys(SYS_openat, AT_FDCWD, number(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

bool may_execute(const char* path) noexcept {
    return sys(SYS_faccessat, AT_FDCWD, number(path), X_OK) == 0;
}

bool file_exists(const char* path) noexcept {
    return sys(SYS_faccessat, AT_FDCWD, number(path), F_OK) == 0;
}

bool is_regular_file(const char* path) noexcept {
    struct stat about {};
    return sys(SYS_newfstatat, AT_FDCWD, number(path), number(&about), 0) == 0 &&
           S_ISREG(about.st_mode);
}

unsigned usable_processors() noexcept {
    std::uint64_t mask[128]{}; // 8192 processors
    const long bytes = sys(SYS_sched_getaffinity, 0, sizeof mask, number(mask));
    unsigned n = 0;
    for (long i = 0; i < bytes / 8; ++i) {
        n += static_cast<unsigned>(__builtin_popcountll(mask[i]));
    }
    return n != 0 ? n : 1;
}

bool changes_identity(int fd) noexcept {
    struct stat about {};
    if (sys(SYS_newfstatat, fd, number(""), number(&about), AT_EMPTY_PATH) != 0) {
        return false;
    }
    const bool user =
        (about.st_mode & S_ISUID) != 0 && about.st_uid != static_cast<uid_t>(sys(SYS_geteuid));
    const bool group = (about.st_mode & S_ISGID) != 0 && (about.st_mode & S_IXGRP) != 0 &&
                       about.st_gid != static_cast<gid_t>(sys(SYS_getegid));
    return user || group;
}

void read_thread_name(char (&out)[thread_name_size]) noexcept {
    if (sys(SYS_prctl, PR_GET_NAME, number(out)) < 0) {
        out[0] = '\0';
    }
}

bool may_be_in_signal_handler() noexcept {
    stack_t stack{};
    if (sys(SYS_sigaltstack, 0, number(&stack)) == 0 && (stack.ss_flags & SS_ONSTACK) != 0) {
        return true;
    }
    constexpr std::uint64_t quit = std::uint64_t{1} << (SIGQUIT - 1);
    std::uint64_t blocked = 0;
    return sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, number(&blocked), sizeof blocked) != 0 ||
           (blocked & ~quit) != 0;
}

byte_count address_space_limit() noexcept {
    struct rlimit now {};
    if (sys(SYS_prlimit64, 0, RLIMIT_AS, 0, number(&now)) != 0 || now.rlim_cur == RLIM_INFINITY) {
        return ~byte_count{0};
    }
    return now.rlim_cur;
}

long pass_pkey_mprotect(address where, byte_count size, int prot, int key) noexcept {
    return sys(SYS_pkey_mprotect, static_cast<long>(where), static_cast<long>(size), prot, key);
}

void populate(address where, byte_count size) noexcept {
    constexpr int populate_read = 22;
    constexpr int populate_write = 23;
    if (pass_madvise(where, size, populate_write) != 0) {
        static_cast<void>(pass_madvise(where, size, populate_read));
    }
}

int lock_in_memory(address where, byte_count size) noexcept {
    return static_cast<int>(-sys(SYS_mlock, static_cast<long>(where), static_cast<long>(size)));
}

int peek(address from, void* to, byte_count size) noexcept {
    const struct iovec here { to, size };
    const struct iovec there { reinterpret_cast<void*>(from), size };
    const long r = sys(SYS_process_vm_readv, process_id(), number(&here), 1, number(&there), 1, 0);
    return r == static_cast<long>(size) ? 0 : r < 0 ? static_cast<int>(-r) : EFAULT;
}

void end_by_abort() noexcept {
    constexpr std::uint64_t only_abort = std::uint64_t{1} << (SIGABRT - 1);
    const std::uint64_t by_default[4]{}; // the kernel's struct sigaction: SIG_DFL
    for (int tries = 0; tries < 2; ++tries) {
        static_cast<void>(sys(SYS_rt_sigprocmask, SIG_UNBLOCK, number(&only_abort), 0, 8));
        static_cast<void>(sys(SYS_tgkill, sys(SYS_getpid), sys(SYS_gettid), SIGABRT));
        static_cast<void>(sys(SYS_rt_sigaction, SIGABRT, number(by_default), 0, 8));
    }
    exit_now(128 + SIGABRT);
}

long pass_execve(const char* path, char* const* arguments, char* const* environment) noexcept {
    return sys(SYS_execve, number(path), number(arguments), number(environment));
}

long pass_execveat(int fd, const char* path, char* const* arguments, char* const* environment,
                   int flags) noexcept {
    return sys(SYS_execveat, fd, number(path), number(arguments), number(environment), flags);
}

} // namespace memreeve::prim
