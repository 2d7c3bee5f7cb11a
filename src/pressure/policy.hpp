// SPDX-License-Identifier: MIT
// From samples and time to what a runtime is told: low, neutral or high. Pure; one policy per
// subscriber, used by one thread.
//
//   per thousand of what may be used   600  650        850  900
//   going up         high ------------------> neutral ------> low       at once
//   coming down      high <------ neutral <--------- low                one step per hysteresis time
//
// The gaps between entering and leaving (65 against 60, 90 against 85 per cent) keep a value that
// trembles at a watermark from being told twice; the hysteresis time keeps a runtime that has just
// collected from being told to relax before it is clear that the room stays.
#pragma once

#include <cstdint>

namespace memreeve::pressure {

// EMemoryAvailable, converted at the edge only; low means pressure is critical. The values index
// the notification counters.
enum class availability : unsigned char { low = 0, neutral = 1, high = 2 };

// 90 per cent is where the CLR's own collector begins to count the load as high.
inline constexpr unsigned enter_low = 900;
inline constexpr unsigned leave_low = 850;
inline constexpr unsigned leave_high = 650;
inline constexpr unsigned enter_high = 600;
inline constexpr unsigned watermarks[] = {enter_high, leave_high, leave_low, enter_low};

// Long enough for a collection to end, short against the 8 seconds below.
inline constexpr std::uint64_t hysteresis_ns = 1'000'000'000;
// The CLR wakes its finalizer for Low at most once in 0x2000 ms: faster repeats do nothing.
inline constexpr std::uint64_t repeat_low_ns = 8192ULL * 1'000'000;

inline constexpr std::uint64_t never = ~std::uint64_t{0};

class policy {
public:
    struct step {
        bool notify = false; // tell `level` now
        availability level = availability::neutral;
        std::uint64_t look_again_at = never; // monotonic ns; even if no sample changes
    };
    // `permille` of what may be used is in use, 0..1000. `now_ns` never goes back.
    step update(unsigned permille, std::uint64_t now_ns) noexcept;
    availability level() const noexcept { return level_; }

private:
    availability wanted(unsigned permille) const noexcept;

    availability level_ = availability::neutral;
    bool is_improving_ = false;
    std::uint64_t improving_since_ = 0;
    std::uint64_t low_told_at_ = 0;
};

} // namespace memreeve::pressure
