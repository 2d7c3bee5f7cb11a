// SPDX-License-Identifier: MIT
// The owner tree: decisions 1-3 (levels, guarantees, limits that change), credit drained before a
// refusal, and the invariants of account.hpp against a naive recomputation.
#include "books.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <latch>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::budget {
namespace {

// Decision 3, and the budget test of the requirements: 64 MiB with 8 MiB in reserve.
TEST(budget_levels, decision_3_each_level_stops_exactly_at_its_ceiling) {
    for (const std::uint32_t credits : {0u, 16u}) {
        fixture f(limit(64 * mib, 8 * mib), credits);
        const owner_id who = f.open(owner_id::root);
        EXPECT_EQ(f.fill(who, task), 56 * mib_pages);
        EXPECT_FALSE(f.take(who, 1, task));
        EXPECT_EQ(f.fill(who, domain), 4 * mib_pages);
        EXPECT_FALSE(f.take(who, 1, task));
        EXPECT_EQ(f.fill(who, process), 4 * mib_pages);
        EXPECT_FALSE(f.take(who, 1, process));
        f.books.drain();
        EXPECT_EQ(f.books.charged(owner_id::root), 64 * mib_pages);
        EXPECT_EQ(f.books.at(owner_id::root).peak, 64 * mib_pages);
        // Room again: the lower levels only below their own ceilings.
        f.books.refund(who, 5 * mib_pages);
        EXPECT_FALSE(f.take(who, 1, task));
        EXPECT_TRUE(f.take(who, mib_pages, domain));
        EXPECT_FALSE(f.take(who, 1, domain));
    }
}

TEST(budget_levels, decision_3_one_large_request_is_refused_whole) {
    fixture f(limit(64 * mib, 8 * mib), 16);
    const owner_id who = f.open(owner_id::root);
    EXPECT_FALSE(f.take(who, 56 * mib_pages + 1, task));
    EXPECT_EQ(f.books.charged(who), 0u);
    EXPECT_EQ(f.books.charged(owner_id::root), 0u);
    EXPECT_TRUE(f.take(who, 56 * mib_pages, task));
    EXPECT_FALSE(f.take(who, ~page_count{0} >> 1, process));
    EXPECT_FALSE(f.take(who, ~page_count{0} >> 20, process));
}

TEST(budget_levels, decision_3_the_default_reserve) {
    EXPECT_EQ(default_reserve(1024 * mib), 1024 * mib / 20);
    EXPECT_EQ(default_reserve(100 * mib), 8 * mib); // 5 % would be less than 8 MiB
    EXPECT_EQ(default_reserve(32 * mib), 8 * mib);  // = a quarter
    EXPECT_EQ(default_reserve(16 * mib), 4 * mib);  // a quarter is less than 8 MiB
    EXPECT_EQ(default_reserve(0), 0u);
    EXPECT_EQ(default_reserve(160 * mib), 8 * mib);
    EXPECT_EQ(default_reserve(161 * mib), 161 * mib / 20);
}

TEST(budget_levels, a_reserve_above_the_limit_leaves_nothing_to_tasks) {
    fixture f(limit(mib, 10 * mib));
    const owner_id who = f.open(owner_id::root);
    EXPECT_FALSE(f.take(who, 1, task));
    EXPECT_EQ(f.fill(who, domain), mib_pages / 2);
    EXPECT_EQ(f.fill(who, process), mib_pages / 2);
}

TEST(budget_tree, no_limit_never_refuses_and_counts) {
    fixture f({});
    const owner_id who = f.open(owner_id::root);
    EXPECT_TRUE(f.take(who, page_count{1} << 28));
    EXPECT_EQ(f.books.charged(owner_id::root), page_count{1} << 28);
    f.books.refund(who, page_count{1} << 28);
    EXPECT_EQ(f.books.charged(owner_id::root), 0u);
}

TEST(budget_tree, every_account_up_to_the_root_must_admit) {
    fixture f(limit(10 * mib));
    const owner_id a = f.open(owner_id::root, limit(6 * mib));
    const owner_id b = f.open(owner_id::root, limit(6 * mib));
    const owner_id below = f.open(a, limit(2 * mib));
    EXPECT_EQ(f.fill(below, task), 2 * mib_pages);
    EXPECT_EQ(f.fill(a, task), 4 * mib_pages);
    EXPECT_EQ(f.fill(b, task), 4 * mib_pages) << "the root is full";
    EXPECT_EQ(f.books.charged(a), 6 * mib_pages);
    EXPECT_EQ(f.books.charged(b), 4 * mib_pages);
    EXPECT_EQ(f.books.charged(owner_id::root), 10 * mib_pages);
    f.books.refund(below, mib_pages);
    EXPECT_EQ(f.books.charged(a), 5 * mib_pages);
    EXPECT_EQ(f.fill(b, task), mib_pages);
    EXPECT_EQ(f.fill(below, task), 0u) << "the place was taken by the sibling";
}

TEST(budget_tree, a_refusal_changes_nothing_and_is_counted_up_to_the_root) {
    fixture f(limit(4 * mib, 0));
    const owner_id a = f.open(owner_id::root);
    const owner_id below = f.open(a);
    ASSERT_TRUE(f.take(below, 3 * mib_pages));
    EXPECT_FALSE(f.take(below, 2 * mib_pages, task));
    EXPECT_FALSE(f.take(below, 2 * mib_pages, domain));
    EXPECT_FALSE(f.take(below, 2 * mib_pages, domain));
    EXPECT_FALSE(f.take(a, 2 * mib_pages, process));
    for (const owner_id who : {below, a, owner_id::root}) {
        EXPECT_EQ(f.books.charged(who), 3 * mib_pages);
        EXPECT_EQ(f.books.at(who).refusals[0], 1u);
        EXPECT_EQ(f.books.at(who).refusals[1], 2u);
    }
    EXPECT_EQ(f.books.at(below).refusals[2], 0u);
    EXPECT_EQ(f.books.at(a).refusals[2], 1u);
}

TEST(budget_tree, a_charge_that_is_not_kept_refunds_itself) {
    fixture f(limit(4 * mib));
    const owner_id who = f.open(owner_id::root);
    {
        charge c;
        ASSERT_TRUE(f.books.take(who, 100, task, c));
        EXPECT_EQ(f.books.charged(who), 100u);
    }
    EXPECT_EQ(f.books.charged(who), 0u);
    EXPECT_TRUE(f.books.admit(who, 4 * mib_pages, task));
    EXPECT_FALSE(f.books.admit(who, 4 * mib_pages + 1, task));
    EXPECT_EQ(f.books.charged(owner_id::root), 0u) << "admit charges nothing";
    charge nothing;
    EXPECT_TRUE(f.books.take(who, 0, task, nothing));
    EXPECT_EQ(nothing.pages(), 0u);
}

TEST(budget_guarantee, decision_3_is_kept_free_from_siblings) {
    fixture f(limit(10 * mib));
    const owner_id a = f.open(owner_id::root, limit(~byte_count{0}, 0, 4 * mib));
    const owner_id b = f.open(owner_id::root);
    EXPECT_EQ(f.books.guaranteed(a), 4 * mib_pages);
    EXPECT_EQ(f.books.charged(owner_id::root), 0u) << "a guarantee is held, not charged";
    EXPECT_EQ(f.fill(b, process), 6 * mib_pages);
    EXPECT_EQ(f.fill(a, task), 4 * mib_pages) << "its own, whatever the sibling did";
    EXPECT_EQ(f.fill(a, process), 0u);
    EXPECT_EQ(f.books.charged(owner_id::root), 10 * mib_pages);
    f.books.refund(a, 4 * mib_pages);
    EXPECT_EQ(f.fill(b, process), 0u) << "still kept free";
    EXPECT_EQ(f.fill(a, task), 4 * mib_pages);
}

TEST(budget_guarantee, decision_3_that_does_not_fit_is_refused) {
    fixture f(limit(10 * mib));
    const owner_id b = f.open(owner_id::root);
    ASSERT_TRUE(f.take(b, 7 * mib_pages));
    EXPECT_EQ(f.books.open_account(owner_id::root, "x", limit(~byte_count{0}, 0, 4 * mib), 0)
                  .error()
                  .code,
              errc::over_budget);
    EXPECT_EQ(f.books.open_account(owner_id::root, "x", limit(mib, 0, 2 * mib), 0).error().code,
              errc::invalid_argument)
        << "more than its own limit";
    EXPECT_EQ(f.books.charged(owner_id::root), 7 * mib_pages);
    const owner_id a = f.open(owner_id::root, limit(~byte_count{0}, 0, 3 * mib));
    EXPECT_EQ(f.fill(b, process), 0u);
    EXPECT_EQ(f.books.set_limits(a, limit(~byte_count{0}, 0, 4 * mib)).error().code,
              errc::over_budget);
    EXPECT_EQ(f.books.guaranteed(a), 3 * mib_pages);
    EXPECT_TRUE(f.books.set_limits(a, limit(~byte_count{0}, 0, 1 * mib)));
    EXPECT_EQ(f.fill(b, process), 2 * mib_pages);
    EXPECT_EQ(f.books.at(owner_id::root).peak, 9 * mib_pages) << "guarantees are not charged";
}

TEST(budget_guarantee, nests) {
    fixture f(limit(20 * mib));
    const owner_id team = f.open(owner_id::root, limit(~byte_count{0}, 0, 8 * mib));
    const owner_id one = f.open(team, limit(~byte_count{0}, 0, 5 * mib));
    const owner_id two = f.open(team);
    const owner_id other = f.open(owner_id::root);
    EXPECT_EQ(f.fill(other, task), 12 * mib_pages);
    EXPECT_EQ(f.fill(two, task), 3 * mib_pages)
        << "what the team has and its other member is not promised";
    EXPECT_EQ(f.fill(one, task), 5 * mib_pages);
}

TEST(budget_limits, change_while_running_and_never_take_back) {
    fixture f(limit(64 * mib));
    const owner_id who = f.open(owner_id::root, limit(32 * mib));
    ASSERT_TRUE(f.take(who, 32 * mib_pages));
    EXPECT_FALSE(f.take(who, 1));
    EXPECT_TRUE(f.books.set_limits(who, limit(40 * mib)));
    EXPECT_EQ(f.fill(who, task), 8 * mib_pages);
    EXPECT_TRUE(f.books.set_limits(who, limit(10 * mib)));
    EXPECT_EQ(f.books.charged(who), 40 * mib_pages) << "what is held stays";
    EXPECT_FALSE(f.take(who, 1, process));
    EXPECT_EQ(f.books.available(who, process), 0u);
    f.books.refund(who, 31 * mib_pages);
    EXPECT_EQ(f.fill(who, task), mib_pages);
    EXPECT_EQ(f.books.at(who).peak, 40 * mib_pages);
    EXPECT_EQ(f.books.at(who).highest_limit, 40 * mib_pages);
}

TEST(budget_limits, decision_2_touched_counts_at_the_next_request) {
    fixture f(limit(10 * mib));
    const owner_id who = f.open(owner_id::root);
    f.books.at(owner_id::root).touched = 4 * mib_pages;
    EXPECT_EQ(f.books.available(who, task), 6 * mib_pages);
    EXPECT_EQ(f.fill(who, task), 6 * mib_pages);
    f.books.at(owner_id::root).touched = 9 * mib_pages; // grown by touch alone: above the limit
    EXPECT_FALSE(f.take(who, 1, task));
    EXPECT_FALSE(f.take(who, 1, domain));
    EXPECT_EQ(f.books.available(who, domain), 0u);
    EXPECT_FALSE(f.books.admit(who, 1, process).has_value()) << "more of what is touched";
    EXPECT_FALSE(f.take(who, 1, process));
    EXPECT_EQ(f.books.available(who, process), 0u);
    f.books.at(owner_id::root).touched = 0;
    EXPECT_EQ(f.fill(who, task), 4 * mib_pages);
}

// Nobody survives the refusal of a request of process level: the reserve is theirs, whatever has been
// touched meanwhile; beyond it touched memory counts for them too.
TEST(budget_limits, decision_2_touched_memory_leaves_the_reserve_to_process_level) {
    fixture f(limit(100 * mib, 10 * mib));
    const owner_id who = f.open(owner_id::root);
    EXPECT_EQ(f.fill(who, task), 90 * mib_pages);
    f.books.at(owner_id::root).touched = 5 * mib_pages;
    EXPECT_FALSE(f.take(who, 1, task));
    EXPECT_FALSE(f.take(who, 1, domain));
    EXPECT_EQ(f.books.available(who, process), 10 * mib_pages);
    f.books.at(owner_id::root).touched = 14 * mib_pages;
    EXPECT_EQ(f.books.available(who, process), 6 * mib_pages);
    EXPECT_EQ(f.fill(who, process), 6 * mib_pages);
    EXPECT_FALSE(f.books.admit(who, 1, process).has_value()) << "more of what is touched";
}

// Decision 2: credit counts as charged until drained, and a refusal is decided only after draining.
TEST(budget_credit, decision_2_is_drained_before_any_refusal) {
    constexpr std::uint32_t slots = 64;
    fixture f(limit(4 * mib), slots);
    const owner_id a = f.open(owner_id::root);
    const owner_id b = f.open(owner_id::root);
    // Several threads that each took one page and park what they prepaid.
    for (int i = 0; i < 4; ++i) {
        std::thread([&] { EXPECT_TRUE(f.take(a, 1)); }).join();
    }
    EXPECT_GT(f.books.charged(a), 4u) << "nothing was parked: the test shows nothing";
    EXPECT_TRUE(f.take(b, 4 * mib_pages - 4)) << "parked pages stood in the way";
    EXPECT_FALSE(f.take(b, 1, process));
    EXPECT_EQ(f.books.charged(a), 4u);
    EXPECT_EQ(f.books.charged(owner_id::root), 4 * mib_pages);
}

TEST(budget_credit, drain_makes_charged_exact) {
    fixture f(limit(64 * mib), 16);
    const owner_id who = f.open(owner_id::root);
    for (page_count i = 1; i <= 200; ++i) {
        ASSERT_TRUE(f.take(who, 1));
    }
    EXPECT_GE(f.books.charged(who), 200u);
    f.books.drain();
    EXPECT_EQ(f.books.charged(who), 200u);
    EXPECT_EQ(f.books.charged(owner_id::root), 200u);
    f.books.refund(who, 200);
    EXPECT_EQ(f.books.charged(owner_id::root), 0u);
}

// What comes back in small pieces stays with the thread, so that a commit and a decommit of 64 KiB
// climb nothing; it is bounded, and a refusal still finds it.
TEST(budget_credit, small_refunds_stay_with_the_thread_and_are_bounded) {
    constexpr page_count bound = 96;
    fixture f(limit(4 * mib), 16);
    const owner_id who = f.open(owner_id::root);
    ASSERT_TRUE(f.take(who, 16));
    const page_count with_credit = f.books.charged(who);
    for (int i = 0; i < 1000; ++i) {
        f.books.refund(who, 16);
        ASSERT_EQ(f.books.charged(who), with_credit) << "it went up the tree";
        ASSERT_TRUE(f.take(who, 16));
        ASSERT_EQ(f.books.charged(who), with_credit) << "it went up the tree";
    }
    for (page_count i = 0; i < 20; ++i) {
        ASSERT_TRUE(f.take(who, 16));
    }
    for (page_count held = 21 * 16; held != 0; held -= 16) {
        f.books.refund(who, 16);
        EXPECT_LE(f.books.charged(who), held - 16 + bound);
    }
    const owner_id other = f.open(owner_id::root);
    EXPECT_TRUE(f.take(other, 4 * mib_pages)) << "what the thread kept stood in the way";
    EXPECT_FALSE(f.take(who, 1, process));
    EXPECT_EQ(f.books.charged(who), 0u);
    EXPECT_EQ(f.books.charged(owner_id::root), 4 * mib_pages);
}

TEST(budget_credit, after_draining_refunds_go_home) {
    fixture f(limit(4 * mib), 16);
    const owner_id who = f.open(owner_id::root);
    ASSERT_TRUE(f.take(who, 16));
    f.books.drain();
    ASSERT_EQ(f.books.charged(who), 16u);
    f.books.refund(who, 16);
    EXPECT_EQ(f.books.charged(who), 0u);
    EXPECT_EQ(f.books.charged(owner_id::root), 0u);
}

TEST(budget_accounts, closing_gives_what_is_charged_to_the_parent) {
    fixture f(limit(10 * mib), 16);
    const owner_id parent = f.open(owner_id::root, limit(8 * mib));
    const owner_id who = f.open(parent, limit(~byte_count{0}, 0, 4 * mib));
    ASSERT_TRUE(f.take(who, 5));
    f.books.close_account(who);
    EXPECT_EQ(f.books.charged(parent), 5u);
    EXPECT_EQ(f.books.charged(owner_id::root), 5u);
    EXPECT_EQ(f.books.available(parent, task), 8 * mib_pages - 5) << "the guarantee is gone";
    const owner_id again = f.open(parent);
    EXPECT_EQ(again, who) << "the account is free again";
    EXPECT_EQ(f.books.charged(again), 0u);
    EXPECT_EQ(f.books.guaranteed(again), 0u);
    f.books.refund(parent, 5);
    EXPECT_EQ(f.books.charged(owner_id::root), 0u);
    EXPECT_EQ(f.fill(again, process), 8 * mib_pages);
}

// Decision 20: what a dead process charged is returned, its guarantees and parked credit included.
TEST(budget_accounts, decision_20_a_dead_process_leaves_nothing_behind) {
    fixture f(limit(10 * mib), 16);
    const owner_id dead = f.open(owner_id::root);
    const owner_id owner = f.open(dead, limit(~byte_count{0}, 0, mib));
    const owner_id alive = f.open(owner_id::root);
    ASSERT_TRUE(f.take(owner, 3));
    ASSERT_TRUE(f.take(dead, 4));
    ASSERT_TRUE(f.take(alive, mib_pages));
    ASSERT_TRUE(f.take(owner, 1)); // leaves parked credit of an account below the dead one
    f.books.drain();
    EXPECT_FALSE(f.books.is_draining());
    f.books.fold(dead);
    f.books.drain();
    EXPECT_EQ(f.books.charged(owner_id::root), mib_pages);
    EXPECT_EQ(f.books.available(alive, process), 9 * mib_pages);
}

TEST(budget_accounts, run_out) {
    fixture f({}, 0, 4);
    for (int i = 0; i < 3; ++i) {
        f.open(owner_id::root);
    }
    EXPECT_FALSE(f.books.open_account(owner_id::root, "one too many", {}, 0));
}

TEST(budget_accounts, a_long_name_is_cut) {
    fixture f({});
    const owner_id who =
        f.open(owner_id::root, {}, "a name that is far too long for its thirty-two bytes");
    const std::string kept = f.books.at(who).name;
    EXPECT_EQ(kept.size(), sizeof(account::name) - 1);
    EXPECT_EQ(kept.rfind("a name that is far", 0), 0u);
}

// The watcher hears of every move, also the one that refunds.
TEST(budget_watcher, is_told) {
    fixture f(limit(10 * mib));
    static unsigned told;
    told = 0;
    f.books.set_watcher({[](void*, owner_id) noexcept { ++told; }, nullptr});
    const owner_id who = f.open(owner_id::root);
    told = 0;
    ASSERT_TRUE(f.take(who, 10));
    EXPECT_EQ(told, 1u);
    f.books.refund(who, 10);
    EXPECT_EQ(told, 2u);
    ASSERT_TRUE(f.books.set_limits(owner_id::root, limit(5 * mib)));
    EXPECT_EQ(told, 3u);
}

// ---- the naive model ------------------------------------------------------------------------------

struct naive {
    struct node {
        int parent;
        page_count limit, reserve, guaranteed, own = 0;
        bool live = true;
    };
    std::vector<node> nodes;

    page_count charged(int i) const {
        page_count sum = nodes[static_cast<std::size_t>(i)].own;
        for (std::size_t k = 0; k < nodes.size(); ++k) {
            if (nodes[k].parent == i && nodes[k].live) {
                sum += charged(static_cast<int>(k));
            }
        }
        return sum;
    }
    page_count held(int i) const {
        page_count sum = nodes[static_cast<std::size_t>(i)].own;
        for (std::size_t k = 0; k < nodes.size(); ++k) {
            if (nodes[k].parent == i && nodes[k].live) {
                sum += std::max(held(static_cast<int>(k)), nodes[k].guaranteed);
            }
        }
        return sum;
    }
    page_count ceiling(int i, criticality level) const {
        const node& n = nodes[static_cast<std::size_t>(i)];
        const page_count r = std::min(n.reserve, n.limit);
        return level == task ? n.limit - r : level == domain ? n.limit - r / 2 : n.limit;
    }
    // Is a state admissible for those accounts whose held grows?
    bool take(int i, page_count pages, criticality level) {
        std::vector<page_count> before;
        for (std::size_t k = 0; k < nodes.size(); ++k) {
            before.push_back(nodes[k].live ? held(static_cast<int>(k)) : 0);
        }
        nodes[static_cast<std::size_t>(i)].own += pages;
        for (int up = i; up != -1; up = nodes[static_cast<std::size_t>(up)].parent) {
            const page_count now = held(up);
            if (now > before[static_cast<std::size_t>(up)] && now > ceiling(up, level)) {
                nodes[static_cast<std::size_t>(i)].own -= pages;
                return false;
            }
        }
        return true;
    }
};

TEST(budget_random, agrees_with_a_naive_recomputation) {
    const char* given = std::getenv("MEMREEVE_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    unsigned admitted = 0;
    unsigned refused = 0;
    unsigned limits_changed = 0;
    unsigned limits_refused = 0;
    for (int round = 0; round < 60; ++round) {
        fixture f(limit(bytes_of(1000), bytes_of(random() % 200)), round % 2 == 0 ? 0 : 8);
        const account& root = f.books.at(owner_id::root);
        naive model;
        model.nodes.push_back({-1, 1000, root.reserve, 0});
        std::vector<owner_id> ids{owner_id::root};
        const auto drained = [&] { f.books.drain(); };
        for (int i = 0; i < 600; ++i) {
            const auto pick = static_cast<std::size_t>(random() % ids.size());
            const unsigned what = static_cast<unsigned>(random() % 20);
            if (what == 0 && ids.size() < 12) {
                tree::limits l;
                const page_count hard = random() % 2 == 0 ? 100000 : 1 + random() % 900;
                const page_count guaranteed = random() % 2 == 0 ? 0 : random() % 150;
                const page_count reserve = random() % 60;
                l.hard = bytes_of(hard);
                l.guaranteed = bytes_of(guaranteed);
                l.reserve = bytes_of(reserve);
                drained();
                const auto made = f.books.open_account(ids[pick], "n", l, 0);
                // A guarantee is admitted like a process-level charge of the parent that is never charged.
                bool fits = guaranteed <= hard;
                if (fits && guaranteed != 0) {
                    fits = model.take(static_cast<int>(pick), guaranteed, process);
                    if (fits) {
                        model.nodes[pick].own -= guaranteed;
                    }
                }
                ASSERT_EQ(made.has_value(), fits);
                if (fits) {
                    ids.push_back(*made);
                    model.nodes.push_back({static_cast<int>(pick), hard, reserve, guaranteed});
                }
            } else if (what == 1) {
                naive::node& n = model.nodes[pick];
                naive changed = model;
                naive::node& c = changed.nodes[pick];
                c.limit = pick == 0 ? 200 + random() % 1500 : 1 + random() % 900;
                c.reserve = random() % 100;
                c.guaranteed = pick == 0 ? 0 : random() % 120;
                drained();
                tree::limits l;
                l.hard = bytes_of(c.limit);
                l.reserve = bytes_of(c.reserve);
                l.guaranteed = bytes_of(c.guaranteed);
                bool fits = c.guaranteed <= c.limit;
                if (fits && pick != 0) {
                    const page_count claim_now =
                        std::max(model.held(static_cast<int>(pick)), n.guaranteed);
                    const page_count claim_then =
                        std::max(model.held(static_cast<int>(pick)), c.guaranteed);
                    if (claim_then > claim_now) {
                        naive probe = model;
                        fits = probe.take(n.parent, claim_then - claim_now, process);
                    }
                }
                ASSERT_EQ(f.books.set_limits(ids[pick], l).has_value(), fits);
                if (fits) {
                    model = changed;
                    ++limits_changed;
                } else {
                    ++limits_refused;
                }
            } else if (what < 13) {
                const page_count pages = random() % 4 == 0 ? 1 + random() % 300 : 1 + random() % 20;
                const auto level = static_cast<criticality>(random() % 3);
                const bool expected = model.take(static_cast<int>(pick), pages, level);
                ASSERT_EQ(f.take(ids[pick], pages, level), expected) << "operation " << i;
                ++(expected ? admitted : refused);
            } else if (model.nodes[pick].own != 0) {
                const page_count pages = 1 + random() % model.nodes[pick].own;
                model.nodes[pick].own -= pages;
                f.books.refund(ids[pick], pages);
            }
            drained();
            for (std::size_t k = 0; k < ids.size(); ++k) {
                ASSERT_EQ(f.books.charged(ids[k]), model.charged(static_cast<int>(k)))
                    << "account " << k;
                ASSERT_GE(f.books.at(ids[k]).peak, f.books.charged(ids[k]));
                ASSERT_EQ(f.books.at(ids[k]).usage & 0xffffffff, model.held(static_cast<int>(k)))
                    << "account " << k;
            }
        }
        EXPECT_LE(root.peak, root.highest_limit);
    }
    for (const unsigned n : {admitted, refused, limits_changed, limits_refused}) {
        EXPECT_GT(n, 100u) << "the generator lost its variety";
    }
}

// Decision 20 and the contract: the peak is never above the highest limit, whatever threads do, and
// nothing is lost or invented.
TEST(budget_threads, peak_never_above_the_highest_limit_and_nothing_is_lost) {
    constexpr page_count top = 4000;
    fixture f(limit(bytes_of(top), bytes_of(400)), 16);
    const owner_id a = f.open(owner_id::root, limit(bytes_of(2500)));
    const owner_id b = f.open(owner_id::root, limit(~byte_count{0}, 0, bytes_of(500)));
    const owner_id c = f.open(b, limit(bytes_of(1500), bytes_of(100)));
    const owner_id owners[] = {a, b, c};
    std::atomic<std::uint64_t> admitted{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<bool> stop{false};
    std::thread limits([&] {
        for (int i = 0; !stop; ++i) {
            EXPECT_TRUE(f.books.set_limits(
                owner_id::root, limit(bytes_of(i % 2 == 0 ? top - 700 : top), bytes_of(300))));
            (void)f.books.set_limits(b, limit(~byte_count{0}, 0, bytes_of(i % 3 == 0 ? 800 : 300)));
        }
    });
    std::vector<std::thread> crew;
    std::latch all_are_through(8);
    for (unsigned t = 0; t < 8; ++t) {
        crew.emplace_back([&, t] {
            std::mt19937 random(t + 1);
            page_count mine[3] = {};
            for (int i = 0; i < 30000; ++i) {
                const unsigned k = static_cast<unsigned>(random() % 3);
                const page_count pages = 1 + random() % (random() % 8 == 0 ? 400 : 12);
                if (random() % 2 == 0) {
                    charge got;
                    if (f.books.take(owners[k], pages, static_cast<criticality>(random() % 3),
                                     got)) {
                        if (random() % 4 != 0) {
                            mine[k] += pages;
                            got.keep();
                        }
                        admitted.fetch_add(1);
                    } else {
                        refused.fetch_add(1);
                    }
                } else if (mine[k] != 0) {
                    const page_count back = std::min(pages, mine[k]);
                    mine[k] -= back;
                    f.books.refund(owners[k], back);
                }
            }
            // Where they run one after the other, the later ones meet the limits by what these hold.
            all_are_through.arrive_and_wait();
            for (unsigned k = 0; k < 3; ++k) {
                f.books.refund(owners[k], mine[k]);
            }
        });
    }
    for (auto& one : crew) {
        one.join();
    }
    stop = true;
    limits.join();
    f.books.drain();
    for (const owner_id who : {owner_id::root, a, b, c}) {
        EXPECT_EQ(f.books.charged(who), 0u);
        EXPECT_LE(f.books.at(who).peak, f.books.at(who).highest_limit);
    }
    EXPECT_EQ(f.books.at(owner_id::root).usage & 0xffffffff, f.books.guaranteed(b));
    EXPECT_LE(f.books.at(owner_id::root).peak, top);
    EXPECT_GT(admitted, 1000u);
    EXPECT_GT(refused, 1000u);
}

} // namespace
} // namespace memreeve::budget
