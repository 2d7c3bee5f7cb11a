// SPDX-License-Identifier: MIT
// Whether a block is live: a byte for each grain of its slab (descriptor.hpp), which every request looks
// at and changes without a locked instruction.
//
// 0: no live block begins here. Else one does, and the byte tells its bin, so that a free needs to
// know nothing else of the slab. Those of quick bins are 128 or more: two of them carry when added, and
// that finds in one instruction, when a block is handed out, that somebody has it already. What the
// byte is until that is undone (less than 112) is no bin's. Only a free that ran at the same time as
// another of the same block, within the few instructions between looking at the state and changing it,
// can have caused it; every other second free finds 0.
#pragma once

#include "heap/size_class.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

// 0 leaves out the tests for wrong frees (metric heap_hardened); the figures of live blocks are then
// without meaning.
#if !defined(MEMREEVE_HEAP_CHECKS)
#define MEMREEVE_HEAP_CHECKS 1
#endif

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MEMREEVE_STATE_BY_COMPILER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || !defined(__x86_64__)
#define MEMREEVE_STATE_BY_COMPILER 1
#endif

namespace memreeve::heap {

using block_state = std::atomic<std::uint8_t>;
static_assert(sizeof(block_state) == 1);

// Of a live block. Bins from class_count on are those with origins.
constexpr std::uint8_t live_state(std::uint32_t bin) noexcept {
    return static_cast<std::uint8_t>(bin < quick_classes ? 128 + bin
                                     : bin < class_count ? 112 + (bin - quick_classes)
                                                         : 1);
}
// Bytes of a plain block that says so.
constexpr std::uint32_t size_of_live(std::size_t live) noexcept {
    return size_of_class(
        static_cast<std::uint32_t>(live >= 128 ? live - 128 : live - 112 + quick_classes));
}
static_assert(size_of_live(live_state(0)) == size_of_class(0));
static_assert(size_of_live(live_state(class_count - 1)) == size_of_class(class_count - 1));
static_assert(2 * live_state(quick_classes - 1) - 256 < 112);
static_assert(live_state(class_count - 1) == 127);

// A free block of a quick bin becomes live. False: it was live already; undo_life().
inline bool begin_life(block_state& s, std::size_t live) noexcept {
#if defined(MEMREEVE_STATE_BY_COMPILER)
    const std::uint8_t before = s.load(std::memory_order_relaxed);
    s.store(static_cast<std::uint8_t>(before + live), std::memory_order_relaxed);
    return before == 0;
#else
    bool carries = false;
    asm volatile("addb %b2, %1"
                 : "=@ccc"(carries), "+m"(reinterpret_cast<std::uint8_t&>(s))
                 : "q"(live)
                 : "memory");
    return !carries;
#endif
}
// Who of those that free a block one after the other is told true: the first one.
inline bool end_life(block_state& s) noexcept {
    const bool was_live = s.load(std::memory_order_relaxed) != 0;
    s.store(0, std::memory_order_relaxed);
    return was_live;
}
// As if begin_life() had not been.
inline void undo_life(block_state& s, std::size_t live) noexcept {
    s.store(static_cast<std::uint8_t>(s.load(std::memory_order_relaxed) - live),
            std::memory_order_relaxed);
}

} // namespace memreeve::heap
