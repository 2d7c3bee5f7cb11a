// SPDX-License-Identifier: MIT
// What a thread keeps of a heap for itself: a few free blocks of each size class, so that nearly every
// request is served without touching what threads share.
//
// A cache belongs to the thread it names. One whose thread has ended (page_source::is_gone) is claimed
// by whoever finds out, mostly the next thread with the same thread pointer: so threads end without a
// word, and nobody waits for anybody.
//
// `inside` is 1 while its thread is in there. A signal handler that comes then, and a fork's child
// for the caches of threads it does not have, leave the cache alone and use the slabs.
#pragma once

#include "heap/descriptor.hpp"
#include "heap/page_source.hpp"
#include "heap/size_class.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::heap {

struct debug_cache;

inline constexpr std::uint32_t bin_count = 2 * class_count; // plain, then those with origins

// Blocks of one bin: taken from their slabs (bit set), not live. Last in, first out.
//
// A thread that wants few blocks of a size takes few at a time, from the slab that all such threads
// share; who has come back `fills_until_busy` times gets a larger magazine and a slab of its own.
struct alignas(unit_size) magazine {
    struct entry {
        std::atomic<address> block;
        std::atomic<block_state*> state;
    };
    static constexpr std::uint32_t first_capacity = 8;
    static constexpr std::uint32_t fills_until_busy = 5;

    std::atomic<std::uint32_t> count{0};
    std::uint32_t capacity = 0;
    std::atomic<descriptor*> home{nullptr}; // the slab of its own; held
    std::uint32_t fills = 0;                // and overflows, up to fills_until_busy

    entry* entries() noexcept { return reinterpret_cast<entry*>(this + 1); }
    static constexpr std::uint32_t capacity_for(std::uint32_t block_size) noexcept {
        return block_size <= 1024 ? 32 : block_size <= 4096 ? 16 : block_size <= 8192 ? 8 : 4;
    }
    static constexpr std::uint32_t units_for(std::uint32_t entries) noexcept {
        return 1 + static_cast<std::uint32_t>(entries * sizeof(entry) + unit_size - 1) / unit_size;
    }
    // One more fill or overflow. True when it is busy from now on.
    bool note_use() noexcept { return fills < fills_until_busy && ++fills == fills_until_busy; }
    bool is_busy() const noexcept { return fills == fills_until_busy; }
    std::uint32_t portion() const noexcept {
        const std::uint32_t half = (capacity + 1) / 2;
        return is_busy() || half < 1u << fills ? half : 1u << fills;
    }
    void push(address block, block_state& state) noexcept {
        const std::uint32_t n = count.load(std::memory_order_relaxed);
        entries()[n].block.store(block, std::memory_order_relaxed);
        entries()[n].state.store(&state, std::memory_order_relaxed);
        count.store(n + 1, std::memory_order_relaxed);
    }
    // Precondition: count != 0. The block is live from now on.
    address pop(block_state*& state) noexcept {
        const std::uint32_t n = count.load(std::memory_order_relaxed) - 1;
        count.store(n, std::memory_order_relaxed);
        state = entries()[n].state.load(std::memory_order_relaxed);
        state->store(1, std::memory_order_relaxed);
        return entries()[n].block.load(std::memory_order_relaxed);
    }
};
static_assert(sizeof(magazine) == unit_size);
// Where a bin has none yet: neither gives nor takes a block.
extern constinit magazine no_magazine;

struct alignas(unit_size) cache {
    std::atomic<std::uint32_t> inside{0};
    std::uint32_t next_of_all = 0; // unit + 1
    tally counts{};
    std::atomic<std::uint64_t> thread{
        0}; // whose: claims << thread_bits | page_source::this_thread, or 0
    std::atomic<address> pointer{0};             // its thread pointer: where to look first, no more
    std::atomic<debug_cache*> debug{nullptr};    // from the first DebugAlloc on
    std::atomic<magazine*> magazines[bin_count]; // those with origins have none: see debug_cache

    cache() noexcept {
        for (std::atomic<magazine*>& m : magazines) {
            m.store(&no_magazine, std::memory_order_relaxed);
        }
    }
    // Of the bin; null where it has none yet.
    magazine* magazine_of(std::uint32_t bin_index) const noexcept {
        magazine* const m = magazines[bin_index].load(std::memory_order_relaxed);
        return m != &no_magazine ? m : nullptr;
    }

    static constexpr std::uint64_t thread_mask = (std::uint64_t{1} << page_source::thread_bits) - 1;
    // The number of claims tells a thread from a later one with the same number.
    bool claim(std::uint64_t seen, std::uint64_t by) noexcept {
        const std::uint64_t claims = (seen >> page_source::thread_bits) + 1;
        return thread.compare_exchange_strong(seen, claims << page_source::thread_bits | by,
                                              std::memory_order_acq_rel);
    }
    // To be called by who has claimed it.
    void set_free() noexcept { thread.fetch_and(~thread_mask, std::memory_order_acq_rel); }

    // False in a signal handler that interrupted this thread in here.
    bool enter() noexcept {
        if (inside.load(std::memory_order_relaxed) != 0) {
            return false;
        }
        inside.store(1, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        return true;
    }
    void leave() noexcept { inside.store(0, std::memory_order_release); }
};

// The caches of this thread: those of two heaps whose numbers differ in the last bits have a place
// each. Numbers are never given twice, so what is left of a heap that is gone is not found.
struct cache_slot {
    std::uint32_t heap;
    cache* mine;
};
inline constexpr std::uint32_t cache_slot_count = 4;
// libmemreeve.so must load by dlopen: all its thread-local storage together stays below 256 bytes.
extern constinit thread_local cache_slot cache_slots[cache_slot_count]
    __attribute__((tls_model("initial-exec")));

} // namespace memreeve::heap
