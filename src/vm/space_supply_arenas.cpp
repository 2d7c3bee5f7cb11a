// SPDX-License-Identifier: MIT
// address_space: the arenas, and the granules that small and middling requests are made of.
#include "prim/prim.hpp"
#include "vm/address_space.hpp"

namespace memreeve::vm {

namespace {

constexpr byte_count chunk = chunk_size;
constexpr std::uint32_t largest_from_arena = arena_max_granules / 4;
constexpr std::uint32_t low_arena_granules = 1024;     // 64 MiB
constexpr std::uint32_t smallest_arena_granules = 256; // 16 MiB
// Markers cost some 40 ns a page each way, and mprotect the same for any size. A commit, one page
// touched, a decommit, medians of 15 interleaved rounds on Linux 6.18: 64 KiB 5.7 us with markers
// and 8.8 with mprotect, 128 KiB 6.6 and 8.4, 256 KiB 8.8 and 8.6, 512 KiB 12.7 and 8.7, 1 MiB 20.8
// and 8.9.
constexpr std::uint32_t largest_guarded = 4; // granules
static_assert(arena_max_granules % 64 == 0 && low_arena_granules % 64 == 0 &&
              smallest_arena_granules % 64 == 0);

} // namespace

// ---- arenas -----------------------------------------------------------------------------------------

arena* address_space::arena_of(address a) const noexcept {
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        if (arenas_[i].state.load(std::memory_order_acquire) == 2 &&
            arenas_[i].where().contains(a)) {
            return &arenas_[i];
        }
    }
    return nullptr;
}

range address_space::arena_at(address a) const noexcept {
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        const range mapped{arenas_[i].mapped_begin.load(std::memory_order_relaxed),
                           arenas_[i].mapped_end.load(std::memory_order_relaxed)};
        if (arenas_[i].state.load(std::memory_order_acquire) == 2 && mapped.contains(a)) {
            return mapped;
        }
    }
    return {};
}

address address_space::next_arena(address a, address limit) const noexcept {
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
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

// A record in state 1; 0 when there is none.
std::uint32_t address_space::claim_arena_record() noexcept {
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        std::uint32_t is_free = 0;
        if (arenas_[i].state.compare_exchange_strong(is_free, 1, std::memory_order_acq_rel)) {
            return i;
        }
    }
    std::uint32_t high = arenas_high_.load(std::memory_order_acquire);
    while (high < arena_capacity) {
        const std::uint32_t ready = arenas_ready_.load(std::memory_order_acquire);
        if (high >= ready) {
            const range more{
                round_down(reinterpret_cast<address>(arenas_ + ready), page_size),
                round_up(reinterpret_cast<address>(arenas_ + ready + first_arenas), page_size)};
            if (prim::protect(more.begin, more.size(), access::read_write) != 0) {
                return 0;
            }
            std::uint32_t seen = ready;
            arenas_ready_.compare_exchange_strong(seen, ready + first_arenas,
                                                  std::memory_order_acq_rel);
            continue;
        }
        std::uint32_t is_free = 0;
        if (arenas_high_.compare_exchange_strong(high, high + 1, std::memory_order_acq_rel) &&
            arenas_[high].state.compare_exchange_strong(is_free, 1, std::memory_order_acq_rel)) {
            return high;
        }
        high = arenas_high_.load(std::memory_order_acquire);
    }
    return 0;
}

arena* address_space::make_arena(owner_id owner, arena_kind kind, std::uint32_t at_least) noexcept {
    const bool low = kind == arena_kind::low;
    make_ballast();
    const std::uint32_t i = claim_arena_record();
    if (i == 0) {
        return nullptr;
    }
    arena& a = arenas_[i];
    address base = 0;
    byte_count size = 0;
    std::uint32_t granules = low ? low_arena_granules : arena_max_granules;
    int e = 12;
    for (; granules >= at_least && granules >= smallest_arena_granules; granules /= 4) {
        size = granules * granule_size + chunk + granule_size;
        if (size > largest_piece_ && granules / 4 >= at_least &&
            granules / 4 >= smallest_arena_granules) {
            continue;
        }
        e = prim::reserve(0, size, low ? prim::placement::low : prim::placement::anywhere, &base);
        if (e == 0) {
            break;
        }
    }
    if (e != 0) {
        a.state.store(0, std::memory_order_release);
        return nullptr;
    }
    a.owner.store(static_cast<std::uint32_t>(owner), std::memory_order_relaxed);
    if (kind == arena_kind::relaxed) {
        // Nothing keeps one touch from bringing 2 MiB of what nobody has committed. EINVAL: never does.
        static_cast<void>(prim::forgo_huge_pages(base, size));
    }
    if (kind == arena_kind::guarded && !try_guards(base)) {
        kind = arena_kind::plain;
    }
    a.kind.store(kind, std::memory_order_relaxed);
    a.mapped_begin.store(base, std::memory_order_relaxed);
    a.mapped_end.store(base + size, std::memory_order_relaxed);
    a.begin.store(round_up(base + page_size, chunk), std::memory_order_relaxed);
    a.granules.store(granules, std::memory_order_relaxed);
    a.clear_all();
    if (listener_.added != nullptr) {
        listener_.added(listener_.context, {base, base + size}, owner, space_listener::kind::arena);
    }
    a.state.store(2, std::memory_order_release);
    return &a;
}

// Taken back from everybody by the caller. False: the kernel keeps it.
bool address_space::unmap_arena(arena& a) noexcept {
    const range whole{a.mapped_begin.load(std::memory_order_relaxed),
                      a.mapped_end.load(std::memory_order_relaxed)};
    if (prim::unmap(whole.begin, whole.size()) != 0) {
        return false;
    }
    if (listener_.removed != nullptr) {
        listener_.removed(listener_.context, whole);
    }
    if (a.kind.load(std::memory_order_relaxed) == arena_kind::relaxed) {
        loose_.fetch_sub(a.change(a.warm, a.where(), false) + a.change(a.dirty, a.where(), false),
                         std::memory_order_relaxed);
    } else {
        set_warm(a, a.where(), false); // of plain ones none is
    }
    const std::int64_t open = a.opened.load(std::memory_order_relaxed);
    tell_slack(static_cast<owner_id>(a.owner.load(std::memory_order_relaxed)),
               -open * std::int64_t{pages_per_granule});
    return true;
}

// 0: something lies in it, or the kernel keeps it.
byte_count address_space::give_back(arena& a) noexcept {
    std::uint32_t live = 2;
    if (a.used() != 0 || !a.state.compare_exchange_strong(live, 1, std::memory_order_acq_rel)) {
        return 0;
    }
    const byte_count size = a.mapped_end.load(std::memory_order_relaxed) -
                            a.mapped_begin.load(std::memory_order_relaxed);
    // Nobody finds it any more; who found it before has taken bits, or takes them now.
    if (!a.take_at(a.where())) {
        a.state.store(2, std::memory_order_release);
        return 0;
    }
    if (!unmap_arena(a)) {
        a.give(a.where());
        a.state.store(2, std::memory_order_release);
        return 0;
    }
    a.state.store(0, std::memory_order_release);
    return size;
}

byte_count address_space::give_back_empty_arenas() noexcept {
    byte_count given = 0;
    static_cast<void>(drop_loose());
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        given += give_back(arenas_[i]);
    }
    return given;
}

bool address_space::give_back_arenas_of(owner_id owner) noexcept {
    bool all = true;
    static_cast<void>(drop_loose());
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        arena& a = arenas_[i];
        if (a.state.load(std::memory_order_acquire) == 2 &&
            a.owner.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(owner)) {
            all = give_back(a) != 0 && all;
        }
    }
    return all;
}

page_count address_space::open_pages(owner_id owner) const noexcept {
    page_count open = 0;
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        const arena& a = arenas_[i];
        if (a.state.load(std::memory_order_acquire) == 2 &&
            a.owner.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(owner)) {
            open += a.opened.load(std::memory_order_relaxed) * page_count{pages_per_granule};
        }
    }
    return open;
}

address address_space::look_low(owner_id owner, byte_count size) noexcept {
    const auto count = static_cast<std::uint32_t>(round_up(size, granule_size) >> granule_shift);
    for (int attempt = 0; attempt < 2; ++attempt) {
        for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
            arena& a = arenas_[i];
            if (a.state.load(std::memory_order_acquire) == 2 &&
                a.kind.load(std::memory_order_relaxed) == arena_kind::low &&
                a.owner.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(owner)) {
                if (const address at = a.look(count); at != 0) {
                    return at;
                }
            }
        }
        if (count > low_arena_granules || make_arena(owner, arena_kind::low, count) == nullptr) {
            break;
        }
    }
    return 0;
}

// ---- granules -------------------------------------------------------------------------------------

// Can markers be put on and taken off? Asked once, of a page that nobody uses.
bool address_space::try_guards(address page) noexcept {
    if (guards_.load(std::memory_order_acquire) == guards::untried) {
        const bool work =
            prim::install_guard(page, page_size) == 0 && prim::remove_guard(page, page_size) == 0;
        guards_.store(work ? guards::work : guards::unknown_to_kernel, std::memory_order_release);
    }
    return guards_.load(std::memory_order_acquire) == guards::work;
}

// The markers first: at no time can anybody touch what is nobody's.
bool address_space::make_open(arena& a, range part) noexcept {
    if (a.kind.load(std::memory_order_relaxed) == arena_kind::guarded) {
        set_warm(a, part, false);
        if (prim::install_guard(part.begin, part.size()) != 0) {
            static_cast<void>(prim::discard(part.begin, part.size())); // it may have been warm
            return false;
        }
    }
    if (prim::protect(part.begin, part.size(), access::read_write) != 0) {
        static_cast<void>(prim::protect(part.begin, part.size(), access::none));
        return false;
    }
    tell_slack(static_cast<owner_id>(a.owner.load(std::memory_order_relaxed)),
               std::int64_t{a.set_open(part, true)} * std::int64_t{pages_per_granule});
    return true;
}

// `wanted` is held by the caller. What is free up to the end of the chunk is opened with it, so that
// two calls and the kernel's work on one mapping serve many reservations.
bool address_space::open_granules(arena& a, range wanted) noexcept {
    for (range part = a.closed_part(wanted); !part.is_empty(); part = a.closed_part(wanted)) {
        range all = part;
        const address stop = round_up(part.end, chunk);
        while (part.end == wanted.end && all.end < stop) {
            const range next{all.end, all.end + granule_size};
            if (!a.take_at(next)) {
                break;
            }
            if (a.is_open(next)) {
                a.give(next);
                break;
            }
            all.end = next.end;
        }
        const bool done = make_open(a, all);
        if (all.end > part.end) {
            a.give({part.end, all.end});
        }
        if (!done) {
            return false;
        }
    }
    return true;
}

void address_space::set_closed(arena& a, range granules) noexcept {
    tell_slack(static_cast<owner_id>(a.owner.load(std::memory_order_relaxed)),
               -std::int64_t{a.set_open(granules, false)} * std::int64_t{pages_per_granule});
}

// Granules of a guarded reservation that is gone become free and open, or else free and closed.
address_space::granules_are address_space::return_granules(arena& home, range granules, range used,
                                                           bool is_read_write,
                                                           std::uint32_t flags) noexcept {
    const bool is_relaxed = (flags & relaxed_space) != 0;
    if (used.is_empty() && !is_relaxed) {
        return granules_are::open;
    }
    if (!is_relaxed && stays_warm(home, granules, used, flags)) {
        set_closed(home, granules);
        return granules_are::closed;
    }
    const bool foreign = (flags & (holds_mappings | altered_mapping)) != 0;
    if (!foreign && is_relaxed) {
        if (const granules_are now = park(home, granules, used, is_read_write);
            now != granules_are::stuck) {
            return now;
        }
    } else if (!foreign && cover(used, is_read_write) == 0) {
        return granules_are::open;
    }
    if (prim::replace_by_reserved(granules.begin, granules.size()) == 0 ||
        (!foreign && prim::discard(granules.begin, granules.size()) == 0 &&
         prim::protect(granules.begin, granules.size(), access::none) == 0)) {
        set_closed(home, granules);
        loose_.fetch_sub(home.change(home.dirty, granules, false), std::memory_order_relaxed);
        return granules_are::closed;
    }
    return granules_are::stuck;
}

// What a thread of the parent was opening when it forked, in the child: nobody's, so it is closed.
void address_space::settle_half_open(arena& a) noexcept {
    if (!a.is_for_small()) {
        return;
    }
    const address base = a.begin.load(std::memory_order_relaxed);
    for (std::uint32_t w = 0; w < a.granules.load(std::memory_order_relaxed) / 64; ++w) {
        std::uint64_t half =
            a.taken[w].load(std::memory_order_relaxed) & ~a.open[w].load(std::memory_order_relaxed);
        for (; half != 0; half &= half - 1) {
            const auto bit = static_cast<unsigned>(__builtin_ctzll(half));
            const address at = base + (w * 64 + bit) * granule_size;
            if (map_.find(at).index == 0) {
                static_cast<void>(prim::protect(at, granule_size, access::none));
            }
        }
    }
}

// ---- taking ---------------------------------------------------------------------------------------

address_space::place address_space::take_from(arena_kind kind, std::uint32_t count,
                                              std::uint32_t alignment, owner_id owner, bool commits,
                                              bool may_make, bool whole) noexcept {
    const auto take = [&](arena& a) -> place {
        place got{a.take(count, alignment, commits), &a};
        if (got.begin != 0 && a.is_for_small() &&
            !open_or_close(got, {got.begin, got.begin + count * granule_size}, true, whole)) {
            got.begin = 0;
            may_make = false; // the kernel refused, not the arena
        }
        return got;
    };
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        arena& a = arenas_[i];
        if (a.state.load(std::memory_order_acquire) != 2 ||
            a.owner.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(owner) ||
            a.kind.load(std::memory_order_relaxed) != kind) {
            continue;
        }
        if (const place got = take(a); got.begin != 0) {
            return got;
        }
    }
    arena* fresh = may_make ? make_arena(owner, kind, count) : nullptr;
    if (fresh != nullptr && fresh->kind.load(std::memory_order_relaxed) == kind) {
        if (const place got = take(*fresh); got.begin != 0) {
            return got;
        }
    }
    return {};
}

result<address_space::place> address_space::take_anywhere(byte_count size, owner_id owner,
                                                          bool commits) noexcept {
    const byte_count granules = round_up(size, granule_size) >> granule_shift;
    if (granules > largest_from_arena) {
        return map_placed(size, owner);
    }
    const auto count = static_cast<std::uint32_t>(granules);
    const bool whole = is_aligned(size, granule_size);
    bool may_make = true;
    if (count <= largest_guarded && is_relaxed_) {
        const place got = take_from(arena_kind::relaxed, count, 1, owner, commits, true, whole);
        if (got.begin != 0) {
            return got;
        }
    } else if (count <= largest_guarded &&
               guards_.load(std::memory_order_relaxed) != guards::unknown_to_kernel) {
        const place got = take_from(arena_kind::guarded, count, 1, owner, commits, true, whole);
        if (got.begin != 0) {
            return got;
        }
        // Refused for want of memory or mappings: another arena would not help.
        may_make = guards_.load(std::memory_order_relaxed) == guards::unknown_to_kernel;
    }
    // What is large begins at a huge page, and at an entry of the map's upper levels.
    const std::uint32_t alignment = count >= chunk_granules ? chunk_granules : 1;
    const place got =
        take_from(arena_kind::plain, count, alignment, owner, commits, may_make, whole);
    return got.begin != 0 ? result<place>{got} : map_placed(size, owner);
}

// Granules that were just taken in a guarded arena: open, for a guarded reservation, or else closed,
// for a plain one. False: neither, and given back.
bool address_space::open_or_close(place& got, range granules, bool may_open, bool whole) noexcept {
    got.warm = may_open && whole && got.home->all(got.home->warm, granules) &&
               got.home->kind.load(std::memory_order_relaxed) == arena_kind::guarded;
    if (got.warm) {
        got.guarded = true;
        tell_slack(static_cast<owner_id>(got.home->owner.load(std::memory_order_relaxed)),
                   std::int64_t{got.home->set_open(granules, true)} *
                       std::int64_t{pages_per_granule});
        return true;
    }
    got.guarded = may_open && (got.home->is_open(granules) || open_granules(*got.home, granules));
    got.relaxed =
        got.guarded && got.home->kind.load(std::memory_order_relaxed) == arena_kind::relaxed;
    if (got.relaxed && got.home->any(got.home->warm, granules)) {
        loose_.fetch_sub(got.home->change(got.home->warm, granules, false),
                         std::memory_order_relaxed);
    }
    if (got.guarded) {
        return true;
    }
    // Anew, for there may be markers, or contents.
    set_warm(*got.home, granules, false);
    if (prim::replace_by_reserved(granules.begin, granules.size()) != 0) {
        got.home->give(granules);
        return false;
    }
    set_closed(*got.home, granules);
    return true;
}

// In a guarded arena of its own owner a reservation is guarded like its neighbours. The books of an
// arena are its owner's, so that a stranger's reservation is plain.
result<address_space::place> address_space::take_from_arena(arena& home, range where,
                                                            owner_id owner) noexcept {
    const range granules{where.begin, round_up(where.end, granule_size)};
    const bool is_relaxed = home.kind.load(std::memory_order_relaxed) == arena_kind::relaxed;
    if (!home.where().contains(granules) ||
        (!home.take_at(granules) &&
         (!is_relaxed || drop_loose() == 0 || !home.take_at(granules)))) {
        return errc::invalid_address;
    }
    place got{where.begin, &home};
    const bool is_own =
        home.owner.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(owner);
    if (home.is_for_small() && !open_or_close(got, granules, is_own, granules.end == where.end)) {
        return failure{errc::out_of_address_space, 12 /* ENOMEM */};
    }
    return got;
}

} // namespace memreeve::vm
