// SPDX-License-Identifier: MIT
#include "prim/prim.hpp"

#include <cerrno>
#include <climits>
#include <linux/futex.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

namespace memreeve::prim {
namespace {

long number(const void* p) noexcept { return reinterpret_cast<long>(p); }

// "/proc/PID/stat"; returns false for a pid that cannot exist.
bool name_stat_file(int pid, char (&out)[32]) noexcept {
    if (pid <= 0) {
        return false;
    }
    char digits[12];
    unsigned count = 0;
    for (unsigned rest = static_cast<unsigned>(pid); rest != 0; rest /= 10) {
        digits[count++] = static_cast<char>('0' + rest % 10);
    }
    char* to = out;
    for (const char* from = "/proc/"; *from != '\0'; ++from) {
        *to++ = *from;
    }
    while (count != 0) {
        *to++ = digits[--count];
    }
    for (const char* from = "/stat"; *from != '\0'; ++from) {
        *to++ = *from;
    }
    *to = '\0';
    return true;
}

} // namespace

int process_id() noexcept { return static_cast<int>(sys(SYS_getpid)); }
int thread_id() noexcept { return static_cast<int>(sys(SYS_gettid)); }

bool thread_exists(int process, int thread) noexcept {
    return sys(SYS_tgkill, process, thread, 0) != -ESRCH;
}

const volatile char* single_thread_flag() noexcept { return &__libc_single_threaded; }

std::uint64_t process_start_time(int pid) noexcept {
    char path[32];
    if (!name_stat_file(pid, path)) {
        return 0;
    }
    const long fd = open_read(path);
    if (fd < 0) {
        return 0;
    }
    // 52 numbers of at most 20 digits and a name of at most 64 bytes.
    char text[1200];
    const long length = read(static_cast<int>(fd), text, sizeof text);
    (void)close(static_cast<int>(fd));
    // The name may hold blanks and parentheses: field 3 starts after the last ")".
    long at = length - 1;
    while (at >= 0 && text[at] != ')') {
        --at;
    }
    if (at < 0) {
        return 0;
    }
    unsigned field = 2;
    for (; at < length && field < 22; ++at) {
        field += text[at] == ' ' ? 1 : 0;
    }
    std::uint64_t value = 0;
    for (; at < length && text[at] >= '0' && text[at] <= '9'; ++at) {
        value = value * 10 + static_cast<std::uint64_t>(text[at] - '0');
    }
    // Cut off in the middle of the number: unknown, not a shorter one.
    return at < length ? value : 0;
}

namespace {

std::uint64_t read_clock(clockid_t which) noexcept {
    timespec t{};
    (void)::clock_gettime(which, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1000000000u +
           static_cast<std::uint64_t>(t.tv_nsec);
}

} // namespace

std::uint64_t now_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }

std::uint64_t thread_time_ns() noexcept { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

void yield() noexcept { (void)sys(SYS_sched_yield); }

// Not FUTEX_PRIVATE: the ledger's bell is rung by other processes.
void wait_on(const std::uint32_t* word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept {
    constexpr std::uint64_t longest_ns = 1'000'000'000; // a wake-up that was lost costs this
    timeout_ns = timeout_ns == 0 || timeout_ns > longest_ns ? longest_ns : timeout_ns;
    timespec t{};
    t.tv_sec = static_cast<time_t>(timeout_ns / 1000000000u);
    t.tv_nsec = static_cast<long>(timeout_ns % 1000000000u);
    (void)sys(SYS_futex, number(word), FUTEX_WAIT, static_cast<long>(expected), number(&t));
}

void wake_all(const std::uint32_t* word) noexcept {
    (void)sys(SYS_futex, number(word), FUTEX_WAKE, INT_MAX);
}

void say(const char* line) noexcept {
    std::size_t length = 0;
    while (line[length] != '\0') {
        ++length;
    }
    const bool ended = length != 0 && line[length - 1] == '\n';
    iovec parts[2];
    parts[0].iov_base = const_cast<char*>(line);
    parts[0].iov_len = length;
    parts[1].iov_base = const_cast<char*>("\n");
    parts[1].iov_len = 1;
    while (sys(SYS_writev, 2, number(parts), ended ? 1 : 2) == -EINTR) {
    }
}

void exit_now(int status) noexcept {
    for (;;) {
        (void)sys(SYS_exit_group, status);
    }
}

} // namespace memreeve::prim
