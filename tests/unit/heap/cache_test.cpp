// SPDX-License-Identifier: MIT
// heap: what threads keep for themselves. Threads that come and go, blocks freed by others, signals
// in the middle of a request, fork, exact books, decision 18.
#include "one_heap.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace memreeve::heap {
namespace {

struct heap_cache : one_heap {
    // Some of everything, half of it freed again; the rest is returned.
    std::vector<address> work(unsigned seed) {
        std::mt19937 random(seed);
        std::vector<address> live;
        for (int i = 0; i < 400; ++i) {
            live.push_back(get(random() % 40 == 0 ? 20000 : random() % 600));
            if (i % 2 == 1) {
                EXPECT_TRUE(h->free(live[live.size() / 2]));
                live.erase(live.begin() + static_cast<long>(live.size() / 2));
            }
        }
        return live;
    }
    void free_all(const std::vector<address>& blocks) {
        for (const address a : blocks) {
            EXPECT_TRUE(h->free(a));
        }
    }
};

TEST_F(heap_cache, threads_come_and_go_and_leave_nothing_behind) {
    page_count after_ten = 0;
    for (unsigned i = 0; i < 300; ++i) {
        pid_t number = 0;
        std::thread([&] {
            number = static_cast<pid_t>(syscall(SYS_gettid));
            free_all(work(i));
        }).join();
        // One that was joined may still be leaving the kernel; its cache is taken over once it has.
        while (syscall(SYS_tgkill, getpid(), number, 0) == 0) {
            sched_yield();
        }
        if (i == 10) {
            after_ten = source.pages();
        }
    }
    EXPECT_LE(source.pages(), after_ten + 64) << "each thread left something behind";
    EXPECT_EQ(h->stats().live_blocks, 0u);
    EXPECT_EQ(h->stats().live_bytes, 0u);
    EXPECT_EQ(h->stats().pages_held, source.pages());
}

// Many at once, so that thread pointers differ; their caches are found by who comes after them.
TEST_F(heap_cache, caches_of_threads_that_have_ended_are_used_by_others) {
    const auto wave = [&] {
        std::vector<std::thread> crew;
        std::atomic<unsigned> begun{0};
        for (unsigned t = 0; t < 20; ++t) {
            crew.emplace_back([&, t] {
                const std::vector<address> live = work(t);
                for (begun.fetch_add(1); begun < 20;) {
                    std::this_thread::yield();
                }
                free_all(live);
            });
        }
        for (auto& one : crew) {
            one.join();
        }
    };
    for (int i = 0; i < 5; ++i) {
        wave();
    }
    const page_count before = source.pages();
    for (int i = 0; i < 20; ++i) {
        wave();
    }
    EXPECT_LE(source.pages(), before * 2 + 64);
    EXPECT_EQ(h->stats().live_blocks, 0u);
    // And trim gives back what they held, once the system has seen their threads end.
    for (int i = 0; i < 10000 && source.pages() > before / 4; ++i) {
        h->trim();
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_LE(source.pages(), before / 4) << "records and caches, and little more";
    EXPECT_EQ(h->stats().pages_held, source.pages());
}

TEST_F(heap_cache, blocks_of_a_thread_that_has_ended_are_freed_by_another) {
    for (int i = 0; i < 20; ++i) {
        std::vector<address> left;
        std::thread([&] { left = work(7); }).join();
        EXPECT_EQ(h->stats().live_blocks, left.size());
        free_all(left);
        EXPECT_EQ(h->stats().live_blocks, 0u);
        for (const address a : left) {
            EXPECT_EQ(h->free(a).error().code, errc::not_ours);
        }
    }
}

TEST_F(heap_cache, what_lies_in_a_magazine_is_no_live_block) {
    const address a = get(100);
    EXPECT_TRUE(h->free(a));
    EXPECT_EQ(h->size_of(a), 0u);
    EXPECT_FALSE(h->free(a)) << "by its own thread";
    std::thread([&] {
        EXPECT_FALSE(h->free(a)) << "by a thread without a cache";
        const address mine = get(100);
        EXPECT_NE(mine, a);
        EXPECT_FALSE(h->free(a)) << "by a thread with one";
        EXPECT_TRUE(h->free(mine));
        EXPECT_FALSE(h->resize(a, 10, task));
    }).join();
    EXPECT_TRUE(h->owns(a));
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

// A thread has a few slots for its caches; heaps whose numbers are alike in their last bits share one, and
// the key in it says whose cache it is just now.
TEST_F(heap_cache, heaps_that_share_a_slot_keep_their_blocks_apart) {
    std::vector<class heap*> all{h};
    for (std::uint32_t i = 0; i < 2 * cache_slot_count; ++i) {
        const auto made = heap::create(source, {});
        ASSERT_TRUE(made);
        all.push_back(*made);
    }
    std::vector<std::vector<address>> live(all.size());
    for (int round = 0; round < 50; ++round) {
        for (std::size_t i = 0; i < all.size(); ++i) {
            for (const byte_count size : {byte_count{64}, byte_count{700}, byte_count{64}}) {
                const auto got = round % 3 == 0 ? all[i]->allocate_debug(size, task, "slot", 1)
                                                : all[i]->allocate(size, task);
                ASSERT_TRUE(got);
                ASSERT_GE(all[i]->size_of(*got), size) << "another heap's block";
                live[i].push_back(*got);
            }
            ASSERT_TRUE(all[i]->free(live[i].front()));
            live[i].erase(live[i].begin());
            class heap& next = *all[(i + cache_slot_count) % all.size()];
            ASSERT_EQ(next.free(live[i].back()).error().code, errc::not_ours);
            ASSERT_EQ(all[i]->stats().live_blocks, live[i].size());
        }
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (const address a : live[i]) {
            EXPECT_TRUE(all[i]->free(a));
        }
        EXPECT_EQ(all[i]->stats().live_blocks, 0u);
        if (all[i] != h) {
            all[i]->destroy();
        }
    }
}

// Frees that do not go the quick way: the block serves again or its slab goes, in every case.
TEST_F(heap_cache, a_block_freed_the_slow_way_is_not_lost) {
    constexpr byte_count sizes[] = {16, 600, 3000, 9000, 30000};
    constexpr std::size_t each = 300;
    enum way { alone, by_another, inside };
    for (const bool named : {false, true}) {
        for (const way how : {alone, by_another, inside}) {
            page_count empty = 0;
            for (int round = 0; round < 3; ++round) {
                std::vector<address> live;
                for (const byte_count size : sizes) {
                    for (std::size_t i = 0; i < each; ++i) {
                        const auto got = named ? h->allocate_debug(size, task, "slow", 2)
                                               : h->allocate(size, task);
                        ASSERT_TRUE(got);
                        live.push_back(*got);
                    }
                }
                const auto end = [&] {
                    for (const address a : live) {
                        EXPECT_TRUE(h->free_otherwise(a));
                    }
                    h->trim();
                };
                switch (how) {
                case alone: end(); break;
                case by_another: std::thread(end).join(); break;
                case inside: { // in its own cache, interrupted
                    bool ran = false;
                    source.during_take = [&] {
                        end();
                        ran = true;
                    };
                    std::vector<address> more;
                    while (!ran) {
                        more.push_back(get(100));
                    }
                    free_all(more);
                    break;
                }
                }
                h->trim();
                EXPECT_EQ(h->stats().live_blocks, 0u);
                if (round == 0) {
                    empty = h->stats().pages_held; // its records stay
                }
                EXPECT_EQ(h->stats().pages_held, empty)
                    << (named ? "named, " : "") << "way " << how << ", round " << round;
            }
        }
    }
}

TEST_F(heap_cache, requests_are_counted_one_by_one) {
    const std::uint64_t allocations = source.allocations();
    const std::uint64_t frees = source.frees();
    for (unsigned t = 0; t < 4; ++t) {
        std::thread([&] {
            for (int i = 0; i < 1000; ++i) {
                const address a = get(static_cast<byte_count>(i));
                EXPECT_TRUE(h->free(a));
                EXPECT_FALSE(h->free(a));
            }
            EXPECT_TRUE(h->free(get(100000)));
            EXPECT_TRUE(h->free(0));
        }).join();
    }
    h->tell_requests();
    EXPECT_EQ(source.allocations() - allocations, 4u * 1001);
    EXPECT_EQ(source.frees() - frees, 4u * 2002);
}

// What a thread keeps does not stand between another request and the limit, nor between its own.
TEST_F(heap_cache, nothing_is_refused_that_trim_could_give) {
    std::thread([&] { free_all(work(3)); }).join();
    free_all(work(4));
    std::vector<address> blocks;
    source.limit = source.pages();
    for (int i = 0; i < 3; ++i) {
        const auto got = h->allocate(40000, task);
        ASSERT_TRUE(got) << i << ": " << source.pages() << " of " << source.limit << " pages";
        blocks.push_back(*got);
    }
    source.limit = 0;
    free_all(blocks);
}

// Filling, emptying and the quick way, with another request in the middle of each.
class heap* in_signal = nullptr;
std::array<address, 64> signal_blocks{};
std::atomic<unsigned> signals{0};
std::atomic<unsigned> signal_errors{0};
void on_alarm(int) {
    const int code = errno;
    const unsigned n = signals.fetch_add(1);
    address& slot = signal_blocks[n % signal_blocks.size()];
    if (slot != 0) {
        if (*reinterpret_cast<std::uint64_t*>(slot) != slot || !in_signal->free(slot)) {
            signal_errors.fetch_add(1);
        }
        slot = 0;
    } else if (const auto got = in_signal->allocate(64 + n % 7 * 16, criticality::task); got) {
        slot = *got;
        *reinterpret_cast<std::uint64_t*>(slot) = slot;
    }
    errno = code;
}

TEST_F(heap_cache, a_signal_handler_allocates_and_frees_in_the_middle_of_everything) {
    // The test's source must not be called with a signal about: each size has slabs that neither
    // empty nor fill up.
    std::vector<address> pins;
    for (byte_count size = 64; size <= 160; size += 16) {
        std::vector<address> some;
        for (int i = 0; i < 3000; ++i) {
            some.push_back(get(size));
        }
        for (std::size_t i = 0; i < some.size(); ++i) {
            if (i % 2 == 0) {
                EXPECT_TRUE(h->free(some[i]));
            } else {
                pins.push_back(some[i]);
            }
        }
    }
    const unsigned calls = source.takes + source.returns;
    in_signal = h;
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, &before);
    const itimerval often{{0, 50}, {0, 50}};
    setitimer(ITIMER_REAL, &often, nullptr);
    std::mt19937 random(5);
    std::array<address, 200> live{};
    unsigned wrong = 0;
    for (int i = 0; i < 20000000 && (signals < 3000 || i < 200000); ++i) {
        address& slot = live[random() % live.size()];
        if (slot != 0) {
            wrong += *reinterpret_cast<std::uint64_t*>(slot) != slot ? 1u : 0u;
            wrong += h->free(slot) ? 0u : 1u;
            slot = 0;
        } else {
            slot = *h->allocate(64 + random() % 7 * 16, task);
            *reinterpret_cast<std::uint64_t*>(slot) = slot;
        }
    }
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &before, nullptr);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(signal_errors, 0u);
    EXPECT_GT(signals, 100u);
    std::set<address> all;
    for (const auto& blocks : {std::vector<address>(live.begin(), live.end()),
                               std::vector<address>(signal_blocks.begin(), signal_blocks.end())}) {
        for (const address a : blocks) {
            if (a != 0) {
                EXPECT_TRUE(all.insert(a).second) << "handed out twice";
            }
        }
    }
    EXPECT_EQ(source.takes + source.returns, calls);
    EXPECT_EQ(h->stats().live_blocks, all.size() + pins.size());
    for (const address a : all) {
        EXPECT_TRUE(h->free(a));
    }
    free_all(pins);
}

// fork while other threads are at work: the child has none of them, and goes on with the heap.
TEST_F(heap_cache, the_child_of_a_fork_goes_on) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> crew;
    std::vector<address> mine = work(1);
    for (unsigned t = 0; t < 2; ++t) {
        crew.emplace_back([&, t] {
            std::vector<address> live = work(t);
            while (!stop) {
                for (address& a : live) {
                    EXPECT_TRUE(h->free(a));
                    a = *h->allocate(64, task);
                }
            }
            free_all(live);
        });
    }
    for (int i = 0; i < 20; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        const pid_t child = [&] {
            source.hold(); // no thread is inside the source
            const pid_t made = fork();
            made == 0 ? source.release_in_child() : source.release();
            return made;
        }();
        ASSERT_GE(child, 0);
        if (child == 0) {
            alarm(20);
            h->settle_after_fork();
            unsigned wrong = 0;
            std::set<address> live(mine.begin(), mine.end());
            for (int k = 0; k < 5000; ++k) {
                const auto got = h->allocate(static_cast<byte_count>(k % 700), task);
                wrong += got && live.insert(*got).second ? 0u : 1u;
                std::memset(reinterpret_cast<void*>(*got), k, static_cast<std::size_t>(k % 700));
                if (k % 3 == 0) {
                    wrong += h->free(*live.begin()) ? 0u : 1u;
                    live.erase(live.begin());
                }
            }
            for (const address a : live) {
                wrong += h->free(a) ? 0u : 1u;
                wrong += h->free(a) ? 1u : 0u;
            }
            _exit(wrong == 0 ? 0 : 1);
        }
        int status = -1;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_EQ(status, 0);
    }
    stop = true;
    for (auto& one : crew) {
        one.join();
    }
    free_all(mine);
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

// Producer and consumer: everything is freed by the other one.
TEST_F(heap_cache, blocks_pass_from_thread_to_thread) {
    constexpr unsigned rounds = 60000;
    std::array<std::atomic<address>, 256> channel{};
    std::thread consumer([&] {
        for (unsigned i = 0; i < rounds; ++i) {
            auto& slot = channel[i % channel.size()];
            address a = 0;
            while ((a = slot.exchange(0)) == 0) {
                std::this_thread::yield();
            }
            EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(a), i);
            EXPECT_TRUE(h->free(a));
        }
    });
    for (unsigned i = 0; i < rounds; ++i) {
        const address a = get(16 + i % 200);
        *reinterpret_cast<std::uint64_t*>(a) = i;
        auto& slot = channel[i % channel.size()];
        address none = 0;
        while (!slot.compare_exchange_strong(none, a)) {
            none = 0;
            std::this_thread::yield();
        }
    }
    consumer.join();
    EXPECT_EQ(h->stats().live_blocks, 0u);
    EXPECT_LE(source.pages(), 600u) << "what the consumer frees must come back to the producer";
}

} // namespace
} // namespace memreeve::heap
