// SPDX-License-Identifier: MIT
// The malloc family as requests to the interface: IHostMalloc::Alloc and Free of the owner `malloc`,
// and what that interface has no word for (zeroed, aligned, resized) as calls of the same heap.
//
// Critical level: levels.hpp. Null: refused; the caller sets
// errno. Blocks are 16-byte aligned. Async-signal-safe and without locks, like the heap: a thread
// that is stopped in here, or whose process forks, keeps nobody from allocating (decision 18).
//
// A pointer that comes back is one of three things, told apart by its address alone (F14, F15):
//   a live block of ours       served
//   in our heap, but no block  a second or interior free: the program's mistake; it ends as under
//                              libc, with one line and SIGABRT
//   anything else              libc's own (made before we were there, or by a library bound to libc
//                              directly): not_ours, the caller passes it on, and libc judges it
#pragma once

#include "base/units.hpp"
#include "bridge/state.hpp"

namespace memreeve::bridge {

// `caller`: where the call returns to.
void* allocate_after(state& s, heap::attempt a, byte_count size, const void* caller) noexcept;
inline void* allocate(state& s, byte_count size, const void* caller) noexcept {
    address block = 0;
    const heap::attempt a = heap::take_quickly(s.heap().blocks().quick_door(), size, block);
    return a == heap::attempt::done ? reinterpret_cast<void*>(block)
                                    : allocate_after(s, a, size, caller);
}
void* allocate_zeroed(state& s, byte_count size, const void* caller) noexcept;
// `alignment` is a power of two.
void* allocate_aligned(state& s, byte_count size, byte_count alignment,
                       const void* caller) noexcept;

enum class whose { ours, not_ours };
// `block` is not null.
whose release_otherwise(state& s, void* block) noexcept;
inline whose release(state& s, void* block) noexcept {
    return heap::keep_quickly(s.heap().blocks().quick_door(), reinterpret_cast<address>(block))
               ? whose::ours
               : release_otherwise(s, block);
}
// Out: the new block, null when refused (then the old one is as it was). `size` is not 0.
whose resize(state& s, void* block, byte_count size, void** out, const void* caller) noexcept;
// Out: bytes that may be used.
whose usable_size(state& s, const void* block, byte_count* out) noexcept;

} // namespace memreeve::bridge
