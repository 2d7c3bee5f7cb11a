// SPDX-License-Identifier: MIT
#include "base/lanes.hpp"

namespace memreeve {

// Also when a signal handler of this thread has claimed one meanwhile.
std::uint32_t lane_table::claim(std::uint64_t self, std::uint32_t first) noexcept {
    for (std::uint32_t i = 0; i < tries; ++i) {
        const std::uint32_t lane = (first + i) % lane_count;
        std::uint64_t whose = thread[lane].load(std::memory_order_relaxed);
        if (whose == self || (whose == 0 && thread[lane].compare_exchange_strong(
                                                whose, self, std::memory_order_acq_rel))) {
            return lane;
        }
    }
    return shared_lane;
}

void lane_table::clear() noexcept {
    for (auto& whose : thread) {
        whose.store(0, std::memory_order_relaxed);
    }
}

} // namespace memreeve
