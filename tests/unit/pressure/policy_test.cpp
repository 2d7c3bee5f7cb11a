// SPDX-License-Identifier: MIT
// D19: worse news at once, better news after the hysteresis time, Low repeated no faster than every
// 8192 ms and always followed by Neutral.
#include "pressure/policy.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

namespace memreeve::pressure {
namespace {

constexpr std::uint64_t ms = 1'000'000;
constexpr std::uint64_t start = 5'000 * ms;

TEST(policy, D19_low_is_told_at_once) {
    policy p;
    EXPECT_FALSE(p.update(899, start).notify);
    const auto step = p.update(900, start);
    EXPECT_TRUE(step.notify);
    EXPECT_EQ(step.level, availability::low);
    EXPECT_EQ(step.look_again_at, start + repeat_low_ns);
}

TEST(policy, D19_low_is_repeated_every_8192_ms_and_not_before) {
    policy p;
    p.update(950, start);
    EXPECT_FALSE(p.update(950, start + 8191 * ms).notify);
    const auto again = p.update(990, start + 8192 * ms);
    EXPECT_TRUE(again.notify);
    EXPECT_EQ(again.level, availability::low);
    EXPECT_FALSE(p.update(990, start + 8193 * ms).notify);
}

TEST(policy, D19_neutral_follows_low_after_the_hysteresis_time) {
    policy p;
    p.update(950, start);
    const auto better = p.update(700, start + 100 * ms);
    EXPECT_FALSE(better.notify);
    EXPECT_EQ(better.look_again_at, start + 100 * ms + hysteresis_ns);
    EXPECT_FALSE(p.update(700, start + 100 * ms + hysteresis_ns - 1).notify);
    const auto told = p.update(700, start + 100 * ms + hysteresis_ns);
    EXPECT_TRUE(told.notify);
    EXPECT_EQ(told.level, availability::neutral);
}

TEST(policy, D19_one_step_at_a_time_when_everything_is_given_back) {
    policy p;
    p.update(1000, start);
    p.update(0, start);
    const auto first = p.update(0, start + hysteresis_ns);
    EXPECT_EQ(first.level, availability::neutral);
    EXPECT_TRUE(first.notify);
    EXPECT_EQ(first.look_again_at, start + 2 * hysteresis_ns);
    const auto second = p.update(0, start + 2 * hysteresis_ns);
    EXPECT_EQ(second.level, availability::high);
    EXPECT_TRUE(second.notify);
    EXPECT_EQ(second.look_again_at, never);
}

TEST(policy, watermarks_have_a_gap_between_entering_and_leaving) {
    policy p;
    p.update(900, start);
    p.update(850, start);
    EXPECT_FALSE(p.update(850, start + 2 * hysteresis_ns).notify) << "85 % is still low";
    p.update(849, start + 2 * hysteresis_ns);
    EXPECT_TRUE(p.update(849, start + 3 * hysteresis_ns).notify);

    policy q; // neutral, then high below 60 %, left at 65 %
    q.update(600, start);
    EXPECT_EQ(q.update(600, start + 2 * hysteresis_ns).level, availability::neutral);
    q.update(599, start + 2 * hysteresis_ns);
    EXPECT_EQ(q.update(599, start + 3 * hysteresis_ns).level, availability::high);
    EXPECT_FALSE(q.update(649, start + 3 * hysteresis_ns).notify);
    const auto left = q.update(650, start + 3 * hysteresis_ns);
    EXPECT_TRUE(left.notify);
    EXPECT_EQ(left.level, availability::neutral);
}

TEST(policy, a_relapse_starts_the_hysteresis_anew) {
    policy p;
    p.update(950, start);
    p.update(700, start + 100 * ms);
    p.update(880, start + 600 * ms); // low again (above 85 %)
    p.update(700, start + 700 * ms);
    EXPECT_FALSE(p.update(700, start + 100 * ms + hysteresis_ns).notify);
    EXPECT_TRUE(p.update(700, start + 700 * ms + hysteresis_ns).notify);
}

TEST(policy, high_to_low_skips_neutral) {
    policy p;
    p.update(0, start);
    ASSERT_EQ(p.update(0, start + hysteresis_ns).level, availability::high);
    const auto step = p.update(1000, start + hysteresis_ns);
    EXPECT_TRUE(step.notify);
    EXPECT_EQ(step.level, availability::low);
}

// A random walk against the rules, told in another way: nothing better sooner than the hysteresis
// time after the last worse news, no two Lows closer than 8192 ms without something between, never
// the same Neutral or High twice in a row.
TEST(policy, D19_random_walk_keeps_the_rules) {
    std::mt19937_64 random(20080811);
    policy p;
    std::uint64_t now = start;
    std::uint64_t last_told = 0;
    auto last = availability::neutral;
    unsigned seen[3]{};
    int value = 500;
    for (int i = 0; i < 200000; ++i) {
        now += random() % (400 * ms);
        value += static_cast<int>(random() % 121) - 60;
        value = value < 0 ? 0 : value > 1000 ? 1000 : value;
        const auto permille = static_cast<unsigned>(value);
        const auto step = p.update(permille, now);
        if (permille >= enter_low) {
            ASSERT_EQ(p.level(), availability::low);
        }
        if (!step.notify) {
            ASSERT_EQ(p.level(), last);
            continue;
        }
        ++seen[static_cast<unsigned>(step.level)];
        if (step.level == last) {
            ASSERT_EQ(step.level, availability::low);
            ASSERT_GE(now - last_told, repeat_low_ns);
        } else if (step.level > last) {
            ASSERT_GE(now - last_told, hysteresis_ns);
            ASSERT_EQ(static_cast<int>(step.level), static_cast<int>(last) + 1);
        }
        last = step.level;
        last_told = now;
    }
    for (const unsigned n : seen) {
        EXPECT_GT(n, 100u) << "the walk must visit every level";
    }
}

} // namespace
} // namespace memreeve::pressure
