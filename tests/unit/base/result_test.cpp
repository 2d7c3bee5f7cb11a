// SPDX-License-Identifier: MIT
#include "base/check.hpp"
#include "base/defer.hpp"
#include "base/error.hpp"
#include "base/result.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>
#include <unistd.h>

namespace memreeve {
namespace {

result<int> half(int n) {
    if (n % 2 != 0) {
        return errc::invalid_argument;
    }
    return n / 2;
}

TEST(result, holds_a_value_or_an_error) {
    const auto good = half(8);
    ASSERT_TRUE(good);
    EXPECT_TRUE(good.has_value());
    EXPECT_EQ(*good, 4);
    EXPECT_EQ(good.value(), 4);
    const auto bad = half(7);
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().code, errc::invalid_argument);
    EXPECT_EQ(bad.error().os_code, 0);
}

TEST(result, void_is_success_unless_told) {
    EXPECT_TRUE(result<void>{});
    const result<void> bad = errc::busy;
    EXPECT_FALSE(bad);
    EXPECT_EQ(bad.error().code, errc::busy);
}

TEST(error, every_code_has_a_sentence_of_its_own) {
    std::set<std::string> seen;
    for (int code = 0; code <= static_cast<int>(errc::no_interface); ++code) {
        const char* sentence = text(static_cast<errc>(code));
        EXPECT_STRNE(sentence, "unknown") << code;
        EXPECT_TRUE(seen.insert(sentence).second) << sentence;
    }
}

TEST(defer, runs_unless_cancelled) {
    int ran = 0;
    {
        const defer undo([&] { ++ran; });
    }
    EXPECT_EQ(ran, 1);
    {
        defer undo([&] { ++ran; });
        undo.cancel();
    }
    EXPECT_EQ(ran, 1);
}

TEST(check_death, a_broken_invariant_says_which_and_stops) {
    check(true, "never said");
    report_broken_invariant = [](const char* sentence) noexcept {
        (void)!write(2, sentence, std::strlen(sentence));
    };
    EXPECT_DEATH(check(false, "the sum of the parts is the whole"),
                 "the sum of the parts is the whole");
    report_broken_invariant = nullptr;
    EXPECT_DEATH(check(false, "silent"), "");
}

} // namespace
} // namespace memreeve
