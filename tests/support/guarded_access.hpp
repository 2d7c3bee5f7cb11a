// SPDX-License-Identifier: MIT
// Touches memory that may fault, and says how it went. A fault on a guard of ours is given to
// mrv_handle_fault, as an embedder's handler would do. Makes no system call unless it faults.
#pragma once

#include <memreeve/memreeve.h>

#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace memreeve::test {

struct touch {
    enum class end : unsigned char { ok, violation, guard };
    end how = end::ok;
    unsigned kind = 0;         // of a fault: 0 read, 1 write, 8 execute
    std::uint64_t address = 0; // of a fault
    unsigned value = 0;        // of a read
};

namespace touching {

// ThreadSanitizer runs a handler with all signals blocked.
#ifdef __SANITIZE_THREAD__
inline constexpr int saves_mask = 1;
#else
inline constexpr int saves_mask = 0; // SA_NODEFER: there is no mask to put back
#endif

struct trap {
    sigjmp_buf back;
    volatile sig_atomic_t armed = 0;
    touch seen{};
};
inline thread_local trap the_trap;

inline void on_fault(int number, siginfo_t* info, void* context) {
    trap& t = the_trap;
    if (t.armed == 0) {
        std::signal(number, SIG_DFL);
        std::raise(number);
        return;
    }
    t.armed = 0;
    const auto* machine = static_cast<ucontext_t*>(context);
    const auto code = static_cast<std::uint64_t>(machine->uc_mcontext.gregs[REG_ERR]);
    t.seen.kind = (code & 16) != 0 ? 8 : (code & 2) != 0 ? 1 : 0;
    t.seen.address = reinterpret_cast<std::uint64_t>(info->si_addr);
    t.seen.how = mrv_handle_fault(info, context) == MRV_FAULT_GUARD ? touch::end::guard
                                                                    : touch::end::violation;
    siglongjmp(t.back, 1);
}

inline void install() {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

// In assembly: a sanitizer's check of the address would fault elsewhere, and first.
inline touch read(std::uint64_t a) {
    trap& t = the_trap;
    if (sigsetjmp(t.back, saves_mask) != 0) {
        return t.seen;
    }
    t.armed = 1;
    unsigned char byte = 0;
    asm volatile("movb (%1), %0" : "=q"(byte) : "r"(a) : "memory");
    t.armed = 0;
    touch done{};
    done.value = byte;
    return done;
}
inline touch write(std::uint64_t a, unsigned value) {
    trap& t = the_trap;
    if (sigsetjmp(t.back, saves_mask) != 0) {
        return t.seen;
    }
    t.armed = 1;
    asm volatile("movb %0, (%1)" : : "q"(static_cast<unsigned char>(value)), "r"(a) : "memory");
    t.armed = 0;
    return {};
}
// Must hold a return instruction, if it can be executed.
inline touch call(std::uint64_t a) {
    trap& t = the_trap;
    if (sigsetjmp(t.back, saves_mask) != 0) {
        return t.seen;
    }
    t.armed = 1;
    asm volatile("call *%0" : : "r"(a) : "memory", "cc");
    t.armed = 0;
    return {};
}
// A copy of a whole page; false: it faulted.
inline bool copy_page(std::uint64_t from, void* to) {
    trap& t = the_trap;
    if (sigsetjmp(t.back, saves_mask) != 0) {
        return false;
    }
    t.armed = 1;
    std::uint64_t words = 512;
    void* out = to;
    std::uint64_t in = from;
    asm volatile("rep movsq" : "+c"(words), "+S"(in), "+D"(out) : : "memory");
    t.armed = 0;
    return true;
}

// The other way round.
inline bool paste_page(std::uint64_t to, const void* from) {
    trap& t = the_trap;
    if (sigsetjmp(t.back, saves_mask) != 0) {
        return false;
    }
    t.armed = 1;
    std::uint64_t words = 512;
    std::uint64_t out = to;
    const void* in = from;
    asm volatile("rep movsq" : "+c"(words), "+S"(in), "+D"(out) : : "memory");
    t.armed = 0;
    return true;
}

} // namespace touching
} // namespace memreeve::test
