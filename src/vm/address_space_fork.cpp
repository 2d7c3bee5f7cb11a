// SPDX-License-Identifier: MIT
// address_space: what a child of fork makes of what it inherits.
#include "vm/address_space.hpp"

#include "prim/prim.hpp"

namespace memreeve::vm {

void address_space::settle_after_fork(const fork_visitor& v) noexcept {
    for (std::uint32_t i = 1; i < arenas_high_.load(std::memory_order_relaxed); ++i) {
        arena& a = arenas_[i];
        const auto before = static_cast<owner_id>(a.owner.load(std::memory_order_relaxed));
        const owner_id now = v.remap(v.context, before);
        a.owner.store(static_cast<std::uint32_t>(now), std::memory_order_relaxed);
        if (a.state.load(std::memory_order_relaxed) != 2) {
            continue;
        }
        differences d;
        d.writable = a.opened.load(std::memory_order_relaxed) * std::int64_t{pages_per_granule};
        d.slack = d.writable;
        v.tell(v.context, now, d);
        settle_half_open(a);
    }
    for (std::uint32_t i = 1; i < reservations_.used(); ++i) {
        reservation& r = map_.at(i);
        const auto before = static_cast<owner_id>(r.owner.load(std::memory_order_relaxed));
        r.owner.store(static_cast<std::uint32_t>(v.remap(v.context, before)),
                      std::memory_order_relaxed);
        if (map_.holds(i)) {
            differences d;
            d.reserved = static_cast<std::int64_t>(r.pages.load(std::memory_order_relaxed));
            v.tell(v.context, static_cast<owner_id>(r.owner.load(std::memory_order_relaxed)), d);
        } else if (r.stage() != reservation_stage::free && !arena_at(r.base()).is_empty()) {
            // Being made or released by a thread that is not here: nobody's, so it holds nothing.
            const std::uint32_t there = find(r.base()).index;
            const range where = r.where();
            // Given back already, and somebody else's by now.
            const bool is_others =
                (there != 0 && there != i) || map_.next_base(where.begin, where.end) < where.end;
            if (is_others || where.is_empty()) {
                continue;
            }
            arena* home = arena_of(where.begin);
            const range granules{where.begin, round_up(where.end, granule_size)};
            if (home != nullptr &&
                home->kind.load(std::memory_order_relaxed) == arena_kind::relaxed &&
                home->is_open(granules)) {
                loosen(*home, granules);
                static_cast<void>(prim::protect(where.begin, where.size(), access::read_write));
            } else if (home != nullptr && home->is_open(granules)) {
                set_warm(*home, granules, false);
                static_cast<void>(cover(where, false));
            } else {
                static_cast<void>(prim::discard(where.begin, where.size()));
                static_cast<void>(prim::protect(where.begin, where.size(), access::none));
            }
        }
    }
    map_.settle_after_fork([&](range run, std::uint32_t index, page_code code, bool claimed) {
        const reservation& r = map_.at(index);
        if (r.stage() != reservation_stage::live) {
            return;
        }
        const bool is_marked = (r.flags.load(std::memory_order_relaxed) & guarded_space) != 0;
        const auto n = static_cast<std::int64_t>(run.pages());
        differences d;
        d.committed = is_charged(code) ? n : 0;
        d.writable = n * (int{is_kernel_writable(code, is_marked)} - int{is_marked});
        d.slack = n * (int{is_slack(code, is_marked)} - int{is_marked});
        if (d.committed != 0 || d.writable != 0 || d.slack != 0) {
            v.tell(v.context, static_cast<owner_id>(r.owner.load(std::memory_order_relaxed)), d);
        }
        if (!claimed) {
            return;
        }
        if ((r.flags.load(std::memory_order_relaxed) & relaxed_space) != 0) {
            // Contents of what is committed stay: another request of the parent may have been at them.
            if (arena* home = arena_of(run.begin); home != nullptr && is_reserved(code)) {
                loosen(*home, run);
            }
        } else if (is_marked) {
            if (arena* home = home_of(r); home != nullptr) {
                set_warm(*home,
                         {round_down(run.begin, granule_size), round_up(run.end, granule_size)},
                         false);
            }
            static_cast<void>(kernel_access(code, true) == use_of(code)
                                  ? prim::remove_guard(run.begin, run.size())
                                  : prim::install_guard(run.begin, run.size()));
        } else if (is_reserved(code)) {
            static_cast<void>(prim::discard(run.begin, run.size()));
        }
        if (code != page_code::replaced) {
            static_cast<void>(prim::protect(run.begin, run.size(), kernel_access(code, is_marked)));
        }
    });
}

} // namespace memreeve::vm
