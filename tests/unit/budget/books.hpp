// SPDX-License-Identifier: MIT
// Accounts of one tree and what tests do to them.
#pragma once

#include "budget/budget.hpp"
#include "budget/charge.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

namespace memreeve::budget {
namespace {

constexpr byte_count mib = byte_count{1} << 20;
constexpr page_count mib_pages = mib / page_size;
constexpr auto task = criticality::task;
constexpr auto domain = criticality::domain;
constexpr auto process = criticality::process;

struct fixture {
    explicit fixture(tree::limits root, std::uint32_t credits = 0, std::uint32_t capacity = 64)
        : accounts(new account[capacity]), slots(new credit_slot[credits + 1]),
          books(accounts.get(), capacity, credits != 0 ? slots.get() : nullptr, credits) {
        const auto made = books.open_account(owner_id::none, "root", root, 0);
        EXPECT_TRUE(made);
        EXPECT_EQ(*made, owner_id::root);
    }
    owner_id open(owner_id parent, tree::limits l = {}, const char* name = "owner") {
        const auto made = books.open_account(parent, name, l, 0);
        EXPECT_TRUE(made);
        return *made;
    }
    bool take(owner_id who, page_count pages, criticality level = task) {
        charge c;
        const auto r = books.take(who, pages, level, c);
        if (r) {
            EXPECT_EQ(c.pages(), pages);
            c.keep();
            return true;
        }
        EXPECT_EQ(r.error().code, errc::over_budget);
        EXPECT_EQ(c.pages(), 0u);
        return false;
    }
    // One page at a time until the first refusal.
    page_count fill(owner_id who, criticality level) {
        page_count n = 0;
        while (take(who, 1, level)) {
            ++n;
        }
        return n;
    }

    std::unique_ptr<account[]> accounts;
    std::unique_ptr<credit_slot[]> slots;
    tree books;
};

tree::limits limit(byte_count hard, byte_count reserve = 0, byte_count guaranteed = 0) {
    tree::limits l;
    l.hard = hard;
    l.reserve = reserve;
    l.guaranteed = guaranteed;
    return l;
}

} // namespace
} // namespace memreeve::budget
