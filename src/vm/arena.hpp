// SPDX-License-Identifier: MIT
// Arenas: address space reserved in large pieces, each for one owner, handed out in granules.
// Reserving inside an arena is setting bits: no system call, no new kernel mapping. A bit is set by
// compare-and-swap and then belongs to whoever set it; a thread stopped half-way stops nobody.
// Pure: the address space itself comes from address_space.
//
// A granule of a guarded arena is closed (the kernel holds it inaccessible and empty) or open (the
// kernel holds it read-write, and every page that is not committed carries a marker). Its open bit is
// changed only by whoever holds its taken bit. A closed one that is warm may have contents.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

inline constexpr std::uint32_t arena_max_granules = 16384; // 1 GiB
// The size of a huge page, and what a guarded arena opens at a time.
inline constexpr byte_count chunk_size = byte_count{2} << 20;
inline constexpr std::uint32_t chunk_granules = chunk_size / granule_size;

enum class arena_kind : std::uint32_t {
    plain,
    guarded,
    relaxed, // for owners who opted out of strict faulting: open without markers (space_supply_relaxed.cpp)
    low, // below 2 GiB, for MAP_32BIT; used on request only
};

struct arena {
    static constexpr std::uint32_t words = arena_max_granules / 64;

    std::atomic<std::uint32_t> state{0}; // 0 free, 1 being made, 2 live
    std::atomic<std::uint32_t> owner{0}; // owner_id
    std::atomic<arena_kind> kind{arena_kind::plain};
    std::atomic<std::uint32_t> granules{0};
    std::atomic<address> begin{0};        // first usable granule
    std::atomic<address> mapped_begin{0}; // what was reserved: the usable part and a gap on both
    std::atomic<address> mapped_end{0}; // sides, so that kernel mappings of two owners never merge
    std::atomic<std::uint32_t> too_many{0}; // so many neighbours were not free lately; 0: unknown
    std::atomic<std::uint32_t> opened{0};   // open granules
    // Where searches begin. In an arena of small reservations each thread has a chunk of its own to
    // begin with, so that threads meet neither here nor in the kernel's page tables. Elsewhere what is
    // committed at once begins at the bottom and what is only reserved in the middle: neighbours that
    // are committed are one mapping.
    static constexpr std::uint32_t lane_count = 8;
    struct alignas(64) lane {
        std::atomic<std::uint32_t> hint{0};     // where the next search begins
        std::atomic<std::uint32_t> used{0};     // granules handed out, less those given back; wraps
        std::atomic<std::uint32_t> is_dense{0}; // what is decommitted was touched throughout
        std::atomic<std::uint32_t> until_asked{0}; // decommits until that is asked again
    };
    lane lanes[lane_count]{};
    std::atomic<std::uint64_t> taken[words]{};
    std::atomic<std::uint64_t> open[words]{};
    // Of relaxed arenas, warm also of guarded ones (space_supply_warm.cpp). Dirty: pages that are not
    // committed may hold contents. Parked: taken, dirty and of no reservation, until somebody cleans it.
    // Warm: free, and pages of it are there, zeroed; in guarded arenas not zeroed.
    std::atomic<std::uint64_t> dirty[words]{};
    std::atomic<std::uint64_t> parked[words]{};
    std::atomic<std::uint64_t> warm[words]{};

    range where() const noexcept {
        const address b = begin.load(std::memory_order_relaxed);
        return {b, b + granules.load(std::memory_order_relaxed) * granule_size};
    }

    std::uint32_t slot_of(address a) const noexcept {
        return static_cast<std::uint32_t>((a - begin.load(std::memory_order_relaxed)) >>
                                          granule_shift);
    }

    // Granules handed out, extras of opening included. Exact when nobody takes or gives.
    std::uint32_t used() const noexcept {
        std::uint32_t sum = 0;
        for (const lane& l : lanes) {
            sum += l.used.load(std::memory_order_acquire);
        }
        return sum;
    }
    // All free and closed. Precondition: `granules` and `kind` are set and nobody knows it.
    void clear_all() noexcept;

    // `count` neighbouring free granules that begin at a multiple of `alignment` granules; 0 when
    // there are none. Next fit. `commits`: they are about to be committed.
    address take(std::uint32_t count, std::uint32_t alignment, bool commits) noexcept;
    // Where such a run lies now, without taking it.
    address look(std::uint32_t count) noexcept;
    // Exactly these granules (whole granules of this arena), or none.
    bool take_at(range granule_range) noexcept;
    void give(range granule_range) noexcept;

    // The following want granules that the caller holds.
    // The first run of closed granules in `granule_range`; empty when all are open.
    range closed_part(range granule_range) const noexcept;
    bool is_open(range granule_range) const noexcept {
        return closed_part(granule_range).is_empty();
    }
    // Returns how many changed.
    std::uint32_t set_open(range granule_range, bool is_open) noexcept;

    // Bits of dirty, parked or warm.
    using bitmap = std::atomic<std::uint64_t> (&)[words];
    std::uint32_t change(bitmap which, range granule_range, bool on) noexcept;
    bool any(bitmap which, range granule_range) const noexcept;
    bool all(bitmap which, range granule_range) const noexcept;

    bool is_for_small() const noexcept {
        const arena_kind k = kind.load(std::memory_order_relaxed);
        return k == arena_kind::guarded || k == arena_kind::relaxed;
    }

    lane& own_lane() noexcept {
        const auto self = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
        return lanes[self * 0x9e3779b97f4a7c15ULL >> 61];
    }

private:
    bool set(std::uint32_t first, std::uint32_t count) noexcept;
    void clear(std::uint32_t first, std::uint32_t count) noexcept;
    bool find_free(std::uint32_t from, std::uint32_t to, std::uint32_t count,
                   std::uint32_t alignment, std::uint32_t& first) const noexcept;
};

} // namespace memreeve::vm
