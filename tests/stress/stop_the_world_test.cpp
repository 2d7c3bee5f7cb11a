// SPDX-License-Identifier: MIT
// A runtime stops its threads anywhere, by signal, and then asks for memory (decision 18). Four threads
// work on memory; a controller stops all of them at random instants, and while they stand it reserves,
// commits, queries, protects, decommits and releases. It must never wait for one of them.
//
//   anywhere     the threads go through whole operations, system calls included
//   in the map   they go through the region map's own operations only (claim, publish, find, make,
//                forget), so that nearly every stop is in the middle of one
//
// A watchdog ends a round that hangs, and says where the controller stood.
#include "differential/twin.hpp"
#include "support/stopping.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

namespace memreeve::differential {
namespace {

using namespace test::stopping;

constexpr std::uint64_t page = page_model::page;
constexpr unsigned workers = 4;
constexpr unsigned shared_pages = 512;
constexpr double most_seconds =
    0.3; // of the processor, for a round; the patience of a claim is 1 s

void* pointer(std::uint64_t a) { return reinterpret_cast<void*>(a); }

// ---- what the threads do ----------------------------------------------------------------------------

// Whole operations: pages of a shared reservation dealt out one by one, and reservations of their own.
void work_anywhere(test_host& h, std::uint64_t base, unsigned which, const std::atomic<bool>& stop,
                   std::atomic<std::uint64_t>& wrong) {
    std::mt19937_64 random(which);
    while (!stop) {
        const std::uint64_t n = random() % (shared_pages / (workers + 1)) * (workers + 1) + which;
        const std::uint64_t a = base + n * page;
        void* got = nullptr;
        DWORD old = 0;
        MEMORY_BASIC_INFORMATION i{};
        SIZE_T length = 0;
        inside_operation = true;
        bool good =
            h.manager->VirtualAlloc(pointer(a), page, 0x1000, 4, eTaskCritical, &got) == S_OK;
        good = good && h.manager->VirtualProtect(pointer(a), page, 2, &old) == S_OK && old == 4;
        good = good && h.manager->VirtualQuery(pointer(a), &i, sizeof i, &length) == S_OK &&
               i.State == 0x1000 && i.Protect == 2;
        good = good && h.manager->VirtualFree(pointer(a), page, 0x4000) == S_OK;
        if (random() % 4 == 0) {
            good = good && h.manager->VirtualAlloc(nullptr, 5 * page, 0x3000, 4, eTaskCritical,
                                                   &got) == S_OK;
            good = good && h.manager->VirtualFree(got, 0, 0x8000) == S_OK;
        }
        inside_operation = false;
        wrong.fetch_add(good ? 0 : 1);
    }
}

// The map's own operations. What is claimed is given up again, or published as it was, so that map
// and kernel stay the same.
void work_in_the_map(test_host& h, std::uint64_t base, unsigned which,
                     const std::atomic<bool>& stop, std::atomic<std::uint64_t>& wrong) {
    vm::region_map& map = h.host->core->memory().space().map();
    std::mt19937_64 random(which);
    inside_operation = true;
    while (!stop) {
        const std::uint64_t n = random() % (shared_pages / (workers + 1)) * (workers + 1) + which;
        const address a = base + n * page;
        const vm::found f = map.find(a);
        bool good = f.index != 0 && f.whole.begin == base;
        if (good && map.claim(f.index, f.life, {a, a + page}) == vm::claim_outcome::claimed) {
            if (random() % 2 == 0) {
                map.publish({a, a + page}, f.code, true);
            } else {
                map.unclaim({a, a + page});
            }
        } else {
            good = false;
        }
        const std::uint32_t record = map.make({}, owner_id::none, 0, 0, 0);
        if (record != 0) {
            map.forget(record);
        }
        wrong.fetch_add(good && record != 0 ? 0 : 1);
    }
    inside_operation = false;
}

// ---- what the controller does while they stand --------------------------------------------------------

// Nothing is allocated from a heap here: a thread may stand inside it.
struct controller {
    test_host& h;
    std::uint64_t shared;
    std::uint64_t kept = 0; // a reservation that lives across rounds
    std::mt19937_64 random{7};

    const char* act() {
        void* got = nullptr;
        DWORD old = 0;
        MEMORY_BASIC_INFORMATION i{};
        SIZE_T length = 0;
        IHostMemoryManager& m = *h.manager;
        stage = "reserve and commit";
        if (m.VirtualAlloc(nullptr, 20 * page, 0x3000, 4, eTaskCritical, &got) != S_OK) {
            return "reserve and commit was refused";
        }
        const auto fresh = reinterpret_cast<std::uint64_t>(got);
        *static_cast<volatile unsigned char*>(got) = 1;
        stage = "query of everything";
        for (std::uint64_t a = shared; a < shared + shared_pages * page;) {
            if (m.VirtualQuery(pointer(a), &i, sizeof i, &length) != S_OK || i.RegionSize == 0 ||
                reinterpret_cast<std::uint64_t>(i.AllocationBase) != shared ||
                a + i.RegionSize > shared + shared_pages * page) {
                return "a query gave nonsense";
            }
            a += i.RegionSize;
        }
        stage = "protect";
        if (m.VirtualProtect(pointer(fresh + 3 * page), 9 * page, 0x104, &old) != S_OK ||
            old != 4) {
            return "protect was refused";
        }
        stage = "commit between the pages of stopped threads";
        const std::uint64_t n = random() % (shared_pages / (workers + 1)) * (workers + 1) + workers;
        const std::uint64_t own = shared + n * page;
        if (m.VirtualAlloc(pointer(own), page, 0x1000, 4, eTaskCritical, &got) != S_OK) {
            return "a commit was refused";
        }
        *reinterpret_cast<volatile unsigned char*>(own) = 1;
        stage = "query of that page";
        if (m.VirtualQuery(pointer(own), &i, sizeof i, &length) != S_OK || i.Protect != 4) {
            return "a page just committed is something else";
        }
        stage = "decommit between them";
        if (m.VirtualFree(pointer(own), page, 0x4000) != S_OK) {
            return "a decommit was refused";
        }
        stage = "release of what was there before";
        if (kept != 0 && m.VirtualFree(pointer(kept), 0, 0x8000) != S_OK) {
            return "a release was refused";
        }
        kept = fresh;
        if (random() % 2 == 0) {
            stage = "release of what is fresh";
            kept = 0;
            if (m.VirtualFree(pointer(fresh), 0, 0x8000) != S_OK) {
                return "a release was refused";
            }
        }
        return nullptr;
    }
};

using work = void (*)(test_host&, std::uint64_t, unsigned, const std::atomic<bool>&,
                      std::atomic<std::uint64_t>&);

// On a busy machine a round takes as long as it takes four threads to be given a processor: the short
// run is content with what fits into its time. MEMREEVE_LONG: all rounds.
double most_time() { return std::getenv("MEMREEVE_LONG") != nullptr ? 6000 : 100; }

void stop_the_world(work how, std::uint64_t rounds, std::uint64_t stops_inside) {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "skipped: ThreadSanitizer holds signals back";
#endif
    test_host h;
    ASSERT_TRUE(h.good);
    void* got = nullptr;
    ASSERT_EQ(h.manager->VirtualAlloc(nullptr, shared_pages * page, 0x2000, 4, eTaskCritical, &got),
              S_OK);
    struct sigaction action {};
    action.sa_handler = stand;
    action.sa_flags = SA_RESTART;
    ASSERT_EQ(sigaction(stop_signal, &action, nullptr), 0);
    stopped_inside = 0;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> wrong{0};
    const auto shared = reinterpret_cast<std::uint64_t>(got);
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < workers; ++t) {
        crew.emplace_back([&, t] {
            take_short_turns();
            how(h, shared, t, stop, wrong);
        });
    }
    controller c{h, shared};
    double longest = 0;
    double longest_by_the_clock = 0;
    const char* failure = nullptr;
    std::uint64_t done = 0;
    {
        const watchdog dog(workers);
        const double enough = seconds_of(CLOCK_MONOTONIC) + most_time();
        for (; done < rounds && failure == nullptr && seconds_of(CLOCK_MONOTONIC) < enough;
             ++done) {
            round_number = done;
            stage = "let them run";
            const double until =
                seconds_of(CLOCK_MONOTONIC) + static_cast<double>(c.random() % 200) / 1e6;
            while (seconds_of(CLOCK_MONOTONIC) < until) {
            }
            stage = "stop them";
            for (auto& t : crew) {
                pthread_kill(t.native_handle(), stop_signal);
            }
            wait_until_standing(workers);
            const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            const double begin_clock = seconds_of(CLOCK_MONOTONIC);
            failure = c.act();
            longest = std::max(longest, seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin);
            longest_by_the_clock =
                std::max(longest_by_the_clock, seconds_of(CLOCK_MONOTONIC) - begin_clock);
            stage = "resume them";
            resumed.fetch_add(1);
            futex(resumed, FUTEX_WAKE, 1000);
            wait_until_standing(0);
        }
    }
    stop = true;
    for (auto& t : crew) {
        t.join();
    }
    EXPECT_STREQ(failure, nullptr);
    EXPECT_EQ(wrong, 0u) << "answers to the threads";
    EXPECT_LT(longest, most_seconds) << "the controller waited";
    EXPECT_GE(done, rounds / 20);
    EXPECT_GE(stopped_inside, stops_inside * done) << "too few stops were inside an operation";
    std::printf(
        "%llu rounds, 0 hangs, %llu stops inside an operation, longest round %.2f ms of processor, "
        "%.2f ms by the clock\n",
        static_cast<unsigned long long>(done),
        static_cast<unsigned long long>(stopped_inside.load()), longest * 1e3,
        longest_by_the_clock * 1e3);
    const char* broken = h.host->core->memory().space().map().check_invariants();
    EXPECT_EQ(broken, nullptr) << broken;
    if (c.kept != 0) {
        EXPECT_EQ(h.manager->VirtualFree(pointer(c.kept), 0, 0x8000), S_OK);
    }
    EXPECT_EQ(h.manager->VirtualFree(pointer(shared), 0, 0x8000), S_OK);
}

std::uint64_t rounds() {
    const char* text = std::getenv("MEMREEVE_ROUNDS");
    return text != nullptr ? std::strtoull(text, nullptr, 0) : 10000;
}
TEST(stop_the_world, anywhere) { stop_the_world(work_anywhere, rounds(), 1); }
TEST(stop_the_world, in_the_map) { stop_the_world(work_in_the_map, rounds(), 3); }

} // namespace
} // namespace memreeve::differential
