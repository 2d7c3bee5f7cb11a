// SPDX-License-Identifier: MIT
// Records of the edges: unique while held, used again afterwards, safe from many threads (decision
// 18: no lock).
#include "manager/record_pool.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace memreeve::manager {
namespace {

TEST(record_pool, records_are_unique_aligned_and_used_again) {
    record_pool pool;
    std::set<void*> held;
    for (int i = 0; i < 1000; ++i) { // several chunks
        void* r = pool.take();
        ASSERT_NE(r, nullptr);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(r) % 16, 0u);
        EXPECT_TRUE(held.insert(r).second);
        std::memset(r, 0xff, record_pool::record_size);
    }
    void* const one = *held.begin();
    pool.give_back(one);
    EXPECT_EQ(pool.take(), one);
    for (void* r : held) {
        pool.give_back(r);
    }
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(held.count(pool.take()), 1u) << "nothing new is mapped";
    }
    pool.close();
}

TEST(record_pool, decision_18_many_threads_never_hold_the_same_record) {
    record_pool pool;
    std::vector<std::thread> threads;
    for (unsigned t = 1; t <= 4; ++t) {
        threads.emplace_back([&pool, t] {
            for (int i = 0; i < 20000; ++i) {
                auto* const r = static_cast<std::atomic<unsigned>*>(pool.take());
                auto* const s = static_cast<std::atomic<unsigned>*>(pool.take());
                ASSERT_NE(r, s);
                r->store(t);
                s->store(t);
                ASSERT_EQ(r->load(), t);
                ASSERT_EQ(s->load(), t);
                pool.give_back(r);
                pool.give_back(s);
            }
        });
    }
    for (auto& t : threads) {
        t.join();
    }
    pool.close();
}

} // namespace
} // namespace memreeve::manager
