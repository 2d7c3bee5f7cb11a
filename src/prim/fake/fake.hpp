// SPDX-License-Identifier: MIT
// A modelled kernel over real bytes, for tests: a deterministic piece of address space (the
// universe) whose mappings are kept in a model with Linux's rules for splitting, merging and the
// limit on their number, while the real kernel is told the same, so that pages hold what they should
// and a forbidden touch faults. Unlike the real limit, the model's can be small and moved while
// running.
//
// Everything that asks for memory without an address gets it from the universe, highest hole first;
// memory outside it, files and all other calls go to the real kernel. Thread-safe. Test programs
// only: uses the heap of the C++ library. Needs PROCMAP_QUERY (kernel 6.11) for find_mapping.
//
// Modelled (mm/vma.c, mm/mmap.c, mm/mprotect.c, mm/mremap.c of Linux 6.x)
//   - max_map_count: a new mapping needs count <= limit before it, a split count < limit; unmapping
//     the middle of a mapping splits, its ends do not; ENOMEM (madvise: EAGAIN).
//   - mprotect changes mapping by mapping and stops at a hole or a refused split: what lies before
//     is changed. A boundary that moves between two neighbours costs no mapping.
//   - neighbours merge when access and flags agree. Linux also asks whether their touched pages have
//     a common history; `merges = false` is its worst case.
//   - the total of all mappings is limited as by RLIMIT_AS: ENOMEM.
//   - guard markers (MADV_GUARD_INSTALL): of private anonymous memory, whatever its access; they need
//     and split no mapping, stay when the access changes, move with mremap and go with the mapping.
// Not modelled: low memory (MAP_32BIT has none), huge pages, mseal, growing stacks.
#pragma once

#include "base/access.hpp"
#include "base/units.hpp"

#include <vector>

namespace memreeve::prim::fake {

struct settings {
    std::size_t mapping_limit = 65530;      // max_map_count
    byte_count size_limit = ~byte_count{0}; // RLIMIT_AS, of what the model holds
    bool merges = true;
    bool guards = true; // false: a kernel before 6.13
};

struct vma {
    range where;
    access allowed = access::none;
    bool shared = false;
    bool wiped_on_fork = false;
    bool has_file = false;

    bool operator==(const vma&) const = default;
};

inline constexpr range universe{0x200000000000, 0x500000000000};

// Forgets everything mapped in the universe and starts the model. False when the real kernel does
// not give the universe (ThreadSanitizer).
bool start(const settings& s) noexcept;
// Calls go to the real kernel again; what the universe holds stays mapped, for leak reports.
void stop() noexcept;
// From now on; what exceeds a lowered limit stays.
void set_limits(const settings& s) noexcept;

std::size_t mapping_count() noexcept;
byte_count mapped_bytes() noexcept;
std::vector<vma> mappings();
// What the model allows at this page; access::none where nothing is mapped, see is_mapped, or where a
// marker lies.
access access_at(address page) noexcept;
bool is_mapped(address page) noexcept;
bool is_guarded(address page) noexcept;

// The n-th (from 1) modelled call with this number (SYS_*) fails with `error`; 0: none.
void fail(long number, long nth, int error) noexcept;
// From now on mprotect is refused, as at the limit while others take each mapping that becomes free: the
// first of them after it has changed `done` bytes, a multiple of pages. Until allow_protect().
void refuse_protect(byte_count done) noexcept;
void allow_protect() noexcept;
// Modelled calls refused so far: by the mapping limit, by the size limit.
std::size_t refused_for_count() noexcept;
std::size_t refused_for_size() noexcept;

} // namespace memreeve::prim::fake
