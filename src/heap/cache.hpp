// SPDX-License-Identifier: MIT
// What a thread keeps of a heap for itself: a few free blocks of each size class, so that nearly every
// request is served without touching what threads share.
//
// A cache belongs to the thread it names. One whose thread has ended (page_source::is_gone) is claimed
// by whoever finds out, mostly the next thread with the same thread pointer: so threads end without a
// word, and nobody waits for anybody.
//
// A thread that is in its cache has taken its key off its slot (door): a signal handler that comes then
// leaves the cache alone and uses the slabs. Who claims the cache of a thread that ended in there finds
// it in order at every instruction, except while `inside` is set; so does nobody after a fork, and the
// child forgets the caches of the threads it does not have.
#pragma once

#include "heap/descriptor.hpp"
#include "heap/directory.hpp"
#include "heap/page_source.hpp"
#include "heap/poison.hpp"
#include "heap/private_word.hpp"
#include "heap/size_class.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

// 0 leaves out what the request path does for the figures (metric heap_accounting).
#if !defined(MEMREEVE_HEAP_ACCOUNTING)
#define MEMREEVE_HEAP_ACCOUNTING 1
#endif

namespace memreeve::heap {

struct debug_cache;

inline constexpr std::uint32_t bin_count = 2 * class_count; // plain, then those with origins

// A free block in a magazine, taken from its slab (bit set), not live.
struct kept_block {
    private_word<address> block{};
    private_word<block_state*> state{};
};

// Moves a top by one entry, in one instruction where that can be said.
inline void step(private_word<kept_block*>& top, int by) noexcept {
#if defined(__x86_64__) && !defined(MEMREEVE_SEES_THREADS)
    static_assert(sizeof(top) == sizeof(kept_block*));
    asm("addq %1, %0"
        : "+m"(reinterpret_cast<kept_block*&>(top))
        : "er"(by * static_cast<std::ptrdiff_t>(sizeof(kept_block)))
        : "cc");
#else
    top.set(top.get() + by);
#endif
}

// The blocks of one bin a thread keeps. Last in, first out, between two entries that hold none:
//
//     floor      block 0, a state that looks live: who pops here is told that it is empty
//     capacity   entries with states, whatever was in them
//     end        no state: who wants to push below it is told that it is full
//
// A thread that wants few blocks of a size takes few at a time, from the slab that all such threads
// share; who has come back `fills_until_busy` times gets a larger magazine and a slab of its own.
struct alignas(unit_size) magazine {
    static constexpr std::uint32_t first_capacity = 8;
    static constexpr std::uint32_t fills_until_busy = 5;

    std::uint32_t capacity = 0;
    std::uint32_t fills = 0;                // and overflows, up to fills_until_busy
    std::atomic<descriptor*> home{nullptr}; // the slab of its own; held
    std::uint32_t known = 0; // entries when they were last counted (cache::count_known)

    kept_block* floor() noexcept { return reinterpret_cast<kept_block*>(this + 1); }
    static constexpr std::uint32_t capacity_for(std::uint32_t block_size) noexcept {
        return block_size <= 512 ? 64 : block_size <= 2048 ? 32 : block_size <= 8192 ? 16 : 4;
    }
    static constexpr std::uint32_t units_for(std::uint32_t entries) noexcept {
        return 1 + static_cast<std::uint32_t>((entries + 2) * sizeof(kept_block) + unit_size - 1) /
                       unit_size;
    }
    // One more fill or overflow. True when it is busy from now on.
    bool note_use() noexcept { return fills < fills_until_busy && ++fills == fills_until_busy; }
    bool is_busy() const noexcept { return fills == fills_until_busy; }
    std::uint32_t portion() const noexcept {
        const std::uint32_t half = (capacity + 1) / 2;
        return is_busy() || half < 1u << fills ? half : 1u << fills;
    }
};
static_assert(sizeof(magazine) == unit_size);

struct alignas(unit_size) cache {
    static constexpr std::uint8_t looks_live = 0xff;

    private_word<kept_block*> tops[256]{};     // by the state of a live block
    private_word<std::uint64_t> quick_frees{}; // and by them and the next two the allocations
    std::uint64_t quick_in_bins = 0;           // pushes less pops of the quick way, as far as known
    std::atomic<std::uint64_t> told_frees{0};  // what of that is in a tally
    std::atomic<std::uint64_t> told_allocations{0};
    std::atomic<std::uint32_t> inside{0};
    std::uint32_t next_of_all = 0; // unit + 1
    std::uint32_t visits = 0;      // by the slow way
    block_state empty_state{looks_live};
    tally counts{};
    std::atomic<std::uint64_t> thread{
        0}; // whose: claims << thread_bits | page_source::this_thread, or 0
    std::atomic<address> pointer{0};          // its thread pointer: where to look first, no more
    std::atomic<debug_cache*> debug{nullptr}; // from the first DebugAlloc on
    kept_block nothing[2]{}; // where a bin has no magazine: neither gives nor takes a block
    std::uint8_t states[largest_quick / block_alignment + 1]{}; // of a live block, by its size
    private_word<const granules*> roots[directory::root_entries]{};
    std::atomic<magazine*> magazines[class_count]{}; // bins with origins have none: see debug_cache

    cache() noexcept;

    private_word<kept_block*>& top_of_bin(std::uint32_t bin_index) noexcept {
        return tops[live_state(bin_index)];
    }
    // Of the bin; null where it has none yet.
    magazine* magazine_of(std::uint32_t bin_index) const noexcept {
        return magazines[bin_index].load(std::memory_order_relaxed);
    }

    // ---- magazines: preconditions are that there is one, and room or a block in it ---------------
    std::uint32_t count_of(std::uint32_t bin_index) noexcept {
        return static_cast<std::uint32_t>(top_of_bin(bin_index).get() -
                                          magazine_of(bin_index)->floor());
    }
    bool is_full(std::uint32_t bin_index) noexcept {
        return count_of(bin_index) == magazine_of(bin_index)->capacity;
    }
    void push(std::uint32_t bin_index, address block, block_state& state) noexcept {
        kept_block* const next = top_of_bin(bin_index).get() + 1;
        next->block.set(block);
        next->state.set(&state);
        top_of_bin(bin_index).set(next);
    }

    // ---- figures: what the quick way did to a bin shows in the number of its blocks --------------
    // Before the slow way changes that, and after it has.
    void count_known(std::uint32_t bin_index) noexcept {
        quick_in_bins += std::uint64_t{count_of(bin_index)} - magazine_of(bin_index)->known;
        know(bin_index);
    }
    void know(std::uint32_t bin_index) noexcept {
        magazine_of(bin_index)->known = count_of(bin_index);
    }
    // By the quick way; exact while nobody is in here. Another thread that asks may meet a bin whose
    // magazine is being changed, and then leaves it out.
    std::uint64_t quick_allocations() noexcept {
        std::uint64_t in_bins = quick_in_bins;
        for (std::uint32_t i = 0; i < class_count; ++i) {
            if (magazine* const m = magazine_of(i); m != nullptr) {
                const auto n = static_cast<std::uint64_t>(top_of_bin(i).get() - m->floor());
                in_bins += n <= m->capacity ? n - m->known : 0;
            }
        }
        return quick_frees.get() - in_bins;
    }

    static constexpr std::uint64_t thread_mask = (std::uint64_t{1} << page_source::thread_bits) - 1;
    // The number of claims tells a thread from a later one with the same number.
    bool claim(std::uint64_t seen, std::uint64_t by) noexcept {
        const std::uint64_t claims = (seen >> page_source::thread_bits) + 1;
        return thread.compare_exchange_strong(seen, claims << page_source::thread_bits | by,
                                              std::memory_order_acq_rel);
    }
    // That whoever claims it after the thread's end sees what it left is the kernel's doing, of which
    // ThreadSanitizer knows nothing.
    void tell_who_comes_after() noexcept {
#if defined(MEMREEVE_SEES_THREADS)
        inside.store(0, std::memory_order_release);
#endif
    }
    // To be called by who has claimed it.
    void set_free() noexcept { thread.fetch_and(~thread_mask, std::memory_order_acq_rel); }
};

// The caches of this thread: those of two heaps whose numbers differ in the last bits have a place
// each. Keys are never given twice, so what is left of a heap that is gone is not found.
struct cache_slot {
    static constexpr std::uint32_t nobodys = 2; // keys are odd
    static constexpr std::uint32_t largest_key = ~0u >> 1;

    std::uint32_t key; // of the heap; 0 while the thread is in its cache
    cache* mine;
};
inline constexpr std::uint32_t cache_slot_count = 4;
// libmemreeve.so must load by dlopen: all its thread-local storage together stays below 256 bytes.
extern constinit thread_local cache_slot cache_slots[cache_slot_count]
    __attribute__((tls_model("initial-exec")));

// Where a thread finds its cache of one heap, and how it goes in and out.
class door {
public:
    constexpr door() noexcept = default;
    explicit door(std::uint32_t heap_number) noexcept
        : slot_(reinterpret_cast<address>(&cache_slots[heap_number % cache_slot_count]) -
                reinterpret_cast<address>(__builtin_thread_pointer())),
          key_(heap_number * 2 + 1) {}

    std::uint32_t key() const noexcept { return key_; }
    cache_slot& slot() const noexcept {
        return *reinterpret_cast<cache_slot*>(
            reinterpret_cast<address>(__builtin_thread_pointer()) + slot_);
    }
    // False when the slot is another heap's, or this thread is inside already: in a signal handler.
    // The key is taken off in one instruction, and put back when it was not ours: what the slot shows
    // in between is nobody's key.
    bool enter() const noexcept {
#if defined(__x86_64__)
        bool is_ours = false;
        asm volatile("subl %2, %%fs:(%1)" : "=@ccz"(is_ours) : "r"(slot_), "r"(key_) : "memory");
        if (!is_ours) [[unlikely]] {
            asm volatile("addl %1, %%fs:(%0)" : : "r"(slot_), "r"(key_) : "memory", "cc");
        }
        return is_ours;
#else
        cache_slot& s = slot();
        const bool is_ours = s.key == key_;
        s.key = is_ours ? 0 : s.key;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        return is_ours;
#endif
    }
    // Precondition: inside.
    cache& inner() const noexcept {
#if defined(__x86_64__)
        cache* mine;
        asm volatile("movq %%fs:%c2(%1), %0"
                     : "=r"(mine)
                     : "r"(slot_), "i"(offsetof(cache_slot, mine)));
        return *mine;
#else
        return *slot().mine;
#endif
    }
    void leave() const noexcept {
#if defined(__x86_64__)
        asm volatile("movl %1, %%fs:(%0)" : : "r"(slot_), "r"(key_) : "memory");
#else
        std::atomic_signal_fence(std::memory_order_seq_cst);
        slot().key = key_;
#endif
    }

private:
    address slot_ = 0; // from the thread pointer, the same in every thread
    std::uint32_t key_ = 0;
};
static_assert(offsetof(cache_slot, key) == 0);

// ---- the quick way --------------------------------------------------------------------------------

// What take_quickly() left.
enum class attempt {
    done,
    passed_up,     // nothing was done
    came_up_empty, // the thread is inside still, and take_back() is to be called
};

// A block from the cache of this thread.
inline attempt take_quickly(door d, byte_count size, address& block) noexcept {
    if (size > largest_quick || !d.enter()) [[unlikely]] {
        return attempt::passed_up;
    }
    cache& c = d.inner();
    const std::size_t live = c.states[(size + block_alignment - 1) / block_alignment];
    kept_block* const last = c.tops[live].get();
    step(c.tops[live], -1);
#if MEMREEVE_HEAP_CHECKS
    if (!begin_life(*last->state.get(), live)) [[unlikely]] {
        return attempt::came_up_empty;
    }
    block = last->block.get();
#else
    block = last->block.get();
    if (block == 0) [[unlikely]] {
        return attempt::came_up_empty;
    }
#endif
    open_to_use(block, size_of_class(class_of(size)));
    d.leave();
    return attempt::done;
}
// It met the floor, or a block that somebody has: the other way looks which.
inline void take_back(door d, byte_count size) noexcept {
    cache& c = d.inner();
    const std::size_t live = c.states[(size + block_alignment - 1) / block_alignment];
    step(c.tops[live], 1);
#if MEMREEVE_HEAP_CHECKS
    undo_life(*c.tops[live].get()->state.get(), live);
#endif
    d.leave();
}

// A live small block goes into the cache of this thread. False: nothing was done.
inline bool keep_quickly(door d, address block) noexcept {
    if (!d.enter()) [[unlikely]] {
        return false;
    }
    cache& c = d.inner();
    block_state* state = nullptr;
    const directory::way way = directory::way_to(block);
    if (c.roots[way.root].get()->find(way.place, block, state)) [[likely]] {
        const std::size_t live = state->load(std::memory_order_relaxed);
        kept_block* const last = c.tops[live].get();
        if (last[1].state.get() != nullptr) [[likely]] {
            close_to_use(block, size_of_live(live));
#if MEMREEVE_HEAP_CHECKS
            state->store(0, std::memory_order_relaxed);
#endif
            last[1].block.set(block);
            last[1].state.set(state);
            step(c.tops[live], 1);
#if MEMREEVE_HEAP_ACCOUNTING
            c.quick_frees.set(c.quick_frees.get() + 1);
#endif
            c.tell_who_comes_after();
            d.leave();
            return true;
        }
    }
    d.leave();
    return false;
}

} // namespace memreeve::heap
