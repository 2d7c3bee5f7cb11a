// SPDX-License-Identifier: MIT
// An account: one node of the owner tree, as it lies in the ledger. A plain layout of atomics,
// because several processes and a reader outside share it; budget.hpp has the operations.
//
// Invariants, when no operation is in flight
//   - charged counts what this account and everything below it hold; root.charged is what the
//     limit sees.
//   - held = own charges + sum over children of max(child.held, child.guaranteed): what is admitted
//     against the limit, so that a guarantee is kept free from siblings.
//   - charged <= held <= the highest ceiling in force when the last charge was admitted.
//   - peak >= charged.
#pragma once

#include "base/lanes.hpp"
#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::budget {

inline constexpr page_count no_limit = ~page_count{0} >> 1;

// Of account::usage.
inline constexpr std::uint64_t held_mask = 0xffffffffULL;
constexpr page_count held_of(std::uint64_t usage) noexcept { return usage & held_mask; }

enum class account_state : std::uint32_t { free = 0, claimed = 1, live = 2 };
enum account_flag : std::uint32_t { was_open = 1 }; // since the ledger was made: entries to clear

struct alignas(64) account {
    std::atomic<std::uint32_t> state{0};      // account_state
    std::atomic<std::uint32_t> parent{0};     // owner_id; owner_id::none for the root
    std::atomic<std::uint32_t> image{0};      // which image record it belongs to
    std::atomic<std::uint32_t> flags{0};      // account_flag bits
    std::atomic<page_count> limit{no_limit};  // hard: refuses (pages)
    std::atomic<page_count> reserve{0};       // part of the limit kept for higher levels (pages)
    std::atomic<page_count> soft{no_limit};   // only notifies (pages)
    std::atomic<page_count> highest_limit{0}; // highest limit ever in force (pages)
    // Of a limit that was lowered below what was used: up to here process level goes on (pages). Void
    // while it is not above the limit; it only falls (budget.cpp).
    std::atomic<page_count> grace{0};

    // guaranteed << 32 | held, both in pages: one word, so that max(held, guaranteed) changes
    // exactly when one of them does. 2^32 pages are 16 TiB.
    alignas(64) std::atomic<std::uint64_t> usage{0};
    std::atomic<page_count> charged{0};
    std::atomic<page_count> touched{0}; // sampled; counts against the limit at the next request
    std::atomic<page_count> peak{0};
    std::atomic<page_count> overshoot{0}; // highest charged + touched above the limit

    alignas(64) std::atomic<page_count> heap{0}; // pages held by heaps of this owner
    std::atomic<page_count> mapped{0};           // Acquired, not yet Released
    std::atomic<std::uint64_t> refusals[criticality_count]{};
    std::atomic<std::uint64_t> notifications[3]{}; // low, neutral, high

    char name[32]{};

    bool is_limited() const noexcept { return limit.load(std::memory_order_relaxed) < no_limit; }
};

// Quantities of decision 1 that change with every request, in pages: one copy a lane of the account's
// image (base/lanes.hpp), all accounts of a lane side by side. The sums are the figures.
struct book_entries {
    std::atomic<page_count> reserved{0};
    std::atomic<page_count> committed{0};
    std::atomic<page_count> writable{0}; // share of the kernel's private writable mappings, slack
                                         // included
    std::atomic<page_count> slack{0};
};
struct book_figures {
    page_count reserved = 0, committed = 0, writable = 0, slack = 0;
};

// Prepaid pages of one account, parked by a thread: account << 48 | pages.
struct alignas(64) credit_slot {
    std::atomic<std::uint64_t> word{0};
    // In slot 0: how many drains are between taking a credit and refunding it. Folding a dead
    // process waits for them, or its credit would be refunded twice.
    std::atomic<std::uint32_t> draining{0};
};

} // namespace memreeve::budget
