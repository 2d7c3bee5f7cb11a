// SPDX-License-Identifier: MIT
#include "prim/faulty/faulty.hpp"
#include "prim/libc/call.hpp"
#include "prim/prim.hpp"

#include <atomic>
#include <linux/futex.h>

namespace memreeve::prim {
namespace faulty {
namespace {

struct slot {
    std::atomic<bool> armed{false};
    std::atomic<bool> hit{false};
    std::atomic<long> seen{0};
    fault what{}; // written while disarmed
};

constinit slot slots[2];
constinit std::atomic<long> calls{0};
constinit std::atomic<long> first_failed{-1};

bool is_counted(long number, long operation) noexcept {
    return number != SYS_getpid && number != SYS_gettid && number != SYS_sched_yield &&
           number != SYS_exit_group && number != SYS_writev &&
           !(number == SYS_futex && operation == FUTEX_WAKE);
}

void load(slot& s, fault what) noexcept {
    s.what = what;
    s.seen.store(0);
    s.hit.store(false);
    s.armed.store(what.nth > 0);
}

// The error that this slot wants for the call; 0: none.
int due(slot& s, long number) noexcept {
    if (!s.armed.load() || (s.what.number != any_call && s.what.number != number)) {
        return 0;
    }
    const long n = s.seen.fetch_add(1) + 1;
    if (n != s.what.nth && (n < s.what.nth || s.what.how == mode::once)) {
        return 0;
    }
    s.hit.store(true);
    return s.what.error;
}

int due(long number) noexcept {
    int error = 0;
    for (slot& s : slots) {
        const int wanted = due(s, number);
        error = error != 0 ? error : wanted;
    }
    if (error != 0) {
        long none = -1;
        first_failed.compare_exchange_strong(none, number);
    }
    return error;
}

} // namespace

void arm(fault first) noexcept { arm(first, fault{}); }

void arm(fault first, fault second) noexcept {
    disarm();
    calls.store(0);
    first_failed.store(-1);
    load(slots[0], first);
    load(slots[1], second);
}

void disarm() noexcept {
    for (slot& s : slots) {
        s.armed.store(false);
    }
}

bool was_hit() noexcept {
    return slots[0].hit.load() && (slots[1].what.nth == 0 || slots[1].hit.load());
}
int hits() noexcept { return (slots[0].hit.load() ? 1 : 0) + (slots[1].hit.load() ? 1 : 0); }

long count() noexcept { return calls.load(); }
long failed_call() noexcept { return first_failed.load(); }

} // namespace faulty

long sys(long number, long a, long b, long c, long d, long e, long f) noexcept {
    if (faulty::is_counted(number, b)) {
        faulty::calls.fetch_add(1);
        const int error = faulty::due(number);
        if (error != 0) {
            if (number == SYS_close) {
                // Linux has freed the descriptor whatever close answers.
                (void)libc_call(number, a, b, c, d, e, f);
            }
            return -static_cast<long>(error);
        }
    }
    return libc_call(number, a, b, c, d, e, f);
}

} // namespace memreeve::prim
