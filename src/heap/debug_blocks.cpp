// SPDX-License-Identifier: MIT
// heap: DebugAlloc (D33, decision 17), what is wrong with an address, and what is still live.
#include "heap/debug_blocks.hpp"

#include "heap/heap.hpp"
#include "heap/poison.hpp"

#include <cstring>
#include <new>

namespace memreeve::heap {
namespace {

constinit named_state no_record{}; // of an entry that nobody has pushed to

// The first byte that is not the canary's; 16: all are.
byte_count first_change(const bytes16& found_there, const bytes16& canary_there) noexcept {
    byte_count i = 0;
    const auto* const is = reinterpret_cast<const unsigned char*>(&found_there);
    const auto* const was = reinterpret_cast<const unsigned char*>(&canary_there);
    while (i < sizeof(bytes16) && is[i] == was[i]) {
        ++i;
    }
    return i;
}

} // namespace

// ---- requests ---------------------------------------------------------------------------------------

result<address> heap::allocate_debug_otherwise(byte_count size, criticality level, const char* file,
                                               int line) noexcept {
    size += size == 0;
    const result<std::uint32_t> name = name_of(file, line, level);
    if (!name) {
        return name.error();
    }
    const std::uint64_t origin = origin_word(*name, line);
    if (size > largest_debug) {
        return size > top_address
                   ? result<address>(errc::out_of_address_space)
                   : allocate_large(size + debug_room, {.requested = size}, level, origin);
    }
    const result<address> got = allocate_debug_once(size, level, origin);
    if (!got && got.error().code == errc::over_budget && trim() != 0) {
        return allocate_debug_once(size, level, origin);
    }
    return got;
}

result<address> heap::allocate_debug_once(byte_count size, criticality level,
                                          std::uint64_t origin) noexcept {
    const std::uint32_t class_index = class_of(size + debug_room);
    cache* const c = enter_cache();
    (c != nullptr ? c->counts : shared_counts_).count_allocation();
    debug_magazine* const m = c != nullptr ? debug_magazine_for(*c, class_index, level) : nullptr;
    debug_cache* const own = m != nullptr ? c->debug.load(std::memory_order_relaxed) : nullptr;
    named_state* record = nullptr;
    address block = own != nullptr ? own->pop(class_index, record) : 0;
    if (block == 0) {
        std::uint32_t promised = 0;
        const std::uint32_t wanted = m != nullptr ? (m->capacity + 1) / 2 : 1;
        const result<descriptor*> from =
            reserve_shared(class_count + class_index, wanted, promised, level);
        if (!from) {
            if (c != nullptr) {
                leave_cache(*c);
            }
            return from.error();
        }
        const descriptor& d = **from;
        const address first = d.base.load(std::memory_order_acquire) + debug_lead;
        while (promised != 0) {
            std::uint32_t word = 0;
            std::uint64_t blocks = (*from)->claim_reserved(promised, word);
            promised -= static_cast<std::uint32_t>(std::popcount(blocks));
            for (; blocks != 0; blocks &= blocks - 1) {
                const std::uint32_t i =
                    word * 64 + static_cast<std::uint32_t>(std::countr_zero(blocks));
                if (block != 0) {
                    static_cast<void>(own->push(class_index, block, *record)); // empty before
                }
                block = first + address{i} * d.block_size;
                record = &d.named(i);
            }
        }
    }
    if (c != nullptr) {
        leave_cache(*c);
    }
    if (!is_untouched(block, *record)) [[unlikely]] {
        tell_written_after(block, *record);
    }
    begin_debug_life(block, *record, size, origin);
    return block;
}

void heap::tell_written_after(address block, const named_state& record) noexcept {
    misuse m{.kind = misuse_kind::written_after, .heap = number_, .where = block, .block = block};
    m.size = record.size.load(std::memory_order_relaxed);
    const auto* const bytes = reinterpret_cast<const unsigned char*>(block);
    while (m.offset < filled_bytes(m.size) && bytes[m.offset] == freed_byte) {
        ++m.offset;
    }
    describe(record.origin.load(std::memory_order_relaxed), m);
    if (options_.listener.tell != nullptr) {
        options_.listener.tell(options_.listener.context, m);
    }
}

// not_ours also where a canary is damaged: then the block stays as it is, and explain() says so.
result<void> heap::free_debug(descriptor& d, std::uint32_t i, address block,
                              cache* inside) noexcept {
    named_state& record = d.named(i);
    const address base = block - debug_lead - address{i} * d.block_size;
    if (!end_debug_life(block, d, base, i, options_.single_threaded)) {
        return errc::not_ours;
    }
    const std::uint32_t class_index = d.bin - class_count;
    debug_magazine* const m = inside != nullptr
                                  ? debug_magazine_for(*inside, class_index, criticality::process)
                                  : nullptr;
    if (m == nullptr) {
        return_blocks(d, i / 64, std::uint64_t{1} << (i % 64));
        return {};
    }
    const std::uint32_t root = directory::root_of(block);
    inside->roots[root].set(directory_.granules_at(root));
    debug_cache& own = *inside->debug.load(std::memory_order_relaxed);
    if (!own.push(class_index, block, record)) {
        empty(own, class_index, (m->capacity + 1) / 2);
        static_cast<void>(own.push(class_index, block, record));
    }
    return {};
}

bool heap::is_intact(const descriptor& d) noexcept {
    return d.origin.load(std::memory_order_relaxed) == 0 ||
           has_canaries(d.large_block(), d.requested.load(std::memory_order_relaxed));
}

// The new block is a debug block of the same origin.
result<address> heap::resize_debug(const found& f, address block, byte_count new_size,
                                   criticality level) noexcept {
    new_size += new_size == 0;
    const byte_count usable = usable_of(f);
    const std::uint64_t origin = origin_word_of(f);
    if (new_size > top_address) {
        return errc::out_of_address_space;
    }
    const result<address> got =
        new_size <= largest_debug
            ? allocate_debug_once(new_size, level, origin)
            : allocate_large(new_size + debug_room, {.requested = new_size}, level, origin);
    if (!got) {
        return new_size <= usable ? result<address>(block) : got; // it keeps its size
    }
    std::memcpy(reinterpret_cast<void*>(*got), reinterpret_cast<void*>(block),
                new_size < usable ? new_size : usable);
    if (const result<void> freed = free(block); !freed) {
        static_cast<void>(free(*got));
        return freed.error();
    }
    return got;
}

// ---- what threads keep ------------------------------------------------------------------------------

result<std::uint32_t> heap::name_of(const char* file, int line, criticality level) noexcept {
    cache* const c = file != nullptr ? enter_cache() : nullptr;
    if (c == nullptr) {
        return names_.keep(records_, file, level);
    }
    debug_cache* const own = debug_cache_of(*c, level);
    std::uint32_t name = 0;
    if (own != nullptr && is_known(*own, file, line, name)) {
        leave_cache(*c);
        return name;
    }
    const result<std::uint32_t> kept = names_.keep(records_, file, level);
    if (kept && own != nullptr) {
        own->name_at(file, line).set(file, names::text(records_, *kept), *kept);
    }
    leave_cache(*c);
    return kept;
}

debug_cache* heap::debug_cache_of(cache& c, criticality level) noexcept {
    debug_cache* own = c.debug.load(std::memory_order_relaxed);
    if (own == nullptr) {
        constexpr auto units = static_cast<std::uint32_t>(sizeof(debug_cache) / unit_size);
        const result<std::uint32_t> unit = records_.append(units, level);
        if (!unit) {
            return nullptr;
        }
        own = ::new (records_.at(*unit)) debug_cache;
        own->single_threaded = options_.single_threaded;
        c.debug.store(own, std::memory_order_relaxed);
    }
    return own;
}

debug_magazine* heap::debug_magazine_for(cache& c, std::uint32_t class_index,
                                         criticality level) noexcept {
    debug_cache* const own = debug_cache_of(c, level);
    if (own == nullptr) {
        return nullptr;
    }
    debug_magazine* m = own->magazines[class_index].load(std::memory_order_relaxed);
    if (m == nullptr) {
        const std::uint32_t capacity = debug_magazine::capacity_for(size_of_class(class_index));
        const result<std::uint32_t> unit =
            records_.append(debug_magazine::units_for(capacity), level);
        if (!unit) {
            return nullptr;
        }
        m = ::new (records_.at(*unit)) debug_magazine;
        m->capacity = capacity;
        ::new (m->floor()) debug_magazine::entry[capacity + 2]{};
        for (std::uint32_t i = 1; i <= capacity; ++i) {
            m->floor()[i].record.store(&no_record, std::memory_order_relaxed);
        }
        own->magazines[class_index].store(m, std::memory_order_relaxed);
        own->tops[class_index].store(m->floor(), std::memory_order_relaxed);
    }
    return m;
}

// Gives the oldest `blocks` of a class back to their slabs.
void heap::empty(debug_cache& own, std::uint32_t class_index, std::uint32_t blocks) noexcept {
    const std::uint32_t count = own.count_of(class_index);
    debug_magazine::entry* const floor =
        own.magazines[class_index].load(std::memory_order_relaxed)->floor();
    for (std::uint32_t i = 1; i <= blocks; ++i) {
        const found f = find(floor[i].block.load(std::memory_order_relaxed));
        return_blocks(*f.slab, f.block / 64, std::uint64_t{1} << (f.block % 64));
    }
    for (std::uint32_t i = blocks + 1; i <= count; ++i) {
        const debug_magazine::entry& e = floor[i];
        debug_magazine::entry& to = floor[i - blocks];
        to.block.store(e.block.load(std::memory_order_relaxed), std::memory_order_relaxed);
        to.record.store(e.record.load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    own.tops[class_index].store(floor + (count - blocks), std::memory_order_relaxed);
}

void heap::empty_debug(cache& c) noexcept {
    debug_cache* const own = c.debug.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; own != nullptr && i < class_count; ++i) {
        if (const std::uint32_t count = own->count_of(i); count != 0) {
            empty(*own, i, count);
        }
    }
}

// The blocks stay taken, as for the cache beside it.
void heap::forget_debug(cache& c) noexcept {
    debug_cache* const own = c.debug.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; own != nullptr && i < class_count; ++i) {
        if (debug_magazine* const m = own->magazines[i].load(std::memory_order_relaxed)) {
            own->tops[i].store(m->floor(), std::memory_order_relaxed);
        }
    }
    for (std::uint32_t i = 0; own != nullptr && i < debug_cache::known_names; ++i) {
        own->names[i].pointer.store(nullptr, std::memory_order_relaxed);
    }
}

// ---- answers ----------------------------------------------------------------------------------------

std::uint64_t heap::origin_word_of(const found& f) const noexcept {
    const descriptor& d = *f.slab;
    return d.has_origins() ? d.named(f.block).origin.load(std::memory_order_relaxed)
                           : d.origin.load(std::memory_order_relaxed);
}

bool heap::origin_of(address block, const char** file, int* line) noexcept {
    const found f = find(block);
    if (f.slab == nullptr || usable_of(f) == 0) {
        return false;
    }
    const std::uint64_t origin = origin_word_of(f);
    if (origin == 0) {
        return false;
    }
    *file = names::text(records_, name_of_origin(origin));
    *line = line_of_origin(origin);
    return true;
}

template <class Into>
void heap::describe(std::uint64_t origin, Into& into) const noexcept {
    into.is_named = origin != 0;
    if (origin != 0) {
        into.file = names::text(records_, name_of_origin(origin));
        into.line = line_of_origin(origin);
    }
}

// A live block, or one that was freed; its canaries are looked at when it is live.
void heap::explain_block(const found& f, address block, misuse& m) noexcept {
    const byte_count usable = usable_of(f);
    m.block = block;
    const std::uint64_t origin = origin_word_of(f);
    describe(origin, m);
    m.size = usable;
    if (usable == 0) {
        const descriptor& d = *f.slab;
        m.size = !d.has_origins() ? d.block_size
                 : origin != 0    ? d.named(f.block).size.load(std::memory_order_relaxed)
                                  : d.block_size - debug_room;
        m.kind = m.where == block ? misuse_kind::freed : misuse_kind::inside_free;
        m.was_live = origin != 0;
        return;
    }
    if (m.where != block) {
        m.kind = misuse_kind::inside_live;
        m.offset = m.where - block; // wraps in front of a debug block: see explain()
        return;
    }
    if (origin == 0) {
        return;
    }
    // Nobody holds the block: another thread may free it now, rightly, and its pages may go. So both
    // canaries are copied, and what they say counts only if it is the same block still.
    bytes16 in_front{};
    bytes16 behind{};
    const bool copied = copy(block - debug_lead, in_front) && copy(block + usable, behind);
    const found now = find(block);
    if (!copied || now.slab != f.slab || now.block != f.block || usable_of(now) != usable ||
        origin_word_of(now) != origin) {
        m.kind = misuse_kind::freed;
    } else if (const byte_count i = first_change(in_front, canaries(block).in_front);
               i != debug_lead) {
        m.kind = misuse_kind::written_before;
        m.offset = debug_lead - i;
    } else if (const byte_count k = first_change(behind, canaries(block).behind); k != debug_tail) {
        m.kind = misuse_kind::written_behind;
        m.offset = k;
    }
}

// False: no memory is there any more. Where a system does not allow to ask, it is read as it is.
bool heap::copy(address from, bytes16& to) noexcept {
    const page_source::peeked p = source_.peek(from, &to, sizeof to);
    if (p == page_source::peeked::not_allowed) {
        to = load16(from);
    }
    return p != page_source::peeked::gone;
}

misuse heap::explain(address where) noexcept {
    misuse m{.kind = misuse_kind::foreign, .heap = number_, .where = where};
    if (const found f = find(where); f.slab != nullptr) {
        m.kind = misuse_kind::none;
        explain_block(f, where, m);
        return m;
    }
    address begin = 0;
    const std::uint64_t tag = source_.tag_of(where, &begin);
    const auto unit = static_cast<std::uint32_t>(tag);
    if (tag >> 32 == number_ && unit == records_tag) {
        m.kind = misuse_kind::own_records;
        return m;
    }
    if (tag >> 32 == number_ && records_.holds(unit)) {
        auto* const d = static_cast<descriptor*>(records_.at(unit));
        if (d->base.load(std::memory_order_acquire) == begin) {
            m.kind = misuse_kind::inside_free;
            if (d->block_size == 0) {
                const address block = d->large_block();
                if (where - begin < d->bytes.load(std::memory_order_relaxed)) {
                    explain_block({d, 0}, block, m);
                }
            } else if (const byte_count offset = where - begin; offset < d->span) {
                const auto i = static_cast<std::uint32_t>(offset / d->block_size);
                explain_block({d, i}, begin + address{i} * d->block_size + d->lead(), m);
            }
            return m;
        }
    }
    // A large block's pages go with it; its record remembers it until it is used again.
    for (std::uint32_t i = all_.load(std::memory_order_acquire); i != 0;) {
        const auto* const d = static_cast<const descriptor*>(records_.at(i - 1));
        if (d->block_size == 0 && d->left.load(std::memory_order_relaxed) == where && where != 0) {
            m.kind = misuse_kind::freed;
            m.block = where;
            const std::uint64_t origin = d->origin.load(std::memory_order_relaxed);
            m.size = origin != 0 ? d->requested.load(std::memory_order_relaxed)
                                 : d->bytes.load(std::memory_order_relaxed);
            describe(origin, m);
            return m;
        }
        i = d->next_of_all;
    }
    const std::uint64_t other = tag >> 32;
    m.other = other != number_ && other <= numbers_given() ? static_cast<std::uint32_t>(other) : 0;
    return m;
}

bool heap::list_live(bool (*visit)(void* context, const live_block& b) noexcept,
                     void* context) noexcept {
    for (std::uint32_t i = all_.load(std::memory_order_acquire); i != 0;) {
        auto* const d = static_cast<descriptor*>(records_.at(i - 1));
        i = d->next_of_all;
        const address base = d->base.load(std::memory_order_acquire);
        for (std::uint32_t k = 0; base != 0 && k < d->capacity; ++k) {
            const byte_count usable = usable_of({d, k});
            if (usable == 0) {
                continue;
            }
            live_block b{.size = usable};
            b.where = d->block_size == 0 ? d->large_block()
                                         : base + address{k} * d->block_size + d->lead();
            describe(origin_word_of({d, k}), b);
            if (!visit(context, b)) {
                return false;
            }
        }
    }
    return true;
}

byte_count heap::debug_bytes(const descriptor& d) noexcept {
    byte_count sum = 0;
    for (std::uint32_t k = 0; k < d.capacity; ++k) {
        const named_state& record = d.named(k);
        sum += record.state.load(std::memory_order_relaxed) != 0
                   ? record.size.load(std::memory_order_relaxed)
                   : 0;
    }
    return sum;
}

} // namespace memreeve::heap
