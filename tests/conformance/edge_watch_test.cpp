// SPDX-License-Identifier: MIT
// mrv_host_watch: native code is told on the requesting thread, before the request returns; no edge is
// missed and none told twice.
#include "support/test_host.hpp"

#include <atomic>
#include <thread>
#include <vector>

namespace memreeve::test {
namespace {

struct edges {
    std::atomic<unsigned> told[4]{}; // by mrv_availability
    std::atomic<unsigned> elsewhere{0};
    std::thread::id expected = std::this_thread::get_id();
    mrv_pressure_event last{};

    static void call(void* context, const mrv_pressure_event* event) {
        auto& me = *static_cast<edges*>(context);
        me.told[event->availability & 3].fetch_add(1);
        if (me.expected != std::thread::id{}) {
            me.elsewhere.fetch_add(std::this_thread::get_id() == me.expected ? 0 : 1);
            me.last = *event;
        }
    }
    unsigned lows() const { return told[MRV_MEMORY_LOW]; }
    unsigned all() const {
        return told[MRV_MEMORY_LOW] + told[MRV_MEMORY_NEUTRAL] + told[MRV_MEMORY_HIGH];
    }
};

class edge_watch_test : public host_test {
protected:
    void SetUp() override { open(options_for(64 * mib, 8 * mib)); }
    void TearDown() override {
        if (subscription != nullptr) {
            EXPECT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
        }
        host_test::TearDown();
    }
    void* take(std::size_t size) {
        void* p = nullptr;
        EXPECT_EQ(alloc(size, eProcessCritical, &p), S_OK);
        return p;
    }
    void give_back(void* p) { EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK); }
    mrv_subscription* subscription = nullptr;
};

TEST_F(edge_watch_test, every_edge_is_told_before_the_request_returns_and_once) {
    edges seen;
    ASSERT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, &subscription), MRV_OK);
    EXPECT_EQ(seen.all(), 0u) << "nothing is low";
    for (unsigned i = 1; i <= 1000; ++i) {
        void* const p = take(51 * mib); // 91 % of the 56 that tasks may have
        ASSERT_EQ(seen.lows(), i);
        ASSERT_EQ(seen.last.availability, static_cast<std::uint32_t>(MRV_MEMORY_LOW));
        ASSERT_EQ(seen.last.load_percent, 91u);
        give_back(p);
        ASSERT_EQ(seen.told[MRV_MEMORY_HIGH], i) << "what comes back is told too";
    }
    EXPECT_EQ(seen.all(), 2000u);
    EXPECT_EQ(seen.elsewhere, 0u);
}

TEST_F(edge_watch_test, between_entering_and_leaving_nothing_is_told) {
    edges seen;
    void* const p = take(49 * mib); // 87 %
    ASSERT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, &subscription), MRV_OK);
    EXPECT_EQ(seen.all(), 0u) << "87 % is not low for who has not been told so";
    void* const more = take(2 * mib);
    EXPECT_EQ(seen.lows(), 1u);
    give_back(more);
    EXPECT_EQ(seen.all(), 1u) << "87 % stays low for who has been told so";
    give_back(p);
    EXPECT_EQ(seen.all(), 2u);
}

TEST_F(edge_watch_test, who_begins_under_pressure_is_told_at_once) {
    take(51 * mib);
    edges seen;
    ASSERT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, &subscription), MRV_OK);
    EXPECT_EQ(seen.lows(), 1u);
}

TEST_F(edge_watch_test, nothing_is_told_after_the_end) {
    edges seen;
    ASSERT_EQ(mrv_host_watch(host, owner, &edges::call, &seen, &subscription), MRV_OK);
    EXPECT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
    subscription = nullptr;
    give_back(take(51 * mib));
    EXPECT_EQ(seen.all(), 0u);
}

TEST_F(edge_watch_test, limits_changed_while_running_are_edges_too) {
    take(20 * mib);
    edges seen;
    ASSERT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, &subscription), MRV_OK);
    mrv_host_options less = options_for(22 * mib, 0);
    less.reserve_bytes = MRV_NO_RESERVE;
    ASSERT_EQ(mrv_host_set_limits(host, &less), MRV_OK);
    EXPECT_EQ(seen.lows(), 1u);
}

// Threads cross one watermark in both directions: what is told alternates, so leaving is told as
// often as entering.
TEST_F(edge_watch_test, threads_that_cross_together_miss_and_repeat_nothing) {
    edges seen;
    seen.expected = {};
    void* const most = take(46 * mib); // 82 %: what one thread adds makes it 91
    ASSERT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, &subscription), MRV_OK);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([this] {
            for (int i = 0; i < 2000; ++i) {
                void* p = nullptr;
                if (alloc(5 * mib, eProcessCritical, &p) == S_OK) {
                    give_back(p);
                }
            }
        });
    }
    for (std::thread& t : threads) {
        t.join();
    }
    EXPECT_GT(seen.lows(), 100u) << "variety";
    EXPECT_EQ(seen.lows(), seen.told[MRV_MEMORY_NEUTRAL]);
    EXPECT_EQ(seen.told[MRV_MEMORY_HIGH], 0u);
    give_back(most);
    EXPECT_EQ(seen.told[MRV_MEMORY_HIGH], 1u);
}

TEST_F(edge_watch_test, arguments) {
    edges seen;
    mrv_subscription* none = nullptr;
    EXPECT_EQ(mrv_host_watch(nullptr, nullptr, &edges::call, &seen, &none), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_watch(host, nullptr, nullptr, &seen, &none), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, nullptr), MRV_E_NULL_POINTER);
    mrv_host* other = nullptr;
    ASSERT_EQ(mrv_host_create(nullptr, &other), MRV_OK);
    EXPECT_EQ(mrv_host_watch(other, owner, &edges::call, &seen, &none), MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(mrv_host_destroy(other), MRV_OK);
    std::vector<mrv_subscription*> all;
    for (int i = 0; i < 64; ++i) {
        all.push_back(nullptr);
        ASSERT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, &all.back()), MRV_OK);
    }
    EXPECT_EQ(mrv_host_watch(host, nullptr, &edges::call, &seen, &none), MRV_E_OUT_OF_MEMORY);
    for (mrv_subscription* s : all) {
        EXPECT_EQ(mrv_host_unsubscribe(s), MRV_OK);
    }
}

} // namespace
} // namespace memreeve::test
