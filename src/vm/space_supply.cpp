// SPDX-License-Identifier: MIT
// address_space: the records, and where addresses come from and go to. Small requests come from the
// owner's arenas, large ones and those at an asked-for address straight from the system ("placed").
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
constexpr std::uint32_t largest_from_arena = arena_max_granules / 4;
constexpr std::uint32_t low_arena_granules = 1024;     // 64 MiB
constexpr std::uint32_t smallest_arena_granules = 256; // 16 MiB

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
    const byte_count root_bytes = region_map::root_entries * sizeof(std::uint64_t);
    // | root | arenas | reservations | nodes | a gap | ballast |
    constexpr byte_count tail = page_size + ballast_size;
    arena_bytes_ = root_bytes + round_up(arena_capacity * sizeof(arena), page_size);
    address base = 0;
    byte_count nodes = node_space;
    byte_count reservations = reservation_space;
    int e = 0;
    largest_piece_ = prim::address_space_limit() / limit_share;
    for (unsigned step = 0; step < ladder_steps; ++step, nodes /= 2, reservations /= 2) {
        if (arena_bytes_ + nodes + reservations + tail > largest_piece_ &&
            step + 1 < ladder_steps) {
            continue;
        }
        e = prim::reserve(0, arena_bytes_ + nodes + reservations + tail, prim::placement::anywhere,
                          &base);
        if (e == 0) {
            break;
        }
    }
    if (e == 0) {
        e = prim::protect(base, arena_bytes_, access::read_write);
        if (e != 0) {
            static_cast<void>(prim::unmap(base, arena_bytes_ + nodes + reservations + tail));
        }
    }
    if (e != 0) {
        return failure{errc::out_of_address_space, e};
    }
    records_ = {base, base + arena_bytes_ + nodes + reservations + tail};
    ballast_ = records_.end - ballast_size;
    root_ = reinterpret_cast<std::atomic<std::uint64_t>*>(base);
    arenas_ = reinterpret_cast<arena*>(base + root_bytes);
    reservations_.open(base + arena_bytes_, reservations, sizeof(reservation), grow_records);
    nodes_.open(base + arena_bytes_ + reservations, nodes, region_map::node_unit, grow_records);
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
        if (holds && arena_of(r.base()) == nullptr) {
            unmap_at_close(r.base(), r.where().size());
        }
    }
    for (std::uint32_t i = 0; i < arenas_high_.load(std::memory_order_acquire); ++i) {
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
    arenas_high_.store(0, std::memory_order_relaxed);
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

// ---- arenas -----------------------------------------------------------------------------------------

arena* address_space::arena_of(address a) const noexcept {
    for (std::uint32_t i = 0; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        if (arenas_[i].state.load(std::memory_order_acquire) == 2 &&
            arenas_[i].where().contains(a)) {
            return &arenas_[i];
        }
    }
    return nullptr;
}

range address_space::arena_at(address a) const noexcept {
    for (std::uint32_t i = 0; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        const range mapped{arenas_[i].mapped_begin.load(std::memory_order_relaxed),
                           arenas_[i].mapped_end.load(std::memory_order_relaxed)};
        if (arenas_[i].state.load(std::memory_order_acquire) == 2 && mapped.contains(a)) {
            return mapped;
        }
    }
    return {};
}

address address_space::next_arena(address a, address limit) const noexcept {
    for (std::uint32_t i = 0; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        const address begin = arenas_[i].mapped_begin.load(std::memory_order_relaxed);
        if (arenas_[i].state.load(std::memory_order_acquire) == 2 && begin > a && begin < limit) {
            limit = begin;
        }
    }
    return limit;
}

address address_space::run_end(address a, address limit) const noexcept {
    address end = a;
    bool first = true;
    map_.for_each_run({a, limit}, [&](range run, page_code, bool) {
        end = first ? run.end : end;
        first = false;
    });
    return end;
}

arena* address_space::make_arena(owner_id owner, bool low, std::uint32_t at_least) noexcept {
    make_ballast();
    for (std::uint32_t i = 0; i < arena_capacity; ++i) {
        arena& a = arenas_[i];
        std::uint32_t expected = 0;
        if (!a.state.compare_exchange_strong(expected, 1, std::memory_order_acq_rel)) {
            continue;
        }
        address base = 0;
        byte_count size = 0;
        std::uint32_t granules = low ? low_arena_granules : arena_max_granules;
        int e = 12;
        for (; granules >= at_least && granules >= smallest_arena_granules; granules /= 4) {
            size = (granules + 2) * granule_size;
            if (size > largest_piece_ && granules / 4 >= at_least &&
                granules / 4 >= smallest_arena_granules) {
                continue;
            }
            e = prim::reserve(0, size, low ? prim::placement::low : prim::placement::anywhere,
                              &base);
            if (e == 0) {
                break;
            }
        }
        if (e != 0) {
            a.state.store(0, std::memory_order_release);
            return nullptr;
        }
        a.owner.store(static_cast<std::uint32_t>(owner), std::memory_order_relaxed);
        a.is_low.store(low, std::memory_order_relaxed);
        a.mapped_begin.store(base, std::memory_order_relaxed);
        a.mapped_end.store(base + size, std::memory_order_relaxed);
        a.begin.store(round_up(base + page_size, granule_size), std::memory_order_relaxed);
        a.granules.store(granules, std::memory_order_relaxed);
        a.hint.store(0, std::memory_order_relaxed);
        a.used.store(0, std::memory_order_relaxed);
        for (auto& w : a.taken) {
            w.store(0, std::memory_order_relaxed);
        }
        std::uint32_t high = arenas_high_.load(std::memory_order_relaxed);
        while (high < i + 1 &&
               !arenas_high_.compare_exchange_weak(high, i + 1, std::memory_order_acq_rel)) {
        }
        if (listener_.added != nullptr) {
            listener_.added(listener_.context, {base, base + size}, owner,
                            space_listener::kind::arena);
        }
        a.state.store(2, std::memory_order_release);
        return &a;
    }
    return nullptr;
}

byte_count address_space::give_back_empty_arenas() noexcept {
    byte_count given = 0;
    for (std::uint32_t i = 0; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        arena& a = arenas_[i];
        std::uint32_t live = 2;
        if (a.used.load(std::memory_order_acquire) != 0 ||
            !a.state.compare_exchange_strong(live, 1, std::memory_order_acq_rel)) {
            continue;
        }
        // Nobody finds it any more; who found it before has taken bits, or takes them now.
        const range whole{a.mapped_begin.load(std::memory_order_relaxed),
                          a.mapped_end.load(std::memory_order_relaxed)};
        if (!a.take_at(a.where())) {
            a.state.store(2, std::memory_order_release);
            continue;
        }
        if (prim::unmap(whole.begin, whole.size()) != 0) {
            a.give(a.where());
            a.state.store(2, std::memory_order_release);
            continue;
        }
        if (listener_.removed != nullptr) {
            listener_.removed(listener_.context, whole);
        }
        given += whole.size();
        a.state.store(0, std::memory_order_release);
    }
    return given;
}

address address_space::look_low(owner_id owner, byte_count size) noexcept {
    const auto count = static_cast<std::uint32_t>(round_up(size, granule_size) >> granule_shift);
    for (int attempt = 0; attempt < 2; ++attempt) {
        for (std::uint32_t i = 0; i < arenas_high_.load(std::memory_order_acquire); ++i) {
            arena& a = arenas_[i];
            if (a.state.load(std::memory_order_acquire) == 2 &&
                a.is_low.load(std::memory_order_relaxed) != 0 &&
                a.owner.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(owner)) {
                if (const address at = a.look(count); at != 0) {
                    return at;
                }
            }
        }
        if (count > low_arena_granules || make_arena(owner, true, count) == nullptr) {
            break;
        }
    }
    return 0;
}

// ---- taking and giving ----------------------------------------------------------------------------

result<address> address_space::take_anywhere(byte_count size, owner_id owner) noexcept {
    const byte_count granules = round_up(size, granule_size) >> granule_shift;
    if (granules > largest_from_arena) {
        return map_placed(size, owner);
    }
    const auto count = static_cast<std::uint32_t>(granules);
    for (std::uint32_t i = 0; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        arena& a = arenas_[i];
        if (a.state.load(std::memory_order_acquire) != 2 ||
            a.owner.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(owner) ||
            a.is_low.load(std::memory_order_relaxed) != 0) {
            continue;
        }
        if (const address at = a.take(count); at != 0) {
            return at;
        }
    }
    if (arena* fresh = make_arena(owner, false, count); fresh != nullptr) {
        if (const address at = fresh->take(count); at != 0) {
            return at;
        }
    }
    return map_placed(size, owner);
}

result<address> address_space::map_placed(byte_count size, owner_id owner) noexcept {
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
    return begin;
}

// `where` begins at a granule. It lies wholly in one arena or wholly outside: the gaps round an arena
// are mapped and never handed out, so what crosses its edge meets EEXIST.
result<void> address_space::take_exactly(range where, owner_id owner) noexcept {
    if (arena* home = arena_of(where.begin); home != nullptr) {
        const range granules{where.begin, round_up(where.end, granule_size)};
        if (!home->where().contains(granules) || !home->take_at(granules)) {
            return errc::invalid_address;
        }
        return {};
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
    return {};
}

// `index`: the record of what was to lie there; free afterwards, or in use for what is owed.
void address_space::undo_take(range where, std::uint32_t index) noexcept {
    if (close_off(where, map_.at(index).flags.load(std::memory_order_acquire)) &&
        give_space(where)) {
        map_.forget(index);
        return;
    }
    map_.at(index).living.store(0, std::memory_order_relaxed);
    owe(index);
}

// Takes contents and access away from what lies in an arena; what does not is about to be unmapped.
bool address_space::close_off(range used, std::uint32_t flags) noexcept {
    if (used.is_empty() || arena_of(used.begin) == nullptr) {
        return true;
    }
    const bool foreign = (flags & holds_mappings) != 0;
    return (!foreign && prim::discard(used.begin, used.size()) == 0 &&
            prim::protect(used.begin, used.size(), access::none) == 0) ||
           prim::replace_by_reserved(used.begin, used.size()) == 0;
}

// False: the kernel kept it mapped; its contents are dropped.
bool address_space::give_space(range where) noexcept {
    if (arena* home = arena_of(where.begin); home != nullptr) {
        home->give({where.begin, round_up(where.end, granule_size)});
        return true;
    }
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
        if (close_off(r.where(), r.flags.load(std::memory_order_relaxed)) &&
            give_space(r.where())) {
            const page_count writable = r.living.load(std::memory_order_relaxed);
            const auto owner = static_cast<owner_id>(r.owner.load(std::memory_order_relaxed));
            map_.forget(index);
            if (writable != 0 && settled_ != nullptr) {
                settled_(settled_context_, owner, writable);
            }
        } else {
            owe(index);
        }
        index = next;
    }
    return owed();
}

} // namespace memreeve::vm
