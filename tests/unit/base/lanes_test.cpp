// SPDX-License-Identifier: MIT
// Lanes: a thread finds its own again, no two threads that live at once have the same one, and sums are
// exact for more threads than there are lanes and through signal handlers.
#include "base/lanes.hpp"

#include <gtest/gtest.h>

#include <barrier>
#include <csignal>
#include <memory>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include <pthread.h>

namespace memreeve {
namespace {

struct alignas(64) counter {
    std::atomic<std::uint64_t> n{0};
};
struct counters {
    lane_table table;
    counter in_lane[lanes_with_shared];

    void count() {
        const std::uint32_t lane = table.lane_of_this_thread();
        add_in_lane(in_lane[lane].n, lane, 1);
    }
    std::uint64_t sum() const {
        std::uint64_t all = 0;
        for (const counter& c : in_lane) {
            all += c.n;
        }
        return all;
    }
};

TEST(lanes, a_thread_finds_its_lane_again) {
    lane_table t;
    const std::uint32_t lane = t.lane_of_this_thread();
    EXPECT_LT(lane, lane_count);
    EXPECT_EQ(t.lane_of_this_thread(), lane);
    t.clear();
    EXPECT_LT(t.lane_of_this_thread(), lane_count);
}

TEST(lanes, threads_that_live_together_share_only_the_shared_one) {
    constexpr unsigned threads = 3 * lane_count;
    lane_table t;
    std::vector<std::uint32_t> lanes(threads);
    std::barrier together(threads);
    std::vector<std::thread> all;
    for (unsigned i = 0; i < threads; ++i) {
        all.emplace_back([&, i] {
            lanes[i] = t.lane_of_this_thread();
            together.arrive_and_wait();
            EXPECT_EQ(t.lane_of_this_thread(), lanes[i]);
        });
    }
    for (std::thread& one : all) {
        one.join();
    }
    std::set<std::uint32_t> alone;
    for (const std::uint32_t lane : lanes) {
        EXPECT_TRUE(lane == shared_lane || alone.insert(lane).second) << lane << " twice";
    }
    EXPECT_GE(alone.size(), lane_count / 2) << "most lanes are of use";
}

TEST(lanes, sums_are_exact) {
    constexpr unsigned threads = 2 * lane_count;
    constexpr unsigned times = 20000;
    const auto c = std::make_unique<counters>();
    std::vector<std::thread> all;
    for (unsigned i = 0; i < threads; ++i) {
        all.emplace_back([&] {
            for (unsigned n = 0; n < times; ++n) {
                c->count();
            }
        });
    }
    for (std::thread& one : all) {
        one.join();
    }
    EXPECT_EQ(c->sum(), std::uint64_t{threads} * times);
}

counters* interrupted = nullptr;
std::atomic<std::uint64_t> interruptions{0};

TEST(lanes, a_signal_handler_loses_nothing) {
    const auto c = std::make_unique<counters>();
    interrupted = c.get();
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = [](int) {
        interrupted->count();
        interruptions.fetch_add(1);
    };
    ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
    std::atomic<bool> stop{false};
    std::uint64_t own = 0;
    std::thread counting([&] {
        while (!stop) {
            for (int i = 0; i < 100; ++i) {
                c->count();
                ++own;
            }
        }
    });
    for (int i = 0; i < 5000; ++i) {
        pthread_kill(counting.native_handle(), SIGUSR1);
        if (i % 16 == 0) {
            std::this_thread::yield();
        }
    }
    stop = true;
    counting.join();
    sigaction(SIGUSR1, &before, nullptr);
    EXPECT_GT(interruptions, 0u);
    EXPECT_EQ(c->sum(), own + interruptions);
}

} // namespace
} // namespace memreeve
