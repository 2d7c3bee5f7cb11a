// SPDX-License-Identifier: MIT
// Which pages of watched reservations were written to (rules WW). The kernel remembers it, page by
// page; here is the descriptor through which it is told to, and the reading.
//
// After fork the child's mappings are not watched and the descriptor it inherited speaks of the
// parent. The word that holds it is wiped in the child, which therefore opens its own at the first
// reading; what was written to before then counts as written to, and so does every page that was
// resident. A descriptor that the program has closed is replaced in the same way.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"

#include <atomic>

namespace memreeve::vm {

class write_watch {
public:
    constexpr write_watch() noexcept = default;

    // Can writes be watched here? Asks the system until it says yes.
    bool is_supported() noexcept;
    // Watches a mapping that nobody has touched yet. not_supported, or out_of_address_space with the
    // OS code.
    result<void> begin(range mapping) noexcept;
    // Pages of `span` that were written to, ascending, at most `most` (all when `out` is null, which
    // only makes sense with `reset`). Those told and no others are reset. Returns how many.
    result<page_count> read(range span, bool reset, void** out, page_count most) noexcept;
    // Nobody is inside.
    void close() noexcept;

private:
    result<int> watcher() noexcept;
    result<int> replace(int stale) noexcept;
    result<void> ensure(range mapping) noexcept;

    // descriptor + 1; 0: none yet in this process. Its page is wiped in a child of fork.
    std::atomic<std::atomic<int>*> word_{nullptr};
    std::atomic<bool> works_{false};
};

} // namespace memreeve::vm
