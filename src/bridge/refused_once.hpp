// SPDX-License-Identifier: MIT
// Requests whose refusal a program survives, if what handling it takes is granted: they are refused once
// in each quarter of the upper half of the reserve and granted otherwise. So the exception comes while
// there is room to throw and catch it, and a program that goes on as before is told three times more.
// The quarters count anew when what is held has fallen below that half.
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
        const std::uint32_t now = quarter(root);
        std::uint32_t told = told_in_.load(std::memory_order_relaxed);
        if ((now == 0 && told != 0) || now > quarters) {
            told_in_.store(now, std::memory_order_relaxed);
            told = now;
        }
        return now > told ? criticality::domain : criticality::process;
    }

    // A request of domain level was refused.
    void told(const budget::account& root) noexcept {
        told_in_.store(quarter(root), std::memory_order_relaxed);
    }

private:
    static constexpr std::uint32_t quarters = 4;

    // 1 to 4; 0: below; 5: above the limit.
    static std::uint32_t quarter(const budget::account& root) noexcept {
        const page_count limit = root.limit.load(std::memory_order_relaxed);
        const page_count half = root.reserve.load(std::memory_order_relaxed) / 2;
        const page_count used = budget::held_of(root.usage.load(std::memory_order_relaxed)) +
                                root.touched.load(std::memory_order_relaxed);
        const page_count from = limit > half ? limit - half : 0; // domain level's ceiling
        if (half == 0 || used < from) {
            return 0;
        }
        const page_count passed = used - from;
        return 1 +
               (passed < half ? static_cast<std::uint32_t>(passed * quarters / half) : quarters);
    }

    std::atomic<std::uint32_t> told_in_{0};
};

inline constinit refused_once the_refused_once{};

} // namespace memreeve::bridge
