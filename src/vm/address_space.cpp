// SPDX-License-Identifier: MIT
// Plans: what a request asks for, checked against what is there, and its pages claimed. Applying and
// keeping: address_space_apply.cpp. Pages of guarded reservations: address_space_guarded.cpp. Where addresses
// come from and go to: space_supply.cpp, space_supply_arenas.cpp. Guards that are met:
// address_space_faults.cpp. After a fork: address_space_fork.cpp.
#include "vm/address_space.hpp"

#include "prim/prim.hpp"
#include "prim/write_watch.hpp"

namespace memreeve::vm {

namespace {

constexpr std::uint64_t patience_ns = 1'000'000'000; // decision 18: a race in the caller

// A4: large pages have one state each.
constexpr bool fits_pages_of(const found& f, range span) noexcept {
    return (f.flags & large_pages) == 0 || (is_aligned(span.begin, prim::large_page_size) &&
                                            is_aligned(span.end, prim::large_page_size));
}

} // namespace

// ---- plan ---------------------------------------------------------------------------------------

// The reservation that holds the first page; invalid_address unless it holds all of `span`.
result<found> address_space::find_whole(range span) noexcept {
    const found f = find(span.begin);
    if (f.index == 0 || !f.whole.contains(span) || (f.flags & bare_piece) != 0) {
        return errc::invalid_address;
    }
    return f;
}

// Claims `span` inside what find() saw. busy after a second of somebody else's claim; the codes
// invalid_address when the reservation went away.
result<void> address_space::claim(const found& f, range span) noexcept {
    std::uint64_t since = 0;
    for (;;) {
        switch (map_.claim(f.index, f.life, span)) {
        case claim_outcome::claimed:
            if ((f.flags & placeholder) != 0 && !is_still(f)) {
                map_.unclaim(span);
                return errc::invalid_address;
            }
            return {};
        case claim_outcome::changed: return errc::invalid_address;
        case claim_outcome::no_memory: return from_os(12 /* ENOMEM */);
        case claim_outcome::busy: break;
        }
        const std::uint64_t now = prim::now_ns();
        since = since == 0 ? now : since;
        if (now - since > patience_ns) {
            return errc::busy;
        }
        prim::yield();
    }
}

// What turning every page of the claimed span into the target does to the books.
void address_space::count(planned& p) noexcept {
    differences d;
    page_count living_more = 0;
    page_count living_less = 0;
    unsigned runs = 0;
    const bool guarded = p.guarded_;
    map_.for_each_run(p.span_, [&](range run, page_code code, bool inherited) {
        const page_code target =
            code == page_code::replaced && p.kind_ == planned::kind::protect ? code : p.target_;
        const page_count n = run.pages();
        const auto signed_n = static_cast<std::int64_t>(n);
        p.old_code_ = runs++ == 0 ? code : p.old_code_;
        if (is_charged(target) && !is_charged(code)) {
            d.to_charge += n;
        }
        if (is_charged(code) && !is_charged(target) && !inherited) {
            d.to_refund += n;
        }
        // A mapping of the program's own over our pages is COMMITTED to a query, not in the books:
        // neither charged nor ours (decision 1).
        d.committed += signed_n * (int{is_charged(target)} - int{is_charged(code)});
        d.writable += signed_n * (int{is_kernel_writable(target, guarded)} -
                                  int{is_kernel_writable(code, guarded)});
        d.slack += signed_n * (int{is_slack(target, guarded)} - int{is_slack(code, guarded)});
        living_more += target != page_code::dead && code == page_code::dead ? n : 0;
        living_less += target == page_code::dead && code != page_code::dead ? n : 0;
    });
    p.is_uniform_ = runs == 1;
    if (p.kind_ == planned::kind::release) {
        d.reserved = -static_cast<std::int64_t>(p.span_.pages());
    }
    p.diff_ = d;
    // Exact although several requests move `living`: each page is claimed by one of them.
    p.living_delta_ =
        static_cast<std::int64_t>(living_more) - static_cast<std::int64_t>(living_less);
}

result<void> address_space::plan_reserve(const alloc_request& q, owner_id owner, std::uint64_t tag,
                                         planned& out) noexcept {
    if (!q.anywhere) {
        // A8: any page already in a reservation. What is mapped but not ours shows in apply.
        if (map_.find(q.span.begin).index != 0 ||
            map_.next_base(q.span.begin, q.span.end) < q.span.end) {
            return errc::invalid_address;
        }
    }
    out.space_ = this;
    out.kind_ = planned::kind::reserve;
    out.anywhere_ = q.anywhere;
    out.span_ = q.span;
    out.owner_ = owner;
    out.tag_ = tag;
    out.flags_ = q.flags;
    out.top_down_ = q.top_down;
    out.allocation_protect_ = q.protect.value;
    const bool commits = q.kind == alloc_kind::reserve_commit;
    out.target_ = commits ? q.protect.code : page_code::reserved;
    out.kernel_ = use_of(out.target_);
    const auto pages = static_cast<std::int64_t>(q.span.pages());
    out.diff_ = {};
    out.diff_.to_charge = commits ? q.span.pages() : 0;
    out.diff_.reserved = pages;
    out.diff_.committed = commits ? pages : 0;
    return {};
}

result<void> address_space::plan_commit(range span, const protection& p, planned& out) noexcept {
    const auto f = find_whole(span);
    if (!f) {
        return f.error(); // A11
    }
    if (p.is_write_copy) {
        return errc::invalid_argument; // A12
    }
    if (!fits_pages_of(*f, span)) {
        return errc::invalid_address;
    }
    if (auto r = claim(*f, span); !r) {
        return r;
    }
    out.begin(this, planned::kind::commit, *f, span, p.code);
    count(out);
    return {};
}

result<void> address_space::plan_protect(range span, const protection& p, planned& out) noexcept {
    const found f = find(span.begin);
    if (f.index == 0 && (f.flags & placeholder) == 0) {
        return errc::not_ours;
    }
    if (f.index == 0 || !f.whole.contains(span)) {
        return errc::invalid_address; // V4
    }
    if (p.is_write_copy) {
        return errc::invalid_argument; // V5
    }
    if (!fits_pages_of(f, span)) {
        return errc::invalid_address;
    }
    if (auto r = claim(f, span); !r) {
        return r;
    }
    bool all_committed = true;
    map_.for_each_run(span, [&](range, page_code code, bool) {
        all_committed = all_committed && is_committed(code);
    });
    if (!all_committed) {
        map_.unclaim(span);
        return errc::invalid_address; // V6
    }
    out.begin(this, planned::kind::protect, f, span, p.code);
    count(out);
    return {};
}

result<void> address_space::plan_discard(range span, bool lazily, planned& out) noexcept {
    const auto f = find_whole(span);
    if (!f) {
        return f.error(); // A16
    }
    if (auto r = claim(*f, span); !r) {
        return r;
    }
    out.begin(this, planned::kind::discard, *f, span, page_code::outside);
    out.lazily_ = lazily;
    return {};
}

result<void> address_space::plan_undo_discard(range span, planned& out) noexcept {
    const auto f = find_whole(span);
    if (!f) {
        return f.error(); // A18
    }
    if (auto r = claim(*f, span); !r) {
        return r;
    }
    out.begin(this, planned::kind::undo_discard, *f, span, page_code::outside);
    return {};
}

result<void> address_space::plan_free(const free_request& q, bool to_dead, planned& out) noexcept {
    const found f = find(q.where);
    if (f.index == 0 || (q.untagged && f.tag != 0)) {
        return errc::not_ours; // F4
    }
    if (!q.whole && q.span.end > f.whole.end) {
        return errc::invalid_argument; // F5
    }
    if (q.whole && q.where != f.whole.begin) {
        return errc::invalid_address; // F6
    }
    const bool is_committed_for_life = (f.flags & large_pages) != 0 && !q.release; // A4
    if ((f.flags & bare_piece) != 0 || is_committed_for_life) {
        return errc::invalid_address;
    }
    const range span = q.whole ? f.whole : q.span;
    if (auto r = claim(f, span); !r) {
        return r;
    }
    out.begin(this, q.release ? planned::kind::release : planned::kind::decommit, f, span,
              to_dead ? page_code::dead : page_code::reserved);
    count(out);
    return {};
}

result<void> address_space::plan_release_dead(address a, planned& out) noexcept {
    const found f = map_.find(a);
    if (f.index == 0) {
        return errc::invalid_address;
    }
    if (auto r = claim(f, f.whole); !r) {
        return r;
    }
    bool all_dead = true;
    map_.for_each_run(f.whole, [&](range, page_code code, bool) {
        all_dead = all_dead && code == page_code::dead;
    });
    if (!all_dead) {
        map_.unclaim(f.whole); // revived meanwhile
        return errc::invalid_address;
    }
    out.begin(this, planned::kind::release, f, f.whole, page_code::reserved);
    count(out);
    return {};
}

result<void> address_space::plan_replace(range span, planned& out) noexcept {
    const auto f = find_whole(span);
    if (!f) {
        return f.error();
    }
    if (auto r = claim(*f, span); !r) {
        return r;
    }
    out.begin(this, planned::kind::replace, *f, span, page_code::replaced);
    count(out);
    return {};
}

void address_space::abandon(planned& p) noexcept {
    pieces_.give(p.spare_table_);
    p.spare_table_ = 0;
    if (p.took_space_) {
        end_fault_watch(p.index_);
        if ((p.flags_ & placeholder) != 0) {
            pieces_.end(map_.at(p.index_));
        }
        map_.remove(p.index_);
        undo_take(is_committed(p.target_) || p.warm_ ? p.span_ : range{}, p.index_);
    }
    if (p.claimed_) {
        map_.unclaim(p.span_);
    }
    p.kind_ = planned::kind::none;
}

} // namespace memreeve::vm
