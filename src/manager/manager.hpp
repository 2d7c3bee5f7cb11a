// SPDX-License-Identifier: MIT
// The manager puts the parts together: plan, charge, apply, keep. The one class that knows the
// address space, the owner tree, the heaps and the pressure monitor. The edges (com, capi, bridge)
// translate and call it; they decide nothing.
//
// Rules for every mutating call
//   plan    checks arguments against the region map and claims the pages; changes nothing
//   charge  takes the difference from the owner (a token that refunds itself)
//   apply   the system calls; undone if one of them fails
//   keep    publishes the new states and keeps the charge; cannot fail
// So a failure at any point leaves map, ledger and pages as before. No lock is held across a system
// call; nothing is allocated from a heap; errno is left alone. Thread-safe; async-signal-safe except
// where a comment says otherwise.
//
// Sizes and addresses are bytes; MEM_* and PAGE_* values are Win32's numbers (vm/win32.hpp).
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "budget/budget.hpp"
#include "heap/page_source.hpp"
#include "manager/extents.hpp"
#include "manager/heap_registry.hpp"
#include "manager/ledger.hpp"
#include "manager/options.hpp"
#include "manager/page_runs.hpp"
#include "manager/region_info.hpp"
#include "manager/sensors.hpp"
#include "manager/warm_ranges.hpp"
#include "vm/address_space.hpp"
#include "vm/protection.hpp"

#include <cstdint>

namespace memreeve::manager {

struct memory_load {
    std::uint32_t percent; // 0..100 of whichever binds
    byte_count available;  // bytes
};

class manager {
public:
    constexpr manager() noexcept = default;
    manager(const manager&) = delete;
    manager& operator=(const manager&) = delete;

    // `books` must outlive the manager. `image` is this process's record in it.
    result<void> open(ledger& books, telemetry::image_record& image, const options& o) noexcept;
    // Unmaps everything. Only when no thread is inside and nothing is in use.
    void close() noexcept;

    // ---- the four methods of virtual memory (win32-virtual-memory.md) -------------------------
    // Rules A, P. Returns the base or the page-rounded start (A8, A9, A11).
    result<address> virtual_alloc(owner_id who, address where, byte_count size, std::uint32_t type,
                                  std::uint32_t protect, criticality level) noexcept;
    // Rules F. Memory of no reservation of ours: not_ours (decision 6). Never refused for want of
    // memory; what the kernel will not unmap now is made inaccessible, dropped, unmapped later.
    result<void> virtual_free(address where, byte_count size, std::uint32_t type) noexcept;
    // Rules V; memory that is not ours goes to the kernel (decision 16). Returns the old protection
    // of the first page. `has_old_out` false: refused as rule V2 says.
    result<std::uint32_t> virtual_protect(address where, byte_count size, std::uint32_t protect,
                                          bool has_old_out) noexcept;
    // Rules Q; any address (decision 15).
    result<region_info> virtual_query(address where) noexcept {
        region_info ours;
        return query_ours(where, ours) ? result<region_info>(ours) : query_closely(where);
    }
    // The same in two steps: what the map alone answers, and everything.
    bool query_ours(address where, region_info& out) const noexcept {
        vm::run_view v;
        if (where >= top_address || !space_.query(where, v) || v.code == vm::page_code::replaced ||
            needs_record(v)) {
            return false;
        }
        out = describe(v);
        return true;
    }
    result<region_info> query_closely(address where) noexcept;

    // ---- what Win32 has and the interface has not (virtual_memory.cpp) --------------------------
    // VirtualAlloc2: virtual_alloc, and placeholders (rules PH). virtual_free knows their bits.
    result<address> virtual_alloc2(owner_id who, address where, byte_count size, std::uint32_t type,
                                   std::uint32_t protect, criticality level) noexcept;
    // Rules L, for any memory. no_access, over_quota; not_locked.
    result<void> virtual_lock(address where, byte_count size) noexcept;
    result<void> virtual_unlock(address where, byte_count size) noexcept;
    // Rules WW. Pages written to, ascending, at most `most`, their number returned; `reset` as
    // FLAG_RESET. invalid_argument for every fault of the range.
    result<page_count> written_pages(address where, byte_count size, bool reset, void** out,
                                     page_count most) noexcept;
    result<void> reset_written_pages(address where, byte_count size) noexcept;

    // ---- load, notifications, foreign memory ---------------------------------------------------
    // not_supported when neither a budget nor the system says anything.
    result<memory_load> load(owner_id who) noexcept;
    result<void> needs_address_space(address where, byte_count size) noexcept;
    result<void> acquired(owner_id who, address where, byte_count size) noexcept;
    void released(address where) noexcept;

    // ---- heap pages (heap/page_source.hpp says what they do; pages.cpp) ---------------------------
    result<heap::taken> take_pages(owner_id who, const heap::wish& w) noexcept;
    // False: they stay as they were, because a thread was stopped while it changed one of them.
    bool give_back_pages(address begin) noexcept;
    // Ranges kept for the next heap that wants as much (warm_ranges.hpp).
    bool keep_warm(address begin) noexcept;
    warm_range take_warm(owner_id who, page_count from, page_count to, std::uint64_t tag) noexcept;
    byte_count drop_warm() noexcept;
    // Under pressure: everything that is kept and not used goes back, of all heaps too. Bytes.
    byte_count relieve() noexcept;
    // What relieve() has given back so far, and trimming before refusals.
    byte_count given_back() const noexcept { return given_back_.load(std::memory_order_relaxed); }
    // The same for runs (page_runs.hpp; runs.cpp). out_of_address_space: there are none to be had.
    result<heap::taken> take_run(owner_id who, const heap::wish& w) noexcept;
    // The run in use that `where` lies in; no pages: none.
    page_run run_at(address where) noexcept;
    std::uint64_t tag_of(const page_run& r) noexcept { return runs_.tag_of(r); }
    address address_of(const page_run& r) noexcept { return runs_.address_of(r); }
    void give_back_run(const page_run& r) noexcept;
    result<void> resize_run(const page_run& r, page_count pages, criticality level) noexcept;
    // Freed and kept, of this owner; no pages in use, but charged.
    page_count warm_pages(owner_id who) noexcept;
    // What may be there without being used, in pages: 32 MiB, and a 64th of the smallest limit.
    page_count warm_bound(owner_id who) noexcept;
    result<void> resize_pages(address begin, range now, byte_count size, bool executable,
                              criticality level) noexcept;
    result<heap::taken> move_pages(owner_id who, address begin, range now,
                                   const heap::wish& w) noexcept;

    // ---- what the interface has no method for ----------------------------------------------------
    // Pages of one reservation given back for good (a partial munmap): decommitted and dead. The
    // whole is released when its last page is dead. Never refused for want of memory.
    result<void> retire(range span) noexcept;
    // The program is about to map something of its own over pages of ours, or has failed to:
    // map(context) does it and returns 0 or an errno, which becomes os_code. The pages stay part of
    // the reservation, uncharged; commit takes them back.
    result<void> replace(range span, int (*map)(void* context), void* context) noexcept;
    // Moves `from` (pages of one reservation, alike) into a new reservation of `new_size` bytes,
    // charged; `from` is retired. out: the new address.
    result<address> move(owner_id who, range from, byte_count new_size, criticality level) noexcept;
    // Anonymous memory got elsewhere in this owner's name: charges pages, records the range.
    result<void> charge_acquired(owner_id who, page_count pages, criticality level,
                                 budget::charge& out) noexcept;
    // False: no slot is free, nothing is recorded; the charge stays with the caller.
    [[nodiscard]] bool record_acquired(owner_id who, range where, page_count charged) noexcept;
    // Asked before anything is refused: gives back what turns out to be used no more, and says
    // whether there was something. Called on the requesting thread.
    void ask_before_refusal(bool (*give_back)() noexcept) noexcept {
        give_back_.store(give_back, std::memory_order_release);
    }
    // A request for memory that is only measured, not charged, was refused by the budget.
    void count_refusal(owner_id who, criticality level, page_count pages) noexcept;
    // Told of every refusal, on the requesting thread, perhaps inside an operation: may set words.
    void tell_refusals(void (*told)(owner_id who, criticality level,
                                    page_count pages) noexcept) noexcept {
        told_.store(told, std::memory_order_release);
    }
    // It is gone, or something else lies there now: takes it out of the records and refunds.
    void forget_acquired(range where) noexcept;

    // In the only thread of a fork's child: `image` is the child's own record. What was committed
    // before stays charged to the parent.
    void settle_after_fork(telemetry::image_record& image) noexcept;

    // A fault at `where` on a page of ours: was it an armed guard, which is cleared, one shot, or the
    // first write to a page that is watched by faults, which is remembered? `over`: another thread has
    // dealt with it meanwhile, so that the access need only be tried again; told only where `tried`,
    // what the access was, is known (else none). Async-signal-safe.
    enum class fault_was : unsigned char { not_ours, guard, watched, over };
    fault_was deal_with_fault(address where, access tried) noexcept;
    bool handle_fault(address where) noexcept {
        return deal_with_fault(where, access::none) != fault_was::not_ours;
    }

    vm::address_space& space() noexcept { return space_; }
    heap_registry& heaps() noexcept { return heaps_; }
    extents& known() noexcept { return extents_; }
    sensors& system() noexcept { return sensors_; }
    ledger& books() noexcept { return *books_; }
    telemetry::image_record& image() noexcept { return *image_; }
    const options& settings() const noexcept { return options_; }
    // From now on, as options has it. With no request under way.
    void discard_at_once() noexcept { options_.discard_at_once = true; }

private:
    class operation; // counts itself begun and done in the image record

    // Split by placeholders, or in large pages: only the record says what belongs together.
    static bool needs_record(const vm::run_view& v) noexcept {
        return v.has_flags && (v.flags & (vm::placeholder | vm::large_pages)) != 0;
    }
    static region_info describe(const vm::run_view& v) noexcept {
        const bool committed = vm::is_committed(v.code);
        return {v.at,
                v.base,
                v.protect,
                v.run_end - v.at,
                committed ? vm::win32::mem_commit : vm::win32::mem_reserve,
                committed ? vm::encode_protection(v.code, v.protect) : 0,
                vm::win32::mem_private};
    }
    // Every page of `span` is one of ours with this code, committed.
    bool has_already(range span, vm::page_code code, std::uint32_t* value) const noexcept {
        vm::run_view v;
        if (!space_.query(span.begin, v) || v.code != code || v.run_end < span.end ||
            needs_record(v)) {
            return false;
        }
        *value = vm::encode_protection(code, v.protect);
        return true;
    }

    // charge, apply, keep; the difference goes into the owner's books.
    result<void> take(owner_id who, page_count pages, criticality level,
                      budget::charge& out) noexcept;
    result<void> carry_out(vm::planned& p, criticality level) noexcept;
    void enter(owner_id who, const vm::differences& d) noexcept;
    result<address> carry_out(const vm::alloc_request& q, owner_id who, criticality level) noexcept;
    result<void> change_placeholder(const vm::free_request& q) noexcept;
    bool open_runs() noexcept;
    bool make_chunk(owner_id who, page_count pages, page_runs::held& out) noexcept;
    page_count end_chunk(std::uint32_t chunk, owner_id who) noexcept;
    result<void> back_run(const page_runs::held& h, criticality level) noexcept;
    bool unback_run(const page_run& r) noexcept;
    void bound_runs(owner_id who) noexcept;
    page_count drop_runs(owner_id who, page_count wanted) noexcept;
    result<region_info> query_vacant(const vm::found& f) noexcept;
    budget::tree& tree() noexcept { return books_->tree(); }

    vm::address_space space_{};
    sensors sensors_{};
    extents extents_{};
    warm_ranges warm_{};
    heap_registry heaps_{};
    std::atomic<byte_count> given_back_{0};
    page_runs runs_{};
    ledger* books_ = nullptr;
    telemetry::image_record* image_ = nullptr;
    options options_{};
    std::atomic<bool (*)() noexcept> give_back_{nullptr};
    std::atomic<void (*)(owner_id, criticality, page_count) noexcept> told_{nullptr};
};

} // namespace memreeve::manager
