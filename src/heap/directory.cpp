// SPDX-License-Identifier: MIT
#include "heap/directory.hpp"

namespace memreeve::heap {

constinit const granules no_granules{};

// Nobody waits: a place that another thread is changing, or that a slab with pages has, is not to be had.
bool directory::claim(granules& g, std::uint32_t place) noexcept {
    descriptor* before = g.owner[place].load(std::memory_order_acquire);
    return before != busy() && g.limit[place].load(std::memory_order_acquire) == 0 &&
           g.owner[place].compare_exchange_strong(before, busy(), std::memory_order_acq_rel);
}

void directory::enter(page_source& source, std::uint64_t tag, range where, descriptor& d,
                      criticality level) noexcept {
    for (address a = where.begin; a < where.end; a += granule_size) {
        std::atomic<granules*>& root = roots_[root_of(a)];
        granules* leaf = root.load(std::memory_order_acquire);
        if (leaf == nullptr) {
            const result<taken> got = source.take(
                {.size = sizeof(granules), .guard = records_guard, .tag = tag, .level = level});
            if (!got) {
                return;
            }
            auto* const fresh = reinterpret_cast<granules*>(got->pages);
            if (root.compare_exchange_strong(leaf, fresh, std::memory_order_acq_rel)) {
                pages_.fetch_add(pages_of(sizeof(granules)), std::memory_order_relaxed);
                leaf = fresh;
            } else {
                source.give_back(got->begin);
            }
        }
        const std::uint32_t place = granules::place_of(a);
        if (!claim(*leaf, place)) {
            continue;
        }
        if (!d.has_origins()) {
            leaf->base[place].store(where.begin, std::memory_order_relaxed);
            leaf->states[place].store(reinterpret_cast<address>(d.states),
                                      std::memory_order_relaxed);
            leaf->limit[place].store(d.grains(), std::memory_order_release);
        }
        leaf->owner[place].store(&d, std::memory_order_release);
    }
}

void directory::leave(range where, descriptor& d) noexcept {
    for (address a = where.begin; a < where.end; a += granule_size) {
        granules* const leaf = roots_[root_of(a)].load(std::memory_order_acquire);
        if (leaf != nullptr &&
            leaf->owner[granules::place_of(a)].load(std::memory_order_acquire) == &d) {
            leaf->limit[granules::place_of(a)].store(0, std::memory_order_release);
        }
    }
}

void directory::give_back(page_source& source) noexcept {
    for (std::atomic<granules*>& root : roots_) {
        if (granules* const leaf = root.exchange(nullptr, std::memory_order_acq_rel);
            leaf != nullptr) {
            source.give_back(reinterpret_cast<address>(leaf) - records_guard);
        }
    }
    pages_.store(0, std::memory_order_relaxed);
}

} // namespace memreeve::heap
