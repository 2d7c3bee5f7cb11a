// SPDX-License-Identifier: MIT
// prim, continued: which pages were written to (userfaultfd in its asynchronous write-protect mode
// together with PAGEMAP_SCAN, Linux 6.7), and what else is asked about single pages. The rules of
// prim.hpp hold.
#pragma once

#include "base/units.hpp"

#include <cstddef>
#include <cstdint>

namespace memreeve::prim {

// A descriptor through which ranges of this process are watched; closing it ends all of it. Negative
// errno: ENOSYS where the kernel or its policy has no such thing, else what ran out.
long open_write_watcher() noexcept;
// From now on writes to a private anonymous mapping are remembered, page by page; what is watched
// already stays as it is. Not inherited by a child of fork.
int watch_writes(int watcher, address where, byte_count size) noexcept;

// /proc/self/pagemap. Negative errno.
long open_page_marks() noexcept;
// Runs of pages of `where` written to since they were last reset, ascending, at most `capacity` runs
// with together at most `most` pages; `reset`: they count as not written to from now on, all reported
// ones and no others, in one step with the reading. Returns the number of runs; `*walked` is where it
// stopped. EPERM: part of it is not watched.
long written_pages(int page_marks, range where, bool reset, page_count most, range* out,
                   std::size_t capacity, address* walked) noexcept;
// Takes a reset back: watched pages that hold something count as written to.
int mark_written(int watcher, address where, byte_count size) noexcept;
// False also when the kernel does not say.
bool all_present(range where) noexcept;
// Writes a byte's own value to it, in one step: contents stay, and the kernel may not drop them.
void make_dirty(address where) noexcept;

// ---- locked in memory ------------------------------------------------------------------------
// mlock and munlock: lock_in_memory() is in process_view.hpp. Not atomic: after a failure part of the
// range may be locked.
int unlock_from_memory(address where, byte_count size) noexcept;
// 1 when some page of the range is locked, 0 when none is; negative errno.
int has_locked_page(address where, byte_count size) noexcept;

// ---- huge pages --------------------------------------------------------------------------------
inline constexpr byte_count large_page_size = byte_count{2} << 20;
// Inaccessible private memory in pages of large_page_size, which are set aside for it now. `where` 0:
// the kernel chooses; else there or EEXIST. ENOMEM: the system has too few free.
int reserve_large(address where, byte_count size, address* out) noexcept;

// Page faults of this thread so far that found the memory without input or output.
// Negative errno.
long own_page_faults() noexcept;
// An address on the initial thread's stack, and how far that stack may still grow downwards (bytes).
address initial_stack() noexcept;
byte_count stack_limit() noexcept;

} // namespace memreeve::prim
