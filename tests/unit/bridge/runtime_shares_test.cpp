// SPDX-License-Identifier: MIT
// Decisions 28-31: each runtime's share of a limit leaves room for what is not its heap.
#include "bridge/runtime_shares.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace {

using namespace memreeve;
using namespace memreeve::bridge;

constexpr java_collector collectors[] = {java_collector::g1, java_collector::serial,
                                         java_collector::parallel, java_collector::z,
                                         java_collector::shenandoah};

byte_count reserve_of(byte_count limit) { return std::max(limit / 20, 8 * mib); }

TEST(runtime_shares, coreclr) {
    EXPECT_EQ(coreclr_heap_limit(200 * mib), 150 * mib);
    EXPECT_EQ(coreclr_heap_limit(64 * mib), 48 * mib);
    EXPECT_EQ(coreclr_heap_limit(32 * mib), 16 * mib);
    EXPECT_EQ(coreclr_heap_limit(8192 * mib), 6144 * mib);
    EXPECT_EQ(coreclr_heap_limit(coreclr_start.least - 1), 0u);
    EXPECT_GE(coreclr_heap_limit(coreclr_start.least), 4 * mib) << "CoreCLR starts with 4 MiB";
    EXPECT_EQ(coreclr_heap_limit(200 * mib + 1) % page_size, 0u);
    // 19 regions of each heap have to fit into what is reserved, five times the limit where nothing is said.
    for (const byte_count region : {1 * mib, 4 * mib, 64 * mib, 1024 * mib}) {
        for (const unsigned heaps : {1u, 2u, 64u}) {
            for (const byte_count limit : {8 * mib, 48 * mib, 150 * mib, 6144 * mib}) {
                const byte_count set = coreclr_region_range(limit, region, heaps);
                EXPECT_GE(set != 0 ? set : 5 * limit, 19 * region * heaps);
                EXPECT_TRUE(set == 0 || set > 5 * limit);
            }
        }
    }
    EXPECT_EQ(coreclr_region_range(48 * mib, 0, 2), 0u) << "CoreCLR chooses its own size";
    EXPECT_EQ(coreclr_region_range(48 * mib, 4096 * mib, 2), 0u) << "CoreCLR takes no such size";
    EXPECT_EQ(coreclr_region_range(48 * mib, ~byte_count{0}, 2), 0u);
}

TEST(runtime_shares, a_jvms_parts_fit_below_the_reserve_together) {
    for (const java_collector c : collectors) {
        byte_count before = 0;
        for (const byte_count limit : {128 * mib, 256 * mib, 512 * mib, 1024 * mib, 16384 * mib}) {
            const java_shares s = shares_for_java(limit, reserve_of(limit), c, 2, {});
            EXPECT_GT(s.heap, before) << name_of(c);
            EXPECT_EQ(s.heap % mib, 0u);
            if (limit >= 256 * mib) { // below, some collectors just start
                EXPECT_LT(s.heap + s.metaspace + s.code_cache + s.direct + 20 * mib,
                          limit - reserve_of(limit))
                    << name_of(c) << " " << limit / mib;
                EXPECT_GT(s.heap, limit / 6) << name_of(c) << " " << limit / mib;
            }
            before = s.heap;
        }
    }
}

TEST(runtime_shares, more_processors_leave_a_jvm_less_heap) {
    for (const java_collector c : collectors) {
        const auto heap = [c](unsigned processors) {
            return shares_for_java(1024 * mib, 52 * mib, c, processors, {}).heap;
        };
        EXPECT_EQ(heap(1), heap(2));
        EXPECT_GE(heap(2), heap(8));
        EXPECT_GE(heap(8), heap(64));
        EXPECT_GT(heap(64), 0u);
    }
    EXPECT_GE(shares_for_java(1024 * mib, 52 * mib, java_collector::g1, 2, {}).heap,
              shares_for_java(1024 * mib, 52 * mib, java_collector::g1, 8, {}).heap + 20 * mib);
}

TEST(runtime_shares, what_the_user_gave_a_jvm_is_counted_and_left) {
    java_options users;
    users.metaspace = {true, 300 * mib, ""};
    users.code_cache = {true, 64 * mib, ""};
    users.direct = {true, 128 * mib, ""};
    const java_shares s = shares_for_java(1024 * mib, 52 * mib, java_collector::serial, 2, users);
    EXPECT_EQ(s.metaspace, 0u);
    EXPECT_EQ(s.code_cache, 0u);
    EXPECT_EQ(s.direct, 0u);
    EXPECT_LE(s.heap, (1024 - 52 - 300 - 64 - 128) * mib);
    EXPECT_GT(s.heap, 250 * mib);
}

// -XX:MaxMetaspaceSize=512m in a build's options, the limit 512M.
TEST(runtime_shares, generous_ceilings_of_the_users_leave_a_jvm_a_heap) {
    for (const byte_count size : {512 * mib, ~byte_count{0}}) {
        java_options users;
        users.metaspace = users.code_cache = users.direct = {true, size, ""};
        const byte_count heap =
            shares_for_java(512 * mib, 26 * mib, java_collector::serial, 2, users).heap;
        EXPECT_GT(heap, 100 * mib);
        EXPECT_LT(heap, shares_for_java(512 * mib, 26 * mib, java_collector::serial, 2, {}).heap);
    }
}

TEST(runtime_shares, hotspots_own_code_cache_is_large_enough) {
    EXPECT_EQ(shares_for_java(4096 * mib, 205 * mib, java_collector::serial, 2, {}).code_cache, 0u);
}

TEST(runtime_shares, the_smallest_limit_of_a_jvm_is_one_that_gives_it_a_heap) {
    for (const java_collector c : collectors) {
        const byte_count least = smallest_java_limit(c, 2);
        EXPECT_NE(shares_for_java(least, reserve_of(least), c, 2, {}).heap, 0u) << name_of(c);
        EXPECT_EQ(shares_for_java(least - 8 * mib, reserve_of(least - 8 * mib), c, 2, {}).heap, 0u);
    }
    EXPECT_EQ(smallest_java_limit(java_collector::serial, 2), 40 * mib);
}

TEST(runtime_shares, node) {
    for (const byte_count limit : {64 * mib, 128 * mib, 256 * mib, 512 * mib, 4096 * mib}) {
        const node_shares s = shares_for_node(limit, reserve_of(limit));
        const byte_count young = 3 * (s.semi_space != 0 ? s.semi_space : 16);
        EXPECT_LT((s.old_space + young) * mib + 8 * mib, limit - reserve_of(limit));
        EXPECT_GT(s.old_space * mib, limit / 3);
    }
    EXPECT_EQ(shares_for_node(node_start.least, 2 * mib).old_space, 8u);
    EXPECT_EQ(shares_for_node(512 * mib, 26 * mib).semi_space, 0u);
    // The user's young generation counts as large as it may get; an old Node is told of none.
    const node_shares users = shares_for_node(512 * mib, 26 * mib, false, 64 * mib);
    EXPECT_EQ(users.semi_space, 0u);
    EXPECT_LT((users.old_space + 3 * 64) * mib, (512 - 26 - 64) * mib);
    EXPECT_GT(users.old_space, 100u);
    EXPECT_EQ(shares_for_node(512 * mib, 26 * mib, false, 1024 * mib).old_space,
              shares_for_node(512 * mib, 26 * mib, false, ~byte_count{0}).old_space);
    EXPECT_GT(shares_for_node(512 * mib, 26 * mib, false, ~byte_count{0}).old_space, 100u);
    EXPECT_EQ(shares_for_node(128 * mib, 8 * mib, false).semi_space, 0u);
    EXPECT_LT(shares_for_node(128 * mib, 8 * mib, false).old_space,
              shares_for_node(128 * mib, 8 * mib).old_space);
}

} // namespace
