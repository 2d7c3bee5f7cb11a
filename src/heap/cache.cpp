// SPDX-License-Identifier: MIT
// heap: the caches of threads, and what passes through them when the quick way does not.
#include "heap/heap.hpp"

#include <new>

namespace memreeve::heap {

constinit thread_local cache_slot cache_slots[cache_slot_count]
    __attribute__((tls_model("initial-exec"))) = {{cache_slot::nobodys, nullptr},
                                                  {cache_slot::nobodys, nullptr},
                                                  {cache_slot::nobodys, nullptr},
                                                  {cache_slot::nobodys, nullptr}};
static_assert(cache_slot_count == 4);

namespace {

// Who this thread is, once it has been asked; a new thread begins with 0.
constinit thread_local std::uint64_t own_thread __attribute__((tls_model("initial-exec"))) = 0;

// Asking the system about a thread costs a system call; this many for a thread that begins.
constexpr std::uint32_t looks = 8;

address self() noexcept { return reinterpret_cast<address>(__builtin_thread_pointer()); }

} // namespace

cache::cache() noexcept {
    nothing[0].state.set(&empty_state);
    for (private_word<kept_block*>& top : tops) {
        top.set(nothing);
    }
    for (std::size_t i = 0; i < sizeof(states); ++i) {
        states[i] = live_state(class_of(i * block_alignment));
    }
    for (private_word<const granules*>& root : roots) {
        root.set(&no_granules);
    }
}

// ---- whose ----------------------------------------------------------------------------------------

// This thread is in its cache when it is not null; leave_cache() ends that. Null in a signal handler
// that came while it was in there, and when there is no memory for one.
cache* heap::enter_cache() noexcept {
    cache* c = nullptr;
    if (door_.enter()) {
        c = &door_.inner();
    } else {
        cache_slot& s = door_.slot();
        // More than any key: a thread in one heap asks at the door of another, and was interrupted there.
        if (s.key == 0 || s.key > cache_slot::largest_key) {
            return nullptr;
        }
        s.key = 0;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        c = find_cache();
        if (c == nullptr) {
            s.key = cache_slot::nobodys;
            return nullptr;
        }
        s.mine = c;
    }
    c->inside.store(1, std::memory_order_relaxed);
    return c;
}

void heap::leave_cache(cache& c) noexcept {
    c.inside.store(0, std::memory_order_release);
    door_.leave();
}

cache* heap::find_cache() noexcept {
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
    if (c != nullptr && c->counts.allocations == nullptr) {
        c->counts = source_.take_tally(true);
    }
    return c;
}

// The one this thread has already, or one whose thread has ended.
cache* heap::claimed_cache() noexcept {
    const std::uint32_t count = cache_count_.load(std::memory_order_relaxed);
    const address me = self();
    for (std::uint32_t i = caches_.load(std::memory_order_acquire); i != 0;) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        const std::uint64_t by = c->thread.load(std::memory_order_relaxed) & cache::thread_mask;
        // One of ours that somebody is inside of is being emptied by trim(), below a signal handler.
        if (c->pointer.load(std::memory_order_relaxed) == me &&
            (by == own_thread ? c->inside.load(std::memory_order_relaxed) == 0 : claim_left(*c))) {
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
    } else {
        put_in_order(c);
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

// Its thread ended on the quick way: the block it had in hand stays taken.
void heap::put_in_order(cache& c) noexcept {
    c.empty_state.store(cache::looks_live, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < class_count; ++i) {
        magazine* const m = c.magazine_of(i);
        kept_block* const floor = m != nullptr ? m->floor() : c.nothing;
        if (c.top_of_bin(i).get() < floor) {
            c.top_of_bin(i).set(floor);
        }
    }
}

// What is in it is not to be trusted: its thread ended, or was left behind by fork, inside. The blocks
// stay taken.
void heap::forget(cache& c) noexcept {
    put_in_order(c);
    for (std::uint32_t i = 0; i < class_count; ++i) {
        if (magazine* const m = c.magazine_of(i); m != nullptr) {
            c.count_known(i);
            c.top_of_bin(i).set(m->floor());
            m->known = 0;
            m->home.store(nullptr, std::memory_order_relaxed);
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
        const auto begin_anew = [c] { // what it asked before is the parent's to count
            c->told_frees.store(c->quick_frees.get(), std::memory_order_relaxed);
            c->told_allocations.store(c->quick_allocations(), std::memory_order_relaxed);
        };
        if (before != 0 &&
            (c->thread.load(std::memory_order_relaxed) & cache::thread_mask) == before) {
            c->thread.store(own_thread, std::memory_order_relaxed);
            c->counts = source_.take_tally(true);
            begin_anew();
            continue;
        }
        forget(*c);
        begin_anew();
        c->thread.store(0, std::memory_order_relaxed);
    }
}

// ---- requests ---------------------------------------------------------------------------------------

// A refusal is final only when nothing is left to give back.
result<address> heap::allocate_small(std::uint32_t bin_index, criticality level) noexcept {
    result<address> got = allocate_small_once(bin_index, level);
    if (!got && got.error().code == errc::over_budget && trim() != 0) {
        got = allocate_small_once(bin_index, level);
    }
    if (got) {
        open_to_use(*got, size_of_class(bin_index));
    }
    return got;
}

result<address> heap::allocate_small_once(std::uint32_t bin_index, criticality level) noexcept {
    cache* const c = enter_cache();
    (c != nullptr ? c->counts : shared_counts_).count_allocation();
    if (c == nullptr) {
        return allocate_from_slab(bin_index, level);
    }
    if (magazine_for(*c, bin_index, level) == nullptr) {
        leave_cache(*c);
        return allocate_from_slab(bin_index, level);
    }
    c->count_known(bin_index);
    address block = pop(*c, bin_index);
    while (block == 0) {
        if (c->magazine_of(bin_index)->note_use()) {
            enlarge(*c, bin_index, level);
        }
        if (const result<void> filled = fill(*c, bin_index, level); !filled) {
            c->know(bin_index);
            leave_cache(*c);
            return filled.error();
        }
        block = pop(*c, bin_index);
    }
    c->know(bin_index);
    tell_requests_at_times(*c);
    leave_cache(*c);
    return block;
}

result<void> heap::free_otherwise(address block) noexcept {
    cache* const c = enter_cache();
    (c != nullptr ? c->counts : shared_counts_).count_free();
    const auto leave = [&](result<void> r) {
        if (c != nullptr) {
            leave_cache(*c);
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
        return leave(free_large(d, block));
    }
    if (d.has_origins()) {
        return leave(free_debug(d, f.block, block, c));
    }
    block_state& state = d.state_of(f.block);
    std::uint8_t live = live_state(d.bin);
    if (!state.compare_exchange_strong(live, MEMREEVE_HEAP_CHECKS ? 0 : live,
                                       std::memory_order_acq_rel)) {
        return leave(errc::not_ours);
    }
    // Held now, and so is its slab; before, the slab may have gone and come back elsewhere.
    if (d.base.load(std::memory_order_acquire) + address{f.block} * d.block_size != block) {
        state.store(live_state(d.bin), std::memory_order_release);
        return leave(errc::not_ours);
    }
    close_to_use(block, d.block_size);
    if (c == nullptr || magazine_for(*c, d.bin, criticality::process) == nullptr) {
        return_blocks(d, f.block / 64, std::uint64_t{1} << (f.block % 64));
        return leave({});
    }
    const std::uint32_t root = directory::root_of(block);
    c->roots[root].set(directory_.granules_at(root));
    c->count_known(d.bin);
    if (c->is_full(d.bin) && c->magazine_of(d.bin)->note_use()) {
        enlarge(*c, d.bin, criticality::process);
    }
    if (c->is_full(d.bin)) {
        empty(*c, d.bin, (c->magazine_of(d.bin)->capacity + 1) / 2);
    }
    if (!MEMREEVE_HEAP_CHECKS) {
        state.store(live, std::memory_order_relaxed); // the quick way changes no states then
    }
    c->push(d.bin, block, state);
    c->know(d.bin);
    tell_requests_at_times(*c);
    return leave({});
}

// ---- figures ----------------------------------------------------------------------------------------

// Whoever changes what was told tells the difference: the cache's own thread, or another one that wants
// it now. That one may read figures which do not belong together; what it tells too much, or too little
// (modulo 2^64), the next one takes back.
void heap::tell_requests(cache& c, const tally& to) noexcept {
    const auto change = [](std::atomic<std::uint64_t>& told, std::uint64_t now) {
        return now - told.exchange(now, std::memory_order_relaxed);
    };
    to.count_allocations(change(c.told_allocations, c.quick_allocations()));
    to.count_frees(change(c.told_frees, c.quick_frees.get()));
}

void heap::tell_requests_at_times(cache& c) noexcept {
    constexpr std::uint32_t seldom = 64;
    if (++c.visits % seldom == 0) {
        tell_requests(c, c.counts);
    }
}

void heap::tell_requests() noexcept {
    for (std::uint32_t i = caches_.load(std::memory_order_acquire); i != 0;) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        i = c->next_of_all;
        tell_requests(*c, shared_counts_);
    }
}

// ---- magazines --------------------------------------------------------------------------------------

magazine* heap::magazine_for(cache& c, std::uint32_t bin_index, criticality level) noexcept {
    magazine* m = c.magazine_of(bin_index);
    if (m == nullptr) {
        const std::uint32_t full = magazine::capacity_for(size_of_class(bin_index));
        m = new_magazine(c, full < magazine::first_capacity ? full : magazine::first_capacity,
                         level);
        if (m != nullptr) {
            c.magazines[bin_index].store(m, std::memory_order_relaxed);
            c.top_of_bin(bin_index).set(m->floor());
        }
    }
    return m;
}

magazine* heap::new_magazine(cache& c, std::uint32_t capacity, criticality level) noexcept {
    const result<std::uint32_t> unit = records_.append(magazine::units_for(capacity), level);
    if (!unit) {
        return nullptr;
    }
    auto* const m = ::new (records_.at(*unit)) magazine;
    m->capacity = capacity;
    for (std::uint32_t i = 0; i <= capacity; ++i) {
        m->floor()[i].state.set(&c.empty_state);
    }
    return m;
}

// The magazine of a bin that has turned out to be busy. The small one is left behind, once for each
// bin of each cache.
void heap::enlarge(cache& c, std::uint32_t bin_index, criticality level) noexcept {
    magazine& m = *c.magazine_of(bin_index);
    const std::uint32_t full = magazine::capacity_for(size_of_class(bin_index));
    magazine* const large = m.capacity < full ? new_magazine(c, full, level) : nullptr;
    if (large == nullptr) {
        return;
    }
    large->fills = m.fills;
    large->known = m.known;
    const std::uint32_t count = c.count_of(bin_index);
    for (std::uint32_t i = 1; i <= count; ++i) {
        large->floor()[i].block.set(m.floor()[i].block.get());
        large->floor()[i].state.set(m.floor()[i].state.get());
    }
    large->home.store(m.home.exchange(nullptr, std::memory_order_relaxed),
                      std::memory_order_relaxed);
    c.magazines[bin_index].store(large, std::memory_order_relaxed);
    c.top_of_bin(bin_index).set(large->floor() + count);
}

// 0 when it is empty. A block that is live was given back by two frees at the same time and has been
// handed out again since: this is the second of them.
address heap::pop(cache& c, std::uint32_t bin_index) noexcept {
    const std::uint8_t live = live_state(bin_index);
    private_word<kept_block*>& top = c.top_of_bin(bin_index);
    while (c.count_of(bin_index) != 0) {
        kept_block* const last = top.get();
        top.set(last - 1);
        block_state& state = *last->state.get();
        if (!MEMREEVE_HEAP_CHECKS || state.load(std::memory_order_relaxed) == 0) {
            state.store(live, std::memory_order_relaxed);
            return last->block.get();
        }
        found_late_.fetch_add(1, std::memory_order_relaxed);
    }
    return 0;
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
result<void> heap::fill(cache& c, std::uint32_t bin_index, criticality level) noexcept {
    magazine& m = *c.magazine_of(bin_index);
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
            if (!MEMREEVE_HEAP_CHECKS) {
                d->state_of(block).store(live_state(bin_index), std::memory_order_relaxed);
            }
            c.push(bin_index, base + address{block} * d->block_size, d->state_of(block));
        }
    }
    return {};
}

// Gives the oldest `blocks` back to their slabs.
void heap::empty(cache& c, std::uint32_t bin_index, std::uint32_t blocks) noexcept {
    kept_block* const first = c.magazine_of(bin_index)->floor() + 1;
    const std::uint32_t count = c.count_of(bin_index);
    descriptor* slab = nullptr;
    std::uint32_t word = 0;
    std::uint64_t bits = 0;
    for (std::uint32_t i = 0; i < blocks; ++i) {
        const found f = find(first[i].block.get());
        if (bits != 0 && (f.slab != slab || f.block / 64 != word)) {
            return_blocks(*slab, word, bits);
            bits = 0;
        }
        // Given back by another free of the same block, and its slab too; or handed out since.
        if (f.slab == nullptr ||
            (MEMREEVE_HEAP_CHECKS && first[i].state.get()->load(std::memory_order_relaxed) != 0)) {
            found_late_.fetch_add(1, std::memory_order_relaxed);
            continue;
        }
        slab = f.slab;
        word = f.block / 64;
        bits |= std::uint64_t{1} << (f.block % 64);
    }
    if (bits != 0) {
        return_blocks(*slab, word, bits);
    }
    for (std::uint32_t i = blocks; i < count; ++i) {
        first[i - blocks].block.set(first[i].block.get());
        first[i - blocks].state.set(first[i].state.get());
    }
    c.top_of_bin(bin_index).set(first - 1 + (count - blocks));
}

void heap::empty(cache& c) noexcept {
    empty_debug(c);
    for (std::uint32_t i = 0; i < class_count; ++i) {
        magazine* const m = c.magazine_of(i);
        if (m == nullptr) {
            continue;
        }
        c.count_known(i);
        empty(c, i, c.count_of(i));
        c.know(i);
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
    if (own_thread == 0) {
        own_thread = source_.this_thread();
    }
    if (door_.enter()) {
        cache* const c = &door_.inner();
        c->inside.store(1, std::memory_order_relaxed);
        empty(*c);
        leave_cache(*c);
    }
    // What is claimed for a while bears this thread's name: a signal handler must not take it for its own.
    cache_slot& slot = door_.slot();
    const std::uint32_t key = slot.key;
    slot.key = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    for (std::uint32_t i = caches_.load(std::memory_order_acquire); i != 0;) {
        auto* const c = static_cast<cache*>(records_.at(i - 1));
        i = c->next_of_all;
        const std::uint64_t by = c->thread.load(std::memory_order_relaxed) & cache::thread_mask;
        if (by != 0 && own_thread != 0 && by != own_thread && claim_left(*c)) {
            c->inside.store(1, std::memory_order_relaxed);
            std::atomic_signal_fence(std::memory_order_seq_cst);
            empty(*c);
            c->inside.store(0, std::memory_order_release);
            c->set_free();
        }
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    slot.key = key;
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
