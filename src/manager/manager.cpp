// SPDX-License-Identifier: MIT
#include "manager/manager.hpp"

#include "base/check.hpp"
#include "budget/charge.hpp"
#include "heap/poison.hpp"
#include "manager/foreign.hpp"
#include "manager/operation.hpp"
#include "manager/owner_heap.hpp"
#include "prim/prim.hpp"
#include "vm/win32.hpp"

namespace memreeve::manager {

using telemetry::extent_kind;

namespace {

void say_broken(const char* sentence) noexcept {
    prim::say("memreeve: a broken invariant, the process ends here; it must hold that");
    prim::say(sentence);
}

void on_added(void* context, range where, owner_id owner, vm::space_listener::kind what) noexcept {
    using kind = vm::space_listener::kind;
    const extent_kind as = what == kind::arena    ? extent_kind::arena
                           : what == kind::placed ? extent_kind::placed
                                                  : extent_kind::records;
    static_cast<void>(static_cast<manager*>(context)->known().add(where, owner, as, 0));
}

void on_removed(void* context, range where) noexcept {
    static_cast<manager*>(context)->known().remove(where);
}

} // namespace

result<void> manager::open(ledger& books, telemetry::image_record& image,
                           const options& o) noexcept {
    report_broken_invariant = say_broken;
    books_ = &books;
    image_ = &image;
    options_ = o;
    extents_ = extents(&image);
    sensors_.open(o.root_prefix, o.watch_system);
    space_.set_settled_sink(
        [](void* context, owner_id owner, std::int64_t pages) noexcept {
            if (owner != owner_id::none) {
                vm::differences d;
                d.writable = d.slack = pages;
                static_cast<manager*>(context)->enter(owner, d);
            }
        },
        this);
    space_.set_warm_bound([](void* context, owner_id owner) noexcept {
        return static_cast<manager*>(context)->warm_bound(owner);
    });
    if (o.relaxed) {
        space_.relax();
    }
    if (!o.guard_pages) {
        space_.forgo_guards();
    }
    if (o.watch_by_faults) {
        space_.watch_by_faults();
    }
    return space_.open({on_added, on_removed, this});
}

void manager::close() noexcept {
    for (std::uint32_t i = runs_.is_open() ? runs_.high() : 0; i-- != 0;) {
        if (runs_.is_live(i)) {
            heap::open_to_use(runs_.base_of(i), bytes_of(page_runs::chunk_pages));
        }
    }
    space_.close();
    if (const range records = runs_.close(); !records.is_empty()) {
        static_cast<void>(prim::unmap(records.begin, records.size()));
    }
}

void manager::enter(owner_id who, const vm::differences& d) noexcept {
    tree().enter(who, image_->lanes.lane_of_this_thread(),
                 {static_cast<page_count>(d.reserved), static_cast<page_count>(d.committed),
                  static_cast<page_count>(d.writable), static_cast<page_count>(d.slack)});
}

// What processes held that have ended is given back before anything is refused: whoever waited for a
// child may count on its memory.
result<void> manager::take(owner_id who, page_count pages, criticality level,
                           budget::charge& out) noexcept {
    if (pages == 0) {
        return {};
    }
    auto r = tree().try_take(who, pages, level, out);
    if (!r && relieve() != 0) {
        r = tree().try_take(who, pages, level, out);
    }
    if (!r && books_->fold_dead()) {
        r = tree().try_take(who, pages, level, out);
    }
    auto* const give_back = give_back_.load(std::memory_order_acquire);
    if (!r && give_back != nullptr && give_back()) {
        r = tree().try_take(who, pages, level, out);
    }
    if (!r) {
        tree().count_refusal(who, level); // once, however often it was asked for
    }
    return r;
}

byte_count manager::relieve() noexcept {
    byte_count given = drop_warm();
    heaps_.for_each([&given](owner_heap& h) noexcept {
        given += h.trim();
        return true;
    });
    given_back_.fetch_add(given, std::memory_order_relaxed);
    return given;
}

result<void> manager::carry_out(vm::planned& p, criticality level) noexcept {
    budget::charge taken;
    if (auto r = take(p.owner(), p.to_charge(), level, taken); !r) {
        count_refusal(p.owner(), level, p.to_charge());
        return r;
    }
    if (auto r = space_.apply(p); !r) {
        return r;
    }
    space_.keep(p);
    taken.keep();
    enter(p.owner(), p.diff());
    tree().refund(p.owner(), p.diff().to_refund);
    return {};
}

// ---- virtual memory -----------------------------------------------------------------------------

result<address> manager::virtual_alloc(owner_id who, address where, byte_count size,
                                       std::uint32_t type, std::uint32_t protect,
                                       criticality level) noexcept {
    const auto q = vm::decode_alloc(where, size, type, protect);
    return q ? carry_out(*q, who, level) : q.error();
}

result<address> manager::carry_out(const vm::alloc_request& q, owner_id who,
                                   criticality level) noexcept {
    const bool writes_and_executes = vm::without_guard(q.protect.code) == vm::page_code::rwx;
    if (writes_and_executes && !options_.allow_write_execute) {
        return errc::forbidden;
    }
    if ((q.flags & vm::watched) != 0 && !space_.can_watch()) {
        return errc::invalid_argument; // decision 9, which the GC probes for and survives
    }
    const operation inside(*this);
    vm::planned p;
    result<void> planned_ok{};
    switch (q.kind) {
    case vm::alloc_kind::reserve:
    case vm::alloc_kind::reserve_commit: planned_ok = space_.plan_reserve(q, who, 0, p); break;
    case vm::alloc_kind::commit:
        if ((q.flags & ~space_.find(q.span.begin).flags & vm::large_pages) != 0) {
            return errc::invalid_address; // A4: these are not large pages
        }
        planned_ok = space_.plan_commit(q.span, q.protect, p);
        break;
    case vm::alloc_kind::discard:
        planned_ok = space_.plan_discard(q.span, !options_.discard_at_once, p);
        break;
    case vm::alloc_kind::undo_discard: planned_ok = space_.plan_undo_discard(q.span, p); break;
    case vm::alloc_kind::replace:
    case vm::alloc_kind::replace_commit:
        planned_ok = space_.plan_replace_placeholder(
            q.span, q.kind == vm::alloc_kind::replace_commit, q.protect, p);
        break;
    }
    if (!planned_ok) {
        return planned_ok.error();
    }
    if (auto r = carry_out(p, level); !r) {
        return r.error();
    }
    return p.span().begin;
}

result<void> manager::virtual_free(address where, byte_count size, std::uint32_t type) noexcept {
    auto q = vm::decode_free(where, size, type);
    if (!q) {
        return q.error();
    }
    q.value().untagged = true; // a heap's pages: obtained through IHostMalloc, freed there
    const operation inside(*this);
    vm::planned p;
    if (q->change != vm::placeholder_change::none || (q->release && space_.is_piece(q->where))) {
        return change_placeholder(*q);
    }
    if (auto r = space_.plan_free(*q, false, p); !r) {
        return r;
    }
    if (auto r = carry_out(p, criticality::process); !r) {
        return r;
    }
    if (space_.owed() != 0) {
        space_.settle_owed();
    }
    return {};
}

result<std::uint32_t> manager::virtual_protect(address where, byte_count size,
                                               std::uint32_t protect, bool has_old_out) noexcept {
    // What the pages have already is answered by the map alone, before the arguments are looked at
    // closely: these are good ones (V1 to V3). Pages that another request is changing still have
    // their old state (decision 18).
    std::uint32_t old = 0;
    const vm::page_code plain = vm::plain_code(protect);
    if (plain != vm::page_code::outside && has_old_out && size != 0 &&
        fits_user_space(where, size) &&
        (plain != vm::page_code::rwx || options_.allow_write_execute) &&
        has_already(span_of(where, size), plain, &old)) {
        return old;
    }
    const auto q = vm::decode_protect(where, size, protect, has_old_out);
    if (!q) {
        return q.error();
    }
    const bool writes_and_executes = vm::without_guard(q->protect.code) == vm::page_code::rwx;
    if (writes_and_executes && !options_.allow_write_execute) {
        return errc::forbidden;
    }
    if (vm::is_guarded(q->protect.code) && has_already(q->span, q->protect.code, &old)) {
        return old; // re-armed where it is armed
    }
    const operation inside(*this);
    vm::planned p;
    if (auto r = space_.plan_protect(q->span, q->protect, p); !r) {
        if (r.error().code == errc::not_ours) {
            return protect_outside(space_, q->span, q->protect);
        }
        return r.error();
    }
    old = vm::encode_protection(p.old_code(), p.allocation_protect());
    if (auto r = carry_out(p, criticality::process); !r) {
        return r.error();
    }
    return old;
}

result<region_info> manager::query_closely(address where) noexcept {
    if (where >= top_address) {
        return errc::invalid_argument; // Q3
    }
    vm::run_view v;
    for (bool described = false; !described;) {
        described = space_.query(where, v);
        if (!described) {
            const auto outside = query_outside(space_, v.at);
            // A reservation that has come there meanwhile: its pages are not the kernel's to describe.
            if (!space_.query(where, v) && (!outside || outside->size != 0)) {
                return outside;
            }
        } else if (v.has_flags && (v.flags & vm::placeholder) != 0) {
            const vm::found piece = space_.find(where);
            if (piece.index == 0 && piece.flags != 0) {
                return query_vacant(piece);
            }
            described = piece.index != 0;
            v.run_end = piece.run_end;
            v.base = piece.whole.begin;
            v.protect = piece.protect;
            v.code = piece.code;
        }
    }
    region_info r = describe(v);
    if (v.code == vm::page_code::replaced) {
        prim::mapping m;
        r.type = vm::win32::mem_mapped;
        if (const int e = prim::find_mapping(v.at, &m); e != 0) {
            return failure{errc::out_of_address_space, e};
        }
        r.protect =
            m.where.contains(v.at) ? vm::encode_access(m.allowed) : vm::win32::page_noaccess;
    }
    return r;
}

manager::fault_was manager::deal_with_fault(address where, access tried) noexcept {
    const operation inside(*this);
    vm::differences d;
    owner_id who = owner_id::none;
    if (space_.clear_guard(where, d, who)) {
        if (who == owner_id::none) {
            return fault_was::over;
        }
        enter(who, d);
        return fault_was::guard;
    }
    if (allows(tried, access::write) && space_.note_write(where)) {
        return fault_was::watched;
    }
    return tried != access::none && space_.permits(where, tried) ? fault_was::over
                                                                 : fault_was::not_ours;
}

// ---- load, foreign memory ---------------------------------------------------------------------------

result<memory_load> manager::load(owner_id who) noexcept {
    const pressure::load l = load_of(tree(), who, sensors_);
    if (!l.is_known) {
        return errc::not_supported; // D17: better no answer than "nothing is left"
    }
    return memory_load{l.percent, l.available};
}

// Decision 11: give back what is idle, and promise only what is there.
result<void> manager::needs_address_space(address where, byte_count size) noexcept {
    const operation inside(*this);
    if (!fits_user_space(where, size)) {
        return errc::out_of_address_space;
    }
    static_cast<void>(relieve());
    space_.settle_owed();
    space_.give_back_empty_arenas();
    const byte_count wanted = size == 0 ? granule_size : round_up(size, page_size);
    address got = 0;
    const int e = where == 0 ? prim::reserve(0, wanted, prim::placement::anywhere, &got)
                             : prim::reserve(round_down(where, page_size), wanted,
                                             prim::placement::exactly, &got);
    if (e != 0) {
        return failure{errc::out_of_address_space, e};
    }
    static_cast<void>(prim::unmap(got, wanted));
    return {};
}

result<void> manager::acquired(owner_id who, address where, byte_count size) noexcept {
    if (size == 0 || !fits_user_space(where, size)) {
        return errc::invalid_argument;
    }
    const range span = span_of(where, size);
    if (space_.find(span.begin).index != 0 || space_.next_base(span.begin, span.end) < span.end) {
        return errc::invalid_argument; // decision 12: overlaps ours
    }
    const operation inside(*this);
    released(where);                                  // a duplicate replaces
    static_cast<void>(record_acquired(who, span, 0)); // lost: shown as unclassified
    return {};
}

void manager::released(address where) noexcept {
    const operation inside(*this);
    telemetry::extent* e = extents_.find(round_down(where, page_size), extent_kind::acquired);
    if (e != nullptr) {
        forget_acquired(
            {e->begin.load(std::memory_order_relaxed), e->end.load(std::memory_order_relaxed)});
    }
}

result<void> manager::charge_acquired(owner_id who, page_count pages, criticality level,
                                      budget::charge& out) noexcept {
    auto r = take(who, pages, level, out);
    if (!r) {
        count_refusal(who, level, pages);
    }
    return r;
}

void manager::count_refusal(owner_id who, criticality level, page_count pages) noexcept {
    telemetry::count_refusal(*image_, level, bytes_of(pages), prim::now_ns());
    if (auto* const told = told_.load(std::memory_order_acquire)) {
        told(who, level, pages);
    }
}

bool manager::record_acquired(owner_id who, range where, page_count charged) noexcept {
    const bool recorded = extents_.add(where, who, extent_kind::acquired, charged);
    if (recorded) {
        tree().at(who).mapped.fetch_add(where.pages(), std::memory_order_relaxed);
    }
    return recorded;
}

void manager::forget_acquired(range where) noexcept {
    extents_.cut(where, [&](owner_id who, page_count cut, page_count charged) {
        tree().at(who).mapped.fetch_sub(cut, std::memory_order_relaxed);
        tree().refund(who, charged);
    });
}

// ---- what the bridge needs beside the interface -------------------------------------------------------

result<void> manager::retire(range span) noexcept {
    const operation inside(*this);
    vm::free_request q;
    q.where = span.begin;
    q.span = span;
    vm::planned p;
    if (auto r = space_.plan_free(q, true, p); !r) {
        return r;
    }
    if (auto r = carry_out(p, criticality::process); !r) {
        return r;
    }
    if (!p.emptied()) {
        return {};
    }
    vm::planned last;
    if (space_.plan_release_dead(span.begin, last)) {
        static_cast<void>(carry_out(last, criticality::process));
    }
    return {};
}

result<void> manager::replace(range span, int (*map)(void* context), void* context) noexcept {
    const operation inside(*this);
    vm::planned p;
    if (auto r = space_.plan_replace(span, p); !r) {
        return r;
    }
    if (const int e = map(context); e != 0) {
        return failure{errc::out_of_address_space, e};
    }
    return carry_out(p, criticality::process);
}

result<address> manager::move(owner_id who, range from, byte_count new_size,
                              criticality level) noexcept {
    const vm::found f = space_.find(from.begin);
    if (f.index == 0 || !f.whole.contains(from) || f.run_end < from.end ||
        !vm::is_charged(f.code)) {
        return errc::invalid_address;
    }
    const std::uint32_t protect = vm::encode_protection(f.code, f.protect);
    const auto to = virtual_alloc(who, 0, new_size, vm::win32::mem_reserve | vm::win32::mem_commit,
                                  protect, level);
    if (!to) {
        return to;
    }
    const byte_count moved = from.size() < new_size ? from.size() : round_up(new_size, page_size);
    // The kernel joins moved pages with no neighbour: in the end their space is mapped anew.
    space_.map()
        .at(space_.find(*to).index)
        .flags.fetch_or(vm::holds_mappings, std::memory_order_acq_rel);
    if (const int e = prim::move_pages(from.begin, *to, moved); e != 0) {
        static_cast<void>(virtual_free(*to, 0, vm::win32::mem_release));
        return failure{errc::out_of_address_space, e};
    }
    static_cast<void>(retire(from));
    return to;
}

void manager::settle_after_fork(telemetry::image_record& image) noexcept {
    struct remapping {
        manager* self;
        telemetry::image_record* before;
        telemetry::image_record* after;

        static owner_id remap(void* context, owner_id owner) noexcept {
            const auto& me = *static_cast<remapping*>(context);
            for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
                if (me.before->owner_account[k].load(std::memory_order_relaxed) ==
                    static_cast<std::uint32_t>(owner)) {
                    return static_cast<owner_id>(
                        me.after->owner_account[k].load(std::memory_order_relaxed));
                }
            }
            return owner;
        }
        static void tell(void* context, owner_id owner, const vm::differences& holds) noexcept {
            static_cast<remapping*>(context)->self->enter(owner, holds);
        }
    };
    remapping r{this, image_, &image};
    extents(image_).for_each([&](telemetry::extent& e) {
        const range where{e.begin.load(std::memory_order_relaxed),
                          e.end.load(std::memory_order_relaxed)};
        const auto owner = static_cast<owner_id>(e.owner.load(std::memory_order_relaxed));
        const auto kind = static_cast<extent_kind>(e.kind.load(std::memory_order_relaxed));
        const owner_id mine = owner == owner_id::none ? owner : remapping::remap(&r, owner);
        static_cast<void>(extents(&image).add(where, mine, kind, 0)); // charged to the parent, once
        if (kind == extent_kind::acquired && mine != owner_id::none) {
            tree().at(mine).mapped.fetch_add(where.pages(), std::memory_order_relaxed);
        }
    });
    image.stacks.copy_from(image_->stacks); // libc uses them again
    image_ = &image;
    extents_ = extents(&image);
    space_.settle_after_fork({remapping::remap, remapping::tell, &r});
    warm_.settle_after_fork([&](warm_range kept) {
        kept.owner = remapping::remap(&r, kept.owner);
        return kept;
    });
    runs_.settle_after_fork([&](owner_id owner) { return remapping::remap(&r, owner); });
}

} // namespace memreeve::manager
