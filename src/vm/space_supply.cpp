// SPDX-License-Identifier: MIT
// address_space: the records, and where addresses come from and go to. What is not large comes from
// the owner's arenas (space_supply_arenas.cpp), the rest and what is asked for at an address straight
// from the system ("placed").
#include "vm/address_space.hpp"

#include "prim/prim.hpp"
#include "prim/process_view.hpp"

namespace memreeve::vm {

namespace {

constexpr byte_count node_space = byte_count{1} << 30;
constexpr byte_count reservation_space = byte_count{768} << 20; // 2^24 records of 48 bytes
// Under RLIMIT_AS the address space is the program's first: ours takes at most this part of it.
constexpr byte_count limit_share = 16;
constexpr unsigned ladder_steps = 7; // down to 1/64 under RLIMIT_AS

// Nine pages in nine kernel mappings. Made into one, they leave eight for an undo that would
// otherwise fail at the mapping limit. Made with the first arena, and again once there is room.
constexpr byte_count ballast_size = 9 * page_size;

// At the end there is nobody left to owe it to: once more, then it is the process's end that frees it.
void unmap_at_close(address where, byte_count size) noexcept {
    if (prim::unmap(where, size) != 0) {
        static_cast<void>(prim::unmap(where, size));
    }
}

int grow_records(address begin, byte_count size) noexcept {
    return prim::protect(begin, size, access::read_write);
}

} // namespace

// ---- records --------------------------------------------------------------------------------------

result<void> address_space::open(space_listener listener) noexcept {
    static_assert(region_map::root_entries * sizeof(std::uint64_t) % page_size == 0);
    // | root | arenas | reservations | nodes | a gap | ballast |
    constexpr byte_count tail = page_size + ballast_size;
    constexpr byte_count arenas = round_up(arena_capacity * sizeof(arena), page_size);
    constexpr byte_count arena_head = round_up(first_arenas * sizeof(arena), page_size);
    constexpr byte_count fixed = root_bytes + arenas + tail;
    address base = 0;
    byte_count nodes = node_space;
    byte_count reservations = reservation_space;
    int e = 0;
    largest_piece_ = prim::address_space_limit() / limit_share;
    for (unsigned step = 0; step < ladder_steps; ++step, nodes /= 2, reservations /= 2) {
        if (fixed + nodes + reservations > largest_piece_ && step + 1 < ladder_steps) {
            continue;
        }
        e = prim::reserve(0, fixed + nodes + reservations, prim::placement::anywhere, &base);
        if (e == 0) {
            break;
        }
    }
    if (e == 0) {
        // With the records of the first arenas: what small reservations need can then not be refused.
        e = prim::protect(base, root_bytes + arena_head, access::read_write);
        if (e != 0) {
            static_cast<void>(prim::unmap(base, fixed + nodes + reservations));
        }
    }
    if (e != 0) {
        return failure{errc::out_of_address_space, e};
    }
    records_ = {base, base + fixed + nodes + reservations};
    ballast_ = records_.end - ballast_size;
    root_ = reinterpret_cast<std::atomic<std::uint64_t>*>(base);
    arenas_ = reinterpret_cast<arena*>(base + root_bytes);
    arenas_ready_.store(first_arenas, std::memory_order_relaxed);
    reservations_.open(base + root_bytes + arenas, reservations, sizeof(reservation), grow_records);
    nodes_.open(base + root_bytes + arenas + reservations, nodes, region_map::node_unit,
                grow_records);
    map_.open(root_, &nodes_, &reservations_);
    listener_ = listener;
    if (listener_.added != nullptr) {
        listener_.added(listener_.context, records_, owner_id::none, space_listener::kind::records);
    }
    return {};
}

void address_space::close() noexcept {
    if (records_.is_empty()) {
        return;
    }
    for (std::uint32_t i = 1; i < reservations_.used(); ++i) {
        const reservation& r = map_.at(i);
        if (r.stage() == reservation_stage::live) {
            end_fault_watch(i);
        }
        const bool holds =
            r.stage() == reservation_stage::live || r.stage() == reservation_stage::going;
        if (holds && home_of(r) == nullptr) {
            unmap_at_close(r.base(), r.where().size());
        }
    }
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        arena& a = arenas_[i];
        if (a.state.load(std::memory_order_acquire) == 2) {
            const address begin = a.mapped_begin.load(std::memory_order_relaxed);
            unmap_at_close(begin, a.mapped_end.load(std::memory_order_relaxed) - begin);
        }
    }
    watch_.close();
    if (!piece_space_.is_empty()) {
        pieces_.close();
        unmap_at_close(piece_space_.begin, piece_space_.size());
        piece_space_ = {};
    }
    unmap_at_close(records_.begin, records_.size());
    records_ = {};
    arenas_high_.store(1, std::memory_order_relaxed);
}

void address_space::make_ballast() noexcept {
    bool none = false;
    if (!has_ballast_.compare_exchange_strong(none, true, std::memory_order_acq_rel)) {
        return;
    }
    bool made = true;
    for (address page = ballast_ + page_size; made && page < ballast_ + ballast_size;
         page += 2 * page_size) {
        made = prim::protect(page, page_size, access::read) == 0;
    }
    if (!made) {
        static_cast<void>(drop_ballast());
    }
}

bool address_space::drop_ballast() noexcept {
    return has_ballast_.exchange(false, std::memory_order_acq_rel) &&
           prim::protect(ballast_, ballast_size, access::none) == 0;
}

// ---- taking and giving ----------------------------------------------------------------------------

result<address_space::place> address_space::map_placed(byte_count size, owner_id owner) noexcept {
    if (size > top_address - granule_size) {
        return errc::out_of_address_space;
    }
    const std::uint32_t spare = map_.make({}, owner_id::none, 0, 0, 0);
    address base = 0;
    const byte_count padded = size + granule_size;
    const int e = spare != 0 ? prim::reserve(0, padded, prim::placement::anywhere, &base) : 12;
    if (e != 0) {
        if (spare != 0) {
            map_.forget(spare);
        }
        return failure{errc::out_of_address_space, e};
    }
    const address begin = round_up(base, granule_size);
    const address end = begin + size;
    const address tail = base + padded;
    // At the mapping limit a piece cannot be cut off; all of it can, or is owed.
    if ((begin != base && prim::unmap(base, begin - base) != 0)) {
        owe_mapping(spare, {base, tail});
        return failure{errc::out_of_address_space, 12 /* ENOMEM */};
    }
    if (prim::unmap(end, tail - end) != 0) {
        owe_mapping(spare, {begin, tail});
        return failure{errc::out_of_address_space, 12 /* ENOMEM */};
    }
    map_.forget(spare);
    if (listener_.added != nullptr) {
        listener_.added(listener_.context, {begin, end}, owner, space_listener::kind::placed);
    }
    return place{begin};
}

// `where` begins at a granule. It lies wholly in one arena or wholly outside: the gaps round an arena
// are mapped and never handed out, so what crosses its edge meets EEXIST.
result<address_space::place> address_space::take_exactly(range where, owner_id owner) noexcept {
    if (arena* home = arena_of(where.begin); home != nullptr) {
        return take_from_arena(*home, where, owner);
    }
    address got = 0;
    const int e = prim::reserve(where.begin, where.size(), prim::placement::exactly, &got);
    if (e != 0) {
        const bool taken = e == 17 /* EEXIST */ || e == 1 /* EPERM: below mmap_min_addr */;
        return failure{taken ? errc::invalid_address : errc::out_of_address_space, e};
    }
    if (listener_.added != nullptr) {
        listener_.added(listener_.context, where, owner, space_listener::kind::placed);
    }
    return place{where.begin};
}

// `index`: the record of what was to lie there; free afterwards, or in use for what is owed. `used`
// may have been changed already.
void address_space::undo_take(range used, std::uint32_t index) noexcept {
    reservation& r = map_.at(index);
    if (return_space(r, used, false)) {
        map_.forget(index);
        return;
    }
    r.living.store(0, std::memory_order_relaxed);
    owe(index);
}

// Contents and access go, of the pages in `used` (is_read_write: all of them lie in read-write
// mappings), then the addresses. False: the kernel kept something that is owed now.
bool address_space::return_space(const reservation& r, range used, bool is_read_write) noexcept {
    const range where = r.where();
    const std::uint32_t flags = r.flags.load(std::memory_order_relaxed);
    arena* home = home_of(r);
    if (home == nullptr) {
        return unmap_placed(where);
    }
    used = (flags & altered_mapping) != 0 ? where : used;
    const range granules{where.begin, round_up(where.end, granule_size)};
    if ((flags & guarded_space) != 0) {
        const granules_are now = return_granules(*home, granules, used, is_read_write, flags);
        if (now == granules_are::stuck) {
            return false;
        }
        if (now == granules_are::parked) {
            return true;
        }
    } else if (!close_off(used, flags)) {
        return false;
    }
    home->give(granules);
    return true;
}

// Takes contents and access away.
bool address_space::close_off(range used, std::uint32_t flags) noexcept {
    if (used.is_empty()) {
        return true;
    }
    const bool foreign = (flags & (holds_mappings | altered_mapping)) != 0;
    return (!foreign && prim::discard(used.begin, used.size()) == 0 &&
            prim::protect(used.begin, used.size(), access::none) == 0) ||
           prim::replace_by_reserved(used.begin, used.size()) == 0;
}

// False: the kernel kept it mapped; its contents are dropped.
bool address_space::unmap_placed(range where) noexcept {
    if (listener_.removed != nullptr) {
        listener_.removed(listener_.context, where);
    }
    if (prim::unmap(where.begin, where.size()) != 0) {
        static_cast<void>(prim::discard(where.begin, where.size()));
        if (listener_.added != nullptr) {
            listener_.added(listener_.context, where, owner_id::none, space_listener::kind::placed);
        }
        return false;
    }
    return true;
}

// ---- what the kernel would not take back --------------------------------------------------------------

// A mapping of ours that is of no use: unmapped now or owed.
void address_space::owe_mapping(std::uint32_t index, range where) noexcept {
    if (prim::unmap(where.begin, where.size()) == 0) {
        map_.forget(index);
        return;
    }
    // A record begins at a granule: less than 64 KiB in front of it are lost.
    map_.place(index, {round_up(where.begin, granule_size), where.end});
    map_.at(index).living.store(0, std::memory_order_relaxed);
    owe(index);
}

void address_space::owe(std::uint32_t index) noexcept {
    std::uint64_t seen = owed_.load(std::memory_order_acquire);
    do {
        map_.at(index).link.store(static_cast<std::uint32_t>(seen), std::memory_order_relaxed);
    } while (!owed_.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | index,
                                          std::memory_order_acq_rel));
    owed_count_.fetch_add(1, std::memory_order_relaxed);
}

std::uint32_t address_space::settle_owed() noexcept {
    // Takes the whole stack at once, so that two callers share no record.
    std::uint64_t seen = owed_.load(std::memory_order_acquire);
    while (
        static_cast<std::uint32_t>(seen) != 0 &&
        !owed_.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32, std::memory_order_acq_rel)) {
    }
    std::uint32_t index = static_cast<std::uint32_t>(seen);
    while (index != 0) {
        reservation& r = map_.at(index);
        const std::uint32_t next = r.link.load(std::memory_order_relaxed);
        owed_count_.fetch_sub(1, std::memory_order_relaxed);
        const bool is_marked = (r.flags.load(std::memory_order_relaxed) & guarded_space) != 0;
        const auto moved = static_cast<std::int64_t>(r.living.load(std::memory_order_relaxed));
        const auto owner = static_cast<owner_id>(r.owner.load(std::memory_order_relaxed));
        if (return_space(r, r.where(), false)) {
            map_.forget(index);
            tell_slack(owner, is_marked ? moved : -moved);
        } else {
            owe(index);
        }
        index = next;
    }
    return owed();
}

} // namespace memreeve::vm
