// SPDX-License-Identifier: MIT
// Contract sections 4 and 8, decisions 20 and 28: what a governed program finds in its environment.
#include "cli/preparation.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using namespace memreeve::cli;
using memreeve::byte_count;
using words = std::vector<std::string>;

constexpr byte_count mib = byte_count{1} << 20;

words governed(words outside, const std::vector<variable>& settings = {},
               bool best_effort = false) {
    words out = governed_environment(std::move(outside), "/p/libmemreeve_preload.so",
                                     "/proc/7/fd/5", best_effort, settings);
    std::sort(out.begin(), out.end());
    return out;
}

TEST(preparation, the_library_is_put_before_what_is_there) {
    EXPECT_EQ(governed({"A=b"}), (words{"A=b", "LD_PRELOAD=/p/libmemreeve_preload.so",
                                        "MEMREEVE_LEDGER=/proc/7/fd/5"}));
    EXPECT_EQ(governed({"LD_PRELOAD=/x.so:/y.so"}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so:/x.so:/y.so",
                     "MEMREEVE_LEDGER=/proc/7/fd/5"}));
    EXPECT_EQ(governed({"LD_PRELOAD="}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so", "MEMREEVE_LEDGER=/proc/7/fd/5"}));
}

TEST(preparation, a_run_inside_a_run_has_its_own_ledger_and_the_library_once) {
    EXPECT_EQ(governed({"MEMREEVE_LEDGER=/proc/1/fd/3", "LD_PRELOAD=/p/libmemreeve_preload.so"}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so", "MEMREEVE_LEDGER=/proc/7/fd/5"}));
}

// Decision 20: a child that cannot open the ledger cannot read the flag in it either.
TEST(preparation, best_effort_is_told_in_the_environment) {
    EXPECT_THAT(governed({}, {}, true), testing::Contains("MEMREEVE_BEST_EFFORT=1"));
    EXPECT_THAT(governed({"MEMREEVE_BEST_EFFORT=1"}),
                testing::Not(testing::Contains("MEMREEVE_BEST_EFFORT=1")));
}

TEST(preparation, a_name_that_only_begins_alike_is_left_alone) {
    EXPECT_EQ(governed({"LD_PRELOAD_NOTE=1"}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so", "LD_PRELOAD_NOTE=1",
                     "MEMREEVE_LEDGER=/proc/7/fd/5"}));
}

// Decision 28: a smaller nursery at a tight limit, and never a heap limit.
TEST(preparation, mono_gets_a_small_nursery_under_a_tight_limit_only) {
    const std::vector<variable> small = {{"MONO_GC_PARAMS", "nursery-size=1m"}};
    EXPECT_EQ(runtime_settings(true, 128 * mib, {}), small);
    EXPECT_TRUE(runtime_settings(true, 129 * mib, {}).empty());
    EXPECT_TRUE(runtime_settings(true, std::nullopt, {}).empty());
    EXPECT_TRUE(runtime_settings(false, 64 * mib, {}).empty());
    EXPECT_TRUE(runtime_settings(true, 64 * mib, {"MONO_GC_PARAMS=major=marksweep"}).empty())
        << "the user's word stands";
    EXPECT_EQ(governed({}, small).back(), "MONO_GC_PARAMS=nursery-size=1m");
}

} // namespace
