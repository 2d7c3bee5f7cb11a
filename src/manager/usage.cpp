// SPDX-License-Identifier: MIT
#include "manager/usage.hpp"

#include "pressure/load.hpp"
#include "pressure/policy.hpp"

#include <algorithm>

namespace memreeve::manager {

unsigned permille_of_account(const budget::account& a, page_count inside) noexcept {
    const page_count held = a.usage.load(std::memory_order_acquire) & 0xffffffffULL;
    const page_count used =
        held + a.touched.load(std::memory_order_relaxed) - std::min(inside, held);
    unsigned highest = 0;
    const page_count limit = a.limit.load(std::memory_order_relaxed);
    if (limit < budget::no_limit) {
        const page_count top = limit - std::min(a.reserve.load(std::memory_order_relaxed), limit);
        highest =
            pressure::permille_used({std::max<page_count>(top, 1), used < top ? top - used : 0});
    }
    const page_count soft = a.soft.load(std::memory_order_relaxed);
    if (soft < budget::no_limit) {
        const unsigned share =
            used >= soft
                ? pressure::enter_low
                : static_cast<unsigned>(used * pressure::enter_low / std::max<page_count>(soft, 1));
        highest = std::max(highest, share);
    }
    return highest;
}

unsigned permille_on_the_way(const budget::tree& accounts, owner_id who,
                             bool* has_inside) noexcept {
    unsigned highest = 0;
    page_count inside = 0;
    for (owner_id id = who; id != owner_id::none;) {
        const budget::account& a = accounts.at(id);
        highest = std::max(highest, permille_of_account(a, inside));
        const std::uint64_t usage = a.usage.load(std::memory_order_acquire);
        const page_count held = usage & 0xffffffffULL;
        inside += std::max<page_count>(held, usage >> 32) - held;
        id = static_cast<owner_id>(a.parent.load(std::memory_order_relaxed));
    }
    *has_inside = *has_inside || inside != 0;
    return highest;
}

} // namespace memreeve::manager
