// SPDX-License-Identifier: MIT
#include "heap/heap.hpp"

#include <new>

namespace memreeve::heap {
namespace {

constinit std::atomic<std::uint32_t> last_number{0};

constexpr std::uint32_t records_tag = ~0u;   // low half of the tag of memory without blocks
constexpr std::uint32_t origin_blocks = 512; // a debug slab keeps a word for each block

constexpr byte_count own_bytes(std::size_t object) noexcept {
    return round_up(object, unit_size) + first_chunk_units * unit_size;
}

// 1 | name (unit + 1, 31 bits) | line; 0 means that the block was not made by allocate_debug.
constexpr std::uint64_t origin_word(std::uint32_t name, int line) noexcept {
    return std::uint64_t{1} << 63 | std::uint64_t{name} << 32 | static_cast<std::uint32_t>(line);
}

} // namespace

result<heap*> heap::create(page_source& source, options o) noexcept {
    // Start-up work of a runtime: without a heap it cannot begin, hence the highest level.
    const std::uint32_t number = last_number.fetch_add(1, std::memory_order_relaxed) + 1;
    const std::uint64_t tag = std::uint64_t{number} << 32 | records_tag;
    const byte_count bytes = round_up(own_bytes(sizeof(heap)), page_size);
    const result<taken> got =
        source.take({.size = bytes, .tag = tag, .level = criticality::process});
    if (!got) {
        return got.error();
    }
    auto* made = ::new (reinterpret_cast<void*>(got->begin)) heap(source, o, number);
    made->records_.start(source, tag,
                         reinterpret_cast<void*>(got->begin + round_up(sizeof(heap), unit_size)));
    return made;
}

void heap::destroy() noexcept {
    for (std::uint32_t i = all_.load(std::memory_order_acquire); i != 0;) {
        auto* d = static_cast<descriptor*>(records_.at(i - 1));
        if (const address base = d->base.exchange(0, std::memory_order_acq_rel); base != 0) {
            source_.give_back(base);
        }
        i = d->next_of_all;
    }
    records_.give_back();
    page_source& source = source_;
    source.give_back(reinterpret_cast<address>(this));
}

result<address> heap::allocate(byte_count size, criticality level) noexcept {
    return size <= largest_small ? allocate_small(class_of(size), level, 0)
                                 : allocate_large(size, 0, level, 0);
}

result<address> heap::allocate_debug(byte_count size, criticality level, const char* file,
                                     int line) noexcept {
    const result<std::uint32_t> name = names_.keep(records_, file, level);
    if (!name) {
        return name.error();
    }
    const std::uint64_t origin = origin_word(*name, line);
    return size <= largest_small ? allocate_small(class_count + class_of(size), level, origin)
                                 : allocate_large(size, 0, level, origin);
}

result<address> heap::allocate_small(std::uint32_t bin_index, criticality level,
                                     std::uint64_t origin) noexcept {
    bin& b = bins_[bin_index];
    for (;;) {
        descriptor* current = b.current.load(std::memory_order_acquire);
        if (current != nullptr && current->reserve_block()) {
            return hand_out(*current, origin);
        }
        const result<descriptor*> next = next_slab(bin_index, level);
        if (!next) {
            if (b.current.load(std::memory_order_acquire) != current) {
                continue; // another thread found room meanwhile
            }
            return next.error();
        }
        descriptor& d = **next;
        const bool promised = d.reserve_block(); // before others can empty or close it
        if (b.current.compare_exchange_strong(current, &d, std::memory_order_acq_rel)) {
            if (current != nullptr) {
                unlist(*current);
            }
        } else {
            b.partial.push(d);
        }
        if (promised) {
            return hand_out(d, origin);
        }
    }
}

// A slab that is worth trying, taken off the stacks: `listed` stays 1 and the caller is its holder.
result<descriptor*> heap::next_slab(std::uint32_t bin_index, criticality level) noexcept {
    bin& b = bins_[bin_index];
    while (descriptor* d = b.partial.pop(records_)) {
        const std::uint32_t u = d->used.load(std::memory_order_acquire);
        if ((u & descriptor::unbacked) != 0) {
            b.unbacked.push(*d);
        } else if ((u & descriptor::closed) != 0) {
            unlist(*d);
        } else {
            return d;
        }
    }
    descriptor* d = b.unbacked.pop(records_);
    if (d == nullptr) {
        const bool with_origins = bin_index >= class_count;
        const std::uint32_t size = size_of_class(bin_index % class_count);
        std::uint32_t bytes = slab_bytes(size, b.slabs.load(std::memory_order_relaxed));
        if (with_origins && bytes / size > origin_blocks) {
            bytes = static_cast<std::uint32_t>(round_up(origin_blocks * size, page_size));
        }
        const result<descriptor*> made =
            new_descriptor(bin_index, size, bytes, with_origins, level);
        if (!made) {
            return made.error();
        }
        d = *made;
        b.slabs.fetch_add(1, std::memory_order_relaxed);
    }
    if (const result<void> backed = back(*d, d->bytes.load(std::memory_order_relaxed), 0, level);
        !backed) {
        b.unbacked.push(*d);
        return backed.error();
    }
    return d;
}

result<descriptor*> heap::new_descriptor(std::uint32_t bin_index, std::uint32_t block_size,
                                         std::uint32_t bytes, bool with_origins,
                                         criticality level) noexcept {
    const bool large = block_size == 0;
    const std::uint32_t blocks = large ? 1 : bytes / block_size;
    const std::uint32_t capped = with_origins && blocks > origin_blocks ? origin_blocks : blocks;
    const std::uint32_t units = large ? 1 : descriptor::units_for(capped, with_origins);
    const result<std::uint32_t> unit = records_.append(units, level);
    if (!unit) {
        return unit.error();
    }
    auto* d = ::new (records_.at(*unit)) descriptor;
    d->unit = *unit;
    d->bin = bin_index;
    d->capacity = capped;
    d->block_size = block_size;
    d->has_origins = with_origins ? 1 : 0;
    d->bytes.store(bytes, std::memory_order_relaxed);
    if (!large && capped % 64 != 0) {
        // No block: set for ever, so that looking for a clear bit never finds them.
        d->bits()[d->words() - 1].store(~std::uint64_t{0} << (capped % 64),
                                        std::memory_order_relaxed);
    }
    std::uint32_t first = all_.load(std::memory_order_relaxed);
    do {
        d->next_of_all = first;
    } while (!all_.compare_exchange_weak(first, *unit + 1, std::memory_order_acq_rel,
                                         std::memory_order_relaxed));
    return d;
}

// Pages for a descriptor in our hands that has none. `alignment` is that of a large block; a slab's is
// its range's.
result<void> heap::back(descriptor& d, byte_count bytes, byte_count alignment,
                        criticality level) noexcept {
    const result<taken> got =
        source_.take({.size = bytes,
                      .alignment = alignment > granule_size ? alignment : granule_size,
                      .tag = tag_for(d.unit),
                      .executable = options_.executable,
                      .level = level});
    if (!got) {
        return got.error();
    }
    slab_pages_.fetch_add(pages_of(bytes), std::memory_order_relaxed);
    d.bytes.store(bytes, std::memory_order_relaxed);
    d.hint.store(static_cast<std::uint32_t>(pages_of(got->pages - got->begin)),
                 std::memory_order_relaxed);
    d.base.store(got->begin, std::memory_order_release);
    d.used.store(0, std::memory_order_release);
    return {};
}

address heap::hand_out(descriptor& d, std::uint64_t origin) noexcept {
    const std::uint32_t block = d.claim_reserved_block();
    if (d.has_origins != 0) {
        d.origins()[block].store(origin, std::memory_order_relaxed);
    }
    return d.base.load(std::memory_order_acquire) + address{block} * d.block_size;
}

heap::found heap::find(address block) noexcept {
    address begin = 0;
    const std::uint64_t tag = source_.tag_of(block, &begin);
    const auto unit = static_cast<std::uint32_t>(tag);
    if (tag >> 32 != number_ || unit == records_tag || !records_.holds(unit)) {
        return {};
    }
    auto* d = static_cast<descriptor*>(records_.at(unit));
    if (d->base.load(std::memory_order_acquire) != begin) {
        return {}; // given back, or used again elsewhere, between the two looks
    }
    const byte_count offset = block - begin;
    if (d->block_size == 0) {
        return block == d->large_block() ? found{d, 0} : found{};
    }
    if (offset % d->block_size != 0 || offset / d->block_size >= d->capacity) {
        return {};
    }
    return {d, static_cast<std::uint32_t>(offset / d->block_size)};
}

result<void> heap::free(address block) noexcept {
    if (block == 0) {
        return {};
    }
    const found f = find(block);
    if (f.slab == nullptr) {
        return errc::not_ours;
    }
    descriptor& d = *f.slab;
    if (d.block_size == 0) {
        std::uint32_t live = 1;
        if (!d.used.compare_exchange_strong(live, descriptor::closed, std::memory_order_acq_rel)) {
            return errc::not_ours;
        }
        release_pages(d);
        unbacked_large_.push(d);
        return {};
    }
    const std::uint64_t bit = std::uint64_t{1} << (f.block % 64);
    const std::uint64_t before = d.bits()[f.block / 64].fetch_and(~bit, std::memory_order_acq_rel);
    if ((before & bit) == 0) {
        return errc::not_ours;
    }
    const std::uint32_t left = d.used.fetch_sub(1, std::memory_order_seq_cst) - 1;
    if (left == 0) {
        close_if_empty(d);
    }
    list_again(d);
    return {};
}

// The current slab of a bin stays although empty: a program that allocates and frees one block at
// the edge of a slab must not pay for pages each time. Any other empty slab goes back at once.
void heap::close_if_empty(descriptor& d) noexcept {
    if (bins_[d.bin].current.load(std::memory_order_acquire) == &d) {
        return;
    }
    std::uint32_t empty = 0;
    if (d.used.compare_exchange_strong(empty, descriptor::closed, std::memory_order_seq_cst)) {
        release_pages(d);
    }
}

// Precondition: closed by the caller. The descriptor may be backed again afterwards.
void heap::release_pages(descriptor& d) noexcept {
    const address base = d.base.exchange(0, std::memory_order_acq_rel);
    slab_pages_.fetch_sub(pages_of(d.bytes.load(std::memory_order_relaxed)),
                          std::memory_order_relaxed);
    source_.give_back(base);
    d.used.store(descriptor::closed | descriptor::unbacked, std::memory_order_seq_cst);
}

void heap::list_again(descriptor& d) noexcept {
    std::uint32_t unlisted = 0;
    if (d.listed.load(std::memory_order_seq_cst) != 0) {
        return;
    }
    const std::uint32_t u = d.used.load(std::memory_order_seq_cst);
    if (!d.is_worth_listing(u) ||
        !d.listed.compare_exchange_strong(unlisted, 1, std::memory_order_seq_cst)) {
        return;
    }
    bin& b = bins_[d.bin];
    if ((u & descriptor::unbacked) != 0) {
        b.unbacked.push(d);
    } else {
        b.partial.push(d);
    }
}

void heap::unlist(descriptor& d) noexcept {
    d.listed.store(0, std::memory_order_seq_cst);
    list_again(d);
}

bool heap::owns(address where) noexcept {
    address begin = 0;
    return source_.tag_of(where, &begin) >> 32 == number_;
}

byte_count heap::size_of(address block) noexcept {
    const found f = find(block);
    return f.slab == nullptr ? 0 : usable_of(f);
}

byte_count heap::usable_of(const found& f) noexcept {
    descriptor& d = *f.slab;
    if (d.block_size == 0) {
        return d.is_large_live() ? d.bytes.load(std::memory_order_relaxed) : 0;
    }
    const std::uint64_t word = d.bits()[f.block / 64].load(std::memory_order_acquire);
    return (word >> (f.block % 64) & 1) != 0 ? d.block_size : 0;
}

bool heap::origin_of(address block, const char** file, int* line) noexcept {
    const found f = find(block);
    if (f.slab == nullptr || f.slab->has_origins == 0 || size_of(block) == 0) {
        return false;
    }
    const std::uint64_t origin = f.slab->block_size == 0
                                     ? f.slab->origin.load(std::memory_order_relaxed)
                                     : f.slab->origins()[f.block].load(std::memory_order_relaxed);
    *file = names::text(records_, static_cast<std::uint32_t>(origin >> 32) & ~(1u << 31));
    *line = static_cast<int>(static_cast<std::uint32_t>(origin));
    return true;
}

byte_count heap::trim() noexcept {
    const page_count before = slab_pages_.load(std::memory_order_relaxed);
    for (bin& b : bins_) {
        if (descriptor* d = b.current.exchange(nullptr, std::memory_order_acq_rel); d != nullptr) {
            close_if_empty(*d);
            unlist(*d);
        }
    }
    const page_count after = slab_pages_.load(std::memory_order_relaxed);
    return after < before ? bytes_of(before - after) : 0;
}

heap_stats heap::stats() noexcept {
    heap_stats s;
    s.pages_held = pages_of(round_up(own_bytes(sizeof(heap)), page_size)) + records_.pages() +
                   slab_pages_.load(std::memory_order_relaxed);
    for (std::uint32_t i = all_.load(std::memory_order_acquire); i != 0;) {
        auto* d = static_cast<descriptor*>(records_.at(i - 1));
        i = d->next_of_all;
        if (d->block_size == 0) {
            if (d->is_large_live()) {
                ++s.live_blocks;
                s.live_bytes += d->bytes.load(std::memory_order_relaxed);
            }
            continue;
        }
        std::uint64_t live = 0;
        for (std::uint32_t w = 0; w < d->words(); ++w) {
            live += static_cast<std::uint64_t>(
                std::popcount(d->bits()[w].load(std::memory_order_relaxed)));
        }
        live -= d->words() * 64 - d->capacity; // the bits that are no block
        s.live_blocks += live;
        s.live_bytes += live * d->block_size;
    }
    return s;
}

} // namespace memreeve::heap
