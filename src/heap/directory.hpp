// SPDX-License-Identifier: MIT
// From an address to the descriptor of the range it lies in, in three loads. A hint, not the truth:
// entries are set when a range is taken and never cleared, so whoever finds a descriptor compares its
// base, and whoever finds none asks the source (page_source::tag_of). What cannot be entered, for
// want of memory or of a place, is found the slow way.
//
//   roots[128], by bits 26..32 of the address: key (bits 33 and up), leaf
//   leaf[1024], by granule: descriptor
#pragma once

#include "heap/descriptor.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::heap {

class directory {
public:
    static constexpr std::uint32_t root_entries = 128;
    static constexpr std::uint32_t leaf_entries = 1024;

    // Null when nothing was entered for this granule.
    descriptor* look(address where) const noexcept {
        const root& r = roots_[slot_of(where)];
        // The key is set once, after the leaf.
        if (r.key.load(std::memory_order_acquire) != where >> key_shift) [[unlikely]] {
            return nullptr;
        }
        return entry(r, where).load(std::memory_order_acquire);
    }
    // `d` has the granules of `where`, a range just taken.
    void enter(page_source& source, std::uint64_t tag, range where, descriptor& d,
               criticality level) noexcept;
    // The same for a large block, which is worth no leaf of its own.
    void enter_if_known(address block, descriptor& d) noexcept {
        const root& r = roots_[slot_of(block)];
        if (r.key.load(std::memory_order_acquire) == block >> key_shift) {
            entry(r, block).store(&d, std::memory_order_release);
        }
    }
    page_count pages() const noexcept { return pages_.load(std::memory_order_relaxed); }
    void give_back(page_source& source) noexcept;

private:
    using leaf_entry = std::atomic<descriptor*>;
    static constexpr unsigned leaf_shift = 26; // 1024 granules
    static constexpr unsigned key_shift = 33;
    static constexpr byte_count leaf_size = leaf_entries * sizeof(leaf_entry);
    static constexpr std::uint64_t no_key = ~std::uint64_t{0};

    struct root {
        std::atomic<std::uint64_t> key{no_key};
        std::atomic<address> leaf{0};
    };

    static std::size_t slot_of(address where) noexcept {
        return where >> leaf_shift & (root_entries - 1);
    }
    static leaf_entry& entry(const root& r, address where) noexcept {
        return reinterpret_cast<leaf_entry*>(
            r.leaf.load(std::memory_order_relaxed))[where >> granule_shift & (leaf_entries - 1)];
    }

    root roots_[root_entries]{};
    std::atomic<page_count> pages_{0};
};

} // namespace memreeve::heap
