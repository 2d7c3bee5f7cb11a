// SPDX-License-Identifier: MIT
// Warm granules of guarded arenas (vm/space_supply_warm.cpp): zeroes at every commit (S2), nothing that
// is not committed can be read or is charged, and what is there all the same is bounded, shown, given back.
#include "fault/host_world.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

namespace memreeve::test {
namespace {

using vm::page_code;

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

// Read directly: a child must not ask through a file that its parent opened.
bool reads_zeroes(address where, byte_count size) {
    for (address at = where; at < where + size; at += 8) {
        if (*reinterpret_cast<volatile std::uint64_t*>(at) != 0) {
            return false;
        }
    }
    return true;
}

class warm : public testing::Test {
protected:
    void SetUp() override {
        host_world::dense = true;
        host_world w;
        w.release(w.reserved(granule_size));
        if (w.memory().space().open_pages(w.owner) == 0) {
            GTEST_SKIP() << "skipped: this kernel has no guard markers";
        }
    }
    void TearDown() override { host_world::dense = false; }
    static page_count kept(host_world& w) { return w.memory().space().warm_pages(w.owner); }
    static void expect_only_open(host_world& w) {
        w.host->books().tree().drain();
        EXPECT_EQ(w.host->books().tree().charged(w.owner), 0u);
        const page_count open = w.memory().space().open_pages(w.owner);
        EXPECT_EQ(w.host->books().tree().entered(w.owner).writable, open);
        EXPECT_EQ(w.host->books().tree().entered(w.owner).slack, open);
    }
    static address dirty(host_world& w, byte_count size) {
        const address a = w.reserved(size);
        w.commit(a, pages_of(size));
        w.fill(a, pages_of(size));
        return a;
    }
};

// Several live at a time, of all sizes, whole and in parts, so that granules come warm and not.
TEST_F(warm, what_is_committed_is_zero) {
    host_world w;
    std::mt19937_64 random(7);
    struct held {
        address at;
        page_count pages;
    };
    std::vector<held> live;
    page_count most_kept = 0;
    for (int i = 0; i < 4000; ++i) {
        const auto below = [&](std::uint64_t n) { return random() % n; };
        if (live.size() < 12) {
            const page_count pages = below(3) == 0 ? 1 + below(64) : 16 * (1 + below(4));
            live.push_back({w.reserved(bytes_of(pages)), pages});
        }
        const std::size_t which = below(live.size());
        const held h = live[which];
        const page_count first = below(3) == 0 ? below(h.pages) : 0;
        const page_count count = first == 0 && below(4) != 0 ? h.pages : 1 + below(h.pages - first);
        w.must(w.free(h.at, bytes_of(h.pages), w32::mem_decommit), "decommit");
        w.commit(h.at + bytes_of(first), count);
        ASSERT_EQ(w.expect_zeroes(h.at + bytes_of(first), count), "") << i;
        w.fill(h.at + bytes_of(first), count);
        if (below(2) == 0) {
            w.must(w.free(h.at, bytes_of(h.pages), w32::mem_decommit), "decommit");
        }
        most_kept = std::max(most_kept, kept(w));
        if (below(2) == 0) {
            w.must(w.free(h.at, 0, w32::mem_release), "release");
            live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
        }
        if (below(100) == 0) {
            w.memory().drop_warm();
        }
        if (i % 200 == 0) {
            ASSERT_EQ(w.invariants(strictness::as_before), "") << i;
        }
    }
    EXPECT_GT(most_kept, 64u) << "some are kept, or nothing is tested";
    for (const held& h : live) {
        w.must(w.free(h.at, 0, w32::mem_release), "release");
    }
    expect_only_open(w);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
}

TEST_F(warm, what_stays_is_bounded_shown_and_given_back) {
    host_world w;
    constexpr page_count bound = 256 * 16;
    std::vector<address> all;
    for (int i = 0; i < 600; ++i) {
        all.push_back(dirty(w, granule_size));
    }
    const range arena = w.memory().space().arena_at(all[0]);
    for (const address a : all) {
        w.must(w.free(a, granule_size, w32::mem_decommit), "decommit");
    }
    EXPECT_EQ(resident_pages(arena), bound);
    EXPECT_EQ(kept(w), bound);
    for (std::size_t i = 0; i < all.size(); i += 2) {
        w.must(w.free(all[i], 0, w32::mem_release), "release");
    }
    EXPECT_EQ(kept(w), bound);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
    // Of live reservations and of none.
    EXPECT_GE(w.memory().drop_warm(), bytes_of(bound));
    EXPECT_EQ(resident_pages(arena), 0u);
    EXPECT_EQ(kept(w), 0u);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
    for (std::size_t i = 1; i < all.size(); i += 2) {
        w.commit(all[i], 16);
        ASSERT_EQ(w.expect_zeroes(all[i], 16), "");
        w.must(w.free(all[i], 0, w32::mem_release), "release");
    }
    expect_only_open(w);
}

TEST_F(warm, a_commit_in_parts_gives_up_the_rest) {
    host_world w;
    const address a = dirty(w, 2 * granule_size);
    w.must(w.free(a, 2 * granule_size, w32::mem_decommit), "decommit");
    ASSERT_EQ(kept(w), 32u);
    w.commit(a + bytes_of(5), 2);
    EXPECT_EQ(kept(w), 0u);
    EXPECT_EQ(resident_pages({a, a + 2 * granule_size}), 0u);
    EXPECT_EQ(w.expect_zeroes(a + bytes_of(5), 2), "");
    EXPECT_EQ(w.invariants(strictness::as_before), "");
    w.release(a);
}

TEST_F(warm, an_arena_that_goes_takes_its_pages_along) {
    host_world w;
    const address a = dirty(w, granule_size);
    w.must(w.free(a, granule_size, w32::mem_decommit), "decommit");
    w.release(a);
    ASSERT_EQ(kept(w), 16u);
    w.memory().space().give_back_empty_arenas();
    EXPECT_EQ(kept(w), 0u);
    EXPECT_EQ(w.memory().space().open_pages(w.owner), 0u);
    expect_only_open(w);
}

// Threads make whole cycles while another drops what they keep.
TEST_F(warm, threads_see_zeroes_while_it_is_dropped) {
    host_world w;
    std::atomic<bool> ends{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 3000; ++i) {
                address a = 0;
                const byte_count size = granule_size * static_cast<byte_count>(1 + (i + t) % 4);
                wrong += w.alloc(0, size, w32::mem_reserve, w32::page_readwrite, &a).done ? 0 : 1;
                for (int again = 0; again < 3; ++again) {
                    wrong += w.alloc(a, size, w32::mem_commit, w32::page_readwrite).done ? 0 : 1;
                    for (address at = a; at < a + size; at += page_size) {
                        auto* const word = reinterpret_cast<volatile std::uint64_t*>(at);
                        wrong += *word != 0 ? 1 : 0;
                        *word = at;
                    }
                    wrong += w.free(a, size, w32::mem_decommit).done ? 0 : 1;
                }
                wrong += w.free(a, 0, w32::mem_release).done ? 0 : 1;
            }
        });
    }
    std::thread dropper([&] {
        while (!ends.load()) {
            w.memory().drop_warm();
            usleep(50);
        }
    });
    for (std::thread& t : threads) {
        t.join();
    }
    ends = true;
    dropper.join();
    EXPECT_EQ(wrong.load(), 0);
    w.memory().drop_warm();
    EXPECT_EQ(kept(w), 0u);
    expect_only_open(w);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
}

// What is warm in the parent is the child's too, whatever another thread had in hand at the fork: zeroes,
// exact books and nothing to be read that is not committed.
TEST_F(warm, forks_with_warm_pages_in_hand) {
    host_world w;
    std::atomic<bool> ends{false};
    std::atomic<address> in_hand[2]{};
    std::vector<std::thread> threads;
    for (std::atomic<address>& current : in_hand) {
        threads.emplace_back([&] {
            while (!ends.load()) {
                address a = 0;
                if (!w.alloc(0, granule_size, w32::mem_reserve, w32::page_readwrite, &a).done) {
                    continue;
                }
                current = a;
                for (int again = 0; again < 3; ++again) {
                    static_cast<void>(
                        w.alloc(a, granule_size, w32::mem_commit, w32::page_readwrite));
                    std::memset(reinterpret_cast<void*>(a), 0x5a, granule_size);
                    static_cast<void>(w.free(a, granule_size, w32::mem_decommit));
                }
                static_cast<void>(w.free(a, 0, w32::mem_release));
            }
        });
    }
    const address kept_at = dirty(w, granule_size);
    w.must(w.free(kept_at, granule_size, w32::mem_decommit), "decommit");
    for (int round = 0; round < 100; ++round) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            // The books are the parent's: only the addresses are looked at here.
            w.memory().space().settle_after_fork(
                {[](void*, owner_id who) noexcept { return who; },
                 [](void*, owner_id, const vm::differences&) noexcept {}, nullptr});
            w.commit(kept_at, 16);
            if (!reads_zeroes(kept_at, granule_size)) {
                _exit(11);
            }
            for (const std::atomic<address>& current : in_hand) {
                const address a = current;
                if (w.at(a).index != 0 &&
                    (!w.free(a, granule_size, w32::mem_decommit).done ||
                     !w.alloc(a, granule_size, w32::mem_commit, w32::page_readwrite).done ||
                     !reads_zeroes(a, granule_size))) {
                    _exit(10);
                }
            }
            for (int i = 0; i < 64; ++i) {
                address a = 0;
                if (!w.alloc(0, granule_size, w32::mem_reserve | w32::mem_commit,
                             w32::page_readwrite, &a)
                         .done ||
                    !reads_zeroes(a, granule_size)) {
                    _exit(12);
                }
                w.fill(a, 16);
                w.must(w.free(a, granule_size, w32::mem_decommit), "decommit");
                if (i % 2 == 0) {
                    w.must(w.free(a, 0, w32::mem_release), "release");
                }
            }
            // A granule that a thread of the parent had just taken is nobody's in the child.
            w.memory().drop_warm();
            _exit(kept(w) <= std::size(in_hand) * 16 ? 0 : 13);
        }
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFEXITED(status)) << "round " << round << " signal " << WTERMSIG(status);
        ASSERT_EQ(WEXITSTATUS(status), 0) << "round " << round;
    }
    ends = true;
    for (std::thread& t : threads) {
        t.join();
    }
}

} // namespace
} // namespace memreeve::test
