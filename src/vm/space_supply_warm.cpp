// SPDX-License-Identifier: MIT
// Warm granules of guarded arenas: to fault pages in and drop them costs some 2 us each, to close them
// and to zero them again a tenth of that. A reservation whose pages are touched throughout is therefore
// decommitted by taking the access away: contents stay, and are zeroed after the next commit has given
// the access back. Its pages are `reserved_writable`; released, its granules are free and closed.
//
// A warm bit says: no page of this granule has access or a marker, and contents may be there. The
// granule is free, and the bit belongs to whoever holds its taken bit; or its reservation was decommitted
// as a whole or born so, has no flag but guarded_space, and the bit belongs to whoever has claimed all of
// it. Without the bit nothing is trusted: a commit drops contents, a release puts markers.
//
// What is warm is charged to nobody. So it is bounded (loose_bound), shown (warm_pages), and dropped
// before anything is refused (drop_loose).
#include "prim/prim.hpp"
#include "prim/write_watch.hpp"
#include "vm/address_space.hpp"

namespace memreeve::vm {

namespace {

constexpr std::uint32_t ask_every = 32; // decommits that drop their contents

range granules_round(range r) noexcept {
    return {round_down(r.begin, granule_size), round_up(r.end, granule_size)};
}

} // namespace

void address_space::set_warm(arena& home, range granules, bool is_warm) noexcept {
    if (is_warm) {
        loose_.fetch_add(home.change(home.warm, granules, true), std::memory_order_relaxed);
    } else if (home.any(home.warm, granules)) {
        loose_.fetch_sub(home.change(home.warm, granules, false), std::memory_order_relaxed);
    }
}

// Null unless the whole of a warm reservation is claimed by `p`.
arena* address_space::warm_home(const planned& p) noexcept {
    if (p.old_code_ != page_code::reserved_writable || !p.is_uniform_ || p.relaxed_) {
        return nullptr;
    }
    const reservation& r = map_.at(p.index_);
    arena* home = home_of(r);
    return r.where() == p.span_ &&
                   only_flags(r.flags.load(std::memory_order_acquire)) == guarded_space &&
                   home->all(home->warm, granules_round(p.span_))
               ? home
               : nullptr;
}

// False: to be decommitted in the ordinary way; is_read_write may have become false.
bool address_space::decommit_warm(planned& p, bool& is_read_write) noexcept {
    const reservation& r = map_.at(p.index_);
    const range all = p.span_;
    if (p.target_ == page_code::reserved && warm_home(p) != nullptr) {
        p.warm_ = p.bare_ = true;
        return true;
    }
    cool(p);
    if (p.old_code_ != page_code::rw || !p.is_uniform_ || p.target_ != page_code::reserved ||
        r.where() != all || !is_aligned(all.end, granule_size) ||
        only_flags(r.flags.load(std::memory_order_acquire)) != guarded_space) {
        return false;
    }
    arena& home = *home_of(r);
    arena::lane& lane = home.own_lane();
    if (lane.is_dense.load(std::memory_order_relaxed) == 0 && !assumes_dense_) {
        const std::uint32_t left = lane.until_asked.load(std::memory_order_relaxed);
        lane.until_asked.store(left == 0 ? ask_every - 1 : left - 1, std::memory_order_relaxed);
        if (left != 0 || !prim::all_present(all)) {
            return false;
        }
        lane.is_dense.store(1, std::memory_order_relaxed);
    }
    const page_count loose = loose_.load(std::memory_order_relaxed);
    if (loose + (all.size() >> granule_shift) > loose_bound(home)) {
        return false;
    }
    if (prim::protect(all.begin, all.size(), access::none) != 0) {
        is_read_write = false; // of some of it, perhaps
        return false;
    }
    p.warm_ = p.bare_ = true;
    return true;
}

// All of `span` becomes read-write and zero, or stays as it is. At the mapping limit, where a granule
// between warm ones cannot be told from them, the others are given up for it.
int address_space::wake(arena& home, std::uint32_t index, range span) noexcept {
    const auto close = [&] {
        return prim::protect(span.begin, span.size(), access::none) == 0 ||
               (drop_ballast() && prim::protect(span.begin, span.size(), access::none) == 0);
    };
    bool is_closed = true;
    int e = prim::protect(span.begin, span.size(), access::read_write);
    if (e != 0) {
        is_closed = close();
        if (drop_loose() != 0) {
            e = prim::protect(span.begin, span.size(), access::read_write);
            is_closed = e == 0 || close();
        }
    }
    if (e == 0) {
        page_count kept = 0;
        page_count written = 0;
        if (prim::zero(span.begin, span.size(), span.pages(), &kept, &written) != 0) {
            // Nothing can fail any more: it might not be closed again.
            __builtin_memset(reinterpret_cast<void*>(span.begin), 0, span.size());
        }
        home.own_lane().is_dense.store(written >= span.pages() * 3 / 4 ? 1 : 0,
                                       std::memory_order_relaxed);
    }
    if (!is_closed) {
        map_.at(index).flags.fetch_or(may_be_open, std::memory_order_acq_rel);
    }
    if (e == 0 || !is_closed) {
        set_warm(home, span, false);
    }
    return e;
}

// Before a part of a warm reservation is changed, or all of it otherwise: it is warm no longer, and what
// is not claimed by `p` loses its contents too. Whoever else claims some of it drops them himself.
void address_space::cool(const planned& p) noexcept {
    const reservation& r = map_.at(p.index_);
    arena* home = p.relaxed_ ? nullptr : home_of(r);
    const range all = r.where();
    if (home == nullptr || !home->any(home->warm, granules_round(all))) {
        return;
    }
    const std::uint32_t life = r.life.load(std::memory_order_acquire);
    for (const range rest : {range{all.begin, p.span_.begin}, range{p.span_.end, all.end}}) {
        if (rest.is_empty() || map_.claim(p.index_, life, rest) != claim_outcome::claimed) {
            continue;
        }
        map_.for_each_run(rest, [&](range run, page_code code, bool) {
            if (code == page_code::reserved_writable) {
                static_cast<void>(prim::discard(run.begin, run.size()));
            }
        });
        map_.unclaim(rest);
    }
    set_warm(*home, granules_round(all), false);
}

// Granules of a guarded reservation that is gone: may they be free as they are?
bool address_space::stays_warm(arena& home, range granules, range used,
                               std::uint32_t flags) noexcept {
    if (used == granules && only_flags(flags) == guarded_space && home.all(home.warm, granules)) {
        return true;
    }
    set_warm(home, granules, false);
    return false;
}

// ---- giving back --------------------------------------------------------------------------------------

// The live reservation at `where` is held as if it had never been warm. Bytes dropped.
byte_count address_space::drop_warm_reservation(arena& a, address where) noexcept {
    const found f = map_.find(where);
    if (f.index == 0 || map_.claim(f.index, f.life, f.whole) != claim_outcome::claimed) {
        return 0;
    }
    bool is_warm =
        a.all(a.warm, granules_round(f.whole)) &&
        only_flags(map_.at(f.index).flags.load(std::memory_order_acquire)) == guarded_space;
    map_.for_each_run(f.whole, [&](range, page_code code, bool) {
        is_warm = is_warm && code == page_code::reserved_writable;
    });
    if (!is_warm) {
        map_.unclaim(f.whole);
        return 0;
    }
    set_warm(a, granules_round(f.whole), false);
    if (cover(f.whole, false) == 0) {
        map_.publish(f.whole, page_code::reserved, false);
        tell_slack(f.owner, static_cast<std::int64_t>(f.whole.pages()));
    } else {
        static_cast<void>(prim::discard(f.whole.begin, f.whole.size()));
        static_cast<void>(prim::protect(f.whole.begin, f.whole.size(), access::none));
        map_.unclaim(f.whole);
    }
    return f.whole.size();
}

byte_count address_space::drop_warm(arena& a) noexcept {
    byte_count dropped = 0;
    const address base = a.begin.load(std::memory_order_relaxed);
    for (std::uint32_t w = 0; w < a.granules.load(std::memory_order_relaxed) / 64; ++w) {
        if (loose_.load(std::memory_order_relaxed) == 0) {
            break;
        }
        for (std::uint64_t left = a.warm[w].load(std::memory_order_relaxed); left != 0;
             left &= left - 1) {
            const auto bit = static_cast<unsigned>(__builtin_ctzll(left));
            const address at = base + (w * 64 + bit) * granule_size;
            const range one{at, at + granule_size};
            if (!a.take_at(one)) {
                dropped += drop_warm_reservation(a, at);
                continue;
            }
            // Open again, so that it is one mapping with its neighbours.
            if (a.any(a.warm, one)) {
                static_cast<void>(make_open(a, one));
                dropped += granule_size;
            }
            a.give(one);
        }
    }
    return dropped;
}

} // namespace memreeve::vm
