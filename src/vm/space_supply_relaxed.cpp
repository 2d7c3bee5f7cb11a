// SPDX-License-Identifier: MIT
// Relaxed arenas: read-write without markers, so that to commit and to decommit clean pages is
// bookkeeping. Zero at every commit (rule S2) as long as nobody writes to what is not committed: a
// decommitted page makes its granule dirty; what is committed again in a dirty granule is zeroed first;
// a dirty granule that is released is parked, and cleaned with others before it is handed out again.
//
// Pages that are there and not committed are charged to nobody. So they are bounded: parked and warm
// granules by loose_bound, decommitted pages of live reservations by dropping them at once beyond it.
#include "prim/prim.hpp"
#include "vm/address_space.hpp"

namespace memreeve::vm {

namespace {

constexpr std::uint32_t most_loose = 256; // granules: 16 MiB
// So many are cleaned together: what is warm in the processor's cache then is used next.
constexpr std::uint32_t batch = chunk_granules;

range granules_round(range r) noexcept {
    return {round_down(r.begin, granule_size), round_up(r.end, granule_size)};
}

// f(range) for the granules whose bits are set, neighbours together; first bit is granule `first`.
template <class F>
void for_each_stretch(std::uint64_t word, address begin, F&& f) noexcept {
    while (word != 0) {
        const auto first = static_cast<unsigned>(__builtin_ctzll(word));
        const std::uint64_t rest = ~(word >> first);
        const unsigned count = rest == 0 ? 64 : static_cast<unsigned>(__builtin_ctzll(rest));
        f(range{begin + first * granule_size, begin + (first + count) * granule_size});
        word = first + count == 64 ? 0 : word & ~std::uint64_t{0} << (first + count);
    }
}

} // namespace

page_count address_space::loose_bound(const arena& a) const noexcept {
    const page_count pages =
        warm_bound_ == nullptr
            ? most_loose * page_count{pages_per_granule}
            : warm_bound_(settled_context_,
                          static_cast<owner_id>(a.owner.load(std::memory_order_relaxed)));
    const page_count granules = pages / pages_per_granule;
    return granules < most_loose ? granules : most_loose;
}

// Pages of `used` will be of nobody's; their contents stay, or beyond the bound they go.
void address_space::loosen(arena& home, range used) noexcept {
    const range granules = granules_round(used);
    const auto count = static_cast<std::uint32_t>(granules.size() >> granule_shift);
    if (count == 1 && home.any(home.dirty, granules)) {
        return;
    }
    if (loose_.load(std::memory_order_relaxed) + count > loose_bound(home) &&
        prim::discard(used.begin, used.size()) == 0) {
        return;
    }
    loose_.fetch_add(home.change(home.dirty, granules, true), std::memory_order_relaxed);
}

// Reserved pages that are about to be committed.
int address_space::unmark(const planned& p, range run) noexcept {
    if (!p.relaxed_) {
        return prim::remove_guard(run.begin, run.size());
    }
    arena* home = home_of(map_.at(p.index_));
    if (!home->any(home->dirty, granules_round(run))) {
        return 0;
    }
    int failed = 0;
    map_.for_each_run(run, [&](range part, page_code code, bool) {
        if (failed == 0 && is_reserved(code)) {
            page_count kept = 0;
            failed = prim::zero(part.begin, part.size(), part.pages(), &kept);
        }
    });
    return failed;
}

// Granules of a relaxed reservation that is gone. stuck: `used` would not become read-write again.
address_space::granules_are address_space::park(arena& home, range granules, range used,
                                                bool is_read_write) noexcept {
    if (!is_read_write && !used.is_empty() &&
        prim::protect(used.begin, used.size(), access::read_write) != 0) {
        return granules_are::stuck;
    }
    if (used.is_empty() && !home.any(home.dirty, granules)) {
        return granules_are::open;
    }
    const std::uint32_t fresh = home.change(home.dirty, granules, true);
    loose_.fetch_add(fresh, std::memory_order_relaxed);
    const auto count = static_cast<std::uint32_t>(granules.size() >> granule_shift);
    home.change(home.parked, granules, true);
    if (parked_.fetch_add(count, std::memory_order_relaxed) + count >= batch ||
        loose_.load(std::memory_order_relaxed) > loose_bound(home)) {
        clean_parked(home, false);
    }
    return granules_are::parked;
}

// Whoever takes a bit out of `parked` holds that granule.
void address_space::clean_parked(arena& a, bool drop) noexcept {
    const address base = a.begin.load(std::memory_order_relaxed);
    const page_count bound = drop ? 0 : loose_bound(a);
    for (std::uint32_t w = 0; w < a.granules.load(std::memory_order_relaxed) / 64; ++w) {
        if (a.parked[w].load(std::memory_order_relaxed) == 0) {
            continue;
        }
        const std::uint64_t mine = a.parked[w].exchange(0, std::memory_order_acq_rel);
        for_each_stretch(mine, base + w * 64 * granule_size, [&](range r) {
            const auto count = static_cast<std::uint32_t>(r.size() >> granule_shift);
            const bool keep = loose_.load(std::memory_order_relaxed) <= bound;
            page_count kept = 0;
            parked_.fetch_sub(count, std::memory_order_relaxed);
            if (prim::zero(r.begin, r.size(), keep ? r.pages() : 0, &kept) != 0 &&
                prim::replace_by_anonymous(r.begin, r.size(), access::read_write) != 0) {
                // Not now: neither used nor given.
                a.change(a.parked, r, true);
                parked_.fetch_add(count, std::memory_order_relaxed);
                return;
            }
            a.change(a.dirty, r, false);
            if (kept != 0) {
                a.change(a.warm, r, true);
            } else {
                loose_.fetch_sub(count, std::memory_order_relaxed);
            }
            a.give(r);
        });
    }
}

byte_count address_space::drop_loose() noexcept {
    byte_count dropped = 0;
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        arena& a = arenas_[i];
        if (a.state.load(std::memory_order_acquire) != 2 || !a.is_for_small()) {
            continue;
        }
        if (a.kind.load(std::memory_order_relaxed) == arena_kind::guarded) {
            dropped += drop_warm(a);
            continue;
        }
        dropped += parked_.load(std::memory_order_relaxed) * granule_size;
        clean_parked(a, true);
        const address base = a.begin.load(std::memory_order_relaxed);
        for (std::uint32_t w = 0; w < a.granules.load(std::memory_order_relaxed) / 64; ++w) {
            const std::uint64_t warm = a.warm[w].load(std::memory_order_relaxed);
            for_each_stretch(warm, base + w * 64 * granule_size, [&](range r) {
                for (address at = r.begin; at < r.end; at += granule_size) {
                    const range one{at, at + granule_size};
                    if (!a.take_at(one)) {
                        continue;
                    }
                    if (a.any(a.warm, one) && prim::discard(one.begin, one.size()) == 0) {
                        loose_.fetch_sub(a.change(a.warm, one, false), std::memory_order_relaxed);
                        dropped += granule_size;
                    }
                    a.give(one);
                }
            });
        }
    }
    return dropped;
}

page_count address_space::warm_pages(owner_id owner) const noexcept {
    page_count pages = 0;
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_acquire); ++i) {
        const arena& a = arenas_[i];
        if (a.state.load(std::memory_order_acquire) != 2 || !a.is_for_small() ||
            a.owner.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(owner)) {
            continue;
        }
        for (std::uint32_t w = 0; w < a.granules.load(std::memory_order_relaxed) / 64; ++w) {
            pages += static_cast<page_count>(
                         __builtin_popcountll(a.dirty[w].load(std::memory_order_relaxed) |
                                              a.warm[w].load(std::memory_order_relaxed))) *
                     pages_per_granule;
        }
    }
    return pages;
}

} // namespace memreeve::vm
