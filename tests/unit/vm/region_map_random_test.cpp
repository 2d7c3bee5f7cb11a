// SPDX-License-Identifier: MIT
// The region map against one entry per page, with several requests' claims held at once, and threads
// that claim and publish neighbours in a few granules while others come and go.
#include "map_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::vm {
namespace {

std::uint64_t seed_of_this_run() {
    const char* given = std::getenv("MEMREEVE_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
}

struct model_page {
    int owner = -1; // of `living`
    page_code code = page_code::outside;
    int claim = -1; // of `held`
    bool inherited = false;
};

struct living_one {
    range where{};
    std::uint32_t index = 0;
    std::uint32_t life = 0;
    std::uint32_t protect = 0;
    page_count dead = 0;
};

struct held_one {
    range where{};
    int owner = -1;
};

constexpr unsigned area_pages = 2048;
// A boundary of 2 MiB, of 256 MiB and of 64 GiB at once lies in the middle.
constexpr address low = (address{64} << 36) - bytes_of(area_pages / 2);

struct region_map_random_test : map_fixture {
    std::mt19937_64 random;
    std::vector<model_page> model = std::vector<model_page>(area_pages);
    std::vector<living_one> living; // size 0: gone
    std::vector<held_one> held;     // empty: ended
    std::vector<int> there;         // of `living`
    std::vector<int> open;          // of `held`
    unsigned done[9] = {};
    unsigned words[4] = {};

    unsigned below(unsigned n) { return static_cast<unsigned>(random() % n); }
    static unsigned index_of(address a) { return static_cast<unsigned>((a - low) / page_size); }
    static range span(unsigned first, unsigned count) { return pages(low, first, count); }
    page_code some_code() {
        constexpr page_code codes[] = {
            page_code::reserved,          page_code::rw,      page_code::rw,       page_code::r,
            page_code::guard_rw,          page_code::rwx,     page_code::noaccess, page_code::dead,
            page_code::reserved_writable, page_code::replaced};
        return codes[below(10)];
    }
    static bool alike(page_code a, page_code b) {
        return a == b || (is_reserved(a) && is_reserved(b));
    }
    // Ranges of all sizes, many inside one granule.
    range some_part(range whole) {
        const auto count = static_cast<unsigned>(whole.pages());
        const unsigned from = below(count);
        const unsigned most = count - from;
        switch (below(5)) {
        case 0: return whole;
        case 1: { // whole granules
            const unsigned granule = from / 16 * 16;
            const unsigned size = 16 * (1 + below(4));
            return pages(whole.begin, granule, size < count - granule ? size : count - granule);
        }
        case 2: return pages(whole.begin, from, 1 + below(most));
        default: return pages(whole.begin, from, 1 + below(most < 12 ? most : 12));
        }
    }

    void try_reserve() {
        const unsigned size = below(6) == 0 ? 1 + below(1400) : 1 + below(40);
        const unsigned first = below(area_pages / 16) * 16;
        if (first + (size + 15) / 16 * 16 > area_pages) {
            return;
        }
        for (unsigned p = first; p < first + (size + 15) / 16 * 16; ++p) {
            if (model[p].owner != -1) {
                return;
            }
        }
        constexpr std::uint32_t protections[] = {0x01, 0x04, 0x40, 0x104, 0x204, 0x480, 0x180};
        living_one one;
        one.where = span(first, size);
        one.protect = protections[below(7)];
        const page_code code = below(2) == 0 ? page_code::reserved : page_code::rw;
        one.index = reserve(one.where, code, one.protect);
        one.life = map.at(one.index).life.load();
        const auto name = static_cast<int>(living.size());
        living.push_back(one);
        there.push_back(name);
        for (unsigned p = first; p < first + size; ++p) {
            model[p] = {name, code, -1, false};
        }
        ++done[0];
    }

    void try_release(int name) {
        living_one& one = living[static_cast<unsigned>(name)];
        const bool free = is_unclaimed(one.where);
        const claim_outcome got = map.claim(one.index, one.life, one.where);
        ASSERT_EQ(got, free ? claim_outcome::claimed : claim_outcome::busy);
        if (!free) {
            ++done[1];
            return;
        }
        map.remove(one.index);
        map.forget(one.index);
        for (unsigned p = index_of(one.where.begin); p < index_of(one.where.end); ++p) {
            model[p] = {};
        }
        std::erase(there, name);
        ++done[2];
    }

    bool is_unclaimed(range part) const {
        for (unsigned p = index_of(part.begin); p < index_of(part.end); ++p) {
            if (model[p].claim != -1) {
                return false;
            }
        }
        return true;
    }

    void try_claim(int name) {
        const living_one& one = living[static_cast<unsigned>(name)];
        const range part = some_part(one.where);
        const bool free = is_unclaimed(part);
        if (below(50) == 0) { // a request that comes too late
            ASSERT_NE(map.claim(one.index, one.life + 4, part), claim_outcome::claimed);
            return;
        }
        ASSERT_EQ(map.claim(one.index, one.life, part),
                  free ? claim_outcome::claimed : claim_outcome::busy);
        if (!free) {
            ++done[3];
            return;
        }
        const auto claim = static_cast<int>(held.size());
        held.push_back({part, name});
        open.push_back(claim);
        for (unsigned p = index_of(part.begin); p < index_of(part.end); ++p) {
            model[p].claim = claim;
        }
        check_runs(part);
        ++done[4];
    }

    void check_runs(range part) {
        address at = part.begin;
        map.for_each_run(part, [&](range run, page_code code, bool inherited) {
            ASSERT_EQ(run.begin, at);
            ASSERT_LT(run.begin, run.end);
            for (unsigned p = index_of(run.begin); p < index_of(run.end); ++p) {
                ASSERT_EQ(model[p].code, code);
                ASSERT_EQ(model[p].inherited, inherited);
            }
            at = run.end;
        });
        ASSERT_EQ(at, part.end);
    }

    void publish(living_one& one, range part, page_code code, bool keep) {
        page_count were_dead = 0;
        for (unsigned p = index_of(part.begin); p < index_of(part.end); ++p) {
            were_dead += model[p].code == page_code::dead ? 1U : 0U;
            model[p].code = code;
            model[p].claim = -1;
            model[p].inherited = model[p].inherited && keep;
        }
        const page_count are_dead = code == page_code::dead ? part.pages() : 0;
        map.at(one.index).living.fetch_add(were_dead - are_dead);
        map.publish(part, code, keep);
    }
    void unclaim(range part) {
        for (unsigned p = index_of(part.begin); p < index_of(part.end); ++p) {
            model[p].claim = -1;
        }
        map.unclaim(part);
    }

    void end_claim(int claim) {
        const held_one h = held[static_cast<unsigned>(claim)];
        living_one& one = living[static_cast<unsigned>(h.owner)];
        const bool keep = below(2) == 0;
        switch (below(6)) {
        case 0: unclaim(h.where); break;
        case 1:
            // Run by run, some left as they are; two targets, as a decommit at the mapping limit.
            map.for_each_run(h.where, [&](range run, page_code, bool) {
                if (below(4) == 0) {
                    unclaim(run);
                } else {
                    publish(one, run,
                            below(2) == 0 ? page_code::reserved : page_code::reserved_writable,
                            keep);
                }
            });
            ++done[5];
            break;
        case 2:
            if (h.where.size() <= granule_size && h.where.pages() > 1 &&
                round_down(h.where.begin, granule_size) ==
                    round_down(h.where.end - 1, granule_size)) {
                // In two pieces, in either order.
                const unsigned cut = 1 + below(static_cast<unsigned>(h.where.pages()) - 1);
                const address middle = h.where.begin + bytes_of(cut);
                const bool up = below(2) == 0;
                const range first = up ? range{h.where.begin, middle} : range{middle, h.where.end};
                const range second = up ? range{middle, h.where.end} : range{h.where.begin, middle};
                publish(one, first, some_code(), keep);
                ASSERT_STREQ(check_with_claims(), nullptr);
                if (below(2) == 0) {
                    unclaim(second);
                } else {
                    publish(one, second, some_code(), keep);
                }
                ++done[6];
                break;
            }
            [[fallthrough]];
        default: publish(one, h.where, some_code(), keep); break;
        }
        std::erase(open, claim);
    }

    void settle() {
        std::vector<model_page> seen(area_pages);
        map.settle_after_fork([&](range run, std::uint32_t index, page_code code, bool claimed) {
            for (unsigned p = index_of(run.begin); p < index_of(run.end); ++p) {
                seen[p] = {static_cast<int>(index), code, claimed ? 1 : -1, false};
            }
        });
        for (unsigned p = 0; p < area_pages; ++p) {
            model_page& m = model[p];
            ASSERT_EQ(seen[p].code, m.code);
            ASSERT_EQ(seen[p].claim != -1, m.claim != -1);
            if (m.owner != -1) {
                ASSERT_EQ(seen[p].owner,
                          static_cast<int>(living[static_cast<unsigned>(m.owner)].index));
            }
            m.claim = -1;
            m.inherited = is_charged(m.code);
        }
        open.clear();
        ASSERT_STREQ(map.check_invariants(), nullptr);
        ++done[7];
    }

    void look(unsigned p) {
        const address a = low + bytes_of(p) + below(page_size);
        const model_page& m = model[p];
        const found f = map.find(a);
        run_view v;
        ASSERT_EQ(map.query(a, v), m.owner != -1);
        ASSERT_EQ(v.at, low + bytes_of(p));
        ASSERT_EQ(f.at, v.at);
        words[static_cast<unsigned>(kind_at(a))]++;
        if (m.owner == -1) {
            ASSERT_EQ(f.index, 0u);
            return;
        }
        const living_one& one = living[static_cast<unsigned>(m.owner)];
        unsigned end = p;
        while (end < area_pages && model[end].owner == m.owner && alike(model[end].code, m.code)) {
            ++end;
        }
        ASSERT_EQ(f.index, one.index);
        ASSERT_EQ(f.life, one.life);
        ASSERT_EQ(f.whole, one.where);
        ASSERT_EQ(f.code, m.code);
        ASSERT_EQ(f.protect, one.protect);
        ASSERT_EQ(f.run_end, low + bytes_of(end));
        ASSERT_EQ(v.base, one.where.begin);
        ASSERT_EQ(v.code, m.code);
        ASSERT_EQ(v.protect, one.protect);
        ASSERT_EQ(v.run_end, f.run_end);
        unsigned level = 0;
        static_cast<void>(word_at(a, &level));
        const range entry =
            span_of(round_down(a, map_detail::span_at(level)), map_detail::span_at(level));
        bool claimed = false;
        for (address at = entry.begin; at < entry.end; at += page_size) {
            if (at >= low && at < low + bytes_of(area_pages)) {
                claimed = claimed || model[index_of(at)].claim != -1;
            }
        }
        ASSERT_EQ(v.claimed, claimed);
        if (p % 16 == 0) {
            address next = low + bytes_of(area_pages);
            for (unsigned q = p; q < area_pages; ++q) {
                if (model[q].owner != -1 &&
                    living[static_cast<unsigned>(model[q].owner)].where.begin ==
                        low + bytes_of(q)) {
                    next = low + bytes_of(q);
                    break;
                }
            }
            ASSERT_EQ(map.next_base(low + bytes_of(p), low + bytes_of(area_pages)), next);
        }
    }
};

TEST_F(region_map_random_test, claims_of_several_requests_agree_with_a_page_array) {
    random.seed(seed_of_this_run());
    constexpr int steps = 1000000;
    for (int i = 0; i < steps && !HasFatalFailure(); ++i) {
        const unsigned what = below(100);
        if (what < 8) {
            try_reserve();
        } else if (what < 11 && !there.empty()) {
            try_release(there[below(static_cast<unsigned>(there.size()))]);
        } else if (what < 55 && !there.empty() && open.size() < 40) {
            try_claim(there[below(static_cast<unsigned>(there.size()))]);
        } else if (what < 95 && !open.empty()) {
            end_claim(open[below(static_cast<unsigned>(open.size()))]);
        } else if (below(100) == 0) {
            settle();
        }
        look(below(area_pages));
        if (i % 64 == 0) {
            ASSERT_STREQ(check_with_claims(), nullptr) << "step " << i;
            ASSERT_EQ(map.live_count(), there.size());
        }
    }
    while (!open.empty()) {
        end_claim(open.back());
    }
    ASSERT_STREQ(map.check_invariants(), nullptr);
    for (unsigned i = 0; i < 8; ++i) {
        EXPECT_GT(done[i], 200u) << "the generator lost its variety: " << i;
    }
    for (unsigned i = 0; i < 4; ++i) {
        EXPECT_GT(words[i], 10000u) << "kinds of words: " << i;
    }
}

// Four threads, each with every fourth page of three granules: every claim is beside others', words
// become records and are packed again all the time. Readers see only states that somebody published.
TEST_F(map_fixture, decision_18_neighbours_in_one_granule_by_four_threads) {
    constexpr unsigned crew_size = 4;
    constexpr unsigned size = 44; // the last granule has a tail
    const address shared = 0x40000000000;
    const std::uint32_t index = reserve(pages(shared, 0, size));
    const std::uint32_t life = map.find(shared).life;
    // What each thread publishes is of its own kind, so that foreign states show.
    const auto code_of_thread = [](unsigned t) {
        constexpr page_code codes[crew_size] = {page_code::rw, page_code::r, page_code::rwx,
                                                page_code::guard_rw};
        return codes[t];
    };
    std::atomic<unsigned> wrong{0};
    std::atomic<unsigned> whole_claims{0};
    std::atomic<unsigned> working{crew_size};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < crew_size; ++t) {
        crew.emplace_back([&, t] {
            std::mt19937 random(t + 1);
            page_code mine[size / crew_size];
            std::fill(std::begin(mine), std::end(mine), page_code::reserved);
            for (int i = 0; i < 30000; ++i) {
                const auto k = static_cast<unsigned>(random() % (size / crew_size));
                const range one = pages(shared, k * crew_size + t, 1);
                const claim_outcome got = map.claim(index, life, one);
                if (got == claim_outcome::busy) {
                    continue; // somebody has the whole granule
                }
                if (got != claim_outcome::claimed || map.find(one.begin).code != mine[k]) {
                    wrong.fetch_add(1);
                }
                map.for_each_run(one, [&](range run, page_code code, bool) {
                    if (run != one || code != mine[k]) {
                        wrong.fetch_add(1);
                    }
                });
                if (random() % 8 == 0) {
                    map.unclaim(one);
                } else {
                    mine[k] = random() % 2 == 0 ? code_of_thread(t) : page_code::reserved;
                    map.publish(one, mine[k], false);
                }
                if (random() % 16 == 0) {
                    // A claim of all that gives up, in one piece or in two.
                    const range granule = pages(shared, 0, 16);
                    if (map.claim(index, life, granule) == claim_outcome::claimed) {
                        whole_claims.fetch_add(1);
                        const unsigned cut = static_cast<unsigned>(random() % 16);
                        map.unclaim(pages(shared, 0, cut));
                        map.unclaim(pages(shared, cut, 16 - cut));
                    }
                }
            }
            working.fetch_sub(1);
        });
    }
    std::vector<std::thread> readers;
    for (unsigned t = 0; t < 2; ++t) {
        readers.emplace_back([&, t] {
            std::mt19937 random(t + 100);
            while (working != 0) {
                const auto page = static_cast<unsigned>(random() % size);
                const address a = shared + bytes_of(page);
                run_view v;
                if (!map.query(a, v) || v.base != shared || v.run_end <= a ||
                    v.run_end > shared + bytes_of(size) || v.protect != 4 ||
                    (v.code != page_code::reserved && v.code != code_of_thread(page % crew_size))) {
                    wrong.fetch_add(1);
                }
            }
        });
    }
    for (auto& one : crew) {
        one.join();
    }
    for (auto& one : readers) {
        one.join();
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(whole_claims, 0u);
}

// Small reservations come and go in the same granules, each with a size, a protection and a state that
// belong together; a reader of one word or of the record never mixes two.
TEST_F(map_fixture, d12_small_reservations_that_come_and_go) {
    constexpr unsigned crew_size = 3;
    const auto place_of_thread = [](unsigned t) { return 0x50000000000 + t * granule_size; };
    const auto protect_of = [](unsigned size) {
        return size % 2 == 0 ? map_detail::protection_of((size & 15) == 0 ? 1 : size & 15)
                             : 0x200u | 4u << size % 3;
    };
    const auto code_of_size = [](unsigned size) { return static_cast<page_code>(4 + size % 11); };
    std::atomic<unsigned> wrong{0};
    std::atomic<unsigned> seen{0};
    std::atomic<unsigned> working{crew_size};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < crew_size; ++t) {
        crew.emplace_back([&, t] {
            std::mt19937 random(t + 1);
            for (int i = 0; i < 30000 || (i < 3000000 && seen < 1000); ++i) {
                const auto size = static_cast<unsigned>(1 + random() % 16);
                const range mine = pages(place_of_thread(t), 0, size);
                const std::uint32_t index =
                    map.make(mine, static_cast<owner_id>(size), protect_of(size), 0, size);
                if (index == 0 || !map.prepare(mine)) {
                    wrong.fetch_add(1);
                    continue;
                }
                map.install(index, code_of_size(size));
                const found f = map.find(mine.begin);
                if (f.index != index || f.whole != mine ||
                    map.next_base(mine.begin) != mine.begin) {
                    wrong.fetch_add(1);
                }
                if (i % 3 == 0 && size > 2) {
                    // Through a record and back.
                    const range one = pages(mine.begin, 1, 1);
                    if (map.claim(index, f.life, one) != claim_outcome::claimed) {
                        wrong.fetch_add(1);
                    }
                    map.publish(one, code_of_size(size), false);
                }
                if (map.claim(index, f.life, mine) != claim_outcome::claimed) {
                    wrong.fetch_add(1);
                    continue;
                }
                map.remove(index);
                map.forget(index);
            }
            working.fetch_sub(1);
        });
    }
    std::vector<std::thread> readers;
    for (unsigned t = 0; t < 2; ++t) {
        readers.emplace_back([&, t] {
            std::mt19937 random(t + 100);
            while (working != 0) {
                const address granule =
                    place_of_thread(static_cast<unsigned>(random() % crew_size));
                const address a = granule + bytes_of(random() % 16);
                run_view v;
                if (map.query(a, v)) {
                    const auto size = static_cast<unsigned>((v.run_end - granule) / page_size);
                    if (v.base != granule || size < 1 || size > 16 || a >= v.run_end ||
                        v.protect != protect_of(size) || v.code != code_of_size(size)) {
                        wrong.fetch_add(1);
                    }
                    seen.fetch_add(1, std::memory_order_relaxed);
                }
                const found f = map.find(a);
                if (f.index != 0) {
                    const auto size = static_cast<unsigned>(f.whole.pages());
                    if (f.whole.begin != granule || f.tag != size || f.run_end != f.whole.end ||
                        f.protect != protect_of(size) || f.code != code_of_size(size) ||
                        static_cast<unsigned>(f.owner) != size) {
                        wrong.fetch_add(1);
                    }
                }
                const address next = map.next_base(granule, granule + granule_size);
                if (next != granule && next != granule + granule_size) {
                    wrong.fetch_add(1);
                }
            }
        });
    }
    for (auto& one : crew) {
        one.join();
    }
    for (auto& one : readers) {
        one.join();
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(seen, 0u);
}

} // namespace
} // namespace memreeve::vm
