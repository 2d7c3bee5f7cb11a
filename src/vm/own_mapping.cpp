// SPDX-License-Identifier: MIT
// address_space: reservations that need a mapping of their own because the kernel treats all of it
// specially (written pages, large pages), or because the rules say where it lies (A10).
#include "vm/address_space.hpp"

#include "prim/prim.hpp"
#include "prim/write_watch.hpp"

namespace memreeve::vm {

namespace {

constexpr int is_taken = 17; // EEXIST
// What the initial stack may grow by at least, and what it is left at most, below where it is now.
constexpr byte_count stack_room_least = byte_count{128} << 20;
constexpr byte_count stack_room_most = byte_count{16} << 30;

byte_count stack_room() noexcept {
    const byte_count limit = prim::stack_limit();
    return limit < stack_room_least ? stack_room_least
                                    : (limit > stack_room_most ? stack_room_most : limit);
}

// The highest place for `size` bytes below `ceiling` that nothing is mapped in; 0: none.
address highest_gap(byte_count size, address ceiling) noexcept {
    const address stack = prim::initial_stack();
    const long mappings = prim::open_mappings();
    address best = 0;
    const auto consider = [&](address begin, address end) {
        end = round_down(end < ceiling ? end : ceiling, granule_size);
        begin = round_up(begin, granule_size);
        if (begin < end && end - begin >= size) {
            best = round_down(end - size, granule_size);
        }
    };
    address at = lowest_address;
    for (;;) {
        prim::mapping m;
        const int e = mappings >= 0 ? prim::find_mapping_in(static_cast<int>(mappings), at, &m)
                                    : prim::find_mapping(at, &m);
        if (e != 0 || m.where.begin >= top_address) {
            consider(at, top_address);
            break;
        }
        const byte_count room = m.where.contains(stack) ? stack_room() : 0;
        if (m.where.begin > at + room) {
            consider(at, m.where.begin - room);
        }
        at = m.where.end;
    }
    if (mappings >= 0) {
        static_cast<void>(prim::close(static_cast<int>(mappings)));
    }
    return best;
}

} // namespace

// A10. What is free inside arenas is not looked at: it lies lower than the system's.
result<address_space::place> address_space::take_highest(byte_count size, owner_id owner) noexcept {
    constexpr int patience = 16; // others map too, meanwhile
    address ceiling = top_address;
    for (int tries = 0; tries < patience; ++tries) {
        const address at = highest_gap(size, ceiling);
        if (at == 0) {
            break;
        }
        if (auto r = take_exactly({at, at + size}, owner); r) {
            return r;
        } else if (r.error().code != errc::invalid_address) {
            return r.error();
        }
        ceiling = at + size - granule_size;
    }
    return map_placed(size, owner);
}

result<address_space::place> address_space::take_own_mapping(const planned& p) noexcept {
    const byte_count size = p.span_.size();
    arena* const home = p.anywhere_ ? nullptr : arena_of(p.span_.begin);
    if ((p.flags_ & large_pages) != 0) {
        if (home != nullptr) {
            return errc::invalid_address;
        }
        address at = 0;
        const int e = prim::reserve_large(p.anywhere_ ? 0 : p.span_.begin, size, &at);
        if (e == is_taken) {
            return errc::invalid_address; // A8
        }
        if (e != 0) {
            // A4, decision 7: none are set up, too few are free, or this process may not have them.
            return failure{errc::privilege_not_held, e};
        }
        if (listener_.added != nullptr) {
            listener_.added(listener_.context, {at, at + size}, p.owner_,
                            space_listener::kind::placed);
        }
        return place{at};
    }
    if (p.anywhere_) {
        return p.top_down_ ? take_highest(size, p.owner_) : map_placed(size, p.owner_);
    }
    if (home == nullptr) {
        return take_exactly(p.span_, p.owner_);
    }
    // Inside an arena: plain, and a mapping of its own in the arena's, which goes as a program's would.
    const auto got = take_from_arena(*home, p.span_, owner_id::none);
    if (!got) {
        return got;
    }
    if (const int e = prim::replace_by_reserved(p.span_.begin, size); e != 0) {
        home->give({p.span_.begin, round_up(p.span_.end, granule_size)});
        return failure{errc::out_of_address_space, e};
    }
    map_.at(p.index_).flags.fetch_or(holds_mappings | altered_mapping, std::memory_order_acq_rel);
    return got;
}

result<page_count> address_space::written_pages(range span, bool reset, void** out,
                                                page_count most) noexcept {
    const found f = find(span.begin);
    if (f.index == 0 || !f.whole.contains(span) || (f.flags & watched) == 0) {
        return errc::invalid_argument; // WW2
    }
    return (f.flags & watched_by_faults) != 0 ? pages_noted(f, span, reset, out, most)
                                              : watch_.read(span, reset, out, most);
}

} // namespace memreeve::vm
