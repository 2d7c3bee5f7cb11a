// SPDX-License-Identifier: MIT
#include "bridge/page_marks.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::bridge {
namespace {

constexpr byte_count pool_size = byte_count{1} << 20;

int there_already(address, byte_count) noexcept { return 0; }

class page_marks_test : public testing::Test {
protected:
    page_marks_test() : memory(new char[pool_size]()) {
        pool.open(reinterpret_cast<address>(memory.get()), pool_size, there_already);
    }
    page_count set(page_span where, payer who, page_count most = file_pages_max) {
        bool full = false;
        const page_count n = marks.set(pool, where, who, most, full);
        EXPECT_FALSE(full);
        return n;
    }
    void pay(page_span where, payer who) {
        set(where, who);
        marks.keep(pool, where);
    }
    static page_count all(const payer_pages& p) { return p.of[1] + p.of[2] + p.of[3]; }

    std::unique_ptr<char[]> memory;
    node_pool pool;
    page_marks marks;
};

TEST_F(page_marks_test, a_page_is_paid_for_once_by_whoever_was_first) {
    EXPECT_EQ(set({10, 20}, 1), 10u);
    EXPECT_EQ(set({15, 25}, 2), 5u);
    marks.keep(pool, {10, 25});
    EXPECT_EQ(marks.count_free(pool, {0, 30}), 15u);
    const payer_pages gone = marks.clear(pool, {0, 100});
    EXPECT_EQ(gone.of[1], 10u);
    EXPECT_EQ(gone.of[2], 5u);
    EXPECT_EQ(marks.count_free(pool, {0, 30}), 30u);
}

TEST_F(page_marks_test, terabytes_cost_a_few_nodes) {
    const page_count tebibyte = page_count{1} << 28;
    EXPECT_EQ(set({1, 2 * tebibyte + 1}, 3), 2 * tebibyte);
    marks.keep(pool, {0, file_pages_max});
    EXPECT_EQ(marks.count_free(pool, {0, file_pages_max}), file_pages_max - 2 * tebibyte);
    EXPECT_EQ(marks.clear(pool, {5, 6}).of[3], 1u);
    EXPECT_EQ(marks.give_up(pool).of[3], 2 * tebibyte - 1);
}

TEST_F(page_marks_test, what_is_undone_is_only_what_was_on_trial) {
    pay({0, 10}, 1);
    EXPECT_EQ(set({0, 20}, 2), 10u);
    const payer_pages gone = marks.undo(pool, {0, 20});
    EXPECT_EQ(gone.of[1], 0u);
    EXPECT_EQ(gone.of[2], 10u);
    EXPECT_EQ(marks.count_free(pool, {0, 20}), 10u);
}

TEST_F(page_marks_test, no_more_is_marked_than_was_paid_for) {
    EXPECT_EQ(set({0, 5000}, 1, 100), 100u);
    EXPECT_EQ(marks.count_free(pool, {0, 5000}), 4900u);
}

TEST_F(page_marks_test, after_fork_nothing_comes_back) {
    pay({0, 3000}, 1);
    marks.inherit(pool);
    pay({3000, 3001}, 2);
    EXPECT_EQ(marks.count_free(pool, {0, 3001}), 0u);
    const payer_pages gone = marks.clear(pool, {0, 4000});
    EXPECT_EQ(gone.of[1], 0u);
    EXPECT_EQ(gone.of[2], 1u);
}

TEST_F(page_marks_test, nodes_of_a_file_given_up_serve_the_next) {
    for (int i = 0; i < 10000; ++i) {
        pay({page_count(i), page_count(i) + 17}, 1);
        EXPECT_EQ(marks.give_up(pool).of[1], 17u);
    }
}

TEST_F(page_marks_test, a_full_pool_marks_nothing_that_was_not_counted) {
    page_count marked = 0;
    bool full = false;
    for (page_count at = 0; !full; at += 5000) {
        marked += marks.set(pool, {at, at + 1}, 1, 1, full);
        ASSERT_LT(at, file_pages_max - 5000);
    }
    marks.keep(pool, {0, file_pages_max});
    EXPECT_EQ(all(marks.give_up(pool)), marked);
}

TEST_F(page_marks_test, agrees_with_a_naive_list_at_random) {
    const char* given = std::getenv("MEMREEVE_SEED");
    const unsigned seed =
        given != nullptr ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%u\n", seed);
    std::mt19937 random(seed);
    // Two stretches that lie across borders of every level.
    const page_count centre[] = {0, page_count{1} << 24};
    constexpr page_count width = 3000;
    std::vector<unsigned> naive[2] = {std::vector<unsigned>(width), std::vector<unsigned>(width)};
    for (int step = 0; step < 4000; ++step) {
        const unsigned which = random() % 2;
        const page_count base = centre[which] == 0 ? 0 : centre[which] - width / 2;
        page_count a = random() % width;
        page_count b = random() % 8 == 0 ? random() % width : std::min(width, a + random() % 40);
        if (a > b) {
            std::swap(a, b);
        }
        const page_span where{base + a, base + b};
        const auto who = static_cast<payer>(1 + random() % 3);
        page_count counts[payer_count]{};
        auto& model = naive[which];
        const auto clear_model = [&] {
            for (page_count i = a; i < b; ++i) {
                ++counts[model[i]];
                model[i] = 0;
            }
        };
        switch (random() % 3) {
        case 0: {
            for (page_count i = a; i < b; ++i) {
                counts[0] += model[i] == 0 ? 1U : 0U;
                model[i] = model[i] == 0 ? who : model[i];
            }
            ASSERT_EQ(set(where, who), counts[0]);
            marks.keep(pool, where);
            break;
        }
        case 1: {
            clear_model();
            const payer_pages gone = marks.clear(pool, where);
            for (unsigned k = 1; k < payer_count; ++k) {
                ASSERT_EQ(gone.of[k], counts[k]);
            }
            break;
        }
        default: {
            for (page_count i = a; i < b; ++i) {
                counts[0] += model[i] == 0 ? 1U : 0U;
            }
            ASSERT_EQ(marks.count_free(pool, where), counts[0]);
            break;
        }
        }
    }
}

TEST_F(page_marks_test, threads_together_lose_and_gain_nothing) {
    std::atomic<std::int64_t> paid{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(t);
            for (int i = 0; i < 3000; ++i) {
                const page_count a = random() % 4000;
                const page_span where{a, a + random() % 2000};
                bool full = false;
                if (random() % 2 == 0) {
                    paid += static_cast<std::int64_t>(
                        marks.set(pool, where, 1 + t % 3, file_pages_max, full));
                } else {
                    paid -= static_cast<std::int64_t>(all(marks.clear(pool, where)));
                }
            }
        });
    }
    for (std::thread& t : threads) {
        t.join();
    }
    EXPECT_EQ(static_cast<std::int64_t>(all(marks.give_up(pool))), paid.load());
}

} // namespace
} // namespace memreeve::bridge
