// SPDX-License-Identifier: MIT
#include "heap/heap.hpp"

#include <new>

namespace memreeve::heap {
namespace {

constinit std::atomic<std::uint32_t> last_number{0};

constexpr std::uint32_t origin_blocks = 448; // a debug slab keeps two words for each block

constexpr byte_count own_bytes(std::size_t object) noexcept {
    return round_up(object, unit_size) + first_chunk_units * unit_size;
}

} // namespace

heap::heap(page_source& source, options o, std::uint32_t number) noexcept
    : source_(source), options_(o), number_(number), door_(number),
      shared_counts_(source.take_tally(false)) {}

std::uint32_t heap::numbers_given() noexcept { return last_number.load(std::memory_order_relaxed); }

result<heap*> heap::create(page_source& source, options o) noexcept {
    // Start-up work of a runtime: without a heap it cannot begin, hence the highest level.
    const std::uint32_t number = last_number.fetch_add(1, std::memory_order_relaxed) + 1;
    const std::uint64_t tag = std::uint64_t{number} << 32 | records_tag;
    const byte_count bytes = round_up(own_bytes(sizeof(heap)), page_size);
    const result<taken> got = source.take(
        {.size = bytes, .guard = records_guard, .tag = tag, .level = criticality::process});
    if (!got) {
        return got.error();
    }
    auto* made = ::new (reinterpret_cast<void*>(got->pages)) heap(source, o, number);
    made->records_.start(source, tag,
                         reinterpret_cast<void*>(got->pages + round_up(sizeof(heap), unit_size)));
    return made;
}

void heap::destroy() noexcept {
    for (std::uint32_t i = all_.load(std::memory_order_acquire); i != 0;) {
        auto* d = static_cast<descriptor*>(records_.at(i - 1));
        if (const address base = d->base.exchange(0, std::memory_order_acq_rel); base != 0) {
            open_to_use(base, d->block_size != 0 ? d->bytes.load(std::memory_order_relaxed) : 0);
            source_.give_back(base);
        }
        i = d->next_of_all;
    }
    for (std::uint32_t i = caches_.load(std::memory_order_acquire); i != 0;) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        tell_requests(*c, shared_counts_);
        if (c->counts.allocations != nullptr) {
            source_.give_back_tally(c->counts);
        }
        i = c->next_of_all;
    }
    source_.give_back_tally(shared_counts_);
    directory_.give_back(source_);
    records_.give_back();
    page_source& source = source_;
    source.give_back(reinterpret_cast<address>(this) - records_guard);
}

// Up to `wanted` blocks for the caller, of the slab that those share who have none of their own.
result<descriptor*> heap::reserve_shared(std::uint32_t bin_index, std::uint32_t wanted,
                                         std::uint32_t& promised, criticality level) noexcept {
    bin& b = bins_[bin_index];
    for (;;) {
        descriptor* current = b.current.load(std::memory_order_acquire);
        if (current != nullptr && (promised = current->reserve_blocks(wanted)) != 0) {
            return current;
        }
        const result<descriptor*> next = next_slab(bin_index, level);
        if (!next) {
            if (b.current.load(std::memory_order_acquire) != current) {
                continue; // another thread found room meanwhile
            }
            return next;
        }
        descriptor& d = **next;
        d.held.store(1, std::memory_order_seq_cst);
        promised = d.reserve_blocks(wanted); // before others can empty or close it
        if (b.current.compare_exchange_strong(current, &d, std::memory_order_acq_rel)) {
            if (current != nullptr) {
                let_go(*current);
            }
        } else {
            let_go(d);
        }
        if (promised != 0) {
            return &d;
        }
    }
}

// Without a cache: one block at a time.
result<address> heap::allocate_from_slab(std::uint32_t bin_index, criticality level) noexcept {
    std::uint32_t promised = 0;
    const result<descriptor*> d = reserve_shared(bin_index, 1, promised, level);
    return d ? result<address>(hand_out(**d)) : d.error();
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
    if (const result<void> backed = back(*d, d->bytes.load(std::memory_order_relaxed), {}, level);
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
    const std::uint32_t units = descriptor::units_for(large ? 0 : capped, block_size, with_origins);
    const result<std::uint32_t> unit = records_.append(units, level);
    if (!unit) {
        return unit.error();
    }
    auto* d = ::new (records_.at(*unit)) descriptor;
    d->unit = *unit;
    d->bin = bin_index;
    d->capacity = capped;
    d->block_size = block_size;
    d->bytes.store(bytes, std::memory_order_relaxed);
    if (!large) {
        d->lay_out();
    }
    std::uint32_t first = all_.load(std::memory_order_relaxed);
    do {
        d->next_of_all = first;
    } while (!all_.compare_exchange_weak(first, *unit + 1, std::memory_order_acq_rel,
                                         std::memory_order_relaxed));
    return d;
}

// Pages for a descriptor in our hands that has none.
result<void> heap::back(descriptor& d, byte_count bytes, form f, criticality level) noexcept {
    const bool large = d.block_size == 0;
    const result<taken> got = source_.take({.size = bytes,
                                            .most = large ? bytes + bytes / 8 : bytes,
                                            .alignment = !large                    ? granule_size
                                                         : f.alignment > page_size ? f.alignment
                                                                                   : page_size,
                                            .tag = tag_for(d.unit),
                                            .executable = options_.executable,
                                            .may_be_used = !f.zeroed,
                                            .beside_others = large || bytes >= granule_size,
                                            .level = level});
    if (!got) {
        return got.error();
    }
    bytes = got->size;
    d.bytes.store(bytes, std::memory_order_relaxed);
    d.hint.store(static_cast<std::uint32_t>(pages_of(got->pages - got->begin)),
                 std::memory_order_relaxed);
    d.base.store(got->begin, std::memory_order_release);
    for (std::uint32_t i = 0; d.has_origins() && i < d.capacity; ++i) {
        d.named(i).origin.store(0, std::memory_order_relaxed); // nobody's yet
    }
    if (!large) { // a large block may share its granule, and is counted by stats()
        slab_pages_.fetch_add(pages_of(bytes), std::memory_order_relaxed);
        directory_.enter(source_, tag_for(records_tag), {got->begin, got->begin + bytes}, d, level);
    }
    d.used.store(0, std::memory_order_release);
    return {};
}

address heap::hand_out(descriptor& d) noexcept {
    std::uint32_t word = 0;
    const std::uint64_t bit = d.claim_reserved(1, word);
    const std::uint32_t block = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bit));
    block_state& state = d.state_of(block);
    state.store(live_state(d.bin), std::memory_order_relaxed);
    return d.base.load(std::memory_order_acquire) + address{block} * d.block_size;
}

heap::found heap::find(address block) noexcept {
    if (const found f = look(block); f.slab != nullptr) {
        return f;
    }
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
    if (d->block_size == 0) {
        return block == d->large_block() ? found{d, 0} : found{};
    }
    std::uint32_t i = 0;
    return d->is_block(block - begin - d->lead(), i) ? found{d, i} : found{};
}

// Blocks that nobody has any more: their bits of bits()[word]. What is clear already was given back by
// another free of the same block.
void heap::return_blocks(descriptor& d, std::uint32_t word, std::uint64_t blocks) noexcept {
    const std::uint64_t before = d.bits()[word].fetch_and(~blocks, std::memory_order_acq_rel);
    const auto n = static_cast<std::uint32_t>(std::popcount(before & blocks));
    if (const std::uint64_t twice = blocks & ~before; twice != 0) [[unlikely]] {
        found_late_.fetch_add(static_cast<std::uint64_t>(std::popcount(twice)),
                              std::memory_order_relaxed);
    }
    if (n != 0 && d.used.fetch_sub(n, std::memory_order_seq_cst) == n) {
        close_if_empty(d);
    }
    list_again(d);
}

// The holder of a slab has no more use for it.
void heap::let_go(descriptor& d) noexcept {
    d.held.store(0, std::memory_order_seq_cst);
    if (d.used.load(std::memory_order_seq_cst) == 0) {
        close_if_empty(d);
    }
    unlist(d);
}

// A slab that is held stays although empty: a program that allocates and frees one block at the edge
// of a slab must not pay for pages each time. Any other empty slab goes back at once.
void heap::close_if_empty(descriptor& d) noexcept {
    if (d.held.load(std::memory_order_seq_cst) != 0) {
        return;
    }
    std::uint32_t none = 0;
    if (d.used.compare_exchange_strong(none, descriptor::closed, std::memory_order_seq_cst)) {
        release_pages(d);
    }
}

// Precondition: closed by the caller. The descriptor may be backed again afterwards.
void heap::release_pages(descriptor& d) noexcept {
    const address base = d.base.load(std::memory_order_relaxed);
    if (d.block_size != 0) {
        directory_.leave({base, base + d.bytes.load(std::memory_order_relaxed)}, d);
        slab_pages_.fetch_sub(pages_of(d.bytes.load(std::memory_order_relaxed)),
                              std::memory_order_relaxed);
    }
    d.base.store(0, std::memory_order_release);
    open_to_use(base, d.block_size != 0 ? d.bytes.load(std::memory_order_relaxed) : 0);
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
        return !d.is_large_live() ? 0
               : d.lead() != 0    ? d.requested.load(std::memory_order_relaxed)
                                  : d.bytes.load(std::memory_order_relaxed);
    }
    if (d.state_of(f.block).load(std::memory_order_acquire) == 0) {
        return 0;
    }
    return d.has_origins() ? d.named(f.block).size.load(std::memory_order_relaxed) : d.block_size;
}

heap_stats heap::stats() noexcept {
    heap_stats s;
    s.pages_held = pages_of(round_up(own_bytes(sizeof(heap)), page_size)) + records_.pages() +
                   directory_.pages() + slab_pages_.load(std::memory_order_relaxed);
    for (std::uint32_t i = all_.load(std::memory_order_acquire); i != 0;) {
        auto* d = static_cast<descriptor*>(records_.at(i - 1));
        i = d->next_of_all;
        if (d->block_size == 0) {
            if (d->is_large_live()) {
                ++s.live_blocks;
                s.live_bytes += usable_of({d, 0});
                s.pages_held += pages_of(d->bytes.load(std::memory_order_relaxed));
            }
            continue;
        }
        std::uint64_t live = 0;
        for (std::uint32_t k = 0; k < d->capacity; ++k) {
            live += d->state_of(k).load(std::memory_order_relaxed) != 0 ? 1u : 0u;
        }
        s.live_blocks += live;
        s.live_bytes += d->has_origins() ? debug_bytes(*d) : live * d->block_size;
    }
    return s;
}

} // namespace memreeve::heap
