// SPDX-License-Identifier: MIT
// A reader of lock-free data met by a change at every one of its machine instructions: the reader is
// run once for each, step by step, and the change is carried out in full between two of them, as if
// its thread had been suspended there. Deterministic, complete for one change, needs no luck.
//
// One thread at a time. x86-64; not under ThreadSanitizer, whose run-time library the handler would
// enter where it stands.
#pragma once

#include <csignal>
#include <cstdint>
#include <ucontext.h>

namespace memreeve::test {

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define MEMREEVE_CAN_STEP 1
#else
#define MEMREEVE_CAN_STEP 0
#endif

class stepping {
public:
    // prepare(), then look() with change() at its n-th instruction, then judge(n): for every n, or
    // for `at_most` of them evenly spread (fewer under AddressSanitizer, whose code has more). Returns
    // the number of instructions look() has when nothing changes.
    template <class Prepare, class Look, class Change, class Judge>
    static std::uint64_t at_every_instruction(Prepare prepare, Look look, Change change,
                                              Judge judge, std::uint64_t at_most = ~0ULL) {
        const handler installed;
        prepare();
        run(look, nullptr, nullptr, ~0ULL);
        const std::uint64_t all = count_;
#if defined(__SANITIZE_ADDRESS__)
        at_most = at_most / 6 + 1;
#endif
        const std::uint64_t stride = all / at_most + 1;
        for (std::uint64_t n = 1; n <= all; n += stride) {
            prepare();
            run(
                look, [](void* c) { (*static_cast<Change*>(c))(); }, &change, n);
            judge(n);
        }
        return all;
    }

    // look() with change() at its n-th instruction, from whatever thread. Returns how many instructions
    // were stepped over, all of them where n is beyond the last.
    template <class Look, class Change>
    static std::uint64_t once(Look look, Change change, std::uint64_t n) {
        const handler installed;
        run(
            look, [](void* c) { (*static_cast<Change*>(c))(); }, &change, n);
        return count_;
    }

    // look() with change() at each of its instructions: for a change that may come again and again.
    // Returns their number.
    template <class Look, class Change>
    static std::uint64_t all_along(Look look, Change change) {
        const handler installed;
        run(
            look, [](void* c) { (*static_cast<Change*>(c))(); }, &change, each);
        return count_;
    }

private:
    static constexpr std::uint64_t each = 0;
    struct handler {
        handler() {
            struct sigaction to {};
            to.sa_sigaction = &stepping::trapped;
            to.sa_flags = SA_SIGINFO;
            ::sigaction(SIGTRAP, &to, &before);
        }
        ~handler() { ::sigaction(SIGTRAP, &before, nullptr); }
        struct sigaction before {};
    };
    enum class stage { idle, stepping, changed };

    template <class Look>
    static void run(Look& look, void (*change)(void*), void* context, std::uint64_t at) {
        change_ = change;
        context_ = context;
        at_ = at;
        count_ = 0;
        stage_ = stage::idle;
        breakpoint();
        look();
        breakpoint();
    }
    static void breakpoint() {
#if MEMREEVE_CAN_STEP
        asm volatile("int3" ::: "memory");
#endif
    }
    static void trapped(int, siginfo_t* what, void* context) {
#if MEMREEVE_CAN_STEP
        constexpr greg_t trap_flag = 0x100;
        greg_t& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
        if (what->si_code == SI_KERNEL) { // a breakpoint: the first begins, the second ends
            flags = stage_ == stage::idle ? flags | trap_flag : flags & ~trap_flag;
            stage_ = stage_ == stage::idle ? stage::stepping : stage_;
            return;
        }
        count_ = count_ + 1;
        if (at_ == each) {
            change_(context_);
        } else if (count_ == at_) {
            flags &= ~trap_flag;
            stage_ = stage::changed;
            change_(context_);
        }
#else
        (void)what;
        (void)context;
#endif
    }

    static inline void (*change_)(void*) = nullptr;
    static inline void* context_ = nullptr;
    static inline std::uint64_t at_ = 0;
    static inline volatile std::uint64_t count_ = 0;
    static inline volatile stage stage_ = stage::idle;
};

} // namespace memreeve::test
