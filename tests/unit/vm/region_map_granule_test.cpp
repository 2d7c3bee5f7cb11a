// SPDX-License-Identifier: MIT
// The words of one granule: every transition of the table in region_map.hpp, what each needs of memory,
// what query() reads from them, and what a fork's child makes of them.
#include "map_fixture.hpp"

#include <algorithm>
#include <map>
#include <vector>

namespace memreeve::vm {
namespace {

using map_detail::kind;
using region_map_granule_test = map_fixture;

constexpr address base = 0x123400000;

TEST_F(region_map_granule_test, a_word_follows_the_states_of_its_pages) {
    reserve(pages(base, 0, 16));
    EXPECT_EQ(kind_at(base), kind::uniform);
    ASSERT_TRUE(set(pages(base, 3, 2), page_code::rw));
    EXPECT_EQ(kind_at(base), kind::pair);
    EXPECT_EQ(map.find(base).run_end, base + bytes_of(3));
    EXPECT_EQ(map.find(base + bytes_of(3)).run_end, base + bytes_of(5));
    EXPECT_EQ(map.find(base + bytes_of(5)).run_end, base + bytes_of(16));
    ASSERT_TRUE(set(pages(base, 0, 1), page_code::rw));
    EXPECT_EQ(kind_at(base), kind::pair) << "page 0 is of the second kind now";
    ASSERT_TRUE(set(pages(base, 7, 1), page_code::rx));
    EXPECT_EQ(kind_at(base), kind::record);
    EXPECT_EQ(map.find(base + bytes_of(5)).run_end, base + bytes_of(7));
    EXPECT_EQ(map.find(base + bytes_of(7)).code, page_code::rx);
    ASSERT_STREQ(map.check_invariants(), nullptr);
    ASSERT_TRUE(set(pages(base, 9, 1), page_code::guard_r));
    EXPECT_EQ(kind_at(base), kind::record);
    ASSERT_TRUE(set(pages(base, 9, 1), page_code::rw));
    ASSERT_TRUE(set(pages(base, 7, 1), page_code::reserved));
    EXPECT_EQ(kind_at(base), kind::pair) << "two kinds again";
    ASSERT_TRUE(set(pages(base, 0, 16), page_code::r));
    EXPECT_EQ(kind_at(base), kind::uniform);
    EXPECT_LE(nodes.used(), 1u + 9 + 5 + 1 + 2) << "records are used again";
    release(base);
    EXPECT_EQ(word_at(base), 0u);
}

TEST_F(region_map_granule_test, decision_18_three_requests_in_one_granule) {
    const std::uint32_t index = reserve(pages(base, 0, 16));
    const std::uint32_t life = map.find(base).life;
    const auto claim = [&](unsigned first, unsigned count) {
        return map.claim(index, life, pages(base, first, count));
    };
    // In every order in which three claims can end, and each as a publish or not.
    unsigned order[3] = {0, 1, 2};
    const range part[3] = {pages(base, 0, 3), pages(base, 3, 1), pages(base, 10, 6)};
    const page_code codes[3] = {page_code::rw, page_code::rx, page_code::guard_rw};
    do {
        for (unsigned published = 0; published < 8; ++published) {
            ASSERT_EQ(claim(0, 3), claim_outcome::claimed);
            ASSERT_EQ(claim(3, 1), claim_outcome::claimed);
            ASSERT_EQ(claim(2, 2), claim_outcome::busy);
            ASSERT_EQ(claim(10, 6), claim_outcome::claimed);
            ASSERT_EQ(claim(0, 16), claim_outcome::busy);
            ASSERT_STREQ(check_with_claims(), nullptr);
            for (unsigned i = 0; i < 3; ++i) {
                const unsigned k = order[i];
                ASSERT_EQ(map.find(part[k].begin).code, page_code::reserved);
                if ((published >> k & 1) != 0) {
                    publish(index, part[k], codes[k]);
                } else {
                    map.unclaim(part[k]);
                }
                ASSERT_STREQ(check_with_claims(), nullptr);
            }
            ASSERT_STREQ(map.check_invariants(), nullptr);
            for (unsigned page = 0; page < 16; ++page) {
                page_code expected = page_code::reserved;
                for (unsigned k = 0; k < 3; ++k) {
                    if (part[k].contains(base + bytes_of(page)) && (published >> k & 1) != 0) {
                        expected = codes[k];
                    }
                }
                ASSERT_EQ(map.find(base + bytes_of(page)).code, expected);
            }
            ASSERT_TRUE(set(pages(base, 0, 16), page_code::reserved));
            ASSERT_EQ(kind_at(base), kind::uniform);
        }
    } while (std::next_permutation(order, order + 3));
}

TEST_F(region_map_granule_test, a_claim_of_all_stands_in_the_word_whatever_it_is) {
    for (unsigned kinds = 1; kinds <= 3; ++kinds) {
        for (const unsigned size : {1u, 4u, 15u, 16u}) {
            const std::uint32_t index = reserve(pages(base, 0, size));
            for (unsigned k = 1; k < kinds && k < size; ++k) {
                ASSERT_TRUE(set(pages(base, k, 1), k == 1 ? page_code::rw : page_code::rx));
            }
            const std::uint64_t before = word_at(base);
            const std::uint32_t life = map.find(base).life;
            ASSERT_EQ(map.claim(index, life, pages(base, 0, size)), claim_outcome::claimed);
            EXPECT_EQ(word_at(base), before | map_detail::claimed_bit);
            EXPECT_EQ(map.claim(index, life, pages(base, 0, 1)), claim_outcome::busy);
            EXPECT_EQ(map.claim(index, life, pages(base, 0, size)), claim_outcome::busy);
            run_view v;
            ASSERT_TRUE(map.query(base, v));
            EXPECT_TRUE(v.claimed);
            ASSERT_STREQ(check_with_claims(), nullptr);
            EXPECT_STRNE(map.check_invariants(), nullptr);
            map.unclaim(pages(base, 0, size));
            EXPECT_EQ(word_at(base), before);
            ASSERT_TRUE(map.query(base, v));
            EXPECT_FALSE(v.claimed);
            ASSERT_STREQ(map.check_invariants(), nullptr);
            release(base);
        }
    }
}

// A release and a decommit of whole granules succeed without memory for records, run by run too.
TEST_F(region_map_granule_test, what_ends_a_reservation_needs_no_memory) {
    constexpr unsigned size = 64;
    for (int round = 0; round < 3; ++round) {
        grow_limit = ~byte_count{0};
        const std::uint32_t index = reserve(pages(base, 0, size));
        for (unsigned page = 0; page < size; page += 2) {
            ASSERT_TRUE(set(pages(base, page, 1), page_code::rw));
        }
        for (unsigned page = 0; round == 1 && page < 16; page += 3) {
            ASSERT_TRUE(set(pages(base, page, 1), page_code::rx)); // three kinds
        }
        use_up_memory();
        // Records that are free go too: each partial claim takes one.
        const std::uint32_t life = map.find(base).life;
        std::vector<range> held;
        claim_outcome outcome = claim_outcome::claimed;
        const address more = base + (address{1} << 20);
        grow_limit = ~byte_count{0};
        const std::uint32_t other = reserve(pages(more, 0, 16 * 40));
        const std::uint32_t other_life = map.find(more).life;
        use_up_memory();
        for (unsigned granule = 0; granule < 40; ++granule) {
            const range one = pages(more, granule * 16, 1);
            outcome = map.claim(other, other_life, one);
            if (outcome != claim_outcome::claimed) {
                break;
            }
            held.push_back(one);
        }
        EXPECT_EQ(outcome, claim_outcome::no_memory);
        ASSERT_STREQ(check_with_claims(), nullptr);
        ASSERT_EQ(map.claim(index, life, pages(base, 0, size)), claim_outcome::claimed);
        if (round != 2) {
            unsigned runs = 0;
            map.for_each_run(pages(base, 0, size), [&](range run, page_code code, bool) {
                map.publish(
                    run, code == page_code::rw ? page_code::reserved_writable : page_code::reserved,
                    false);
                ++runs;
            });
            EXPECT_GT(runs, 50u);
            ASSERT_STREQ(check_with_claims(), nullptr);
            ASSERT_EQ(map.claim(index, life, pages(base, 0, size)), claim_outcome::claimed);
        }
        map.remove(index);
        map.forget(index);
        EXPECT_EQ(map.find(base).index, 0u);
        for (const range one : held) {
            map.unclaim(one);
        }
        ASSERT_STREQ(map.check_invariants(), nullptr);
        release(more);
    }
}

// The word of a record names its generation, and the next time it is another.
TEST_F(region_map_granule_test, a_record_used_again_is_of_another_generation) {
    const std::uint32_t index = reserve(pages(base, 0, 16));
    const std::uint32_t life = map.find(base).life;
    std::uint64_t before = 0;
    for (int i = 0; i < 1000; ++i) {
        ASSERT_EQ(map.claim(index, life, pages(base, 2, 1)), claim_outcome::claimed);
        const std::uint64_t w = word_at(base);
        ASSERT_EQ(map_detail::kind_of(w), kind::record);
        ASSERT_NE(w, before);
        before = w;
        map.unclaim(pages(base, 2, 1));
    }
    EXPECT_LE(nodes.used(), 1u + 9 + 5 + 1 + 2);
    // Part of a claim of all that ends alone: the record at rest is one of another generation too.
    ASSERT_TRUE(set(pages(base, 0, 1), page_code::rw));
    ASSERT_TRUE(set(pages(base, 1, 1), page_code::rx));
    const std::uint64_t rest = word_at(base);
    ASSERT_EQ(map_detail::kind_of(rest), kind::record);
    ASSERT_EQ(map.claim(index, life, pages(base, 0, 16)), claim_outcome::claimed);
    map.unclaim(pages(base, 4, 2));
    EXPECT_NE(word_at(base) & ~map_detail::claimed_bit, rest);
    ASSERT_STREQ(check_with_claims(), nullptr);
    ASSERT_EQ(map.claim(index, life, pages(base, 4, 1)), claim_outcome::claimed);
    ASSERT_EQ(map.claim(index, life, pages(base, 4, 2)), claim_outcome::busy);
    map.unclaim(pages(base, 0, 5));
    map.unclaim(pages(base, 6, 10));
}

// S3, S4: whatever its size and protection, and whether the word or the record says so.
TEST_F(region_map_granule_test, query_of_small_reservations) {
    const std::uint32_t protections[] = {0x01,  0x02,  0x04,  0x08,  0x10,      0x20,  0x40,
                                         0x80,  0x102, 0x104, 0x110, 0x120,     0x140, 0x108,
                                         0x180, 0x204, 0x402, 0x240, 0x40000010};
    for (unsigned size = 1; size <= 18; ++size) {
        for (const std::uint32_t protect : protections) {
            const std::uint32_t index = reserve(pages(base, 0, size), page_code::rw, protect);
            const bool from_word = size <= 16 && protect < 0x200;
            for (unsigned kinds = 1; kinds <= 3; ++kinds) {
                if (kinds > 1 && kinds <= size) {
                    ASSERT_TRUE(set(pages(base, kinds - 1, 1),
                                    kinds == 2 ? page_code::dead : page_code::guard_rx));
                }
                for (unsigned page = 0; page < 48; ++page) {
                    const address a = base + bytes_of(page);
                    run_view v;
                    v.claimed = true;
                    const found f = map.find(a);
                    ASSERT_EQ(map.query(a + 17, v), page < size);
                    ASSERT_EQ(v.at, a) << "Q4";
                    ASSERT_EQ(f.index, page < size ? index : 0);
                    if (page >= size) {
                        continue;
                    }
                    ASSERT_EQ(v.base, base);
                    ASSERT_EQ(v.protect, protect);
                    ASSERT_EQ(v.code, f.code);
                    ASSERT_EQ(v.run_end, f.run_end);
                    ASSERT_EQ(v.has_flags, !from_word);
                    ASSERT_FALSE(v.claimed);
                    ASSERT_EQ(f.protect, protect);
                    ASSERT_EQ(f.whole, pages(base, 0, size));
                    ASSERT_GT(v.run_end, a);
                    ASSERT_LE(v.run_end, base + bytes_of(size));
                }
                ASSERT_EQ(map.next_base(0), base);
                ASSERT_EQ(map.next_base(base + 1), top_address);
            }
            release(base);
        }
    }
}

TEST_F(region_map_granule_test, query_of_larger_reservations_has_their_flags) {
    const std::uint32_t index = map.make(pages(base, 0, 20000), owner_id::root, 4, may_be_open, 0);
    ASSERT_TRUE(map.prepare(pages(base, 0, 20000)));
    map.install(index, page_code::reserved);
    run_view v;
    ASSERT_TRUE(map.query(base + bytes_of(10000), v));
    EXPECT_TRUE(v.has_flags);
    EXPECT_EQ(v.flags, may_be_open);
    EXPECT_EQ(v.base, base);
    EXPECT_EQ(v.run_end, base + bytes_of(20000));
    EXPECT_FALSE(v.claimed);
    const found f = map.find(base);
    ASSERT_EQ(map.claim(index, f.life, pages(base, 10000, 1)), claim_outcome::claimed);
    ASSERT_TRUE(map.query(base + bytes_of(10000), v));
    EXPECT_TRUE(v.claimed);
    ASSERT_TRUE(map.query(base, v));
    EXPECT_FALSE(v.claimed);
    map.unclaim(pages(base, 10000, 1));
}

// Every kind of word as threads of the parent left it: claims end, what is charged is inherited.
TEST_F(region_map_granule_test, a_forks_child_settles_every_kind_of_word) {
    struct left {
        address at;
        unsigned size;
        std::vector<page_code> codes; // of the first pages, the others reserved
        range claimed;                // pages, relative
    };
    const address far = 0x500000000000;
    const std::vector<left> cases = {
        {base, 16, {}, {0, 16}},
        {base + 0x10000, 7, {page_code::rw}, {0, 7}},
        {base + 0x20000, 16, {page_code::rw}, {3, 5}},
        {base + 0x30000, 16, {page_code::rw, page_code::rx}, {0, 16}},
        {base + 0x40000, 16, {page_code::rw, page_code::rx}, {0, 0}},
        {base + 0x50000, 9, {page_code::rw, page_code::rx, page_code::replaced}, {1, 3}},
        {far, 2 << 18, {}, {0, 2 << 18}},
    };
    for (const left& c : cases) {
        const std::uint32_t index = reserve(pages(c.at, 0, c.size));
        for (unsigned i = 0; i < c.codes.size(); ++i) {
            ASSERT_TRUE(set(pages(c.at, i, 1), c.codes[i]));
        }
        if (c.claimed.end != 0) {
            const range part = pages(c.at, static_cast<unsigned>(c.claimed.begin),
                                     static_cast<unsigned>(c.claimed.end - c.claimed.begin));
            ASSERT_EQ(map.claim(index, map.find(c.at).life, part), claim_outcome::claimed);
        }
    }
    // A thread that had made a small one live and not yet put it into its granule's word.
    const std::uint32_t lost = map.make(pages(base, 0x800, 4), owner_id::root, 4, 0, 0);
    map.at(lost).life.fetch_add(1);
    EXPECT_FALSE(map.holds(lost));
    std::map<address, std::pair<page_code, bool>> told;
    map.settle_after_fork([&](range run, std::uint32_t index, page_code code, bool claimed) {
        EXPECT_EQ(map.find(run.begin).index, index);
        if (run.size() > (1 << 20)) {
            EXPECT_GE(run.begin, far);
            EXPECT_TRUE(claimed);
            return;
        }
        for (address a = run.begin; a < run.end; a += page_size) {
            EXPECT_TRUE(told.insert({a, {code, claimed}}).second);
        }
    });
    EXPECT_EQ(map.at(lost).stage(), reservation_stage::going);
    map.forget(lost);
    ASSERT_STREQ(map.check_invariants(), nullptr) << "no claim is left";
    for (const left& c : cases) {
        if (c.at == far) {
            continue;
        }
        for (unsigned i = 0; i < c.size; ++i) {
            const page_code code = i < c.codes.size() ? c.codes[i] : page_code::reserved;
            const auto it = told.find(c.at + bytes_of(i));
            ASSERT_NE(it, told.end());
            EXPECT_EQ(it->second.first, code);
            EXPECT_EQ(it->second.second, i >= c.claimed.begin && i < c.claimed.end) << i;
        }
        const found f = map.find(c.at);
        ASSERT_EQ(map.claim(f.index, f.life, f.whole), claim_outcome::claimed);
        map.for_each_run(f.whole, [&](range, page_code code, bool inherited) {
            EXPECT_EQ(inherited, is_charged(code));
        });
        // A protect keeps the inheritance of what it leaves charged, a decommit ends it.
        map.publish(f.whole, page_code::rw, true);
        ASSERT_EQ(map.claim(f.index, f.life, f.whole), claim_outcome::claimed);
        unsigned page = 0;
        map.for_each_run(f.whole, [&](range run, page_code code, bool inherited) {
            EXPECT_EQ(code, page_code::rw);
            EXPECT_EQ(inherited, page < c.codes.size() && is_charged(c.codes[page]));
            page += static_cast<unsigned>(run.pages());
        });
        map.publish(f.whole, page_code::reserved, false);
        ASSERT_EQ(map.claim(f.index, f.life, f.whole), claim_outcome::claimed);
        map.for_each_run(f.whole, [&](range run, page_code, bool inherited) {
            EXPECT_EQ(run, f.whole);
            EXPECT_FALSE(inherited);
        });
        map.unclaim(f.whole);
    }
}

} // namespace
} // namespace memreeve::vm
