// SPDX-License-Identifier: MIT
#include "pressure/asking.hpp"

#include <gtest/gtest.h>

#include <algorithm>

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

// The limit was lowered below what is held: asked until it fits, ever more seldom, and then no more.
TEST(asking, what_does_not_fit_is_asked_for_until_it_does) {
    asking a;
    std::uint64_t now = 0;
    a.limit_changed();
    unsigned times = 0;
    std::uint64_t last = 0;
    std::uint64_t longest = 0;
    while (now < 100'000 * ms) {
        now += ms;
        if (a.is_due(2 * top, top, now)) {
            longest = std::max(longest, now - last);
            last = now;
            a.asked(2 * top, 2 * top, top, now, now + ms);
            ++times;
        }
        if (now % (1000 * ms) == 0) {
            a.calm(2 * top, top);
        }
    }
    EXPECT_GE(times, 12u);
    EXPECT_LE(times, 40u);
    EXPECT_LE(longest, asking::longest_vain_pause_ns + 2 * ms);
    a.asked(2 * top, top / 2, top, now, now + ms);
    EXPECT_FALSE(a.is_due(top / 2, top, now + 1'000'000 * ms));
}

// Where watermarks are not asked at, only that.
TEST(asking, only_what_was_lowered_below_what_is_held) {
    asking a(asking::when::lowered);
    EXPECT_FALSE(a.is_due(2 * top, top, ms)) << "nobody has changed the limit";
    EXPECT_EQ(a.ask_at(top), ~page_count{0});
    a.limit_changed();
    EXPECT_FALSE(a.is_due(top - 1, top, ms)) << "it fits";
    EXPECT_TRUE(a.is_due(top, top, ms));
    a.asked(2 * top, top + 1, top, ms, 2 * ms);
    EXPECT_TRUE(a.is_due(top + 1, top, 1000 * ms)) << "not yet";
    a.asked(top + 1, top / 2, top, 1000 * ms, 1001 * ms);
    EXPECT_EQ(a.urgent_at(), ~page_count{0});
    EXPECT_FALSE(a.is_due(top, top, 1'000'000 * ms))
        << "it had fitted; this is the program's own growth";
    a.limit_changed();
    a.calm(top / 2, top);
    EXPECT_FALSE(a.is_due(top, top, 1'000'000 * ms)) << "it had fitted by itself";
}

TEST(asking, another_limit_is_looked_at_afresh_but_no_storm_of_them_is_answered) {
    asking a;
    std::uint64_t now = 0;
    for (unsigned i = 0; i < 20; ++i) {
        a.asked(top, top, top, now, now + 10 * ms);
        now = a.not_before();
    }
    a.asked(top, top, top, now, now + 10 * ms);
    now += 10 * ms;
    a.limit_changed();
    EXPECT_FALSE(a.is_due(top, top / 2, now + 9 * ms));
    EXPECT_TRUE(a.is_due(top, top / 2, now + 10 * ms));
    EXPECT_EQ(a.ask_at(2 * top), 120'000u);
}

TEST(asking, at_the_kernels_pressure_once_below_the_watermark_too) {
    asking a;
    constexpr page_count none = ~page_count{0} >> 1; // no limit
    EXPECT_FALSE(a.is_due(5'000, none, ms));
    a.pressed(5'000);
    EXPECT_TRUE(a.is_due(5'000, none, ms));
    a.asked(5'000, 5'000, none, ms, 2 * ms);
    EXPECT_FALSE(a.is_due(5'000, none, 1'000'000 * ms));
    a.pressed(5'100);
    EXPECT_FALSE(a.is_due(5'100, none, 1'000'000 * ms)) << "little was taken since";
    a.pressed(5'300);
    EXPECT_TRUE(a.is_due(5'300, none, 1'000'000 * ms));
    a.drop_pressure();
    EXPECT_FALSE(a.is_due(5'300, none, 1'000'000 * ms));
    a.calm(2'000, none);
    a.pressed(2'300);
    EXPECT_TRUE(a.is_due(2'300, none, 1'000'000 * ms)) << "it has gone down by itself meanwhile";
}

TEST(asking, of_use_is_measured_where_there_is_no_limit) {
    constexpr page_count none = ~page_count{0} >> 1;
    EXPECT_TRUE(asking::was_of_use(20'000, 10'000, none));
    EXPECT_FALSE(asking::was_of_use(20'000, 19'900, none));
    EXPECT_FALSE(asking::was_of_use(100, 100, none));
}

TEST(asking, small_and_large_tops_have_a_watermark) {
    const asking a;
    EXPECT_EQ(a.ask_at(999), 599u);
    EXPECT_GT(a.ask_at(~page_count{0} >> 1), (~page_count{0} >> 1) / 2);
}

// A level of 40,000 was left: what is worth little is followed by a rest, unless the room runs out.
TEST(asking, no_rest_while_the_room_runs_out) {
    asking a;
    a.asked(45'000, 40'000, top, 0, 100 * ms);
    EXPECT_FALSE(a.is_due(65'000, top, 150 * ms)) << "it rests";
    EXPECT_TRUE(a.is_due(70'000, top, 150 * ms)) << "half of what was left is used up";
    EXPECT_TRUE(a.is_due(65'000, top, 200 * ms));
    a.asked(70'000, 70'000, top, 200 * ms, 300 * ms);
    EXPECT_FALSE(a.is_due(99'000, top, 350 * ms)) << "it was in vain";
    // Below the watermark nothing is urgent.
    asking low;
    low.asked(60'000, 5'000, top, 0, 100 * ms);
    EXPECT_GE(low.urgent_at(), low.ask_at(top));
}

TEST(asking, no_rest_after_what_was_worth_much) {
    asking a;
    a.asked(65'000, 58'000, top, 0, 100 * ms);
    EXPECT_LE(a.not_before(), 100 * ms + asking::least_pause_ns);
}

// A heap that keeps what it has freed takes less for a while: asked again without growing rests.
TEST(asking, what_a_heap_freed_and_keeps_counts) {
    asking kept;
    asking nothing;
    std::uint64_t now = 0;
    for (unsigned i = 0; i < 10; ++i) {
        kept.asked(70'000, 70'000, top, now, now + 10 * ms, 5'000);
        nothing.asked(70'000, 70'000, top, now, now + 10 * ms);
        now += 10 * ms;
    }
    EXPECT_LE(kept.not_before() - now, 10 * ms);
    EXPECT_GE(nothing.not_before() - now, asking::most_rest * 10 * ms);
}

} // namespace
} // namespace memreeve::pressure
