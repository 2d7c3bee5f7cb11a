// SPDX-License-Identifier: MIT
// The region map: rules S1, S2, Q4, Q7, Q8, claims per page (decision 18), readers that never see a
// mixture, and what a large reservation costs.
#include "map_fixture.hpp"

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::vm {
namespace {

using region_map_test = map_fixture;

TEST_F(region_map_test, s1_a_reservation_is_found_at_each_of_its_pages_and_nowhere_else) {
    const range where{0x7f0000010000, 0x7f0000015000};
    const std::uint32_t index = reserve(where, page_code::reserved, 0x140);
    for (address a = where.begin - granule_size; a < where.end + granule_size; a += 2048) {
        const found f = map.find(a);
        EXPECT_EQ(f.at, round_down(a, page_size)) << "Q4";
        if (!where.contains(a)) {
            EXPECT_EQ(f.index, 0u) << std::hex << a << ": S4, the tail of the granule is free";
            continue;
        }
        EXPECT_EQ(f.index, index);
        EXPECT_EQ(f.whole, where);
        EXPECT_EQ(f.run_end, where.end);
        EXPECT_EQ(f.code, page_code::reserved);
        EXPECT_EQ(f.protect, 0x140u) << "S3";
    }
    EXPECT_EQ(map.find(0).index, 0u);
    EXPECT_EQ(map.find(top_address - 1).index, 0u);
}

TEST_F(region_map_test, q7_runs_split_merge_and_never_cross_reservations) {
    const address base = 0x100000000;
    const range first = pages(base, 0, 32);
    const range second = pages(base, 32, 32); // adjacent, identical
    reserve(first);
    reserve(second);
    EXPECT_EQ(map.find(base).run_end, first.end);
    ASSERT_TRUE(set(pages(base, 4, 8), page_code::rw));
    EXPECT_EQ(map.find(base).run_end, base + bytes_of(4));
    EXPECT_EQ(map.find(base + bytes_of(4)).run_end, base + bytes_of(12));
    EXPECT_EQ(map.find(base + bytes_of(12)).run_end, first.end);
    ASSERT_TRUE(set(pages(base, 6, 1), page_code::guard_rw));
    EXPECT_EQ(map.find(base + bytes_of(4)).run_end, base + bytes_of(6)) << "Q9";
    ASSERT_TRUE(set(pages(base, 6, 1), page_code::rw));
    EXPECT_EQ(map.find(base + bytes_of(4)).run_end, base + bytes_of(12)) << "equal again: one run";
    ASSERT_TRUE(set(first, page_code::rw));
    ASSERT_TRUE(set(second, page_code::rw));
    EXPECT_EQ(map.find(base).run_end, first.end);
}

TEST_F(region_map_test, q8_reserved_dead_and_owed_pages_are_one_region) {
    const address base = 0x200000000;
    reserve(pages(base, 0, 40));
    ASSERT_TRUE(set(pages(base, 3, 5), page_code::dead));
    ASSERT_TRUE(set(pages(base, 10, 9), page_code::reserved_writable));
    for (unsigned page = 0; page < 40; ++page) {
        EXPECT_EQ(map.find(base + bytes_of(page)).run_end, base + bytes_of(40)) << page;
    }
}

TEST_F(region_map_test, next_base_finds_the_lowest_reservation_at_or_above) {
    EXPECT_EQ(map.next_base(0), top_address);
    reserve({0x300000000, 0x300001000});
    reserve({0x700000000000, 0x700100000000});
    EXPECT_EQ(map.next_base(0), 0x300000000u);
    EXPECT_EQ(map.next_base(0x300000000), 0x300000000u);
    EXPECT_EQ(map.next_base(0x300001000, 0x300002000), 0x300002000u);
    EXPECT_EQ(map.next_base(0x300010000), 0x700000000000u);
    EXPECT_EQ(map.next_base(0x700100000000), top_address);
}

TEST_F(region_map_test, a_terabyte_costs_a_few_words_and_a_change_inside_a_few_nodes) {
    const address base = 0x500000000000;
    const range whole{base, base + (byte_count{1} << 40)};
    reserve(whole);
    EXPECT_LE(nodes.used(), 2u) << "a uniform reservation needs no node";
    EXPECT_EQ(map.find(base + (byte_count{1} << 39)).run_end, whole.end);
    ASSERT_TRUE(set(pages(base, 0, 1), page_code::rw));
    EXPECT_LE(nodes.used() * region_map::node_unit, 8192u);
    EXPECT_EQ(map.find(base + page_size).run_end, whole.end);
    release(base);
    EXPECT_EQ(map.find(base).index, 0u);
    EXPECT_EQ(map.live_count(), 0u);
}

TEST_F(region_map_test, decision_18_claims_are_per_page_and_exclusive) {
    const address base = 0x600000000;
    const std::uint32_t index = reserve(pages(base, 0, 16));
    const std::uint32_t life = map.find(base).life;
    EXPECT_EQ(map.claim(index, life, pages(base, 2, 4)), claim_outcome::claimed);
    EXPECT_EQ(map.claim(index, life, pages(base, 5, 4)), claim_outcome::busy);
    EXPECT_EQ(map.claim(index, life, pages(base, 6, 4)), claim_outcome::claimed)
        << "same granule, other pages";
    EXPECT_EQ(map.find(base + bytes_of(2)).code, page_code::reserved)
        << "the old state until publish";
    map.publish(pages(base, 2, 4), page_code::rw, false);
    EXPECT_EQ(map.find(base + bytes_of(2)).code, page_code::rw);
    EXPECT_EQ(map.claim(index, life, pages(base, 0, 16)), claim_outcome::busy);
    EXPECT_EQ(map.claim(index, life, pages(base, 0, 6)), claim_outcome::claimed)
        << "a failed claim holds nothing";
    map.unclaim(pages(base, 0, 6));
    map.unclaim(pages(base, 6, 4));
    EXPECT_EQ(map.claim(index, life + 4, pages(base, 0, 1)), claim_outcome::changed)
        << "another life";
    release(base);
    EXPECT_EQ(map.claim(index, life, pages(base, 0, 1)), claim_outcome::changed);
    EXPECT_EQ(reserve(pages(base, 0, 16)), index) << "the record is used again";
    EXPECT_EQ(map.claim(index, life, pages(base, 0, 1)), claim_outcome::changed) << "a new life";
}

TEST_F(region_map_test, without_memory_for_nodes_nothing_changes) {
    const address base = 0x500000000000;
    const std::uint32_t index = reserve({base, base + (byte_count{1} << 40)});
    const std::uint32_t life = map.find(base).life;
    grow_limit = 0;
    while (nodes.take(1) != record_array::none) { // use up what is ready
    }
    EXPECT_EQ(map.claim(index, life, pages(base, 1, 1)), claim_outcome::no_memory);
    EXPECT_EQ(map.find(base).run_end, base + (byte_count{1} << 40));
    EXPECT_FALSE(map.prepare({0x1230000, 0x1231000}));
    EXPECT_EQ(map.find(0x1230000).index, 0u);
    grow_limit = ~byte_count{0};
    EXPECT_EQ(map.claim(index, life, pages(base, 1, 1)), claim_outcome::claimed);
    map.unclaim(pages(base, 1, 1));
}

// Random reserves, changes and releases of all sizes against one entry per page.
TEST_F(region_map_test, random_changes_agree_with_a_page_array) {
    const char* given = std::getenv("MEMREEVE_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    // Around a boundary of 2 MiB, of 256 MiB and of 64 GiB at once.
    const address middle = address{64} << 36;
    constexpr unsigned half = 4096; // pages on each side
    const address low = middle - bytes_of(half);
    struct page {
        int owner = -1;
        page_code code = page_code::outside;
    };
    std::vector<page> naive(2 * half);
    std::map<int, range> live;
    int next = 0;
    unsigned done[3] = {};
    const auto index_of = [&](address a) { return static_cast<unsigned>((a - low) / page_size); };
    constexpr page_code codes[] = {page_code::reserved, page_code::noaccess, page_code::r,
                                   page_code::rw,       page_code::guard_rw, page_code::rwx,
                                   page_code::dead};
    for (int i = 0; i < 20000; ++i) {
        const unsigned what = static_cast<unsigned>(random() % 10);
        if (what < 2) {
            const unsigned size =
                1 + static_cast<unsigned>(random() % (random() % 4 == 0 ? 1600 : 60));
            const unsigned first = static_cast<unsigned>(random() % (2 * half / 16)) * 16;
            if (first + size > 2 * half) {
                continue;
            }
            const unsigned last_granule = (first + size + 15) / 16 * 16;
            bool taken = false;
            for (unsigned p = first; p < last_granule; ++p) {
                taken = taken || naive[p].owner != -1;
            }
            if (taken) {
                continue;
            }
            const page_code code = codes[random() % 2 == 0 ? 0 : random() % 6];
            reserve(pages(low, first, size), code, static_cast<std::uint32_t>(next));
            for (unsigned p = first; p < first + size; ++p) {
                naive[p] = {next, code};
            }
            live[next++] = pages(low, first, size);
            ++done[0];
        } else if (!live.empty()) {
            auto it = live.begin();
            std::advance(it, static_cast<long>(random() % live.size()));
            const range whole = it->second;
            if (what == 2) {
                release(whole.begin);
                for (unsigned p = index_of(whole.begin); p < index_of(whole.end); ++p) {
                    naive[p] = {};
                }
                live.erase(it);
                ++done[1];
            } else {
                const unsigned count = static_cast<unsigned>(whole.pages());
                const unsigned from = static_cast<unsigned>(random() % count);
                const unsigned size = 1 + static_cast<unsigned>(random() % (count - from));
                const range part = pages(whole.begin, from, size);
                const page_code code = codes[random() % 7];
                // What is under the claim is what the model says.
                const found f = map.find(part.begin);
                ASSERT_EQ(map.claim(f.index, f.life, part), claim_outcome::claimed);
                address at = part.begin;
                map.for_each_run(part, [&](range run, page_code c, bool) {
                    ASSERT_EQ(run.begin, at);
                    for (unsigned p = index_of(run.begin); p < index_of(run.end); ++p) {
                        ASSERT_EQ(naive[p].code, c);
                    }
                    at = run.end;
                });
                ASSERT_EQ(at, part.end);
                publish(f.index, part, code);
                for (unsigned p = index_of(part.begin); p < index_of(part.end); ++p) {
                    naive[p].code = code;
                }
                ++done[2];
            }
        }
        for (int k = 0; k < 4; ++k) {
            const unsigned p = static_cast<unsigned>(random() % (2 * half));
            const found f = map.find(low + bytes_of(p) + random() % page_size);
            if (naive[p].owner == -1) {
                ASSERT_EQ(f.index, 0u);
                continue;
            }
            ASSERT_EQ(f.protect, static_cast<std::uint32_t>(naive[p].owner));
            unsigned end = p;
            const auto alike = [&](page_code a, page_code b) {
                return a == b || (is_reserved(a) && is_reserved(b));
            };
            while (end < 2 * half && naive[end].owner == naive[p].owner &&
                   alike(naive[end].code, naive[p].code)) {
                ++end;
            }
            ASSERT_EQ(f.code, naive[p].code);
            ASSERT_EQ(f.run_end, low + bytes_of(end));
            ASSERT_EQ(f.whole, live[naive[p].owner]);
        }
        if (i % 500 == 0) {
            ASSERT_STREQ(map.check_invariants(), nullptr);
            ASSERT_EQ(map.live_count(), live.size());
        }
    }
    for (const unsigned n : done) {
        EXPECT_GT(n, 200u) << "the generator lost its variety";
    }
}

// Threads change disjoint pages of one reservation and of reservations that come and go; readers
// only ever see states that somebody published, of reservations that were there.
TEST_F(region_map_test, d12_readers_see_whole_states_while_threads_change_them) {
    const address shared = 0x40000000000;
    reserve(pages(shared, 0, 512));
    std::atomic<bool> stop{false};
    std::atomic<unsigned> wrong{0};
    std::atomic<std::uint64_t> seen_gone{0};
    std::atomic<std::uint64_t> seen_there{0};
    std::vector<std::thread> crew;
    const auto its_place = [](unsigned t) { return 0x50000000000 + t * (byte_count{64} << 20); };
    for (unsigned t = 0; t < 4; ++t) {
        crew.emplace_back([&, t] {
            std::mt19937 random(t + 1);
            const auto enough = [&] { return seen_gone > 100 && seen_there > 100; };
            for (int i = 0; i < 6000 || (i < 3000000 && !enough()); ++i) {
                // Pages t, t+4, ... of the shared one: neighbours in every granule are other threads'.
                const unsigned p = static_cast<unsigned>(random() % 128) * 4 + t;
                const range one = pages(shared, p, 1);
                const found f = map.find(one.begin);
                if (map.claim(f.index, f.life, one) != claim_outcome::claimed) {
                    wrong.fetch_add(1);
                } else {
                    map.publish(one, random() % 2 == 0 ? page_code::rw : page_code::reserved,
                                false);
                }
                // A reservation of its own whose protect and size name its place and round.
                const unsigned size = 1 + static_cast<unsigned>(random() % 700);
                const range mine = pages(its_place(t), 0, size);
                const std::uint32_t index = map.make(mine, owner_id::root, t << 16 | size, 0, t);
                if (index == 0 || !map.prepare(mine)) {
                    wrong.fetch_add(1);
                    continue;
                }
                map.install(index, page_code::rw);
                const found again = map.find(mine.begin);
                if (again.index != index ||
                    map.claim(index, again.life, mine) != claim_outcome::claimed) {
                    wrong.fetch_add(1);
                    continue;
                }
                map.remove(index);
                map.forget(index);
            }
        });
    }
    std::vector<std::thread> readers;
    for (unsigned t = 0; t < 2; ++t) {
        readers.emplace_back([&, t] {
            std::mt19937 random(t + 100);
            while (!stop) {
                const found s = map.find(shared + bytes_of(random() % 512));
                if (s.index == 0 || (s.code != page_code::rw && s.code != page_code::reserved) ||
                    s.run_end <= s.at || s.run_end > shared + bytes_of(512)) {
                    wrong.fetch_add(1);
                }
                const unsigned who = static_cast<unsigned>(random() % 4);
                const found f = map.find(its_place(who) + bytes_of(random() % 700));
                if (f.index == 0) {
                    seen_gone.fetch_add(1, std::memory_order_relaxed);
                    continue;
                }
                seen_there.fetch_add(1, std::memory_order_relaxed);
                const unsigned size = f.protect & 0xffff;
                if (f.protect >> 16 != who || f.whole != pages(its_place(who), 0, size) ||
                    f.run_end != f.whole.end || f.code != page_code::rw) {
                    wrong.fetch_add(1);
                }
            }
        });
    }
    for (auto& one : crew) {
        one.join();
    }
    stop = true;
    for (auto& one : readers) {
        one.join();
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(seen_gone, 0u);
    EXPECT_GT(seen_there, 0u);
}

} // namespace
} // namespace memreeve::vm
