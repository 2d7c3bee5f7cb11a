// SPDX-License-Identifier: MIT
// How many system calls the four requests make (performance.md rows 1, 1c, 9), counted by the faulty back
// end, and what the kernel's map grows by. And what relaxed faulting promises all the same: zeroes at
// every commit (S2), a bound for what is there and charged to nobody, and that it is given back.
#include "fault/host_world.hpp"

#include <array>
#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

using vm::page_code;

class call_counts : public testing::Test {
protected:
    void TearDown() override {
        host_world::guard_pages = true;
        host_world::relaxed = false;
    }
    template <class F>
    static long calls(F f) {
        prim::faulty::arm({0});
        f();
        return prim::faulty::count();
    }
    // reserve, commit, decommit, release of 64 KiB, after one that makes the arena.
    static std::array<long, 4> cycle(host_world& w, page_count touched = 0) {
        std::array<long, 4> made{};
        for (int i = 0; i < 3; ++i) {
            address a = 0;
            made[0] = calls([&] { a = w.reserved(granule_size); });
            made[1] = calls([&] { w.commit(a, 16); });
            EXPECT_EQ(w.expect_zeroes(a, touched), "");
            w.fill(a, touched);
            made[2] =
                calls([&] { w.must(w.free(a, granule_size, w32::mem_decommit), "decommit"); });
            made[3] = calls([&] { w.must(w.free(a, 0, w32::mem_release), "release"); });
        }
        return made;
    }
    static bool has_guards(host_world& w) {
        w.release(w.reserved(granule_size));
        return w.memory().space().open_pages(w.owner) != 0;
    }
    static std::size_t lines() { return read_proc_maps().size(); }
};

TEST_F(call_counts, a_strict_cycle_makes_two_calls) {
    host_world w;
    if (!has_guards(w)) {
        GTEST_SKIP() << "skipped: this kernel has no guard markers";
    }
    EXPECT_EQ(cycle(w), (std::array<long, 4>{0, 1, 1, 0}));
    EXPECT_EQ(cycle(w, 1), (std::array<long, 4>{0, 1, 1, 0}));
    EXPECT_EQ(w.memory().space().warm_pages(w.owner), 0u);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
}

// What is touched throughout keeps its pages, and one commit tells that it is no longer.
TEST_F(call_counts, a_dense_cycle_makes_three_calls_and_keeps_its_pages) {
    host_world w;
    if (!has_guards(w)) {
        GTEST_SKIP() << "skipped: this kernel has no guard markers";
    }
    EXPECT_EQ(cycle(w, 16), (std::array<long, 4>{0, 2, 1, 0}));
    EXPECT_EQ(w.memory().space().warm_pages(w.owner), 16u);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
    EXPECT_EQ(cycle(w), (std::array<long, 4>{0, 1, 1, 0}));
    EXPECT_EQ(w.memory().space().warm_pages(w.owner), 0u);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
}

TEST_F(call_counts, a_cycle_without_markers_makes_three_calls_and_a_release_none) {
    host_world::guard_pages = false;
    host_world w;
    EXPECT_EQ(cycle(w, 4), (std::array<long, 4>{0, 1, 2, 0}));
}

// Row 9 at a 50th of its size: regions next to each other, every second one committed.
TEST_F(call_counts, many_regions_are_few_mappings) {
    for (const bool guards : {true, false}) {
        host_world::guard_pages = guards;
        host_world w;
        w.release(w.reserved(granule_size));
        const std::size_t before = lines();
        for (int i = 0; i < 20000; ++i) {
            w.must(w.alloc(0, granule_size, w32::mem_reserve | (i % 2 == 0 ? 0 : w32::mem_commit),
                           w32::page_readwrite),
                   "reserve");
        }
        EXPECT_LE(lines() - before, 40u) << (guards ? "with markers" : "without");
    }
}

class relaxed_faulting : public call_counts {
protected:
    void SetUp() override { host_world::relaxed = true; }
};

TEST_F(relaxed_faulting, a_cycle_makes_no_call) {
    host_world w;
    EXPECT_EQ(cycle(w), (std::array<long, 4>{}));
    EXPECT_EQ(cycle(w, 16), (std::array<long, 4>{}));
}

// Several times as many as are cleaned at once, whole and in parts, in one reservation and the next.
TEST_F(relaxed_faulting, what_is_committed_is_zero) {
    host_world w;
    for (int i = 0; i < 300; ++i) {
        const address a = w.reserved(4 * granule_size);
        const page_count first = static_cast<page_count>(i) % 50;
        w.commit(a + bytes_of(first), 14);
        ASSERT_EQ(w.expect_zeroes(a + bytes_of(first), 14), "") << i;
        w.fill(a + bytes_of(first), 14);
        w.must(w.free(a + bytes_of(first + 2), bytes_of(7), w32::mem_decommit), "decommit");
        w.commit(a + bytes_of(first), 14); // over what is committed, too
        ASSERT_EQ(w.expect_filled(a + bytes_of(first), 2), "") << i;
        ASSERT_EQ(w.expect_zeroes(a + bytes_of(first + 2), 7), "") << i;
        ASSERT_EQ(w.expect_filled(a + bytes_of(first + 9), 5, 9), "") << i;
        if (i % 3 == 0) {
            w.must(w.protect(a + bytes_of(first), bytes_of(3), w32::page_readonly), "protect");
        }
        w.must(w.free(a, 0, w32::mem_release), "release");
    }
    w.host->books().tree().drain();
    EXPECT_EQ(w.host->books().tree().charged(w.owner), 0u);
    const page_count open = w.memory().space().open_pages(w.owner);
    EXPECT_EQ(w.host->books().tree().entered(w.owner).writable, open);
    EXPECT_EQ(w.host->books().tree().entered(w.owner).slack, open);
}

page_count resident_pages(range r) {
    std::vector<unsigned char> there(r.pages());
    if (mincore(reinterpret_cast<void*>(r.begin), r.size(), there.data()) != 0) {
        return ~page_count{0};
    }
    page_count n = 0;
    for (const unsigned char p : there) {
        n += p & 1u;
    }
    return n;
}

TEST_F(relaxed_faulting, what_stays_is_bounded_shown_and_given_back) {
    host_world w;
    std::vector<address> all;
    for (int i = 0; i < 600; ++i) {
        all.push_back(w.reserved(granule_size));
        w.commit(all.back(), 16);
        w.fill(all.back(), 16);
    }
    const range arena = w.memory().space().arena_at(all[0]);
    constexpr page_count bound = 256 * 16;
    // Decommitted and kept: beyond the bound contents are dropped at once.
    for (const address a : all) {
        w.must(w.free(a, granule_size, w32::mem_decommit), "decommit");
    }
    EXPECT_LE(resident_pages(arena), bound);
    EXPECT_GT(resident_pages(arena), bound / 2) << "some are kept, or nothing is tested";
    for (const address a : all) {
        w.must(w.free(a, 0, w32::mem_release), "release");
    }
    const page_count kept = resident_pages(arena);
    EXPECT_LE(kept, bound);
    EXPECT_GT(kept, 0u);
    EXPECT_GE(w.memory().space().warm_pages(w.owner), kept);
    EXPECT_GT(w.memory().drop_warm(), 0u);
    EXPECT_EQ(w.memory().space().warm_pages(w.owner), 0u);
    EXPECT_EQ(resident_pages(arena), 0u);
    // And then the arena can go.
    EXPECT_GT(w.memory().space().give_back_empty_arenas(), 0u);
    EXPECT_EQ(w.host->books().tree().entered(w.owner).slack, 0u);
}

TEST_F(relaxed_faulting, a_released_address_can_be_asked_for) {
    host_world w;
    const address a = w.reserved(granule_size);
    w.commit_filled(a, 16);
    w.release(a);
    w.must(w.alloc(a, granule_size, w32::mem_reserve | w32::mem_commit, w32::page_readwrite),
           "reserve at the address");
    EXPECT_EQ(w.expect_zeroes(a, 16), "");
}

} // namespace
} // namespace memreeve::test
