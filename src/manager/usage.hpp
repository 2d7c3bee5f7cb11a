// SPDX-License-Identifier: MIT
// How far accounts of the owner tree are used, measured against the watermarks (pressure/policy.hpp).
// Budgets alone: no system. Lock-free readers of the ledger.
#pragma once

#include "base/units.hpp"
#include "budget/budget.hpp"

namespace memreeve::manager {

// One account alone, 0..1000, what accounts below may still use inside their guarantees (`inside`
// pages) left aside. Passing the soft limit weighs as much as the watermark of Low.
unsigned permille_of_account(const budget::account& a, page_count inside) noexcept;
// The fullest on the way from `who` to the root. *has_inside is set when a guarantee on the way is
// not used up: then room may go without a charge above it.
unsigned permille_on_the_way(const budget::tree& accounts, owner_id who, bool* has_inside) noexcept;

} // namespace memreeve::manager
