// SPDX-License-Identifier: MIT
// How scarce memory is: rooms (a total and what is left of it) become a percentage and a number of
// bytes (decision 13). Pure: no clock, no system; thread-safe.
#pragma once

#include "base/units.hpp"

#include <span>

namespace memreeve::pressure {

// One bound on what may be used: a budget, a container, the machine. Bytes.
struct room {
    byte_count total = 0;     // 0: nothing is known, the room binds nothing
    byte_count available = 0; // at most total

    constexpr bool is_known() const noexcept { return total != 0; }
};

struct load {
    unsigned percent = 0;     // 0..100 in use, of whichever room binds
    byte_count available = 0; // bytes
    bool is_known = false;    // false: no room was known, the other fields mean nothing
};

// The room with least left binds; between equals the fuller one.
load load_of(std::span<const room> rooms) noexcept;

// Parts per thousand of a room in use, rounded up; 0 when it is not known.
unsigned permille_used(const room& r) noexcept;

} // namespace memreeve::pressure
