// SPDX-License-Identifier: MIT
#include "pressure/asking.hpp"

#include <gtest/gtest.h>

namespace memreeve::pressure {
namespace {

constexpr std::uint64_t ms = 1'000'000;
constexpr page_count top = 100'000;

TEST(asking, begins_at_six_tenths) {
    const asking a;
    EXPECT_EQ(a.ask_at(top), 60'000u);
    EXPECT_FALSE(a.is_due(59'999, top, ms));
    EXPECT_TRUE(a.is_due(60'000, top, ms));
}

TEST(asking, what_was_given_back_leaves_the_first_watermark) {
    asking a;
    a.asked(60'000, 20'000, top, 0, ms);
    EXPECT_EQ(a.ask_at(top), 60'000u);
}

// Whoever holds what is there is asked a few times on the way up, and not again while he stands still.
TEST(asking, a_level_that_stays_is_asked_at_few_times) {
    asking a;
    std::uint64_t now = 0;
    unsigned times = 0;
    for (page_count used = 0; used < 95'000; ++used) {
        now += ms;
        if (a.is_due(used, top, now)) {
            a.asked(used, used, top, now, now + ms);
            ++times;
        }
    }
    EXPECT_GE(times, 3u);
    EXPECT_LE(times, 8u);
    for (unsigned i = 0; i < 1000; ++i) {
        now += 1000 * ms;
        a.calm(95'000, top);
        if (a.is_due(95'000, top, now)) {
            a.asked(95'000, 95'000, top, now, now + ms);
            ++times;
        }
    }
    EXPECT_LE(times, 9u);
}

TEST(asking, asking_in_vain_gets_seldom) {
    asking a;
    std::uint64_t now = 0;
    std::uint64_t spent = 0;
    constexpr std::uint64_t took = 20 * ms;
    while (now < 100'000 * ms) {
        now += ms;
        if (a.is_due(top, top, now)) {
            a.asked(top, top, top, now, now + took);
            now += took;
            spent += took;
        }
    }
    EXPECT_LE(spent, now / asking::most_rest + 10 * took);
}

TEST(asking, what_brings_room_makes_it_frequent_again) {
    asking a;
    std::uint64_t now = 0;
    for (unsigned i = 0; i < 20; ++i) {
        a.asked(top, top, top, now, now + ms);
        now = a.not_before();
    }
    a.asked(top, top, top, now, now + ms);
    EXPECT_GE(a.not_before() - now, asking::most_rest * ms);
    for (unsigned i = 0; i < 20; ++i) {
        a.asked(top, top / 2, top, now, now + ms);
        now = a.not_before();
    }
    a.asked(top, top / 2, top, now, now + ms);
    EXPECT_LE(a.not_before() - now, 3 * ms);
}

TEST(asking, a_level_that_goes_down_by_itself_lowers_the_watermark) {
    asking a;
    a.asked(90'000, 90'000, top, 0, ms);
    EXPECT_GT(a.ask_at(top), 90'000u);
    a.calm(30'000, top);
    EXPECT_EQ(a.ask_at(top), 60'000u);
}

TEST(asking, a_lower_limit_is_heeded_at_once) {
    asking a;
    EXPECT_TRUE(a.is_due(60'000, 90'000, ms));
    EXPECT_TRUE(a.is_due(60'000, 50'000, ms));
}

} // namespace
} // namespace memreeve::pressure
