// SPDX-License-Identifier: MIT
// Broken invariants: say which, and stop. Never used for what a caller or the system may do.
// Async-signal-safe: no allocation, no stdio.
#pragma once

namespace memreeve {

// Set once at start-up by whoever composes the process (bridge, library); writes one line and
// returns. Null means silence before the abort.
using check_writer = void (*)(const char* sentence) noexcept;
extern check_writer report_broken_invariant;

[[noreturn]] void broken_invariant(const char* sentence) noexcept;

// `sentence` states what must hold.
inline void check(bool holds, const char* sentence) noexcept {
    if (!holds) [[unlikely]] {
        broken_invariant(sentence);
    }
}

} // namespace memreeve
