// SPDX-License-Identifier: MIT
// heap: the caches of threads, and what passes through them when the quick way does not.
#include "heap/heap.hpp"

#include <new>

namespace memreeve::heap {

constinit thread_local cache_slot cache_slots[cache_slot_count]
    __attribute__((tls_model("initial-exec"))) = {};

constinit magazine no_magazine{};

namespace {

// Who this thread is, once it has been asked; a new thread begins with 0.
constinit thread_local std::uint64_t own_thread __attribute__((tls_model("initial-exec"))) = 0;

// Asking the system about a thread costs a system call; this many for a thread that begins.
constexpr std::uint32_t looks = 8;

address self() noexcept { return reinterpret_cast<address>(__builtin_thread_pointer()); }

} // namespace

// ---- whose ----------------------------------------------------------------------------------------

// This thread's cache; null when there is no memory for one.
cache* heap::find_cache() noexcept {
    if (cache* const c = own_cache(); c != nullptr) {
        return c;
    }
    if (own_thread == 0) {
        own_thread = source_.this_thread();
        if (own_thread == 0) {
            return nullptr;
        }
    }
    cache* c = claimed_cache();
    if (c == nullptr) {
        c = make_cache();
    }
    if (c != nullptr) {
        if (c->counts.allocations == nullptr) {
            c->counts = source_.take_tally(true);
        }
        cache_slots[number_ % cache_slot_count] = {number_, c};
    }
    return c;
}

// The one this thread has already, or one whose thread has ended.
cache* heap::claimed_cache() noexcept {
    const std::uint32_t count = cache_count_.load(std::memory_order_relaxed);
    const address me = self();
    for (std::uint32_t i = caches_.load(std::memory_order_acquire); i != 0;) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        if (c->pointer.load(std::memory_order_relaxed) == me &&
            ((c->thread.load(std::memory_order_relaxed) & cache::thread_mask) == own_thread ||
             claim_left(*c))) {
            return c;
        }
        i = c->next_of_all;
    }
    const std::uint32_t from =
        count != 0 ? next_look_.fetch_add(looks, std::memory_order_relaxed) % count : 0;
    std::uint32_t at = 0;
    for (std::uint32_t i = caches_.load(std::memory_order_acquire); i != 0; ++at) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        const bool is_free = (c->thread.load(std::memory_order_relaxed) & cache::thread_mask) == 0;
        if ((is_free || at - from < looks) && claim_left(*c)) {
            c->pointer.store(me, std::memory_order_relaxed);
            return c;
        }
        i = c->next_of_all;
    }
    return nullptr;
}

// Claims a cache that nobody has any more.
bool heap::claim_left(cache& c) noexcept {
    const std::uint64_t seen = c.thread.load(std::memory_order_acquire);
    const std::uint64_t by = seen & cache::thread_mask;
    if ((by != 0 && !source_.is_gone(by)) || !c.claim(seen, own_thread)) {
        return false;
    }
    if (c.inside.load(std::memory_order_acquire) != 0) {
        forget(c);
    }
    return true;
}

cache* heap::make_cache() noexcept {
    constexpr auto units = static_cast<std::uint32_t>(sizeof(cache) / unit_size);
    const result<std::uint32_t> unit = records_.append(units, criticality::task);
    if (!unit) {
        return nullptr;
    }
    auto* const c = ::new (records_.at(*unit)) cache;
    c->thread.store(own_thread, std::memory_order_relaxed);
    c->pointer.store(self(), std::memory_order_relaxed);
    std::uint32_t first = caches_.load(std::memory_order_relaxed);
    do {
        c->next_of_all = first;
    } while (!caches_.compare_exchange_weak(first, *unit + 1, std::memory_order_acq_rel,
                                            std::memory_order_relaxed));
    cache_count_.fetch_add(1, std::memory_order_relaxed);
    return c;
}

// What is in it is not to be trusted: its thread ended, or was left behind by fork, inside. The blocks
// stay taken.
void heap::forget(cache& c) noexcept {
    for (std::uint32_t i = 0; i < bin_count; ++i) {
        if (magazine* const one = c.magazine_of(i); one != nullptr) {
            one->count.store(0, std::memory_order_relaxed);
            one->home.store(nullptr, std::memory_order_relaxed);
        }
    }
    forget_debug(c);
    c.inside.store(0, std::memory_order_release);
}

void heap::settle_after_fork() noexcept {
    const std::uint64_t before = own_thread;
    own_thread = source_.this_thread();
    shared_counts_ = source_.take_tally(false);
    for (std::uint32_t i = caches_.load(std::memory_order_relaxed); i != 0;) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        i = c->next_of_all;
        c->counts = {};
        if (before != 0 &&
            (c->thread.load(std::memory_order_relaxed) & cache::thread_mask) == before) {
            c->thread.store(own_thread, std::memory_order_relaxed);
            c->counts = source_.take_tally(true);
            continue;
        }
        forget(*c);
        c->thread.store(0, std::memory_order_relaxed);
    }
}

// ---- requests ---------------------------------------------------------------------------------------

// A refusal is final only when nothing is left to give back.
result<address> heap::allocate_small(std::uint32_t bin_index, criticality level) noexcept {
    const result<address> got = allocate_small_once(bin_index, level);
    if (!got && got.error().code == errc::over_budget && trim() != 0) {
        return allocate_small_once(bin_index, level);
    }
    return got;
}

result<address> heap::allocate_small_once(std::uint32_t bin_index, criticality level) noexcept {
    cache* const c = find_cache();
    if (c == nullptr || !c->enter()) {
        shared_counts_.count_allocation();
        return allocate_from_slab(bin_index, level);
    }
    c->counts.count_allocation();
    magazine* m = magazine_for(*c, bin_index, level);
    if (m == nullptr) {
        c->leave();
        return allocate_from_slab(bin_index, level);
    }
    if (m->count.load(std::memory_order_relaxed) == 0) {
        m = m->note_use() ? enlarged(*c, bin_index, *m, level) : m;
        if (const result<void> filled = fill(*m, bin_index, level); !filled) {
            c->leave();
            return filled.error();
        }
    }
    block_state* state = nullptr;
    const address block = m->pop(state);
    c->leave();
    return block;
}

result<void> heap::free_otherwise(address block) noexcept {
    cache* const c = find_cache();
    const bool is_in = c != nullptr && c->enter();
    (is_in ? c->counts : shared_counts_).count_free();
    const auto leave = [&](result<void> r) {
        if (is_in) {
            c->leave();
        }
        return r;
    };
    if (block == 0) {
        return leave({});
    }
    const found f = find(block);
    if (f.slab == nullptr) {
        return leave(errc::not_ours);
    }
    descriptor& d = *f.slab;
    if (d.block_size == 0) {
        return leave(free_large(d));
    }
    if (d.has_origins()) {
        return leave(free_debug(d, f.block, is_in ? c : nullptr));
    }
    block_state& state = d.state_of(f.block);
    if (!end_life(state)) {
        return leave(errc::not_ours);
    }
    magazine* m = is_in ? magazine_for(*c, d.bin, criticality::process) : nullptr;
    if (m == nullptr) {
        return_blocks(d, f.block / 64, std::uint64_t{1} << (f.block % 64));
        return leave({});
    }
    if (m->count.load(std::memory_order_relaxed) == m->capacity && m->note_use()) {
        m = enlarged(*c, d.bin, *m, criticality::process);
    }
    if (m->count.load(std::memory_order_relaxed) == m->capacity) {
        empty(*m, (m->capacity + 1) / 2);
    }
    m->push(block, state);
    return leave({});
}

// ---- magazines --------------------------------------------------------------------------------------

magazine* heap::magazine_for(cache& c, std::uint32_t bin_index, criticality level) noexcept {
    magazine* m = c.magazine_of(bin_index);
    if (m == nullptr) {
        const std::uint32_t full = magazine::capacity_for(size_of_class(bin_index % class_count));
        m = new_magazine(full < magazine::first_capacity ? full : magazine::first_capacity, level);
        if (m != nullptr) {
            c.magazines[bin_index].store(m, std::memory_order_relaxed);
        }
    }
    return m;
}

magazine* heap::new_magazine(std::uint32_t capacity, criticality level) noexcept {
    const result<std::uint32_t> unit = records_.append(magazine::units_for(capacity), level);
    if (!unit) {
        return nullptr;
    }
    auto* const m = ::new (records_.at(*unit)) magazine;
    m->capacity = capacity;
    return m;
}

// The magazine of a bin that has turned out to be busy. The small one is left behind, once for each
// bin of each cache.
magazine* heap::enlarged(cache& c, std::uint32_t bin_index, magazine& m,
                         criticality level) noexcept {
    const std::uint32_t full = magazine::capacity_for(size_of_class(bin_index % class_count));
    magazine* const large = m.capacity < full ? new_magazine(full, level) : nullptr;
    if (large == nullptr) {
        return &m;
    }
    large->fills = m.fills;
    for (std::uint32_t i = 0; i < m.count.load(std::memory_order_relaxed); ++i) {
        large->push(m.entries()[i].block.load(std::memory_order_relaxed),
                    *m.entries()[i].state.load(std::memory_order_relaxed));
    }
    c.magazines[bin_index].store(large, std::memory_order_relaxed);
    return large;
}

result<descriptor*> heap::reserve_own(magazine& m, std::uint32_t bin_index, std::uint32_t& promised,
                                      criticality level) noexcept {
    descriptor* d = m.home.load(std::memory_order_relaxed);
    while (d == nullptr || (promised = d->reserve_blocks(m.portion())) == 0) {
        if (d != nullptr) {
            m.home.store(nullptr, std::memory_order_relaxed);
            let_go(*d);
        }
        const result<descriptor*> next = next_slab(bin_index, level);
        if (!next) {
            return next;
        }
        d = *next;
        d->held.store(1, std::memory_order_seq_cst);
        m.home.store(d, std::memory_order_relaxed);
    }
    return d;
}

// Precondition: empty, and the caller is inside. At least one block, or the error of whoever refused.
result<void> heap::fill(magazine& m, std::uint32_t bin_index, criticality level) noexcept {
    std::uint32_t promised = 0;
    const result<descriptor*> from = m.is_busy()
                                         ? reserve_own(m, bin_index, promised, level)
                                         : reserve_shared(bin_index, m.portion(), promised, level);
    if (!from) {
        return from.error();
    }
    descriptor* const d = *from;
    const address base = d->base.load(std::memory_order_acquire);
    while (promised != 0) {
        std::uint32_t word = 0;
        std::uint64_t blocks = d->claim_reserved(promised, word);
        promised -= static_cast<std::uint32_t>(std::popcount(blocks));
        while (blocks != 0) { // the lowest is handed out first
            const auto bit = 63 - static_cast<std::uint32_t>(std::countl_zero(blocks));
            blocks ^= std::uint64_t{1} << bit;
            const std::uint32_t block = word * 64 + bit;
            m.push(base + address{block} * d->block_size, d->state_of(block));
        }
    }
    return {};
}

// Gives the oldest `blocks` back to their slabs.
void heap::empty(magazine& m, std::uint32_t blocks) noexcept {
    const std::uint32_t count = m.count.load(std::memory_order_relaxed);
    descriptor* slab = nullptr;
    std::uint32_t word = 0;
    std::uint64_t bits = 0;
    for (std::uint32_t i = 0; i < blocks; ++i) {
        const found f = find(m.entries()[i].block.load(std::memory_order_relaxed));
        if (bits != 0 && (f.slab != slab || f.block / 64 != word)) {
            return_blocks(*slab, word, bits);
            bits = 0;
        }
        slab = f.slab;
        word = f.block / 64;
        bits |= std::uint64_t{1} << (f.block % 64);
    }
    if (bits != 0) {
        return_blocks(*slab, word, bits);
    }
    for (std::uint32_t i = blocks; i < count; ++i) {
        const magazine::entry& e = m.entries()[i];
        m.entries()[i - blocks].block.store(e.block.load(std::memory_order_relaxed),
                                            std::memory_order_relaxed);
        m.entries()[i - blocks].state.store(e.state.load(std::memory_order_relaxed),
                                            std::memory_order_relaxed);
    }
    m.count.store(count - blocks, std::memory_order_relaxed);
}

void heap::empty(cache& c) noexcept {
    empty_debug(c);
    for (std::uint32_t i = 0; i < bin_count; ++i) {
        magazine* const m = c.magazine_of(i);
        if (m == nullptr) {
            continue;
        }
        empty(*m, m->count.load(std::memory_order_relaxed));
        if (descriptor* const d = m->home.exchange(nullptr, std::memory_order_relaxed);
            d != nullptr) {
            let_go(*d);
        }
    }
}

byte_count heap::trim() noexcept {
    const byte_count kept = source_.trim(); // and, below, what we give back now
    const page_count before = slab_pages_.load(std::memory_order_relaxed);
    // A cache is not made for this: its pages might be refused, and whoever refuses asks for a trim.
    if (cache* const c = own_cache(); c != nullptr && c->enter()) {
        empty(*c);
        c->leave();
    }
    for (std::uint32_t i = caches_.load(std::memory_order_acquire); i != 0;) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        i = c->next_of_all;
        const std::uint64_t by = c->thread.load(std::memory_order_relaxed) & cache::thread_mask;
        if (by != 0 && by != own_thread && claim_left(*c)) {
            empty(*c);
            c->set_free();
        }
    }
    for (bin& b : bins_) {
        if (descriptor* d = b.current.exchange(nullptr, std::memory_order_acq_rel); d != nullptr) {
            let_go(*d);
        }
    }
    const page_count after = slab_pages_.load(std::memory_order_relaxed);
    static_cast<void>(source_.trim());
    return kept + (after < before ? bytes_of(before - after) : 0);
}

} // namespace memreeve::heap
