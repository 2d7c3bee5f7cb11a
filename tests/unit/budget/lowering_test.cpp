// SPDX-License-Identifier: MIT
// A limit that is lowered below what is used, and while others charge.
#include "books.hpp"

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::budget {
namespace {

constexpr auto sparing = tree::lowering::spares_process_level;

TEST(budget_limits, lowered_below_what_is_held_spares_process_level_within_the_reserve) {
    fixture f(limit(64 * mib));
    const owner_id who = f.open(owner_id::root);
    ASSERT_TRUE(f.take(who, 50 * mib_pages));
    EXPECT_EQ(f.books.change_ceiling(owner_id::root, 30 * mib, 8 * mib, sparing), 64 * mib_pages);
    EXPECT_FALSE(f.take(who, 1, task));
    EXPECT_FALSE(f.take(who, 1, domain));
    EXPECT_EQ(f.books.available(who, process), 8 * mib_pages);
    EXPECT_EQ(f.fill(who, process), 8 * mib_pages);
    f.books.refund(who,
                   18 * mib_pages); // 40 are held: what went does not come back but for the reserve
    EXPECT_EQ(f.fill(who, process), 8 * mib_pages);
    f.books.refund(who, 20 * mib_pages); // 28 are held: it fits, and the limit is the limit
    EXPECT_FALSE(f.take(who, 1, task));
    EXPECT_EQ(f.fill(who, process), 2 * mib_pages);
    f.books.refund(who, 10 * mib_pages);
    EXPECT_EQ(f.fill(who, task), 2 * mib_pages);
}

TEST(budget_limits, lowered_twice_and_raised_never_above_what_there_was) {
    fixture f(limit(64 * mib, 4 * mib));
    const owner_id who = f.open(owner_id::root);
    ASSERT_TRUE(f.take(who, 62 * mib_pages, process));
    (void)f.books.change_ceiling(owner_id::root, 30 * mib, 8 * mib, sparing);
    EXPECT_EQ(f.fill(who, process), 2 * mib_pages) << "64 MiB were the limit";
    (void)f.books.change_ceiling(owner_id::root, 20 * mib, 5 * mib, sparing);
    EXPECT_EQ(f.fill(who, process), 0u);
    f.books.refund(who, 10 * mib_pages);
    EXPECT_EQ(f.fill(who, process), 5 * mib_pages);
    EXPECT_EQ(f.books.change_ceiling(owner_id::root, 100 * mib, 5 * mib, sparing), 20 * mib_pages);
    EXPECT_EQ(f.fill(who, task), 36 * mib_pages);
    EXPECT_EQ(f.fill(who, process), 5 * mib_pages);
    EXPECT_LE(f.books.at(owner_id::root).peak, f.books.at(owner_id::root).highest_limit);
}

TEST(budget_limits, what_is_touched_counts_when_a_limit_is_lowered_below_both) {
    fixture f(limit(64 * mib));
    const owner_id who = f.open(owner_id::root);
    ASSERT_TRUE(f.take(who, 20 * mib_pages));
    f.books.at(owner_id::root).touched = 12 * mib_pages;
    (void)f.books.change_ceiling(owner_id::root, 20 * mib, 4 * mib, sparing);
    EXPECT_FALSE(f.take(who, 1, task));
    EXPECT_EQ(f.fill(who, process), 4 * mib_pages) << "20 held, 12 touched less 4 forgiven, 4 more";
}

// What is admitted is admitted by a limit in force: once a lower one is, nothing comes in above it.
TEST(budget_threads, a_lowered_limit_holds_from_the_moment_the_change_returns) {
    fixture f(limit(bytes_of(4000), bytes_of(100)));
    const owner_id a = f.open(owner_id::root);
    const owner_id b = f.open(owner_id::root, limit(~byte_count{0}, 0, bytes_of(300)));
    const account& root = f.books.at(owner_id::root);
    std::atomic<bool> stop{false};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < 4; ++t) {
        crew.emplace_back([&, t] {
            std::mt19937 random(t + 1);
            page_count mine = 0;
            const owner_id who = t % 2 == 0 ? a : b;
            while (!stop) {
                const page_count pages = 1 + random() % 40;
                charge got;
                if (random() % 2 == 0 && f.books.take(who, pages, task, got)) {
                    mine += pages;
                    got.keep();
                } else if (mine != 0) {
                    const page_count back = std::min(pages, mine);
                    mine -= back;
                    f.books.refund(who, back);
                }
            }
            f.books.refund(who, mine);
        });
    }
    std::mt19937 random(99);
    std::uint64_t looked = 0;
    // However late the others get a processor, something must have been charged while one looked.
    for (int i = 0; i < 1000 || looked == 0; ++i) {
        if (looked == 0) {
            std::this_thread::yield();
        }
        const page_count top = 600 + random() % 3000;
        (void)f.books.change_ceiling(owner_id::root, bytes_of(top), bytes_of(100), sparing);
        const page_count held = root.usage & 0xffffffff;
        for (int k = 0; k < 200; ++k) {
            const page_count charged = root.charged;
            ASSERT_LE(charged, std::max(held, top)) << "change " << i;
            looked += charged != 0;
        }
    }
    stop = true;
    for (auto& t : crew) {
        t.join();
    }
    EXPECT_EQ(root.charged, 0u);
    EXPECT_EQ(root.usage & 0xffffffff, 300u) << "what b is guaranteed";
}

} // namespace
} // namespace memreeve::budget
