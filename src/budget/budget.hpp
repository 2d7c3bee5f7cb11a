// SPDX-License-Identifier: MIT
// The owner tree: who may use how much. Knows no addresses, no process, no clock.
//
// Works on accounts and credit slots that lie in a ledger (manager/ledger.hpp), private or shared
// by processes. Every operation is lock-free: a thread or a process stopped anywhere in it stops
// nobody else.
//
// Ceilings (decision 3), for an account with limit L and reserve R:
//   task      L - R          refused above it; credit is drained before any refusal
//   domain    L - R/2
//   process   L
// A charge must be admitted by every account from the owner up to the root; what an owner
// guarantees is kept free from its siblings. `touched` counts beside what is held; at process level only
// what of it exceeds R, for nobody survives such a refusal. admit(), about touching more, counts it all.
//
// A limit lowered below what is used takes nothing back, and everything is refused until it fits. Or,
// where asked for, process level goes on meanwhile within R above what was used, never above the
// limit there was before; what is given back is not to be had again. A charge is admitted by a limit
// that is in force when it counts: once a change has returned, by the new one alone.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "budget/account.hpp"

#include <cstdint>

namespace memreeve::budget {

class charge;

// Told after a charge or refund moved an account across one of its watermarks. Runs on the
// requesting thread: may set words and wake, must not call out, block or take a lock.
struct watcher {
    void (*moved)(void* context, owner_id who) noexcept = nullptr;
    void* context = nullptr;
};

// Default reserve of a limit, both in bytes: min(max(5 %, 8 MiB), limit / 4).
byte_count default_reserve(byte_count limit) noexcept;

class tree {
public:
    constexpr tree() noexcept = default;
    // `credits` may be null (no credit). `credit_count` is a power of two. `entries`: capacity of
    // them for each of lanes_with_shared lanes, `lane_bytes` apart; null: nothing can be entered.
    tree(account* accounts, std::uint32_t capacity, credit_slot* credits,
         std::uint32_t credit_count, book_entries* entries = nullptr,
         byte_count lane_bytes = 0) noexcept;

    // Claims a free account below `parent`. Limits in bytes, rounded down to pages; guaranteed is
    // charged to the parents' held at once and refused with over_budget when it does not fit.
    struct limits {
        byte_count hard = ~byte_count{0};
        byte_count soft = ~byte_count{0};
        byte_count guaranteed = 0;
        byte_count reserve = 0;
    };
    result<owner_id> open_account(owner_id parent, const char* name, limits l,
                                  std::uint32_t image) noexcept;
    // What is still charged goes to the parent. The id may be reused afterwards.
    void close_account(owner_id who) noexcept;
    // Never takes back what is held; over_budget only when a larger guarantee does not fit.
    result<void> set_limits(owner_id who, limits l) noexcept;
    // Hard limit and reserve alone, in bytes, while others charge. The limit there was, in pages.
    // Of two at a time on one account the limit of one may meet the reserve of the other.
    enum class lowering { refuses_all, spares_process_level };
    page_count change_ceiling(owner_id who, byte_count hard, byte_count reserve,
                              lowering how) noexcept;

    // Takes `pages` from the owner at this level. On success `out` refunds itself unless kept.
    result<void> take(owner_id who, page_count pages, criticality level, charge& out) noexcept;
    // The same for a caller who makes room after a refusal and asks again: it is not counted.
    result<void> try_take(owner_id who, page_count pages, criticality level, charge& out) noexcept;
    void count_refusal(owner_id who, criticality level) noexcept;
    // Would take() be refused? Charges nothing (touch-only growth, thread stacks).
    result<void> admit(owner_id who, page_count pages, criticality level) noexcept;
    void refund(owner_id who, page_count pages) noexcept;

    // Adds to the quantities of decision 1 (negative: wraps round) in the caller's lane of the image
    // that the account belongs to.
    void enter(owner_id who, std::uint32_t lane, const book_figures& more) noexcept;
    // Exact while no operation is in flight.
    book_figures entered(owner_id who) const noexcept;
    book_entries& entries_of(owner_id who, std::uint32_t lane) const noexcept {
        auto* const bytes = reinterpret_cast<unsigned char*>(entries_) + lane * lane_bytes_;
        return reinterpret_cast<book_entries*>(bytes)[static_cast<std::uint32_t>(who)];
    }

    // Returns every thread's credit to the accounts. After it, charged is exact at quiescence.
    void drain() noexcept;
    // Some thread is between taking credit from a slot and refunding it.
    bool is_draining() const noexcept;
    std::uint32_t draining() const noexcept; // so many
    // Everything charged below `who` leaves its parents (a dead process). Precondition: drained, and
    // nobody charges below `who` any more. Its own figures stay for the reader.
    void fold(owner_id who) noexcept;

    page_count charged(owner_id who) const noexcept;
    page_count guaranteed(owner_id who) const noexcept;
    // What a request at this level could still get here and in all parents (pages; ignores credit).
    page_count available(owner_id who, criticality level) const noexcept;
    const account& at(owner_id who) const noexcept {
        return accounts_[static_cast<std::uint32_t>(who)];
    }
    account& at(owner_id who) noexcept { return accounts_[static_cast<std::uint32_t>(who)]; }
    // The account below the root that has this number; none: it is no such number. For numbers out of
    // a shared ledger, which every program under the limit can write over.
    owner_id below_root(std::uint32_t number) const noexcept {
        return number != 0 && number < capacity_ ? static_cast<owner_id>(number) : owner_id::none;
    }
    std::uint32_t capacity() const noexcept { return capacity_; }
    void set_watcher(watcher w) noexcept { watcher_ = w; }

private:
    bool climb(owner_id who, page_count pages, criticality level) noexcept;
    // climb() without the charge: a guarantee is held in the parents, not charged to them.
    bool hold(owner_id who, page_count pages, criticality level) noexcept;
    void raise_held(owner_id who, page_count pages) noexcept;
    void lower_held(owner_id who, page_count pages) noexcept;
    bool is_within(owner_id who, criticality level) const noexcept;
    bool take_credit(owner_id who, page_count pages) noexcept;
    void park_credit(owner_id who, page_count pages) noexcept;
    bool return_to_credit(owner_id who, page_count& pages) noexcept;
    void give_back(owner_id who, page_count pages) noexcept;
    // The same for what another program may have written over: drain(), fold(), close_account().
    template <class F>
    void go_up(owner_id who, F at_each) noexcept;
    void give_back_doubting(owner_id who, page_count pages) noexcept;
    void lower_held_doubting(owner_id who, page_count pages) noexcept;
    void clear_entries(owner_id who) noexcept;
    credit_slot& slot_of_this_thread() noexcept;
    owner_id parent_of(owner_id who) const noexcept;

    account* accounts_ = nullptr;
    std::uint32_t capacity_ = 0;
    credit_slot* credits_ = nullptr;
    std::uint32_t credit_count_ = 0;
    book_entries* entries_ = nullptr;
    byte_count lane_bytes_ = 0;
    watcher watcher_{};
};

} // namespace memreeve::budget
