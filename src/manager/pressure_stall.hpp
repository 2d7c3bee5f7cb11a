// SPDX-License-Identifier: MIT
// Pressure stall information of the kernel: for how long tasks stood still because memory was short.
#pragma once

#include "prim/watching.hpp"

#include <cstdint>

namespace memreeve::manager {

// A stall of 15 per cent of a window is pressure.
inline constexpr std::uint64_t stall_window_ns = 1'000'000'000;
inline constexpr std::uint64_t stall_in_window_us = 150'000;

// Asks the kernel to tell of that. Without CAP_SYS_RESOURCE it accepts only windows of whole 2 s
// (EINVAL otherwise): then the same share of 2 s. 0, or the errno of the last attempt.
int set_stall_trigger(const prim::watched& file) noexcept;

// Microseconds of "some" stall since boot, from a PSI file; false when it cannot be read.
bool read_stall(const char* path, std::uint64_t* total_us) noexcept;

// A number that only grows, looked at now and then: has it grown by `enough` within a window? The
// stand-in for a trigger where the kernel allows none.
class growth_meter {
public:
    explicit constexpr growth_meter(std::uint64_t enough) noexcept : enough_(enough) {}
    bool update(std::uint64_t value, std::uint64_t now_ns) noexcept;
    void reset() noexcept { has_base_ = false; }

private:
    std::uint64_t enough_;
    std::uint64_t base_ = 0;
    std::uint64_t base_at_ = 0;
    bool has_base_ = false;
};

} // namespace memreeve::manager
