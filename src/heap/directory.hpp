// SPDX-License-Identifier: MIT
// From an address to what the heap knows about it. A hint, not the truth: whoever finds a descriptor
// here compares its base, and whoever finds none asks the source (page_source::tag_of). What cannot be
// entered, for want of memory or of a place, is found the slow way.
//
//   roots[256], by bits 24..31 of the address: granules, 16 MiB of them
//   granules[256], by bits 16..23: descriptor, and for a plain slab what a free needs
//
// Addresses 4 GiB apart have the same place. It is the first one's while that is backed; the others
// are told from it because they lie too far from its base.
#pragma once

#include "heap/descriptor.hpp"

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace memreeve::heap {

// limit != 0 exactly while the place belongs to a plain slab with pages; base and states are its own
// then. Whoever changes a place has set its owner to `busy` before.
struct granules {
    static constexpr std::uint32_t count = 256;

    std::atomic<address> states[count];      // the first one; the last six bits: log2 of the grain
    std::atomic<address> base[count];        // of the slab
    std::atomic<std::uint64_t> limit[count]; // grains
    std::atomic<descriptor*> owner[count];   // of the range that was here last

    static std::uint32_t place_of(address where) noexcept {
        return static_cast<std::uint32_t>(where) >> granule_shift & (count - 1);
    }
    // Whether a block may begin at `where`, and its state: it does when that is not 0.
    bool find(std::size_t place, address where, block_state*& state) const noexcept {
        const address first = states[place].load(std::memory_order_relaxed);
        // What is no multiple of the grain has its lowest bits as its highest ones now.
        const std::uint64_t grain =
            std::rotr(from_base(place, where), static_cast<int>(first & 63));
        state = reinterpret_cast<block_state*>(first + grain);
        return is_below_limit(place, grain);
    }

private:
    // In one instruction each, which compilers do not make of an atomic load and what is done with it.
    std::uint64_t from_base(std::size_t place, address where) const noexcept;
    bool is_below_limit(std::size_t place, std::uint64_t grain) const noexcept;
};
static_assert(sizeof(granules) == 2 * page_size);

inline std::uint64_t granules::from_base(std::size_t place, address where) const noexcept {
#if defined(MEMREEVE_STATE_BY_COMPILER)
    return where - base[place].load(std::memory_order_relaxed);
#else
    asm volatile("subq %c3(%1,%2,8), %0"
                 : "+r"(where)
                 : "r"(this), "r"(place), "i"(offsetof(granules, base))
                 : "cc");
    return where;
#endif
}
inline bool granules::is_below_limit(std::size_t place, std::uint64_t grain) const noexcept {
#if defined(MEMREEVE_STATE_BY_COMPILER)
    return grain < limit[place].load(std::memory_order_relaxed);
#else
    bool below = false;
    asm volatile("cmpq %c4(%2,%3,8), %1"
                 : "=@ccb"(below)
                 : "r"(grain), "r"(this), "r"(place), "i"(offsetof(granules, limit)));
    return below;
#endif
}

// Nothing was entered.
extern constinit const granules no_granules;

class directory {
public:
    static constexpr std::uint32_t root_entries = 256;

    // Null when nothing was entered for this granule.
    descriptor* look(address where) const noexcept {
        return look_in(*granules_at(root_of(where)), where);
    }
    static descriptor* look_in(const granules& leaf, address where) noexcept {
        descriptor* const d = leaf.owner[granules::place_of(where)].load(std::memory_order_acquire);
        return d != busy() ? d : nullptr;
    }
    const granules* granules_at(std::uint32_t root) const noexcept {
        const granules* const leaf = roots_[root].load(std::memory_order_acquire);
        return leaf != nullptr ? leaf : &no_granules;
    }
    // Where an address is to be looked up.
    struct way {
        std::size_t root;
        std::size_t place;
    };
    static way way_to(address where) noexcept {
        std::uint64_t both = static_cast<std::uint32_t>(where) >> granule_shift;
#if defined(__x86_64__)
        asm("" : "+Q"(both)); // a register whose two lowest bytes have names
#endif
        return {both >> 8 & (root_entries - 1), both & (granules::count - 1)};
    }
    static std::uint32_t root_of(address where) noexcept {
        return static_cast<std::uint32_t>(where) >> granule_shift >> 8;
    }
    // `d`, a slab, has the granules of `where`, a range just taken.
    void enter(page_source& source, std::uint64_t tag, range where, descriptor& d,
               criticality level) noexcept;
    // The range is about to be given back.
    void leave(range where, descriptor& d) noexcept;

    page_count pages() const noexcept { return pages_.load(std::memory_order_relaxed); }
    void give_back(page_source& source) noexcept;

private:
    static descriptor* busy() noexcept { return reinterpret_cast<descriptor*>(address{1}); }
    static bool claim(granules& g, std::uint32_t place) noexcept;

    std::atomic<granules*> roots_[root_entries]{};
    std::atomic<page_count> pages_{0};
};

} // namespace memreeve::heap
