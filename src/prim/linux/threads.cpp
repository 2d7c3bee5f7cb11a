// SPDX-License-Identifier: MIT
// The only file that calls libc's pthread functions: a thread that runs a subscriber's code needs
// what libc sets up for it.
#include "prim/helper_thread.hpp"
#include "prim/prim.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace memreeve::prim {
namespace {

// The kernel's mask: bit n - 1 is signal n. 32 and 33 stay open: they are libc's own (cancellation,
// set*id on every thread), and a thread that blocks them makes setuid() wait for ever.
constexpr std::uint64_t all_signals = ~(std::uint64_t{3} << 31);

constexpr std::uint64_t bit_of(int signal) noexcept { return std::uint64_t{1} << (signal - 1); }

// A fault in a thread that blocks its signal ends the process past every handler.
constexpr std::uint64_t faults = bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGFPE) |
                                 bit_of(SIGILL) | bit_of(SIGTRAP) | bit_of(SIGSYS);

struct start {
    void (*run)(void*);
    void* argument;
    std::uint32_t taken; // 1 when the new thread has copied the two above
};

void* enter(void* given) {
    start* from = static_cast<start*>(given);
    void (*run)(void*) = from->run;
    void* argument = from->argument;
    __atomic_store_n(&from->taken, 1u, __ATOMIC_RELEASE);
    wake_all(&from->taken);
    run(argument);
    return nullptr;
}

long set_mask(const std::uint64_t* mask, std::uint64_t* old) noexcept {
    return sys(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(mask),
               reinterpret_cast<long>(old), sizeof(std::uint64_t));
}

void* enter_helper(void* given) {
    const helper& h = *static_cast<const helper*>(given);
    (void)sys(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>(h.name));
    h.run(h.argument);
    return nullptr;
}

} // namespace

int start_thread(void (*run)(void*), void* argument, thread_handle* out) noexcept {
    std::uint64_t before = 0;
    const long masked = set_mask(&all_signals, &before);
    if (masked < 0) {
        return static_cast<int>(-masked);
    }
    // On this stack, so that nothing is allocated; hence the wait below.
    start from{run, argument, 0};
    pthread_t thread{};
    const int r = ::pthread_create(&thread, nullptr, enter, &from);
    if (r == 0) {
        while (__atomic_load_n(&from.taken, __ATOMIC_ACQUIRE) == 0) {
            wait_on(&from.taken, 0, 0);
        }
        out->value = thread;
    }
    (void)set_mask(&before, nullptr);
    return r;
}

int start_helper(const helper& h, byte_count stack) noexcept {
    pthread_attr_t attributes;
    if (const int e = ::pthread_attr_init(&attributes); e != 0) {
        return e;
    }
    (void)::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)::pthread_attr_setstacksize(&attributes, stack);
    std::uint64_t before = 0;
    const std::uint64_t blocked = all_signals & ~faults;
    int e = static_cast<int>(-set_mask(&blocked, &before));
    if (e == 0) {
        pthread_t thread{};
        e = ::pthread_create(&thread, &attributes, enter_helper, const_cast<helper*>(&h));
        (void)set_mask(&before, nullptr);
    }
    (void)::pthread_attr_destroy(&attributes);
    return e;
}

int own_thread_name(char (&out)[16]) noexcept {
    return static_cast<int>(-sys(SYS_prctl, PR_GET_NAME, reinterpret_cast<long>(out)));
}

address handler_of(int signal) noexcept {
    // The kernel's structure: handler, flags, restorer, mask.
    std::uint64_t action[4]{};
    if (sys(SYS_rt_sigaction, signal, 0, reinterpret_cast<long>(action), sizeof(std::uint64_t)) <
        0) {
        return 0;
    }
    return action[0] <= 1 ? 0 : action[0]; // SIG_DFL, SIG_IGN
}

void open_signal(int signal) noexcept {
    const std::uint64_t one = bit_of(signal);
    (void)sys(SYS_rt_sigprocmask, SIG_UNBLOCK, reinterpret_cast<long>(&one), 0,
              sizeof(std::uint64_t));
}

void join_thread(thread_handle thread) noexcept { (void)::pthread_join(thread.value, nullptr); }

} // namespace memreeve::prim
