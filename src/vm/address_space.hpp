// SPDX-License-Identifier: MIT
// The address space of one process as memreeve knows it: the region map, the arenas, and the system
// calls that make them true. Plans, applies, keeps; knows owners as numbers and no budget: the
// manager charges between plan and apply.
//
//   planned p;
//   plan_commit(..., p)    checks, claims the pages; nothing has changed         may fail
//   charge p.to_charge     (manager)                                             may fail
//   apply(p)               the system calls; undone when one fails               may fail
//   keep(p)                publishes the new states, ends the claims             cannot fail
// A planned change that is not kept gives up its claims when it goes out of scope.
//
// How the kernel holds each state: vm/page_state.hpp; what is small lies in guarded arenas, where a
// commit and a decommit are one call each. What the kernel refuses to take back at its mapping limit
// is owed: dropped, kept out of use, and tried again by settle_owed().
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "vm/arena.hpp"
#include "vm/placeholders.hpp"
#include "vm/region_map.hpp"
#include "vm/request.hpp"
#include "vm/write_watch.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

// Told where our address space lies, so that others can attribute the kernel's mappings.
struct space_listener {
    enum class kind : unsigned char { arena, placed, records };
    void (*added)(void* context, range where, owner_id owner, kind what) noexcept = nullptr;
    void (*removed)(void* context, range where) noexcept = nullptr;
    void* context = nullptr;
};

// What a change does to the books, in pages. to_charge is needed before apply; the rest after keep.
struct differences {
    page_count to_charge = 0;
    page_count to_refund = 0; // inherited pages are the parent's: not refunded here
    std::int64_t reserved = 0;
    std::int64_t committed = 0;
    std::int64_t writable = 0; // kernel-writable private pages, slack included
    std::int64_t slack = 0;
};

class address_space;

class [[nodiscard]] planned {
public:
    planned() noexcept = default;
    planned(const planned&) = delete;
    planned& operator=(const planned&) = delete;
    ~planned();

    owner_id owner() const noexcept { return owner_; }
    page_count to_charge() const noexcept { return diff_.to_charge; }
    const differences& diff() const noexcept { return diff_; } // final after keep
    range span() const noexcept { return span_; }
    page_code old_code() const noexcept { return old_code_; } // of the first page (V7)
    std::uint32_t allocation_protect() const noexcept { return allocation_protect_; }
    bool emptied() const noexcept { return emptied_; } // no living page is left (retire)

private:
    friend class address_space;
    enum class kind : unsigned char {
        none,
        reserve,
        commit,
        protect,
        discard,
        undo_discard,
        decommit,
        release,
        replace,
        reshape, // pieces of an area, no page
    };

    void begin(address_space* space, kind what, const found& f, range span,
               page_code target) noexcept {
        space_ = space;
        kind_ = what;
        claimed_ = true;
        target_ = target;
        guarded_ = (f.flags & guarded_space) != 0;
        relaxed_ = (f.flags & relaxed_space) != 0;
        kernel_ = kernel_access(target, guarded_);
        index_ = f.index;
        owner_ = f.owner;
        allocation_protect_ = f.protect;
        span_ = span;
        old_code_ = f.code;
        diff_ = {};
        living_delta_ = 0;
        emptied_ = false;
        is_uniform_ = false;
        warm_ = false;
    }

    address_space* space_ = nullptr;
    kind kind_ = kind::none;
    bool claimed_ = false;
    bool emptied_ = false;
    bool anywhere_ = false;
    bool took_space_ = false;
    bool lazily_ = false;
    bool over_mappings_ = false; // some pages are `replaced`
    bool guarded_ = false;       // the reservation is (guarded_space)
    bool relaxed_ = false;       // and without markers (relaxed_space)
    bool is_uniform_ = false;    // every page of the span has old_code_
    bool stuck_ = false;         // decommit: the kernel would not change the access in one call
    bool bare_ = false; // decommit of a guarded one: without markers, hull_ is closed instead
    bool warm_ = false; // and keeps its contents; reserve: its granules are warm
    access kernel_ = access::none;
    page_code target_ = page_code::reserved;
    page_code old_code_ = page_code::outside;
    std::uint32_t index_ = 0;
    std::uint32_t allocation_protect_ = 0;
    std::uint32_t flags_ = 0; // of the reservation to be made
    // What `span_`, or in it `reshaped_`, becomes in its area; no change while spare_table_ is 0.
    std::uint32_t spare_table_ = 0;
    std::uint32_t piece_protect_ = 0;
    piece_kind piece_ = piece_kind::vacant;
    range reshaped_{};
    bool top_down_ = false;
    std::uint64_t tag_ = 0;
    owner_id owner_ = owner_id::none;
    range span_{};
    range hull_{}; // decommit: from the first to the last page that had to be changed
    differences diff_{};
    std::int64_t living_delta_ = 0;
};

class address_space {
public:
    constexpr address_space() noexcept = default;

    // Reserves the records (one mapping). out_of_address_space with the OS code.
    result<void> open(space_listener listener) noexcept;
    // Unmaps everything, reservations too. Only when nobody is inside.
    void close() noexcept;

    // ---- plans: errors are those of the rules named ---------------------------------------------
    // A8, A9: a new reservation, all pages reserved or (kind reserve_commit) committed.
    result<void> plan_reserve(const alloc_request& q, owner_id owner, std::uint64_t tag,
                              planned& out) noexcept;
    // A11-A14. Dead pages revive.
    result<void> plan_commit(range span, const protection& p, planned& out) noexcept;
    // V4-V7. not_ours when the first page lies in no reservation.
    result<void> plan_protect(range span, const protection& p, planned& out) noexcept;
    // A16; `lazily`: contents may stay until memory is short, otherwise they are zero at once.
    result<void> plan_discard(range span, bool lazily, planned& out) noexcept;
    // A18: succeeds when every page of `span` still holds what it held at the discard and will go on
    // doing so; else invalid_address, also when that cannot be told.
    result<void> plan_undo_discard(range span, planned& out) noexcept;
    // F4-F8. `to_dead`: the pages are given back for good (partial munmap).
    result<void> plan_free(const free_request& q, bool to_dead, planned& out) noexcept;

    // ---- placeholders (PH; placeholders.cpp) ----------------------------------------------------
    // An area is made by plan_reserve with flag `placeholder`.
    // PH3: `span` is exactly one placeholder and becomes an allocation.
    result<void> plan_replace_placeholder(range span, bool commits, const protection& p,
                                          planned& out) noexcept;
    // PH2, PH4: splits a placeholder; or an allocation becomes a placeholder again.
    result<void> plan_preserve(range span, planned& out) noexcept;
    // PH5: `span` is exactly two or more placeholders of one area.
    result<void> plan_coalesce(range span, planned& out) noexcept;
    // Is `a` in an area of placeholders?
    bool is_piece(address a) const noexcept { return (map_.find(a).flags & placeholder) != 0; }
    // Any piece, by its base.
    result<void> plan_release_piece(address where, planned& out) noexcept;
    // The area of `where` when every piece of it was released, else invalid_address.
    result<void> plan_release_area(address where, planned& out) noexcept;

    // The reservation of `a`, when every page of it is dead once all are claimed; else
    // invalid_address.
    result<void> plan_release_dead(address a, planned& out) noexcept;

    result<void> apply(planned& p) noexcept;
    void keep(planned& p) noexcept;
    // Instead of apply() and keep() for the decommit of unguarded pages whose contents have been moved
    // away: only their access is left to change, and that may fail as it may in apply().
    void keep_emptied(planned& p) noexcept;

    // ---- what is where ---------------------------------------------------------------------------
    // A piece of an area counts as a reservation. Where one was released `index` is 0 and `flags` has
    // `placeholder`: free, and not the kernel's to give out.
    found find(address a) const noexcept {
        const found f = map_.find(a);
        constexpr std::uint32_t tag_is_ours = placeholder | watched_by_faults;
        return __builtin_expect((f.flags & tag_is_ours) != 0, 0) ? find_piece(a) : f;
    }
    // The same where only the reservation is asked for; `run_end` is not to be used.
    found find_owner(address a) const noexcept {
        const found f = map_.find_owner(a);
        constexpr std::uint32_t tag_is_ours = placeholder | watched_by_faults;
        return __builtin_expect((f.flags & tag_is_ours) != 0, 0) ? find_piece(a) : f;
    }
    bool query(address a, run_view& out) const noexcept { return map_.query(a, out); }
    address next_base(address a, address limit = top_address) const noexcept {
        return map_.next_base(a, limit);
    }
    // The arena that contains `a`, with the gaps round it, or empty.
    range arena_at(address a) const noexcept;
    // Where the lowest arena above `a` begins; `limit` when none begins below it.
    address next_arena(address a, address limit) const noexcept;
    // End of the run of pages in exactly the state of the page at `a`, inside one reservation, at
    // most `limit`. (find() joins what VirtualQuery joins.)
    address run_end(address a, address limit) const noexcept;
    // A free range below 2 GiB for this owner, granule aligned, to be asked for by address; 0: none.
    // Somebody else may take it first.
    address look_low(owner_id owner, byte_count size) noexcept;

    // ---- locked in memory (L; locking.cpp), not planned: no page changes its state ----------------
    // All pages, which the caller knows to be accessible, or none: over_quota.
    result<void> lock_in_memory(range span) noexcept;
    // not_locked (L5).
    result<void> unlock_from_memory(range span) noexcept;

    // ---- written pages (WW) -----------------------------------------------------------------------
    // Decision 9: can writes be watched here?
    bool can_watch() noexcept { return watch_.is_supported() || watches_by_faults_; }
    // Every fault on memory of ours is told to note_write(): watch by faults where the kernel does not.
    void watch_by_faults() noexcept { watches_by_faults_ = true; }
    // A write was refused at `a`: true when it may be tried again. Async-signal-safe.
    bool note_write(address a) noexcept;
    // WW2, WW3: invalid_argument unless all of `span` lies in one watched reservation. See
    // write_watch::read.
    result<page_count> written_pages(range span, bool reset, void** out, page_count most) noexcept;

    // ---- guards, foreign pages, fork ---------------------------------------------------------------
    // One shot: an armed guard on the page of `a` is cleared. False: no guard of ours there. `owner` none:
    // another thread has met it first.
    bool clear_guard(address a, differences& diff, owner_id& owner) noexcept;
    // Is the page of `a` committed for such an access, and held so by the kernel?
    bool permits(address a, access tried) const noexcept;
    // The program put a mapping of its own over pages of ours (MAP_FIXED, a file). Between plan and
    // keep the caller maps; target `replaced`.
    result<void> plan_replace(range span, planned& out) noexcept;
    // In the only thread of a fork's child: makes the kernel's state again what the map says for
    // pages that other threads of the parent had claimed, marks what is charged as inherited, and
    // gives every reservation and arena to remap(context, old owner). What each owner holds now is
    // told to tell(context, owner, differences).
    struct fork_visitor {
        owner_id (*remap)(void* context, owner_id before) noexcept;
        void (*tell)(void* context, owner_id owner, const differences& holds) noexcept;
        void* context;
    };
    void settle_after_fork(const fork_visitor& v) noexcept;

    // Small reservations are held without markers from now on. Before open().
    void forgo_guards() noexcept { guards_.store(guards::unknown_to_kernel); }
    // Takes every small reservation for touched throughout (space_supply_warm.cpp); for tests.
    void assume_dense(bool on) noexcept { assumes_dense_ = on; }
    // Small reservations are relaxed from now on. Before open().
    void relax() noexcept { is_relaxed_ = true; }
    // Of small reservations: pages that may be there although nobody has committed them, at most.
    page_count warm_pages(owner_id owner) const noexcept;
    // How many there may be, for an owner (all owners together have at most most_warm).
    using warm_bound = page_count (*)(void* context, owner_id owner) noexcept;
    void set_warm_bound(warm_bound bound) noexcept { warm_bound_ = bound; }
    // Drops those of no live reservation, in guarded arenas all. Bytes of addresses that were looked at.
    byte_count drop_loose() noexcept;
    // Pages of the owner's open granules: they are in its books as writable and slack, and the pages of
    // its guarded reservations by the difference from that.
    page_count open_pages(owner_id owner) const noexcept;
    // Nothing is reserved or owed under this owner any more. False: an arena of it is still in use.
    bool give_back_arenas_of(owner_id owner) noexcept;

    // Tries again what the kernel refused to take back. Returns what is still owed (ranges).
    std::uint32_t settle_owed() noexcept;
    std::uint32_t owed() const noexcept { return owed_count_.load(std::memory_order_relaxed); }
    // Gives back arenas that hold nothing; returns bytes of address space freed.
    byte_count give_back_empty_arenas() noexcept;
    // Told when pages of an owner that nobody uses become writable to the kernel, or cease to be: its
    // books' writable and slack change by `pages`.
    using settled_sink = void (*)(void* context, owner_id owner, std::int64_t pages) noexcept;
    void set_settled_sink(settled_sink sink, void* context) noexcept {
        settled_ = sink;
        settled_context_ = context;
    }

    region_map& map() noexcept { return map_; }
    byte_count record_bytes() const noexcept {
        return nodes_.ready_bytes() + reservations_.ready_bytes() +
               arenas_ready_.load(std::memory_order_relaxed) * sizeof(arena) + root_bytes;
    }

private:
    friend class planned;
    static failure from_os(int os_code) noexcept { return {errc::out_of_address_space, os_code}; }

    static constexpr std::uint32_t arena_capacity = 1024; // number 0 is none
    static constexpr std::uint32_t first_arenas =
        16; // whose records are ready, and become so at once
    static_assert(arena_capacity % first_arenas == 0);
    static constexpr byte_count root_bytes = region_map::root_entries * sizeof(std::uint64_t);

    result<found> find_whole(range span) noexcept;
    result<void> claim(const found& f, range span) noexcept;
    found find_piece(address a) const noexcept;
    bool is_still(const found& f) const noexcept;
    result<void> begin_fault_watch(std::uint32_t index) noexcept;
    void end_fault_watch(std::uint32_t index) noexcept;
    access access_to_give(std::uint32_t index, access wanted) const noexcept;
    void mark_pages(range span, std::uint32_t index, bool is_written) noexcept;
    result<page_count> pages_noted(const found& f, range span, bool reset, void** out,
                                   page_count most) noexcept;
    result<void> make_pieces(std::uint32_t index) noexcept;
    result<void> begin_piece_change(planned& out, piece_kind kind, std::uint32_t protect) noexcept;
    bool change_piece(planned& p) noexcept;
    result<void> apply_reshape(planned& p) noexcept;
    void count(planned& p) noexcept;
    void abandon(planned& p) noexcept;

    result<void> apply_reserve(planned& p) noexcept;
    result<void> apply_access(planned& p) noexcept;
    result<void> apply_access_over_mappings(const planned& p, bool distrust) noexcept;
    int replace_mappings(range span, access allowed) noexcept;
    result<void> apply_discard(const planned& p) noexcept;
    result<void> apply_undo_discard(const planned& p) noexcept;
    result<void> apply_decommit(planned& p) noexcept;
    void keep_decommit(planned& p) noexcept;
    result<void> apply_access_guarded(planned& p) noexcept;
    int protect_unsure(std::uint32_t index, range change, access allowed, bool guarded) noexcept;
    int mark_again(range span) noexcept;
    int unmark(const planned& p, range run) noexcept;
    result<void> apply_decommit_guarded(planned& p) noexcept;
    void keep_decommit_guarded(planned& p) noexcept;
    void publish_decommitted(planned& p, range run, bool is_writable) noexcept;
    static int cover(range hull, bool is_read_write) noexcept;
    void keep_release(planned& p) noexcept;
    void restore_access(std::uint32_t index, range span, bool distrust, bool guarded) noexcept;
    // The pages of `span` (claimed) that have contents or access, from the first to the last.
    range used_hull(const planned& p) const noexcept;
    void unlock_before_dropping(range used, std::uint32_t flags) noexcept;

    struct place {
        address begin = 0;
        arena* home = nullptr; // null: placed
        bool guarded = false;
        bool relaxed = false;
        bool warm = false;
    };
    // What became of granules of a guarded arena.
    enum class granules_are : unsigned char { open, closed, parked, stuck };
    enum class guards : unsigned char { untried, work, unknown_to_kernel };

    result<place> take_anywhere(byte_count size, owner_id owner, bool commits) noexcept;
    place take_from(arena_kind kind, std::uint32_t count, std::uint32_t alignment, owner_id owner,
                    bool commits, bool may_make, bool whole) noexcept;
    std::uint32_t claim_arena_record() noexcept;
    result<place> take_exactly(range where, owner_id owner) noexcept;
    result<void> take_space(planned& p) noexcept;
    void undo_take(range used, std::uint32_t index) noexcept;
    bool open_or_close(place& got, range granules, bool may_open, bool whole) noexcept;
    result<place> take_from_arena(arena& home, range where, owner_id owner) noexcept;
    bool unmap_placed(range where) noexcept;
    bool try_guards(address page) noexcept;
    byte_count give_back(arena& a) noexcept;
    bool return_space(const reservation& r, range used, bool is_read_write) noexcept;
    result<place> take_own_mapping(const planned& p) noexcept;
    result<place> take_highest(byte_count size, owner_id owner) noexcept;
    void make_ballast() noexcept;
    bool drop_ballast() noexcept;
    bool close_off(range used, std::uint32_t flags) noexcept;
    bool open_granules(arena& a, range wanted) noexcept;
    bool make_open(arena& a, range part) noexcept;
    void set_closed(arena& a, range granules) noexcept;
    granules_are return_granules(arena& home, range granules, range used, bool is_read_write,
                                 std::uint32_t flags) noexcept;
    void loosen(arena& home, range used) noexcept;
    granules_are park(arena& home, range granules, range used, bool is_read_write) noexcept;
    void clean_parked(arena& a, bool drop) noexcept;
    page_count loose_bound(const arena& a) const noexcept;
    arena* warm_home(const planned& p) noexcept;
    bool decommit_warm(planned& p, bool& is_read_write) noexcept;
    int wake(arena& home, std::uint32_t index, range span) noexcept;
    void cool(const planned& p) noexcept;
    bool stays_warm(arena& home, range granules, range used, std::uint32_t flags) noexcept;
    void set_warm(arena& home, range granules, bool is_warm) noexcept;
    byte_count drop_warm(arena& a) noexcept;
    byte_count drop_warm_reservation(arena& a, address where) noexcept;
    bool unmap_arena(arena& a) noexcept;
    void settle_half_open(arena& a) noexcept;
    void tell_slack(owner_id owner, std::int64_t pages) noexcept {
        if (settled_ != nullptr && pages != 0) {
            settled_(settled_context_, owner, pages);
        }
    }
    arena* arena_of(address a) const noexcept;
    arena* home_of(const reservation& r) const noexcept {
        const std::uint32_t number = r.flags.load(std::memory_order_relaxed) >> arena_shift;
        return number != 0 ? &arenas_[number] : arena_of(r.base());
    }
    arena* make_arena(owner_id owner, arena_kind kind, std::uint32_t at_least) noexcept;
    result<place> map_placed(byte_count size, owner_id owner) noexcept;
    void owe(std::uint32_t index) noexcept;
    void owe_mapping(std::uint32_t index, range where) noexcept;

    region_map map_{};
    record_array nodes_{};
    record_array reservations_{};
    std::atomic<std::uint64_t>* root_ = nullptr;
    arena* arenas_ = nullptr;
    std::atomic<std::uint32_t> arenas_high_{1};  // one past the last that was in use
    std::atomic<std::uint32_t> arenas_ready_{0}; // whose records are accessible
    range records_{};
    byte_count largest_piece_ = ~byte_count{0}; // of address space at once, under RLIMIT_AS
    address ballast_ = 0;
    std::atomic<bool> has_ballast_{false};
    std::atomic<guards> guards_{guards::untried};
    bool is_relaxed_ = false;
    bool assumes_dense_ = false;
    warm_bound warm_bound_ = nullptr;
    std::atomic<std::uint32_t> parked_{0}; // granules
    std::atomic<std::uint32_t> loose_{0};  // granules that are dirty or warm
    space_listener listener_{};
    std::atomic<std::uint64_t> owed_{0}; // tag << 32 | index: stack through reservation::link
    std::atomic<std::uint32_t> owed_count_{0};
    settled_sink settled_ = nullptr;
    void* settled_context_ = nullptr;
    write_watch watch_{};
    bool watches_by_faults_ = false;
    piece_tables pieces_{};
    range piece_space_{};
};

inline planned::~planned() {
    if (kind_ != kind::none) {
        space_->abandon(*this);
    }
}

} // namespace memreeve::vm
