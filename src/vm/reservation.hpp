// SPDX-License-Identifier: MIT
// One successful reserve: base, size, initial protection, owner; released whole (a VAD in the
// rules; AllocationBase in VirtualQuery).
//
// Life: free -> building -> live -> going -> free. Pages of a reservation that is not live count as
// free. `life` carries a generation, so that a reader who saw the same life before and after has
// read fields of one reservation: fields change only while it is building.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

enum class reservation_stage : std::uint32_t { free = 0, building = 1, live = 2, going = 3 };

struct reservation {
    std::atomic<std::uint32_t> life{0}; // generation << 2 | reservation_stage
    std::atomic<std::uint32_t> base_granule{0};
    std::atomic<page_count> pages{0};
    std::atomic<std::uint32_t> owner{0}; // owner_id
    std::atomic<std::uint32_t> protect{
        0};                              // AllocationProtect: the value of the reserving call (S3)
    std::atomic<page_count> living{0};   // pages not dead; at 0 the bridge releases the whole
    std::atomic<std::uint64_t> tag{0};   // a word of whoever asked for it (heap); 0: none
    std::atomic<std::uint32_t> link{0};  // next free record; extent slot while live
    std::atomic<std::uint32_t> flags{0}; // reservation_flag

    address base() const noexcept {
        return address{base_granule.load(std::memory_order_relaxed)} << granule_shift;
    }
    range where() const noexcept {
        const address b = base();
        return {b, b + bytes_of(pages.load(std::memory_order_relaxed))};
    }
    reservation_stage stage() const noexcept {
        return static_cast<reservation_stage>(life.load(std::memory_order_acquire) & 3);
    }
};

enum reservation_flag : std::uint32_t {
    // The kernel refused once to take the access away from pages that were decommitted (mapping
    // limit): reserved pages of this reservation may be accessible. Never cleared; commits and
    // releases of it trust no code of a reserved page.
    may_be_open = 1,
    // The program has put mappings of its own over pages of it, or pages were moved in: what is closed
    // off must be replaced.
    holds_mappings = 2,
    // Reserved pages lie in a read-write mapping behind markers (page_state.hpp). Fixed at birth.
    guarded_space = 4,
    // With guarded_space: without markers, its owner opted out of strict faulting.
    relaxed_space = 8,
    // Reserved with MEM_WRITE_WATCH (rules WW).
    watched = 32,
    // An area of placeholders: its pieces are the VADs (placeholders.hpp), in `tag` their table.
    placeholder = 64,
    // In pages of 2 MiB, committed as a whole (rule A4).
    large_pages = 128,
    // Some page may be locked (rules L): unlocked before it is decommitted or released.
    locked = 256,
    // Watched without the kernel's help (fault_watch.cpp); in `tag` where the bits are.
    watched_by_faults = 512,
    // The program has told the kernel something of its pages that outlives them (madvise): its space is
    // mapped anew when it is released.
    altered_mapping = 1024,
    // In what find() answers alone: the piece is a placeholder, or (with index 0) vacant.
    bare_piece = 1 << 15,
};

// The upper half of `flags` is the number of the arena it lies in; 0: in none, or not kept.
inline constexpr unsigned arena_shift = 16;
constexpr std::uint32_t only_flags(std::uint32_t flags) noexcept {
    return flags & ((1U << arena_shift) - 1);
}

static_assert(sizeof(reservation) == 48, "performance goal: <= 64 bytes for a 64 KiB region");

} // namespace memreeve::vm
