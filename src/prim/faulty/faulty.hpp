// SPDX-License-Identifier: MIT
// Failing the n-th system call on request, and telling whether it came to that: the protocol of the
// kernel's /proc/self/fail-nth. Process-wide: a call of any thread counts.
//
// Not counted, because they cannot fail or their failure has no reader: getpid, gettid,
// sched_yield, exit_group, writev (say), futex's wake. A close that fails has closed.
#pragma once

namespace memreeve::prim::faulty {

enum class mode {
    once,    // the n-th call fails, those after it work
    forever, // the n-th and all after it fail
};

inline constexpr long any_call = -1;

struct fault {
    long nth = 0; // from 1
    int error = 0;
    mode how = mode::once;
    long number = any_call; // SYS_*: only these calls count and fail
};

// Counting starts again at 0. The second fault, if any, is counted by itself; both may be due.
void arm(fault first) noexcept;
void arm(fault first, fault second) noexcept;
// Calls work again; was_hit and count keep what they say.
void disarm() noexcept;
// Every armed fault was due at least once.
bool was_hit() noexcept;
// How many of the armed faults were due.
int hits() noexcept;
// Calls seen since arm.
long count() noexcept;
// The number (SYS_*) of the call that failed first; -1 when none did.
long failed_call() noexcept;

} // namespace memreeve::prim::faulty
