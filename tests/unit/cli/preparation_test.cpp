// SPDX-License-Identifier: MIT
// Contract sections 4 and 8, decision 20: what a governed program finds in its environment.
#include "cli/preparation.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using namespace memreeve::cli;
using words = std::vector<std::string>;

words governed(words outside, bool best_effort = false) {
    words out = governed_environment(std::move(outside), "/p/libmemreeve_preload.so",
                                     "/proc/7/fd/5", best_effort);
    std::sort(out.begin(), out.end());
    return out;
}

TEST(preparation, the_library_is_put_before_what_is_there) {
    EXPECT_EQ(governed({"A=b"}), (words{"A=b", "LD_PRELOAD=/p/libmemreeve_preload.so",
                                        "MEMREEVE_LEDGER=/proc/7/fd/5"}));
    EXPECT_EQ(governed({"LD_PRELOAD=/x.so:/y.so"}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so:/x.so:/y.so",
                     "MEMREEVE_LEDGER=/proc/7/fd/5"}));
    EXPECT_EQ(
        governed({"LD_PRELOAD=/x.so /p/libmemreeve_preload.so"}),
        (words{"LD_PRELOAD=/p/libmemreeve_preload.so:/x.so", "MEMREEVE_LEDGER=/proc/7/fd/5"}));
    EXPECT_EQ(governed({"LD_PRELOAD="}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so", "MEMREEVE_LEDGER=/proc/7/fd/5"}));
}

TEST(preparation, another_malloc_is_left_out) {
    const words outside{"A=b",
                        "LD_PRELOAD=/l/libjemalloc.so.2:/x.so libmimalloc.so:libtcmalloc.so.4"};
    EXPECT_EQ(foreign_allocators(outside),
              (words{"/l/libjemalloc.so.2", "libmimalloc.so", "libtcmalloc.so.4"}));
    EXPECT_THAT(governed(outside), testing::Contains("LD_PRELOAD=/p/libmemreeve_preload.so:/x.so"));
    EXPECT_TRUE(foreign_allocators({"LD_PRELOAD=/x/libmine.so", "X=libjemalloc.so"}).empty());
}

TEST(preparation, a_run_inside_a_run_has_its_own_ledger_and_the_library_once) {
    EXPECT_EQ(governed({"MEMREEVE_LEDGER=/proc/1/fd/3", "LD_PRELOAD=/p/libmemreeve_preload.so"}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so", "MEMREEVE_LEDGER=/proc/7/fd/5"}));
}

// Decision 20: a child that cannot open the ledger cannot read the flag in it either.
TEST(preparation, best_effort_is_told_in_the_environment) {
    EXPECT_THAT(governed({}, true), testing::Contains("MEMREEVE_BEST_EFFORT=1"));
    EXPECT_THAT(governed({"MEMREEVE_BEST_EFFORT=1"}),
                testing::Not(testing::Contains("MEMREEVE_BEST_EFFORT=1")));
}

TEST(preparation, a_name_that_only_begins_alike_is_left_alone) {
    EXPECT_EQ(governed({"LD_PRELOAD_NOTE=1"}),
              (words{"LD_PRELOAD=/p/libmemreeve_preload.so", "LD_PRELOAD_NOTE=1",
                     "MEMREEVE_LEDGER=/proc/7/fd/5"}));
}

} // namespace
