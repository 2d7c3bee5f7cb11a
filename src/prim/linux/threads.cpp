// SPDX-License-Identifier: MIT
// The only file that calls libc's pthread functions: a thread that runs a subscriber's code needs
// what libc sets up for it.
#include "prim/prim.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

namespace memreeve::prim {
namespace {

// The kernel's mask: bit n - 1 is signal n. 32 and 33 stay open: they are libc's own (cancellation,
// set*id on every thread), and a thread that blocks them makes setuid() wait for ever.
constexpr std::uint64_t all_signals = ~(std::uint64_t{3} << 31);

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

void join_thread(thread_handle thread) noexcept { (void)::pthread_join(thread.value, nullptr); }

} // namespace memreeve::prim
