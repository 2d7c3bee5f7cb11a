// SPDX-License-Identifier: MIT
// manager: large blocks as runs of pages, with their pages: contents, books, limits.
#include "com/host_malloc.hpp"

#include "support/block_pattern.hpp"
#include "support/test_host.hpp"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

namespace memreeve::test {
namespace {

constexpr auto task = criticality::task;

struct runs_test : host_test {
    com_ptr<IHostMalloc> heap;
    std::uint64_t empty = 0; // charged with a heap that has its records and a cache

    void SetUp() override { begin(4096 * mib, 0); }
    void begin(std::uint64_t limit, std::uint64_t reserve) {
        open(options_for(limit, reserve));
        ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
        ASSERT_TRUE(blocks().free(get(100)));
        std::vector<address> many; // records for as many
        for (int i = 0; i < 200; ++i) {
            many.push_back(get(40000));
        }
        for (const address a : many) {
            ASSERT_TRUE(blocks().free(a));
        }
        blocks().trim();
        empty = charged();
    }
    void TearDown() override {
        heap.reset();
        EXPECT_EQ(charged(), 0u);
        close();
    }
    manager::owner_heap& blocks() { return static_cast<com::host_malloc*>(heap.get())->blocks(); }
    address get(std::size_t size) {
        const auto got = blocks().allocate(size, task);
        EXPECT_TRUE(got) << size;
        return got ? *got : 0;
    }
    std::uint64_t charged() { return snapshot().charged_bytes; }
    std::uint64_t warm() { return figures().heap_warm_bytes; }
};

TEST_F(runs_test, zeroed_blocks_lie_where_others_have_written) {
    for (int round = 0; round < 20; ++round) {
        // Warm, cold and warm again.
        const address a = get(300000);
        const address b = get(700000);
        std::memset(reinterpret_cast<void*>(a), 0x5a, 300000);
        std::memset(reinterpret_cast<void*>(b), 0xa5, 700000);
        ASSERT_TRUE(blocks().free(b));
        ASSERT_TRUE(blocks().free(a));
        for (const std::size_t size : {250000U, 1200000U, 3000000U}) {
            const auto z = blocks().allocate_zeroed(size, task);
            ASSERT_TRUE(z);
            const auto* bytes = reinterpret_cast<const unsigned char*>(*z);
            ASSERT_TRUE(std::all_of(bytes, bytes + size, [](unsigned char c) { return c == 0; }))
                << size;
            std::memset(reinterpret_cast<void*>(*z), 0x77, size);
            ASSERT_TRUE(blocks().free(*z));
        }
        if (round % 3 == 0) {
            blocks().trim();
            EXPECT_EQ(charged(), empty);
        }
    }
}

// What is charged is what is live and what is warm, to the page, at every step.
TEST_F(runs_test, random_blocks_keep_their_contents_and_the_books_are_exact) {
    struct block {
        address at;
        std::size_t size; // patterned
        std::uint64_t seed;
    };
    std::mt19937_64 random(3);
    std::vector<block> live;
    std::uint64_t seed = 0;
    const auto some_size = [&] { return std::size_t{33000} << random() % 7 | random() % 30000; };
    for (int i = 0; i < 4000; ++i) {
        const std::uint64_t what = random() % 10;
        if (what < 4 && live.size() < 40) {
            const std::size_t size = some_size();
            const auto got =
                random() % 4 == 0
                    ? blocks().allocate_aligned(size, std::size_t{4096} << random() % 7, task)
                    : blocks().allocate(size, task);
            ASSERT_TRUE(got);
            live.push_back({*got, size, ++seed});
            write_pattern(*got, size, seed);
        } else if (what < 6 && !live.empty()) {
            block& b = live[random() % live.size()];
            const std::size_t size = some_size();
            const auto got = blocks().resize(b.at, size, task);
            ASSERT_TRUE(got);
            ASSERT_TRUE(has_pattern(*got, b.size, b.seed, std::min(size, b.size)));
            b = {*got, size, ++seed};
            write_pattern(*got, size, seed);
        } else if (!live.empty()) {
            const std::size_t k = random() % live.size();
            ASSERT_TRUE(has_pattern(live[k].at, live[k].size, live[k].seed, live[k].size));
            ASSERT_FALSE(blocks().free(live[k].at + page));
            ASSERT_FALSE(blocks().free(live[k].at + 16));
            ASSERT_TRUE(blocks().free(live[k].at));
            ASSERT_FALSE(blocks().free(live[k].at));
            live[k] = live.back();
            live.pop_back();
        }
        if (i % 10 == 0) {
            std::uint64_t usable = 0;
            for (const block& b : live) {
                usable += blocks().size_of(b.at);
            }
            const auto stats = blocks().stats();
            ASSERT_EQ(stats.live_blocks, live.size());
            ASSERT_EQ(stats.live_bytes, usable);
            ASSERT_EQ(charged(), empty + usable + warm());
            ASSERT_EQ(figures().heap_bytes, charged());
            ASSERT_EQ(figures().committed_bytes, charged());
            ASSERT_LE(warm(), 32 * mib);
        }
    }
    for (const block& b : live) {
        ASSERT_TRUE(has_pattern(b.at, b.size, b.seed, b.size));
        ASSERT_TRUE(blocks().free(b.at));
    }
    EXPECT_EQ(charged(), empty + warm());
    EXPECT_GT(warm(), 0u);
    const std::uint64_t kept = warm();
    EXPECT_EQ(blocks().trim(), kept);
    EXPECT_EQ(warm(), 0u);
    EXPECT_EQ(charged(), empty);
}

TEST_F(runs_test, growing_takes_the_next_pages_and_shrinking_leaves_them) {
    const address a = get(1 << 20);
    write_pattern(a, 1 << 20, 1);
    EXPECT_EQ(*blocks().resize(a, 3 << 20, task), a);
    EXPECT_EQ(charged(), empty + (3 << 20));
    EXPECT_EQ(*blocks().resize(a, 1 << 20, task), a);
    EXPECT_EQ(charged(), empty + (3 << 20)) << "what is left of it is warm";
    EXPECT_EQ(warm(), std::uint64_t{2} << 20);
    const address b = get(1 << 20);
    EXPECT_EQ(b, a + (1 << 20));
    EXPECT_EQ(charged(), empty + (3 << 20));
    // In the way now: it moves, page by page, and is charged once.
    const auto c = blocks().resize(a, 4 << 20, task);
    ASSERT_TRUE(c);
    EXPECT_NE(*c, a);
    EXPECT_TRUE(has_pattern(*c, 1 << 20, 1, 1 << 20));
    EXPECT_EQ(charged(), empty + (5 << 20) + warm());
    EXPECT_FALSE(blocks().free(a));
    EXPECT_TRUE(blocks().free(b));
    EXPECT_TRUE(blocks().free(*c));
}

TEST_F(runs_test, blocks_of_two_owners_never_share_a_chunk) {
    mrv_owner* other = nullptr;
    com_ptr<IHostMemoryManager> of_other;
    com_ptr<IHostMalloc> theirs;
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &other), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(other, of_other.out()), MRV_OK);
    ASSERT_EQ(of_other->CreateMalloc(MALLOC_THREADSAFE, theirs.out()), S_OK);
    const address a = get(100000);
    void* b = nullptr;
    ASSERT_EQ(theirs->Alloc(100000, eTaskCritical, &b), S_OK);
    const auto distance = static_cast<std::int64_t>(reinterpret_cast<address>(b) - a);
    EXPECT_GE(std::abs(distance), std::int64_t{16} << 20);
    EXPECT_EQ(heap->Free(b), HOST_E_INVALIDOPERATION);
    EXPECT_EQ(theirs->Free(reinterpret_cast<void*>(a)), HOST_E_INVALIDOPERATION);
    // A second heap of the same owner lies beside, and frees only its own.
    com_ptr<IHostMalloc> second;
    ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, second.out()), S_OK);
    void* c = nullptr;
    ASSERT_EQ(second->Alloc(100000, eTaskCritical, &c), S_OK);
    EXPECT_LT(reinterpret_cast<address>(c) - a, address{16} << 20);
    EXPECT_EQ(heap->Free(c), HOST_E_INVALIDOPERATION);
    EXPECT_EQ(second->Free(c), S_OK);
    EXPECT_EQ(second->Free(c), HOST_E_INVALIDOPERATION);
    EXPECT_TRUE(blocks().free(a));
    second.reset();
    theirs.reset();
    of_other.reset();
    ASSERT_EQ(mrv_owner_destroy(other), MRV_OK);
}

TEST_F(runs_test, an_empty_heap_keeps_no_address_space_after_a_trim) {
    const std::uint64_t reserved = snapshot().reserved_bytes;
    for (int round = 0; round < 5; ++round) {
        std::vector<address> all;
        for (int i = 0; i < 100; ++i) {
            all.push_back(get(1 << 20));
        }
        EXPECT_GE(snapshot().reserved_bytes, reserved + 100 * mib);
        for (const address a : all) {
            ASSERT_TRUE(blocks().free(a));
        }
        EXPECT_LE(warm(), 32 * mib);
        blocks().trim();
        EXPECT_EQ(snapshot().reserved_bytes, reserved);
        EXPECT_EQ(charged(), empty);
    }
}

TEST_F(runs_test, threads_free_each_others_blocks_and_the_books_are_exact) {
    constexpr int slots = 48;
    std::atomic<address> shared[slots]{};
    std::atomic<int> wrong{0};
    const auto work = [&](unsigned who) {
        std::mt19937 random(who);
        for (int i = 0; i < 3000; ++i) {
            const std::size_t size = std::size_t{33000} << random() % 6;
            address fresh = 0;
            if (random() % 3 != 0) {
                const auto got = blocks().allocate(size, task);
                wrong += got ? 0 : 1;
                fresh = got ? *got : 0;
                if (fresh != 0) {
                    auto* words = reinterpret_cast<std::uint64_t*>(fresh);
                    words[0] = fresh;
                    words[(size - 8) / 8] = fresh;
                }
            }
            const address old = shared[random() % slots].exchange(fresh);
            if (old != 0) {
                wrong += *reinterpret_cast<std::uint64_t*>(old) == old ? 0 : 1;
                *reinterpret_cast<std::uint64_t*>(old) = 0;
                wrong += blocks().free(old) ? 0 : 1;
            }
            if (random() % 500 == 0) {
                blocks().trim();
            }
        }
    };
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back(work, t);
    }
    for (auto& t : threads) {
        t.join();
    }
    EXPECT_EQ(wrong, 0);
    for (auto& slot : shared) {
        if (const address a = slot.exchange(0); a != 0) {
            EXPECT_TRUE(blocks().free(a));
        }
    }
    EXPECT_EQ(blocks().stats().live_blocks, 0u);
    blocks().trim();
    EXPECT_EQ(warm(), 0u);
    EXPECT_LE(charged(), empty + 64 * page) << "records and caches of four threads";
    EXPECT_EQ(charged(), blocks().stats().pages_held * page);
}

struct runs_at_a_limit : runs_test {
    void SetUp() override { begin(64 * mib, 8 * mib); }
};

// The limit is on pages, not on where they lie: holes that are too small are in nobody's way.
TEST_F(runs_at_a_limit, holes_are_not_charged_and_the_limit_is_exact) {
    std::vector<address> all;
    for (;;) {
        const auto got = blocks().allocate(40000, task);
        if (!got) {
            EXPECT_EQ(got.error().code, errc::over_budget);
            break;
        }
        all.push_back(*got);
    }
    const std::uint64_t full = charged();
    EXPECT_GT(full, 56 * mib - 64 * page);
    EXPECT_LE(full, 56 * mib);
    const std::uint64_t refused = snapshot().refusals[0];
    for (int i = 0; i < 50; ++i) {
        EXPECT_FALSE(blocks().allocate(40000, task));
        EXPECT_FALSE(blocks().allocate(20 * mib, task));
        EXPECT_EQ(charged(), full);
    }
    EXPECT_GE(snapshot().refusals[0], refused + 100);
    for (std::size_t i = 0; i < all.size(); i += 2) {
        ASSERT_TRUE(blocks().free(all[i]));
    }
    EXPECT_LE(warm(), mib) << "a 64th of the limit";
    const address large = get(7 * mib);
    const address larger = get(20 * mib);
    EXPECT_TRUE(blocks().free(large));
    EXPECT_TRUE(blocks().free(larger));
    for (std::size_t i = 1; i < all.size(); i += 2) {
        ASSERT_TRUE(blocks().free(all[i]));
    }
    blocks().trim();
    EXPECT_LE(charged(), empty + 64 * page) << "records";
}

// glibc gives threads that meet arenas of 64 MiB of address space each: with one arena for all, what a
// child may map below does not depend on how the threads of earlier tests ran.
[[maybe_unused]] const int one_arena = mallopt(M_ARENA_MAX, 1); // a sanitizer's malloc has none

// Little address space: chunks are a sixteenth of it at most, and what finds no place there has a range
// of its own.
TEST(runs_under_rlimit_as, large_blocks_are_had_without_chunks) {
    const pid_t child = fork();
    if (child == 0) {
        const rlimit little{192 << 20, 192 << 20};
        setrlimit(RLIMIT_AS, &little);
        mrv_host_options o{};
        o.size = sizeof o;
        mrv_host* h = nullptr;
        mrv_owner* owner = nullptr;
        com_ptr<IHostMemoryManager> m;
        com_ptr<IHostMalloc> heap;
        int served = 0;
        if (mrv_host_create(&o, &h) == MRV_OK &&
            mrv_owner_create(h, nullptr, nullptr, &owner) == MRV_OK &&
            mrv_owner_memory_manager(owner, m.out()) == MRV_OK &&
            m->CreateMalloc(MALLOC_THREADSAFE, heap.out()) == S_OK) {
            for (int i = 0; i < 100; ++i) {
                void* p = nullptr;
                if (heap->Alloc(100000, eTaskCritical, &p) == S_OK) {
                    std::memset(p, 1, 100000);
                    ++served;
                }
            }
        }
        _exit(served);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's shadow is larger than that";
#endif
    EXPECT_EQ(WEXITSTATUS(status), 100);
}

} // namespace
} // namespace memreeve::test
