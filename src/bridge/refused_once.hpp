// SPDX-License-Identifier: MIT
// Requests whose refusal a program survives, if what handling it takes is granted: they are refused once
// in each quarter of the upper half of the reserve and granted otherwise. So the exception comes while
// there is room to throw and catch it, and a program that goes on as before is told three times more.
// The quarters count anew when the whole reserve is free again.
//
// A limit that is lowered below what is held refuses none of them until then: it ends nobody.
//
// Threads that ask at one time may be refused together. Async-signal-safe.
#pragma once

#include "base/units.hpp"
#include "budget/account.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::bridge {

class refused_once {
public:
    // For such a request: domain level is refused in that half, process level is not.
    criticality level(const budget::account& root) noexcept {
        const std::uint32_t now = place(root);
        std::uint32_t told = told_in_.load(std::memory_order_relaxed);
        if (now == above_the_limit || (now == below_the_reserve && told != nowhere)) {
            told = now == above_the_limit ? now : nowhere;
            told_in_.store(told, std::memory_order_relaxed);
        }
        return now > told ? criticality::domain : criticality::process;
    }

    // A request of domain level was refused.
    void told(const budget::account& root) noexcept {
        std::uint32_t now = place(root);
        if (now <= lower_half) {
            now = lower_half + 1; // what was prepaid has been given back before the refusal
        }
        if (now > told_in_.load(std::memory_order_relaxed)) {
            told_in_.store(now, std::memory_order_relaxed);
        }
    }

    // One was refused, and not much was taken since: what is asked for may be for handling that.
    bool is_being_handled(const budget::account& root) const noexcept {
        const std::uint32_t told = told_in_.load(std::memory_order_relaxed);
        const std::uint32_t now = place(root);
        return told != nowhere && told != above_the_limit && now != below_the_reserve &&
               now <= told;
    }

private:
    static constexpr std::uint32_t below_the_reserve = 0;
    static constexpr std::uint32_t lower_half = 1; // then the quarters, 2 to 5
    static constexpr std::uint32_t quarters = 4;
    static constexpr std::uint32_t above_the_limit = lower_half + quarters + 1;
    static constexpr std::uint32_t nowhere = lower_half;

    static std::uint32_t place(const budget::account& root) noexcept {
        const page_count limit = root.limit.load(std::memory_order_relaxed);
        const page_count half = root.reserve.load(std::memory_order_relaxed) / 2;
        const page_count used = budget::held_of(root.usage.load(std::memory_order_relaxed)) +
                                root.touched.load(std::memory_order_relaxed);
        if (half == 0 || limit < 2 * half || used < limit - 2 * half) {
            return below_the_reserve;
        }
        const page_count from = limit - half; // domain level's ceiling
        return used < from ? lower_half
               : used < limit
                   ? lower_half + 1 + static_cast<std::uint32_t>((used - from) * quarters / half)
                   : above_the_limit;
    }

    std::atomic<std::uint32_t> told_in_{nowhere};
};

inline constinit refused_once the_refused_once{};

} // namespace memreeve::bridge
