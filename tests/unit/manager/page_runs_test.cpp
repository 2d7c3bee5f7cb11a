// SPDX-License-Identifier: MIT
// manager: runs of pages, without pages.
#include "manager/page_runs.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::manager {
namespace {

constexpr auto me = static_cast<owner_id>(7);
constexpr auto other = static_cast<owner_id>(8);
constexpr std::uint32_t all = page_runs::chunk_pages;

struct page_runs_test : testing::Test {
    static constexpr std::uint32_t chunks = 4;
    page_runs runs;
    page_runs::held h;

    void SetUp() override {
        void* const at = mmap(nullptr, page_runs::bytes_for(chunks), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        ASSERT_NE(at, MAP_FAILED);
        ASSERT_TRUE(runs.set_place(reinterpret_cast<address>(at), chunks));
        EXPECT_FALSE(runs.is_open());
        runs.open();
    }
    void TearDown() override {
        const range r = runs.close();
        EXPECT_EQ(munmap(reinterpret_cast<void*>(r.begin), r.size()), 0);
    }
    static address base_of(std::uint32_t chunk) { return (chunk + 1) * bytes_of(2 * all); }
    // A chunk of `owner`, of which nothing is taken; its number.
    std::uint32_t make(owner_id owner = me) {
        bool is_new = false;
        const std::uint32_t c = runs.begin_making(is_new);
        if (c != page_runs::chunk_limit) {
            EXPECT_FALSE(runs.is_live(c));
            runs.finish_making(c, base_of(c), owner, 1, h);
            EXPECT_EQ(h.cold_hull.pages, 1u);
            runs.put_back(h);
        }
        return c;
    }
    page_run get(std::uint32_t pages, std::uint32_t alignment = 1) {
        EXPECT_TRUE(runs.take(me, pages, alignment, h)) << pages;
        EXPECT_EQ(h.run.pages, pages);
        EXPECT_EQ(h.run.first % alignment, 0u);
        return h.run;
    }
};

TEST_F(page_runs_test, the_first_fit_and_what_is_warm_comes_first) {
    make();
    const page_run a = get(100);
    EXPECT_EQ(a.first, 0u);
    EXPECT_EQ(h.cold_hull.first, 0u);
    EXPECT_EQ(h.cold_hull.pages, 100u);
    const page_run b = get(50);
    const page_run c = get(200);
    EXPECT_EQ(c.first, 150u);
    runs.let_go_cold(a);
    runs.let_go_warm(b);
    EXPECT_EQ(runs.warm(), 50u);
    EXPECT_EQ(runs.warm_of(me), 50u);
    EXPECT_EQ(runs.warm_of(other), 0u);
    const page_run d = get(30); // not where it is cold
    EXPECT_EQ(d.first, 100u);
    EXPECT_EQ(h.cold_hull.pages, 0u);
    EXPECT_EQ(runs.warm(), 20u);
    runs.let_go_warm(d);
    // Where no warm run will do, the first free one: 100 cold pages and 50 warm ones are one run.
    const page_run e = get(120);
    EXPECT_EQ(e.first, 0u);
    EXPECT_EQ(h.cold_hull.first, 0u);
    EXPECT_EQ(h.cold_hull.pages, 100u);
    EXPECT_TRUE(h.is_cold(99));
    EXPECT_FALSE(h.is_cold(100));
    EXPECT_EQ(runs.warm(), 30u);
    runs.put_back(h); // as it was
    EXPECT_EQ(runs.warm(), 50u);
    EXPECT_EQ(get(50).first, 100u);
    EXPECT_EQ(h.cold_hull.pages, 0u);
}

TEST_F(page_runs_test, freed_neighbours_are_one_run) {
    make();
    std::vector<page_run> taken;
    for (int i = 0; i < 64; ++i) {
        taken.push_back(get(64 - 1));
    }
    EXPECT_EQ(get(64).first, 64u * 63);
    EXPECT_FALSE(runs.take(me, 1, 1, h)) << "4096 pages are out";
    for (std::size_t i = 0; i < taken.size(); i += 2) {
        runs.let_go_warm(taken[i]);
    }
    EXPECT_FALSE(runs.take(me, 64, 1, h));
    for (std::size_t i = 1; i < taken.size(); i += 2) {
        runs.let_go_warm(taken[i]);
    }
    EXPECT_EQ(get(64 * 63).first, 0u);
    EXPECT_EQ(runs.warm(), 0u);
}

TEST_F(page_runs_test, alignment_and_pages_asked_for_by_place) {
    make();
    const page_run a = get(3);
    const page_run b = get(5, 16);
    EXPECT_EQ(b.first, 16u);
    EXPECT_EQ(get(13).first, 3u);
    EXPECT_FALSE(runs.take_at({a.chunk, 15, 3}, h)) << "not all are free";
    EXPECT_TRUE(runs.take_at({a.chunk, 21, 3}, h));
    EXPECT_FALSE(runs.take_at({a.chunk, 21, 3}, h));
    EXPECT_FALSE(runs.take_at({a.chunk, all - 1, 2}, h)) << "behind the end";
    EXPECT_TRUE(runs.take_at({a.chunk, all - 1, 1}, h));
    EXPECT_EQ(get(1).first, 24u) << "a failed look leaves nothing taken";
}

TEST_F(page_runs_test, owners_share_no_chunk) {
    const std::uint32_t mine = make(me);
    const std::uint32_t theirs = make(other);
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(runs.take(me, 400, 1, h));
        EXPECT_EQ(h.run.chunk, mine);
    }
    EXPECT_FALSE(runs.take(me, 400, 1, h));
    ASSERT_TRUE(runs.take(other, 400, 1, h));
    EXPECT_EQ(h.run.chunk, theirs);
    page_run warm;
    runs.let_go_warm(h.run);
    EXPECT_FALSE(runs.take_warm(me, 10, warm));
    EXPECT_TRUE(runs.take_warm(owner_id::none, 10, warm));
    EXPECT_EQ(warm.chunk, theirs);
}

TEST_F(page_runs_test, warm_pages_are_given_back_from_the_end) {
    make();
    const page_run a = get(1000);
    const page_run b = get(10);
    const page_run c = get(300);
    runs.let_go_warm(a);
    runs.let_go_warm(c);
    page_run r;
    ASSERT_TRUE(runs.take_warm(me, 100, r));
    EXPECT_EQ(r.first, c.end() - 100);
    EXPECT_EQ(r.pages, 100u);
    ASSERT_TRUE(runs.take_warm(me, all, r));
    EXPECT_EQ(r.first, c.first);
    EXPECT_EQ(r.pages, 200u);
    ASSERT_TRUE(runs.take_warm(me, all, r));
    EXPECT_EQ(r.first, 0u);
    EXPECT_EQ(r.pages, 1000u);
    EXPECT_EQ(runs.warm(), 0u);
    EXPECT_FALSE(runs.take_warm(me, all, r));
    EXPECT_EQ(b.first, 1000u);
}

TEST_F(page_runs_test, a_run_in_use_is_found_from_any_address_in_it) {
    const std::uint32_t c = make();
    const page_run a = get(70);
    const page_run b = get(5);
    EXPECT_EQ(runs.find(c, base_of(c)).pages, 0u) << "taken, and not yet in use";
    runs.publish(a, 11);
    runs.publish(b, 12);
    for (const std::uint32_t page : {0u, 1u, 63u, 64u, 69u}) {
        const page_run f = runs.find(c, base_of(c) + bytes_of(page) + 5);
        EXPECT_EQ(f.first, 0u) << page;
        EXPECT_EQ(f.pages, 70u) << page;
        EXPECT_EQ(runs.tag_of(f), 11u);
    }
    EXPECT_EQ(runs.find(c, base_of(c) + bytes_of(70)).first, 70u);
    EXPECT_EQ(runs.find(c, base_of(c) + bytes_of(75)).pages, 0u);
    EXPECT_EQ(runs.find(c, base_of(c) - 1).pages, 0u);
    EXPECT_EQ(runs.find(c, base_of(c) + bytes_of(all)).pages, 0u);
    bool is_all = false;
    EXPECT_EQ(runs.chunk_at(base_of(c) + bytes_of(all) - 1, is_all), c);
    EXPECT_TRUE(is_all);
    EXPECT_EQ(runs.chunk_at(base_of(c) + bytes_of(all), is_all), page_runs::chunk_limit);
    runs.retract(a);
    runs.let_go_warm(a);
    EXPECT_EQ(runs.find(c, base_of(c)).pages, 0u);
    EXPECT_EQ(runs.find(c, base_of(c) + bytes_of(69)).pages, 0u);
    EXPECT_EQ(runs.find(c, base_of(c) + bytes_of(74)).first, 70u);
}

TEST_F(page_runs_test, a_chunk_ends_when_nothing_is_taken_and_lives_again) {
    const std::uint32_t c = make();
    const page_run a = get(20);
    std::uint32_t backed = 0;
    EXPECT_FALSE(runs.take_all(c, me, h, backed));
    runs.let_go_warm(a);
    EXPECT_FALSE(runs.take_all(c, other, h, backed)) << "somebody else's";
    EXPECT_EQ(runs.warm(), 20u);
    ASSERT_TRUE(runs.take_all(c, me, h, backed));
    EXPECT_EQ(backed, 20u);
    EXPECT_EQ(runs.warm(), 0u);
    EXPECT_FALSE(runs.is_live(c));
    runs.go_on(h);
    EXPECT_TRUE(runs.is_live(c));
    EXPECT_EQ(runs.warm(), 20u);
    EXPECT_EQ(runs.warm_in(c), 20u);
    ASSERT_TRUE(runs.take_all(c, me, h, backed));
    EXPECT_EQ(backed, 20u);
    EXPECT_FALSE(runs.take(me, 1, 1, h));
    EXPECT_FALSE(runs.take_at({c, 0, 1}, h));
    runs.forget(c);
    EXPECT_EQ(make(other), c);
    EXPECT_FALSE(runs.take(me, 1, 1, h));
    EXPECT_TRUE(runs.take(other, all, 1, h));
    EXPECT_EQ(h.cold_hull.pages, all);
    for (std::uint32_t i = 1; i < chunks; ++i) {
        EXPECT_NE(make(), page_runs::chunk_limit);
    }
    EXPECT_EQ(make(), page_runs::chunk_limit);
}

TEST_F(page_runs_test, what_could_not_be_made_can_be_made_later) {
    bool is_new = false;
    const std::uint32_t c = runs.begin_making(is_new);
    EXPECT_TRUE(is_new);
    runs.give_up_making(c, false);
    EXPECT_EQ(runs.begin_making(is_new), c);
    EXPECT_TRUE(is_new);
    runs.give_up_making(c, true);
    EXPECT_EQ(runs.begin_making(is_new), c);
    EXPECT_FALSE(is_new);
    runs.finish_making(c, base_of(c), me, all, h);
    EXPECT_FALSE(runs.take(me, 1, 1, h));
}

TEST_F(page_runs_test, a_fork_gives_chunks_to_the_childs_owner) {
    const std::uint32_t c = make();
    runs.let_go_warm(get(30));
    get(10);
    runs.settle_after_fork([](owner_id o) { return o == me ? other : o; });
    EXPECT_EQ(runs.owner_of(c), other);
    EXPECT_EQ(runs.warm(), 20u);
}

TEST_F(page_runs_test, random_requests_agree_with_a_naive_model) {
    std::mt19937 random(5);
    enum : char { cold, warm, taken };
    std::vector<char> model(2 * all, cold);
    make();
    make();
    std::vector<page_run> live;
    const auto place = [](const page_run& r) { return r.chunk * all + r.first; };
    const auto count = [&](char what) {
        return static_cast<page_count>(std::count(model.begin(), model.end(), what));
    };
    const auto longest = [&](bool is_warm, std::uint32_t alignment) {
        std::uint32_t best = 0;
        for (std::uint32_t chunk = 0; chunk < 2; ++chunk) {
            for (std::uint32_t i = 0; i < all; i += alignment) {
                std::uint32_t n = 0;
                while (i + n < all && (is_warm ? model[chunk * all + i + n] == warm
                                               : model[chunk * all + i + n] != taken)) {
                    ++n;
                }
                best = std::max(best, n);
                i += n / alignment * alignment;
            }
        }
        return best;
    };
    for (int i = 0; i < 20000; ++i) {
        const unsigned what = random() % 8;
        if (what < 4) {
            const auto pages = static_cast<std::uint32_t>(1 + random() % (1 << random() % 10));
            const std::uint32_t alignment = random() % 3 == 0 ? 16 : 1;
            const bool got = runs.take(me, pages, alignment, h);
            if (random() % 16 == 0 || !got) {
                ASSERT_EQ(got, longest(false, alignment) >= pages) << pages;
            }
            if (!got) {
                continue;
            }
            if (h.cold_hull.pages != 0 && random() % 16 == 0) {
                ASSERT_LT(longest(true, alignment), pages) << "warm pages were passed over";
            }
            bool any_cold = false;
            for (std::uint32_t p = 0; p < pages; ++p) {
                ASSERT_NE(model[place(h.run) + p], taken);
                const bool is_cold = model[place(h.run) + p] == cold;
                ASSERT_EQ(h.is_cold(h.run.first + p), is_cold);
                ASSERT_TRUE(!is_cold || (h.run.first + p >= h.cold_hull.first &&
                                         h.run.first + p < h.cold_hull.end()));
                any_cold = any_cold || is_cold;
            }
            ASSERT_EQ(h.cold_hull.pages != 0, any_cold);
            if (random() % 5 == 0) {
                runs.put_back(h);
                continue;
            }
            std::fill_n(model.begin() + place(h.run), pages, taken);
            runs.publish(h.run, place(h.run));
            live.push_back(h.run);
        } else if (what < 7 && !live.empty()) {
            const std::size_t k = random() % live.size();
            page_run& r = live[k];
            const page_run found =
                runs.find(r.chunk, base_of(r.chunk) + bytes_of(r.first + random() % r.pages));
            ASSERT_EQ(found.first, r.first);
            ASSERT_EQ(found.pages, r.pages);
            ASSERT_EQ(runs.tag_of(found), place(r));
            runs.retract(r);
            runs.let_go_warm(r);
            std::fill_n(model.begin() + place(r), r.pages, warm);
            r = live.back();
            live.pop_back();
        } else {
            page_run r;
            const auto most = static_cast<std::uint32_t>(1 + random() % 500);
            const bool got = runs.take_warm(me, most, r);
            ASSERT_EQ(got, count(warm) != 0);
            if (!got) {
                continue;
            }
            ASSERT_LE(r.pages, most);
            for (std::uint32_t p = 0; p < r.pages; ++p) {
                ASSERT_EQ(model[place(r) + p], warm);
                model[place(r) + p] = cold;
            }
            runs.let_go_cold(r);
        }
        ASSERT_EQ(runs.warm(), count(warm));
    }
    EXPECT_EQ(runs.warm_of(me), count(warm));
}

// Threads take, let go, drop and end chunks at once: no page is ever two threads', none is lost.
TEST_F(page_runs_test, threads_meet_in_no_page) {
    make();
    make();
    std::vector<std::atomic<int>> holder(chunks * all);
    std::atomic<int> clashes{0};
    std::atomic<unsigned> served{0};
    const auto claim = [&](const page_run& r, int who) {
        for (std::uint32_t p = r.first; p < r.end(); ++p) {
            clashes += holder[r.chunk * all + p].exchange(who) != 0 ? 1 : 0;
        }
    };
    const auto release = [&](const page_run& r, int who) {
        for (std::uint32_t p = r.first; p < r.end(); ++p) {
            clashes += holder[r.chunk * all + p].exchange(0) != who ? 1 : 0;
        }
    };
    const auto run = [&](int who) {
        std::mt19937 random(static_cast<unsigned>(who));
        page_runs::held mine;
        std::vector<page_run> live;
        for (int i = 0; i < 30000; ++i) {
            switch (random() % 8) {
            case 0:
            case 1:
            case 2:
                if (runs.take(me, static_cast<std::uint32_t>(1 + random() % 700), 1, mine)) {
                    claim(mine.run, who);
                    runs.publish(mine.run, 1);
                    live.push_back(mine.run);
                    ++served;
                }
                break;
            case 3:
                if (runs.take(me, static_cast<std::uint32_t>(1 + random() % 90), 1, mine)) {
                    claim(mine.run, who);
                    release(mine.run, who);
                    runs.put_back(mine);
                }
                break;
            case 4: {
                page_run r;
                if (runs.take_warm(owner_id::none, 100, r)) {
                    claim(r, who);
                    release(r, who);
                    runs.let_go_cold(r);
                }
                break;
            }
            case 5: {
                const auto c = static_cast<std::uint32_t>(random() % 2);
                std::uint32_t backed = 0;
                if (random() % 16 == 0 && runs.take_all(c, me, mine, backed)) {
                    claim({c, 0, all}, who);
                    release({c, 0, all}, who);
                    if (random() % 2 == 0) {
                        runs.go_on(mine); // it could not be given back
                        break;
                    }
                    runs.forget(c);
                    bool is_new = false;
                    const std::uint32_t again = runs.begin_making(is_new);
                    runs.finish_making(again, base_of(again), me, 1, mine);
                    runs.put_back(mine);
                }
                break;
            }
            default:
                if (!live.empty()) {
                    const page_run r = live.back();
                    live.pop_back();
                    runs.retract(r);
                    release(r, who);
                    runs.let_go_warm(r);
                }
            }
        }
        for (const page_run& r : live) {
            runs.retract(r);
            release(r, who);
            runs.let_go_warm(r);
        }
    };
    std::thread second(run, 2);
    std::thread third(run, 3);
    run(1);
    second.join();
    third.join();
    EXPECT_EQ(clashes, 0);
    EXPECT_GT(served, 1000u);
    page_count warm = 0;
    std::uint32_t ended = 0;
    for (std::uint32_t c = 0; c < runs.high(); ++c) {
        warm += runs.is_live(c) ? runs.warm_in(c) : 0;
    }
    EXPECT_EQ(runs.warm(), warm);
    for (std::uint32_t c = 0; c < runs.high(); ++c) {
        std::uint32_t backed = 0;
        ended += runs.is_live(c) && runs.take_all(c, me, h, backed) ? 1u : 0u;
    }
    EXPECT_EQ(ended, 2u) << "every page came back";
    EXPECT_EQ(runs.warm(), 0u);
}

} // namespace
} // namespace memreeve::manager
