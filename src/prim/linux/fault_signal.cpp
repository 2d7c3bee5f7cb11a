// SPDX-License-Identifier: MIT
#include "prim/fault_signal.hpp"

#include "prim/prim.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <sys/syscall.h>
#include <ucontext.h>

namespace memreeve::prim {

namespace {

// What was installed when we came. An entry is written once, before its number is published, because
// handlers of other threads read it at any time.
constexpr unsigned capacity = 32;
struct sigaction found[capacity];
constinit std::atomic<unsigned> count{0}; // found[0] is what was there at first
constinit std::atomic<unsigned> next{0};  // whom we pass on to
constinit std::atomic<fault_handler> current{nullptr};

// The signal this thread is passing on: who gets it may pass it back to us, in a deeper frame. A frame
// that was left by siglongjmp is no deeper than the next one.
thread_local const void* passed_context = nullptr;
thread_local std::uintptr_t passing_frame = 0;

void end_by_default(int signal_number, const siginfo_t& info) noexcept {
    struct sigaction by_default {};
    by_default.sa_handler = SIG_DFL;
    (void)::sigaction(signal_number, &by_default, nullptr);
    if (info.si_code <= 0) { // sent: returning would not raise it again
        (void)sys(SYS_tgkill, sys(SYS_getpid), sys(SYS_gettid), signal_number);
    }
}

void call(const struct sigaction& to, int signal_number, siginfo_t* info, void* context) noexcept {
    if ((to.sa_flags & SA_SIGINFO) != 0 && to.sa_sigaction != nullptr) {
        to.sa_sigaction(signal_number, info, context);
    } else if (to.sa_handler == SIG_DFL || (to.sa_handler == SIG_IGN && info->si_code > 0)) {
        end_by_default(signal_number, *info);
    } else if (to.sa_handler != SIG_IGN) {
        to.sa_handler(signal_number);
    }
}

void pass_on(int signal_number, siginfo_t* info, void* context) noexcept {
    if (count.load(std::memory_order_acquire) == 0) {
        end_by_default(signal_number, *info);
        return;
    }
    const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    if (passed_context == context && frame < passing_frame) {
        call(found[0], signal_number, info, context);
        return;
    }
    const void* const outer_context = passed_context;
    const std::uintptr_t outer_frame = passing_frame;
    passed_context = context;
    passing_frame = frame;
    call(found[next.load(std::memory_order_acquire)], signal_number, info, context);
    passed_context = outer_context;
    passing_frame = outer_frame;
}

void on_signal(int signal_number, siginfo_t* info, void* context) noexcept {
    const int kept = errno;
    const fault_handler deal = current.load(std::memory_order_acquire);
    if (deal == nullptr || !deal(info, context)) {
        pass_on(signal_number, info, context);
    }
    errno = kept;
}

bool is_ours(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_signal;
}

bool is_same(const struct sigaction& a, const struct sigaction& b) noexcept {
    return a.sa_flags == b.sa_flags && a.sa_handler == b.sa_handler;
}

} // namespace

memory_fault fault_of(const void* info, const void* context) noexcept {
    memory_fault f;
    const auto* const about = static_cast<const siginfo_t*>(info);
    if (about == nullptr || about->si_signo != SIGSEGV) {
        return f;
    }
    f.is_fault = about->si_code == SEGV_ACCERR || about->si_code == SEGV_MAPERR;
    f.where = reinterpret_cast<address>(about->si_addr);
#if defined(__x86_64__)
    if (context != nullptr) {
        constexpr unsigned long long by_write = 2;
        constexpr unsigned long long by_fetch = 16;
        const auto code = static_cast<unsigned long long>(
            static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR]);
        f.kind = (code & by_fetch) != 0 ? 8 : (code & by_write) != 0 ? 1 : 0;
        f.tried = f.kind == 8   ? access::read_execute
                  : f.kind == 1 ? access::read_write
                                : access::read;
    }
#else
    (void)context;
#endif
    return f;
}

int put_fault_handler_first(fault_handler deal) noexcept {
    struct sigaction before {};
    if (::sigaction(SIGSEGV, nullptr, &before) != 0) {
        return errno;
    }
    if (is_ours(before)) {
        current.store(deal, std::memory_order_release);
        return 0;
    }
    const unsigned known = count.load(std::memory_order_relaxed);
    unsigned at = 0;
    while (at < known && !is_same(found[at], before)) {
        ++at;
    }
    if (at == capacity) {
        return ENOSPC;
    }
    if (at == known) {
        found[known] = before;
        count.store(known + 1, std::memory_order_release);
    }
    next.store(at, std::memory_order_release);
    current.store(deal, std::memory_order_release);
    struct sigaction mine {};
    mine.sa_sigaction = on_signal;
    mine.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | (before.sa_flags & SA_NODEFER);
    mine.sa_mask = before.sa_mask;
    return ::sigaction(SIGSEGV, &mine, nullptr) == 0 ? 0 : errno;
}

int remove_fault_handler() noexcept {
    current.store(nullptr, std::memory_order_release);
    struct sigaction now {};
    if (::sigaction(SIGSEGV, nullptr, &now) != 0) {
        return errno;
    }
    if (!is_ours(now)) {
        return 0;
    }
    const unsigned last = next.load(std::memory_order_relaxed);
    const int e = ::sigaction(SIGSEGV, &found[last], nullptr) == 0 ? 0 : errno;
    // Who is first now may have us behind it: then its turn is over when ours comes.
    if (e == 0 && last != 0) {
        next.store(last - 1, std::memory_order_release);
    }
    return e;
}

} // namespace memreeve::prim
