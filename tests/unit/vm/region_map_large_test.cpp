// SPDX-License-Identifier: MIT
// Runs in large reservations, where the summaries of the upper nodes lead over what is alike: against a
// list of intervals, and beside threads that change pages.
#include "map_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::vm {
namespace {

constexpr address base = 0x500000000000;
constexpr byte_count gib = byte_count{1} << 30;

struct region_map_large_test : map_fixture {
    struct state {
        int owner = -1;
        page_code code = page_code::outside;
        bool operator==(const state&) const = default;
    };
    // From the address on; the last one is free space.
    std::map<address, state> intervals{{0, {}}};

    state at(address a) const { return std::prev(intervals.upper_bound(a))->second; }
    void assign(range where, state s) {
        const state behind = at(where.end);
        intervals.erase(intervals.lower_bound(where.begin), intervals.lower_bound(where.end));
        intervals[where.begin] = s;
        intervals.insert({where.end, behind});
    }
    address run_end(address a) const {
        const state s = at(a);
        auto it = intervals.upper_bound(a);
        while (
            it != intervals.end() && it->second.owner == s.owner &&
            (it->second.code == s.code || (is_reserved(it->second.code) && is_reserved(s.code)))) {
            ++it;
        }
        return it->first;
    }
};

TEST_F(region_map_large_test, runs_agree_with_a_list_of_intervals) {
    const char* given = std::getenv("MEMREEVE_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    // Few places, so that memory is bounded and changes meet.
    std::vector<address> places;
    for (int i = 0; i < 40; ++i) {
        places.push_back(base + below(260 * gib / granule_size) * granule_size);
    }
    for (const byte_count unit : {gib / 512, gib / 4, 64 * gib}) { // what nodes of each level span
        for (int i = 0; i < 4; ++i) {
            places.push_back(base + below(260 * gib / unit) * unit);
        }
    }
    const auto some_place = [&] {
        return places[below(places.size())] + bytes_of(below(24)) - bytes_of(8);
    };
    struct one {
        range where{};
        std::uint32_t index = 0;
    };
    std::map<int, one> living;
    int next = 0;
    unsigned done[3] = {};
    unsigned far_runs = 0;
    for (int i = 0; i < 60000; ++i) {
        const auto what = below(100);
        if (what < 2 || living.empty()) {
            const address begin = base + below(4) * 64 * gib +
                                  below(3) * (below(2) == 0 ? gib / 4 : gib / 512) +
                                  below(3) * granule_size;
            const byte_count sizes[] = {256 * gib, 64 * gib, 3 * gib,  gib / 4,
                                        gib / 512, 5 << 20,  200 << 10};
            const range where{begin, begin + sizes[below(7)] + bytes_of(below(3))};
            bool free = where.end <= base + 300 * gib;
            for (const auto& [name, l] : living) {
                free = free &&
                       !l.where.overlaps({where.begin, round_up(where.end, granule_size)}) &&
                       !where.overlaps({l.where.begin, round_up(l.where.end, granule_size)});
            }
            if (free) {
                const page_code code = below(2) == 0 ? page_code::reserved : page_code::rw;
                living[next] = {where, reserve(where, code)};
                assign(where, {next++, code});
                ++done[0];
            }
        } else if (what < 3) {
            auto it = living.begin();
            std::advance(it, static_cast<long>(below(living.size())));
            release(it->second.where.begin);
            assign(it->second.where, {});
            living.erase(it);
            ++done[1];
        } else if (what < 60) {
            constexpr page_code codes[] = {page_code::reserved, page_code::reserved,
                                           page_code::dead,     page_code::rw,
                                           page_code::rw,       page_code::guard_rw};
            auto it = living.begin();
            std::advance(it, static_cast<long>(below(living.size())));
            const range whole = it->second.where;
            address a = some_place();
            address b = below(4) == 0 ? some_place() : a + bytes_of(1 + below(40));
            if (a > b) {
                std::swap(a, b);
            }
            const range part = map_detail::clip({a, b}, whole);
            if (part.is_empty()) {
                continue;
            }
            const page_code code = codes[below(6)];
            ASSERT_TRUE(set(part, code));
            assign(part, {it->first, code});
            ++done[2];
        }
        for (int k = 0; k < 3; ++k) {
            const address a = k == 0 ? some_place() : base + below(300 * gib);
            const state s = at(a);
            run_view v;
            ASSERT_EQ(map.query(a, v), s.owner != -1);
            if (s.owner != -1) {
                ASSERT_EQ(v.code, s.code);
                ASSERT_EQ(v.run_end, run_end(a)) << "step " << i << std::hex << ", at " << a;
                ASSERT_EQ(v.base, living[s.owner].where.begin);
                far_runs += v.run_end - v.at > gib ? 1U : 0U;
            }
        }
        if (i % 512 == 0) {
            ASSERT_STREQ(map.check_invariants(), nullptr) << "step " << i;
        }
    }
    EXPECT_GT(done[0], 50u) << "the generator lost its variety";
    EXPECT_GT(done[1], 50u);
    EXPECT_GT(done[2], 1000u);
    EXPECT_GT(far_runs, 1000u);
}

// Some pages stay as they are: no run leads over them, whatever happens beside them.
TEST_F(map_fixture, d12_no_run_leads_over_a_page_of_another_state) {
    const range whole{base, base + 200 * gib};
    const std::uint32_t index = reserve(whole);
    const std::uint32_t life = map.find(base).life;
    std::vector<address> walls;
    for (unsigned i = 1; i < 20; ++i) {
        walls.push_back(base + i * 10 * gib + bytes_of(i * 37));
        ASSERT_TRUE(set({walls.back(), walls.back() + page_size}, page_code::r));
    }
    walls.push_back(whole.end);
    std::atomic<unsigned> wrong{0};
    std::atomic<unsigned> working{3};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < 3; ++t) {
        crew.emplace_back([&, t] {
            std::mt19937_64 random(t + 1);
            for (int i = 0; i < 3000; ++i) {
                // New nodes again and again, each thread at granules of its own.
                const address a =
                    base + (random() % 4000 * 3 + t) * (gib / 64) + granule_size * (random() % 8);
                const range part{a, a + bytes_of(1 + random() % 4)};
                if (map.claim(index, life, part) != claim_outcome::claimed) {
                    continue;
                }
                bool wall = false;
                map.for_each_run(part, [&](range, page_code code, bool) {
                    wall = wall || code == page_code::r;
                });
                if (wall) {
                    map.unclaim(part);
                } else {
                    map.publish(part, random() % 2 == 0 ? page_code::rw : page_code::reserved,
                                false);
                }
            }
            working.fetch_sub(1);
        });
    }
    std::mt19937_64 random(77);
    std::uint64_t looks = 0;
    while (working != 0 || looks < 1000) {
        const address a = base + bytes_of(random() % pages_of(whole.size()));
        run_view v;
        const address wall = *std::upper_bound(walls.begin(), walls.end(), a);
        if (!map.query(a, v) || v.run_end <= a || v.base != base ||
            (v.code != page_code::r && v.run_end > wall)) {
            wrong.fetch_add(1);
        }
        ++looks;
    }
    for (auto& one : crew) {
        one.join();
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_STREQ(check_with_claims(), nullptr);
}

} // namespace
} // namespace memreeve::vm
