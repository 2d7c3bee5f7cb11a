// SPDX-License-Identifier: MIT
// Decision 13: available is what the tightest of budget, container and machine leaves; the
// percentage is of that one.
#include "pressure/load.hpp"

#include <gtest/gtest.h>

namespace memreeve::pressure {
namespace {

constexpr byte_count gib = byte_count{1} << 30;

TEST(load_of, decision_13_the_room_with_least_left_binds) {
    const room rooms[] = {{4 * gib, 3 * gib}, {64 * gib, gib}, {2 * gib, 2 * gib}};
    const load l = load_of(rooms);
    EXPECT_TRUE(l.is_known);
    EXPECT_EQ(l.available, gib);
    EXPECT_EQ(l.percent, 98u); // 63 of 64, rounded down
}

TEST(load_of, decision_13_between_equals_the_fuller_one) {
    const room rooms[] = {{2 * gib, gib}, {10 * gib, gib}};
    EXPECT_EQ(load_of(rooms).percent, 90u);
    const room turned[] = {{10 * gib, gib}, {2 * gib, gib}};
    EXPECT_EQ(load_of(turned).percent, 90u);
}

TEST(load_of, unknown_rooms_bind_nothing) {
    const room rooms[] = {{}, {8 * gib, 6 * gib}, {}};
    EXPECT_EQ(load_of(rooms).percent, 25u);
    EXPECT_FALSE(load_of({}).is_known);
    const room nothing[] = {{}, {}};
    EXPECT_FALSE(load_of(nothing).is_known);
}

TEST(load_of, D17_percent_is_clamped) {
    const room over[] = {{gib, 3 * gib}}; // more left than there is
    EXPECT_EQ(load_of(over).percent, 0u);
    EXPECT_EQ(load_of(over).available, gib);
    const room full[] = {{gib, 0}};
    EXPECT_EQ(load_of(full).percent, 100u);
}

TEST(load_of, largest_numbers_do_not_overflow) {
    const room huge[] = {{byte_count{1} << 63, byte_count{1} << 61}};
    EXPECT_EQ(load_of(huge).percent, 75u);
    EXPECT_EQ(permille_used(huge[0]), 750u);
}

TEST(permille_used, rounds_up_so_that_a_watermark_is_never_missed) {
    EXPECT_EQ(permille_used({1000, 101}), 899u);
    EXPECT_EQ(permille_used({10000, 1009}), 900u); // 899.1
    EXPECT_EQ(permille_used({}), 0u);
}

} // namespace
} // namespace memreeve::pressure
