// SPDX-License-Identifier: MIT
// One IHostMalloc's worth of blocks (hosting-api 1.4, D4-D8, D20, D33).
//
// Small requests are cut from slabs, one size class each (size_class.hpp), and pass through the
// thread's cache (cache.hpp); a larger one is a run of pages. Everything known about a block lies
// out of line in metadata (descriptor.hpp), and a block is found again through the directory or the
// source's tag: so a foreign, interior or second free is always recognised and changes nothing (D8).
//
// Every function but destroy() and settle_after_fork() may be called by any thread at any time,
// whatever `thread_safe` says (D20), in signal handlers too, and never waits: a thread stopped anywhere
// in here costs the others at most the free blocks of its cache and of the slabs that holds (decision
// 18).
#pragma once

#include "heap/cache.hpp"
#include "heap/debug_blocks.hpp"
#include "heap/descriptor.hpp"
#include "heap/directory.hpp"
#include "heap/misuse.hpp"
#include "heap/names.hpp"
#include "heap/page_source.hpp"
#include "heap/size_class.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::heap {

struct options {
    bool thread_safe = true;
    bool executable = false; // blocks may be executed (decision 10)
    // Not 0 while this process has but one thread, as __libc_single_threaded: blocks of allocate_debug
    // are freed without a locked instruction then. Null: never known.
    const volatile char* single_threaded = nullptr;
    misuse_listener listener{}; // is told what a request finds out by the way (written_after)
};

struct heap_stats {
    std::uint64_t live_blocks = 0;
    byte_count live_bytes = 0; // sum of size_of over the live blocks
    page_count pages_held = 0; // taken from the source and not given back, the heap's own included
};

class heap {
public:
    // The object lies in pages of `source`, which must outlive it. Errors are the source's.
    static result<heap*> create(page_source& source, options o) noexcept;
    // Gives back every page, the heap's own included; all blocks are gone. Nobody may be inside.
    void destroy() noexcept;

    heap(const heap&) = delete;
    heap& operator=(const heap&) = delete;

    // A block of at least `size` bytes, 16-byte aligned, contents unspecified; size 0 gives a unique
    // block (D5). Errors: out_of_address_space for a size that cannot exist, else the source's;
    // nothing has changed then.
    result<address> allocate(byte_count size, criticality level) noexcept {
        address block = 0;
        const attempt a = take_quickly(door_, size, block);
        return a == attempt::done ? result<address>(block) : allocate_after(a, size, level);
    }
    // What take_quickly() of quick_door() did not do.
    result<address> allocate_after(attempt a, byte_count size, criticality level) noexcept {
        if (a == attempt::came_up_empty) {
            take_back(door_, size);
        }
        return allocate_otherwise(size, level);
    }
    result<address> allocate_otherwise(byte_count size, criticality level) noexcept {
        return size <= largest_small ? allocate_small(class_of(size), level)
                                     : allocate_large(size, {}, level, 0);
    }
    // The same, and origin_of tells `file` and `line`. `file` is copied and may be null (D33). size_of
    // is `size` itself, or 1 for 0; what is written beyond it is found when the block is freed.
    result<address> allocate_debug(byte_count size, criticality level, const char* file,
                                   int line) noexcept {
        const address block = take_debug_quickly(door_, size, file, line);
        return block != 0 ? result<address>(block)
                          : allocate_debug_otherwise(size, level, file, line);
    }
    // What take_debug_quickly() of quick_door() did not do.
    result<address> allocate_debug_otherwise(byte_count size, criticality level, const char* file,
                                             int line) noexcept;
    // allocate(), and the first `size` bytes read zero.
    result<address> allocate_zeroed(byte_count size, criticality level) noexcept;
    // allocate(), at a multiple of `alignment`. invalid_argument unless that is a power of two.
    result<address> allocate_aligned(byte_count size, byte_count alignment,
                                     criticality level) noexcept;
    // The block with its contents, as far as they fit, becomes one of at least `new_size` bytes, here
    // or elsewhere: the address is returned, an old one elsewhere is free. A block that shrinks keeps
    // its place when another cannot be had. not_ours: no live block of this heap; an error changes
    // nothing. Alignment beyond 16 is not kept by a block that moves.
    result<address> resize(address block, byte_count new_size, criticality level) noexcept;
    // 0 is freed by doing nothing (D4). not_ours: not the beginning of a live block of this heap, or a
    // block of allocate_debug beyond which something was written; nothing has changed then (D8).
    result<void> free(address block) noexcept {
        return keep_quickly(door_, block) ? result<void>{} : free_otherwise(block);
    }
    // What keep_quickly() of quick_door() did not do.
    result<void> free_otherwise(address block) noexcept;

    // True for every address in a range of this heap, its own records included: where free() says
    // not_ours, this tells a block freed twice or an interior address from a foreign one. One lookup.
    bool owns(address where) noexcept;
    // Usable bytes of a live block of this heap; 0 for any other address.
    byte_count size_of(address block) noexcept;
    // True when `block` is live and was made by allocate_debug. `file` stays valid until destroy.
    bool origin_of(address block, const char** file, int* line) noexcept;
    // What is wrong with `where` as an argument of free(). Names stay valid until destroy.
    misuse explain(address where) noexcept;
    // Calls `visit` for every live block until it answers false, and answers that. Blocks that come or
    // go meanwhile may be missed or told all the same. `visit` may call the heap.
    bool list_live(bool (*visit)(void* context, const live_block& b) noexcept,
                   void* context) noexcept;
    // Exact when no operation is in flight, else somewhere between before and after.
    heap_stats stats() noexcept;
    // Gives back what is kept although no block lies in it; the bytes given back.
    byte_count trim() noexcept;
    options settings() const noexcept { return options_; }
    // The quick ways by themselves, for who calls them more often than it looks here.
    door quick_door() const noexcept { return door_; }
    // What threads asked for reaches the source's tallies now and then; this brings all of it there.
    // Exact when no operation is in flight.
    void tell_requests() noexcept;
    // Blocks that two frees took back at the same time: noticed, and not handed out twice.
    std::uint64_t found_late() const noexcept {
        return found_late_.load(std::memory_order_relaxed);
    }
    // No other heap of this process has or had it.
    std::uint32_t number() const noexcept { return number_; }

    // In the only thread of a fork's child, before anything else: what the caches of the parent's other
    // threads hold is lost to the child. `source` gives the child's tallies from now on.
    void settle_after_fork() noexcept;

private:
    struct bin {
        std::atomic<descriptor*> current{nullptr}; // for who has no cache; held
        descriptor_stack partial;                  // may have free blocks
        descriptor_stack unbacked;                 // have none, and no pages
        std::atomic<std::uint32_t> slabs{0};
    };
    struct found {
        descriptor* slab = nullptr;
        std::uint32_t block = 0;
    };

    static constexpr std::uint32_t records_tag =
        ~0u; // low half of the tag of memory without blocks

    heap(page_source& source, options o, std::uint32_t number) noexcept;
    static std::uint32_t numbers_given() noexcept;

    // ---- heap.cpp: slabs ------------------------------------------------------------------------
    result<descriptor*> reserve_shared(std::uint32_t bin_index, std::uint32_t wanted,
                                       std::uint32_t& promised, criticality level) noexcept;
    result<address> allocate_from_slab(std::uint32_t bin_index, criticality level) noexcept;
    result<descriptor*> next_slab(std::uint32_t bin_index, criticality level) noexcept;
    result<descriptor*> new_descriptor(std::uint32_t bin_index, std::uint32_t block_size,
                                       std::uint32_t bytes, bool with_origins,
                                       criticality level) noexcept;
    // What the pages of a large block must be like.
    struct form {
        byte_count alignment = 0;
        bool zeroed = false;
        byte_count requested = 0; // of a debug block
    };
    result<void> back(descriptor& d, byte_count bytes, form f, criticality level) noexcept;
    address hand_out(descriptor& d) noexcept;
    void return_blocks(descriptor& d, std::uint32_t word, std::uint64_t blocks) noexcept;
    void let_go(descriptor& d) noexcept;
    void list_again(descriptor& d) noexcept;
    void unlist(descriptor& d) noexcept;
    void close_if_empty(descriptor& d) noexcept;
    void release_pages(descriptor& d) noexcept;
    found find(address block) noexcept;
    static byte_count usable_of(const found& f) noexcept;

    // ---- large.cpp ------------------------------------------------------------------------------
    result<address> allocate_large(byte_count size, form f, criticality level,
                                   std::uint64_t origin) noexcept;
    result<address> allocate_large_once(byte_count size, form f, criticality level,
                                        std::uint64_t origin) noexcept;
    result<address> resize_large(descriptor& d, address block, byte_count new_size,
                                 criticality level) noexcept;
    result<address> replace(address block, byte_count usable, byte_count new_size,
                            criticality level) noexcept;
    result<void> free_large(descriptor& d, address block) noexcept;

    // ---- debug_blocks.cpp -----------------------------------------------------------------------
    result<address> allocate_debug_once(byte_count size, criticality level,
                                        std::uint64_t origin) noexcept;
    void tell_written_after(address block, const named_state& record) noexcept;
    result<void> free_debug(descriptor& d, std::uint32_t i, address block, cache* inside) noexcept;
    static bool is_intact(const descriptor& d) noexcept;
    result<address> resize_debug(const found& f, address block, byte_count new_size,
                                 criticality level) noexcept;
    result<std::uint32_t> name_of(const char* file, int line, criticality level) noexcept;
    debug_cache* debug_cache_of(cache& c, criticality level) noexcept;
    debug_magazine* debug_magazine_for(cache& c, std::uint32_t class_index,
                                       criticality level) noexcept;
    void empty(debug_cache& own, std::uint32_t class_index, std::uint32_t blocks) noexcept;
    void empty_debug(cache& c) noexcept;
    static void forget_debug(cache& c) noexcept;
    std::uint64_t origin_word_of(const found& f) const noexcept;
    template <class Into>
    void describe(std::uint64_t origin, Into& into) const noexcept;
    bool copy(address from, bytes16& to) noexcept;
    void explain_block(const found& f, address block, misuse& m) noexcept;
    static byte_count debug_bytes(const descriptor& d) noexcept;

    // ---- cache.cpp ------------------------------------------------------------------------------
    cache* enter_cache() noexcept;
    void leave_cache(cache& c) noexcept;
    cache* find_cache() noexcept;
    static void tell_requests(cache& c, const tally& to) noexcept;
    static void tell_requests_at_times(cache& c) noexcept;
    cache* claimed_cache() noexcept;
    cache* make_cache() noexcept;
    bool claim_left(cache& c) noexcept;
    result<address> allocate_small(std::uint32_t bin_index, criticality level) noexcept;
    result<address> allocate_small_once(std::uint32_t bin_index, criticality level) noexcept;
    magazine* magazine_for(cache& c, std::uint32_t bin_index, criticality level) noexcept;
    magazine* new_magazine(cache& c, std::uint32_t capacity, criticality level) noexcept;
    void enlarge(cache& c, std::uint32_t bin_index, criticality level) noexcept;
    result<descriptor*> reserve_own(magazine& m, std::uint32_t bin_index, std::uint32_t& promised,
                                    criticality level) noexcept;
    result<void> fill(cache& c, std::uint32_t bin_index, criticality level) noexcept;
    address pop(cache& c, std::uint32_t bin_index) noexcept;
    void empty(cache& c, std::uint32_t bin_index, std::uint32_t blocks) noexcept;
    void empty(cache& c) noexcept;
    static void forget(cache& c) noexcept;
    static void put_in_order(cache& c) noexcept;

    // What the directory knows of a block; a slab's blocks and large ones.
    found look(address block) const noexcept {
        descriptor* const d = directory_.look(block);
        if (d == nullptr) {
            return {};
        }
        const address base = d->base.load(std::memory_order_acquire);
        if (base == 0) {
            return {};
        }
        std::uint32_t i = 0;
        if (d->is_block(block - base - d->lead(), i)) [[likely]] {
            return {d, i};
        }
        return d->block_size == 0 && block == d->large_block() ? found{d, 0} : found{};
    }
    std::uint64_t tag_for(std::uint32_t low) const noexcept {
        return std::uint64_t{number_} << 32 | low;
    }

    page_source& source_;
    options options_;
    std::uint32_t number_; // tells our tags from other heaps' on the same source
    door door_;
    std::atomic<std::uint32_t> all_{0};
    std::atomic<page_count> slab_pages_{0};
    std::atomic<std::uint32_t> caches_{0}; // unit + 1
    std::atomic<std::uint32_t> cache_count_{0};
    std::atomic<std::uint32_t> next_look_{0};
    std::atomic<std::uint64_t> found_late_{0};
    tally shared_counts_{};
    metadata records_{};
    names names_{};
    descriptor_stack unbacked_large_{};
    directory directory_{};
    bin bins_[bin_count]{};
};

} // namespace memreeve::heap
