// SPDX-License-Identifier: MIT
// Ranges a heap has given back, kept as they are for the next one that wants as much: what no run
// serves (page_runs.hpp), small slabs and blocks that are too large. They stay committed and charged to
// their owner, so they are bounded, and given back before anything is refused. Lock-free; a range
// belongs to whoever has taken its word out.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

struct warm_range {
    address begin = 0; // granule aligned; 0: none
    page_count pages = 0;
    owner_id owner = owner_id::none;
};

class warm_ranges {
public:
    static constexpr std::uint32_t capacity = 32;
    static constexpr page_count largest = 8192; // 32 MiB
    static constexpr page_count least = 4;      // below it faults are cheap

    constexpr warm_ranges() noexcept = default;

    // False: no place is free, or `bound` pages would be kept and more.
    bool keep(const warm_range& r, page_count bound) noexcept {
        const page_count before = pages_.fetch_add(r.pages, std::memory_order_relaxed);
        if (before + r.pages <= bound) {
            for (std::atomic<std::uint64_t>& place : places_) {
                std::uint64_t none = 0;
                if (place.load(std::memory_order_relaxed) == 0 &&
                    place.compare_exchange_strong(none, word_of(r), std::memory_order_acq_rel)) {
                    return true;
                }
            }
        }
        pages_.fetch_sub(r.pages, std::memory_order_relaxed);
        return false;
    }
    // One of this owner's with at least `from` and at most `to` pages.
    warm_range take(owner_id owner, page_count from, page_count to) noexcept {
        for (std::atomic<std::uint64_t>& place : places_) {
            std::uint64_t word = place.load(std::memory_order_relaxed);
            const warm_range r = range_of(word);
            if (word != 0 && r.owner == owner && r.pages >= from && r.pages <= to &&
                place.compare_exchange_strong(word, 0, std::memory_order_acq_rel)) {
                pages_.fetch_sub(r.pages, std::memory_order_relaxed);
                return r;
            }
        }
        return {};
    }
    // Any one, in turn; none is left when it has none to give.
    warm_range take_any() noexcept {
        const std::uint32_t from = next_.fetch_add(1, std::memory_order_relaxed);
        for (std::uint32_t i = 0; i < capacity && !is_empty(); ++i) {
            std::atomic<std::uint64_t>& place = places_[(from + i) % capacity];
            if (const std::uint64_t word = place.exchange(0, std::memory_order_acq_rel);
                word != 0) {
                const warm_range r = range_of(word);
                pages_.fetch_sub(r.pages, std::memory_order_relaxed);
                return r;
            }
        }
        return {};
    }
    page_count pages() const noexcept { return pages_.load(std::memory_order_relaxed); }
    page_count pages_of_owner(owner_id owner) const noexcept {
        page_count sum = 0;
        for (const std::atomic<std::uint64_t>& place : places_) {
            const std::uint64_t word = place.load(std::memory_order_relaxed);
            sum += word != 0 && range_of(word).owner == owner ? range_of(word).pages : 0;
        }
        return sum;
    }
    bool is_empty() const noexcept { return pages() == 0; }
    // In the only thread of a fork's child: f(range) is its range from now on.
    template <class F>
    void settle_after_fork(F&& f) noexcept {
        page_count sum = 0;
        for (std::atomic<std::uint64_t>& place : places_) {
            if (const std::uint64_t word = place.load(std::memory_order_relaxed); word != 0) {
                const warm_range r = f(range_of(word));
                place.store(word_of(r), std::memory_order_relaxed);
                sum += r.pages;
            }
        }
        pages_.store(sum, std::memory_order_relaxed);
    }

private:
    // granule:31 pages:16 owner:17
    static std::uint64_t word_of(const warm_range& r) noexcept {
        return static_cast<std::uint64_t>(r.begin >> granule_shift) << 33 | r.pages << 17 |
               static_cast<std::uint64_t>(r.owner);
    }
    static warm_range range_of(std::uint64_t word) noexcept {
        return {(word >> 33) << granule_shift, word >> 17 & 0xffff,
                static_cast<owner_id>(word & 0x1ffff)};
    }

    std::atomic<std::uint64_t> places_[capacity]{};
    std::atomic<page_count> pages_{0};
    std::atomic<std::uint32_t> next_{0};
};

} // namespace memreeve::manager
