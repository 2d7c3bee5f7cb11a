// SPDX-License-Identifier: MIT
#include "heap/directory.hpp"

namespace memreeve::heap {

// A place belongs to the first key that comes; the others are looked up the slow way. While the first
// has its leaf but not yet its key, likewise.
void directory::enter(page_source& source, std::uint64_t tag, range where, descriptor& d,
                      criticality level) noexcept {
    for (address a = where.begin; a < where.end; a += granule_size) {
        root& r = roots_[slot_of(a)];
        if (r.leaf.load(std::memory_order_acquire) == 0) {
            const result<taken> got = source.take(
                {.size = leaf_size, .guard = records_guard, .tag = tag, .level = level});
            if (!got) {
                return;
            }
            address none = 0;
            if (r.leaf.compare_exchange_strong(none, got->pages, std::memory_order_acq_rel)) {
                pages_.fetch_add(pages_of(leaf_size), std::memory_order_relaxed);
                r.key.store(a >> key_shift, std::memory_order_release);
            } else {
                source.give_back(got->begin);
            }
        }
        enter_if_known(a, d);
    }
}

void directory::give_back(page_source& source) noexcept {
    for (root& r : roots_) {
        if (const address leaf = r.leaf.exchange(0, std::memory_order_acq_rel); leaf != 0) {
            r.key.store(no_key, std::memory_order_relaxed);
            source.give_back(leaf - records_guard);
        }
    }
    pages_.store(0, std::memory_order_relaxed);
}

} // namespace memreeve::heap
