// SPDX-License-Identifier: MIT
// Blocks that are runs of pages, and blocks that change their size.
#include "heap/heap.hpp"

#include <cstring>

namespace memreeve::heap {
namespace {

// Below it copying is cheaper than moving pages.
constexpr byte_count least_moved = 128 * 1024;
// A block that has moved once to grow will grow again: address space behind it costs nothing.
constexpr byte_count most_room = byte_count{1} << 30;

byte_count with_room(byte_count size) noexcept {
    return size + (3 * size < most_room ? 3 * size : most_room);
}

} // namespace

result<address> heap::allocate_large(byte_count size, form f, criticality level,
                                     std::uint64_t origin) noexcept {
    cache* const c = enter_cache();
    (c != nullptr ? c->counts : shared_counts_).count_allocation();
    if (c != nullptr) {
        leave_cache(*c);
    }
    const result<address> got = allocate_large_once(size, f, level, origin);
    if (!got && got.error().code == errc::over_budget && trim() != 0) {
        return allocate_large_once(size, f, level, origin);
    }
    return got;
}

result<address> heap::allocate_large_once(byte_count size, form f, criticality level,
                                          std::uint64_t origin) noexcept {
    if (size > top_address) {
        return errc::out_of_address_space;
    }
    descriptor* d = unbacked_large_.pop(records_);
    if (d == nullptr) {
        const result<descriptor*> made = new_descriptor(descriptor::large_bin, 0, 0, false, level);
        if (!made) {
            return made.error();
        }
        d = *made;
    }
    const byte_count bytes = round_up(size == 0 ? 1 : size, page_size);
    if (const result<void> backed = back(*d, bytes, f, level); !backed) {
        unbacked_large_.push(*d);
        return backed.error();
    }
    d->origin.store(origin, std::memory_order_relaxed);
    const address block = d->large_block();
    if (origin != 0) {
        d->requested.store(f.requested, std::memory_order_relaxed);
        draw_canaries(block, f.requested);
    }
    d->used.store(1, std::memory_order_release);
    return block;
}

result<void> heap::free_large(descriptor& d, address block) noexcept {
    std::uint32_t live = 1;
    if (!d.used.compare_exchange_strong(live, descriptor::busy, std::memory_order_acq_rel)) {
        return errc::not_ours;
    }
    // Held now; before, it may have been freed and have come back as another block.
    if (d.large_block() != block || !is_intact(d)) {
        d.used.store(1, std::memory_order_release);
        return errc::not_ours;
    }
    d.left.store(d.large_block(), std::memory_order_relaxed);
    d.used.store(descriptor::closed, std::memory_order_relaxed);
    release_pages(d);
    unbacked_large_.push(d);
    return {};
}

result<address> heap::allocate_zeroed(byte_count size, criticality level) noexcept {
    if (size > largest_small) {
        return allocate_large(size, {.zeroed = true}, level, 0);
    }
    const result<address> got = allocate(size, level);
    if (got) {
        std::memset(reinterpret_cast<void*>(*got), 0, size);
    }
    return got;
}

// Slabs begin at a granule, so where the alignment divides the block size every block is aligned; and
// the class of a multiple of the alignment is one. From a page on, a large block is smaller.
result<address> heap::allocate_aligned(byte_count size, byte_count alignment,
                                       criticality level) noexcept {
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        return errc::invalid_argument;
    }
    if (size > top_address || alignment > top_address) {
        return errc::out_of_address_space;
    }
    const byte_count padded = round_up(size == 0 ? 1 : size, alignment);
    if (padded <= largest_small && alignment <= page_size) {
        return allocate(padded, level);
    }
    return allocate_large(size, {.alignment = alignment}, level, 0);
}

result<address> heap::resize(address block, byte_count new_size, criticality level) noexcept {
    const found f = find(block);
    const byte_count usable = f.slab == nullptr ? 0 : usable_of(f);
    if (usable == 0) {
        return errc::not_ours;
    }
    if (f.slab->lead() != 0) {
        return resize_debug(f, block, new_size, level);
    }
    if (f.slab->block_size == 0 && new_size > largest_small) {
        return resize_large(*f.slab, block, new_size, level);
    }
    if (new_size <= usable && (new_size > usable / 2 || usable <= 64)) {
        return block;
    }
    return replace(block, usable, new_size, level);
}

result<address> heap::replace(address block, byte_count usable, byte_count new_size,
                              criticality level) noexcept {
    const result<address> got = allocate(new_size, level);
    if (!got) {
        return new_size <= usable ? result<address>(block) : got;
    }
    std::memcpy(reinterpret_cast<void*>(*got), reinterpret_cast<void*>(block),
                new_size < usable ? new_size : usable);
    if (const result<void> freed = free(block); !freed) {
        static_cast<void>(free(*got)); // freed by another thread meanwhile: a race in the caller
        return freed.error();
    }
    return got;
}

result<address> heap::resize_large(descriptor& d, address block, byte_count new_size,
                                   criticality level) noexcept {
    if (new_size > top_address) {
        return errc::out_of_address_space;
    }
    std::uint32_t live = 1;
    if (!d.used.compare_exchange_strong(live, descriptor::busy, std::memory_order_acq_rel)) {
        return errc::not_ours;
    }
    if (d.large_block() != block) {
        d.used.store(1, std::memory_order_release);
        return errc::not_ours;
    }
    const address base = d.base.load(std::memory_order_relaxed);
    const byte_count before = d.bytes.load(std::memory_order_relaxed);
    const byte_count after = round_up(new_size, page_size);
    const range now{block, block + before};
    const auto settle = [&](byte_count bytes) {
        d.bytes.store(bytes, std::memory_order_relaxed);
        d.used.store(1, std::memory_order_release);
    };
    if (after <= before) {
        const bool shrunk =
            after < before && source_.resize(base, now, after, options_.executable, level);
        settle(shrunk ? after : before);
        return block;
    }
    const result<void> grown = source_.resize(base, now, after, options_.executable, level);
    if (grown) {
        settle(after);
        return block;
    }
    if (grown.error().code != errc::out_of_address_space) {
        settle(before);
        return grown.error();
    }
    if (before < least_moved) {
        settle(before);
        return replace(block, before, new_size, level);
    }
    const result<taken> moved = source_.move(base, now,
                                             {.size = after,
                                              .room = with_room(after),
                                              .tag = tag_for(d.unit),
                                              .executable = options_.executable,
                                              .level = level});
    if (!moved) {
        settle(before);
        return moved.error().code == errc::out_of_address_space
                   ? replace(block, before, new_size, level)
                   : result<address>(moved.error());
    }
    d.hint.store(0, std::memory_order_relaxed);
    d.base.store(moved->begin, std::memory_order_release);
    settle(after);
    return moved->pages;
}

} // namespace memreeve::heap
