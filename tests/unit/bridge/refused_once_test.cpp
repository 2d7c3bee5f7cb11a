// SPDX-License-Identifier: MIT
// What a program survives once is refused once in each quarter of the upper half of the reserve.
#include "bridge/refused_once.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace memreeve::bridge {
namespace {

constexpr page_count limit = 1000;
constexpr page_count reserve = 80; // domain level ends at 960, the quarters are 10 pages each

struct fixture {
    budget::account root{};
    refused_once subject{};

    fixture() {
        root.limit = limit;
        root.reserve = reserve;
    }
    void use(page_count held, page_count touched = 0) {
        root.usage = std::uint64_t{500} << 32 | held; // what is guaranteed does not matter
        root.touched = touched;
    }
    // As a request of one page ends: true when it was refused.
    bool ask() {
        const criticality level = subject.level(root);
        const page_count used = budget::held_of(root.usage) + root.touched;
        const bool refused = level == criticality::domain && used + 1 > limit - reserve / 2;
        if (refused) {
            subject.told(root);
        }
        return refused;
    }
};

TEST(refused_once, in_each_quarter_of_the_upper_half) {
    fixture f;
    std::vector<page_count> refused;
    for (page_count used = 900; used < limit;) {
        f.use(used);
        if (f.ask()) {
            refused.push_back(used); // the program goes on as before
        } else {
            ++used;
        }
    }
    EXPECT_EQ(refused, (std::vector<page_count>{960, 970, 980, 990}));
}

TEST(refused_once, what_handles_the_refusal_is_granted) {
    fixture f;
    f.use(965);
    EXPECT_TRUE(f.ask());
    for (page_count used = 965; used < 970; ++used) {
        f.use(used);
        EXPECT_EQ(f.subject.level(f.root), criticality::process);
    }
}

TEST(refused_once, handling_lasts_until_the_next_quarter_or_the_reserve_is_free) {
    fixture f;
    const auto handled = [&f](page_count used) {
        f.use(used);
        return f.subject.is_being_handled(f.root);
    };
    EXPECT_FALSE(handled(975)) << "nothing was refused";
    EXPECT_TRUE(f.ask());
    EXPECT_TRUE(handled(975));
    EXPECT_TRUE(handled(920));
    EXPECT_FALSE(handled(980));
    EXPECT_FALSE(handled(919));
}

TEST(refused_once, anew_when_it_has_let_go) {
    fixture f;
    f.use(985);
    EXPECT_TRUE(f.ask());
    f.use(930);
    EXPECT_FALSE(f.ask());
    f.use(965);
    EXPECT_FALSE(f.ask()) << "the reserve was not free meanwhile";
    f.use(500);
    EXPECT_FALSE(f.ask());
    f.use(965);
    EXPECT_TRUE(f.ask());
}

TEST(refused_once, a_limit_lowered_below_what_is_held_refuses_none) {
    fixture f;
    for (page_count used = 2000; used >= 920; used -= 10) {
        f.use(used);
        EXPECT_FALSE(f.ask()) << used;
        EXPECT_FALSE(f.subject.is_being_handled(f.root)) << used;
    }
    f.use(919); // the reserve is free
    EXPECT_FALSE(f.ask());
    f.use(965);
    EXPECT_TRUE(f.ask()) << "it had fitted";
}

TEST(refused_once, a_request_that_needed_nothing_uses_no_turn) {
    fixture f;
    f.use(965);
    EXPECT_EQ(f.subject.level(f.root), criticality::domain); // served from what is there already
    EXPECT_TRUE(f.ask());
}

TEST(refused_once, touched_memory_counts) {
    fixture f;
    f.use(900, 70);
    EXPECT_TRUE(f.ask());
}

TEST(refused_once, without_a_limit_or_reserve_never) {
    fixture f;
    f.use(965);
    f.root.reserve = 0;
    EXPECT_EQ(f.subject.level(f.root), criticality::process);
    f.root.reserve = reserve;
    f.root.limit = budget::no_limit;
    EXPECT_EQ(f.subject.level(f.root), criticality::process);
}

} // namespace
} // namespace memreeve::bridge
