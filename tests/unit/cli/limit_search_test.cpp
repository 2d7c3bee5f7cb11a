// SPDX-License-Identifier: MIT
// squeeze's search against needs that are known, up to results that are not monotone.
#include "cli/limit_search.hpp"

#include <functional>
#include <gtest/gtest.h>

namespace {

using memreeve::byte_count;
using memreeve::page_size;
using memreeve::cli::limit_search;
using memreeve::cli::search_bounds;

constexpr byte_count mib = byte_count{1} << 20;

// The number of runs.
unsigned drive(limit_search& s, const std::function<bool(byte_count)>& works) {
    unsigned runs = 0;
    while (const auto limit = s.next()) {
        EXPECT_EQ(*limit % page_size, 0u);
        s.note(*limit, works(*limit));
        if (++runs > 1000) {
            ADD_FAILURE() << "does not end";
            break;
        }
    }
    return runs;
}

search_bounds bounds(byte_count guess, double tolerance = 0.05, unsigned repeat = 3) {
    return {mib / 4, 1024 * mib, guess, tolerance, repeat};
}

TEST(limit_search, finds_any_need_within_the_tolerance_from_any_guess) {
    for (const byte_count need : {mib / 2, mib, 7 * mib + 12345, 100 * mib, 1000 * mib}) {
        for (const byte_count guess : {mib, 100 * mib, 1024 * mib}) {
            for (const double tolerance : {0.01, 0.05, 0.2}) {
                limit_search s(bounds(guess, tolerance));
                const unsigned runs = drive(s, [need](byte_count l) { return l >= need; });
                ASSERT_TRUE(s.answer());
                EXPECT_GE(*s.answer(), need);
                EXPECT_LE(static_cast<double>(*s.answer()),
                          static_cast<double>(need) * (1 + tolerance) + page_size);
                EXPECT_LT(s.largest_failure(), need);
                EXPECT_TRUE(s.islands().empty());
                EXPECT_LE(runs, 40u);
            }
        }
    }
}

TEST(limit_search, knows_when_the_smallest_allowed_works) {
    limit_search s(bounds(4 * mib));
    (void)drive(s, [](byte_count) { return true; });
    EXPECT_EQ(s.answer(), mib / 4);
    EXPECT_EQ(s.largest_failure(), 0u);
}

TEST(limit_search, knows_when_nothing_works) {
    limit_search s(bounds(4 * mib));
    EXPECT_LE(drive(s, [](byte_count) { return false; }), 30u);
    EXPECT_FALSE(s.answer());
    EXPECT_EQ(s.largest_failure(), 1024 * mib); // the largest allowed was tried
}

TEST(limit_search, tries_nothing_beyond_its_bounds) {
    search_bounds b{10 * mib, 20 * mib, 12 * mib, 0.05, 2};
    limit_search s(b);
    (void)drive(s, [&b](byte_count l) {
        EXPECT_GE(l, b.from);
        EXPECT_LE(l, b.to);
        return l >= 19 * mib;
    });
    EXPECT_GE(*s.answer(), 19 * mib);
}

TEST(limit_search, the_answer_is_confirmed_and_larger_ones_are_tried) {
    limit_search s(bounds(64 * mib, 0.05, 4));
    (void)drive(s, [](byte_count l) { return l >= 40 * mib; });
    EXPECT_EQ(s.all().at(*s.answer()).worked, 4u);
    EXPECT_GE(s.all().rbegin()->first, 2 * *s.answer());
}

TEST(limit_search, a_gap_above_moves_the_answer_over_it) {
    limit_search s(bounds(100 * mib));
    (void)drive(s, [](byte_count l) { return l >= 40 * mib && (l < 49 * mib || l >= 53 * mib); });
    EXPECT_GE(*s.answer(), 53 * mib);
    EXPECT_LE(*s.answer(), 56 * mib);
    EXPECT_FALSE(s.islands().empty());
}

// Every other run fails between 40 and 60 MiB: no limit there works k of k times.
TEST(limit_search, failures_now_and_then_move_the_answer_above_them) {
    for (unsigned phase = 0; phase < 2; ++phase) {
        unsigned n = phase;
        limit_search s(bounds(50 * mib));
        (void)drive(
            s, [&n](byte_count l) { return l >= 60 * mib || (l >= 40 * mib && ++n % 2 == 0); });
        EXPECT_GE(*s.answer(), 60 * mib) << phase;
        EXPECT_LE(*s.answer(), 63 * mib + page_size) << phase;
    }
}

} // namespace
