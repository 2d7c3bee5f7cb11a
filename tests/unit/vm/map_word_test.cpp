// SPDX-License-Identifier: MIT
// The words of the region map: every state of a granule that fits one word says the same when it is
// unpacked, and what does not fit is told apart.
#include "vm/map_word.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace memreeve::vm::map_detail {
namespace {

struct naive_page {
    unsigned code;
    bool inherited;
    bool operator==(const naive_page&) const = default;
    bool operator<(const naive_page& o) const {
        return code != o.code ? code < o.code : inherited < o.inherited;
    }
};

granule_pages granule_of(const std::vector<naive_page>& pages, std::uint32_t reservation,
                         unsigned plain) {
    granule_pages g;
    g.place = place_word(reservation, static_cast<unsigned>(pages.size()) - 1, plain);
    for (unsigned i = 0; i < pages.size(); ++i) {
        g.codes |= std::uint64_t{pages[i].code} << (4 * i);
        g.inherited |= static_cast<std::uint32_t>(pages[i].inherited) << i;
    }
    return g;
}

TEST(map_word_test, one_or_two_kinds_of_pages_fit_a_word_and_more_do_not) {
    std::mt19937_64 random(1);
    unsigned packed_kinds[4] = {};
    for (int round = 0; round < 200000; ++round) {
        const auto count = static_cast<unsigned>(1 + random() % 16);
        const auto kinds = static_cast<unsigned>(1 + random() % 3);
        std::vector<naive_page> of;
        for (unsigned k = 0; k < kinds; ++k) {
            of.push_back({1 + static_cast<unsigned>(random() % 15), random() % 3 == 0});
        }
        std::vector<naive_page> all;
        for (unsigned i = 0; i < count; ++i) {
            all.push_back(of[random() % kinds]);
        }
        const std::size_t different = std::set<naive_page>(all.begin(), all.end()).size();
        const std::uint32_t reservation = 1 + static_cast<std::uint32_t>(random() % 0xffffff);
        const granule_pages g = granule_of(all, reservation, static_cast<unsigned>(random() % 16));
        const std::uint64_t w = pack(g);
        ASSERT_EQ(w == 0, different > 2);
        ++packed_kinds[different];
        if (w == 0) {
            continue;
        }
        ASSERT_EQ(kind_of(w), different == 1 ? kind::uniform : kind::pair);
        ASSERT_EQ(w & claimed_bit, 0u);
        ASSERT_EQ(w >> 61, 0u);
        ASSERT_EQ(owner_of(place_of(w)), reservation);
        ASSERT_EQ(pages_in(g.place), (1u << count) - 1);
        for (const std::uint64_t claimed : {std::uint64_t{0}, claimed_bit}) {
            const granule_pages back = unpack(w | claimed);
            ASSERT_EQ(back.codes, g.codes);
            ASSERT_EQ(back.inherited, g.inherited);
            ASSERT_EQ(back.place, g.place);
        }
    }
    EXPECT_GT(packed_kinds[1], 1000u);
    EXPECT_GT(packed_kinds[2], 1000u);
    EXPECT_GT(packed_kinds[3], 1000u);
}

TEST(map_word_test, runs_masks_and_q8) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 100000; ++round) {
        const std::uint64_t codes = random() & random();
        std::uint32_t mask = static_cast<std::uint32_t>(random()) & 0xffff;
        ASSERT_EQ(gather(spread(mask)), mask);
        std::uint32_t set = 0;
        std::uint64_t folded = 0;
        for (unsigned i = 0; i < 16; ++i) {
            const page_code code = code_at(codes, i);
            set |= static_cast<std::uint32_t>(code != page_code::outside) << i;
            folded |= static_cast<std::uint64_t>(is_reserved(code) ? page_code::reserved : code)
                      << (4 * i);
            ASSERT_EQ(fold(code), code_at(fold(codes), i));
        }
        ASSERT_EQ(gather(codes), set);
        ASSERT_EQ(fold(codes), folded);
        const auto page = static_cast<unsigned>(random() % 16);
        unsigned end = page;
        while (end < 16 && code_at(codes, end) == code_at(codes, page)) {
            ++end;
        }
        ASSERT_EQ(run_length(codes, page, code_at(codes, page)), end - page);
    }
}

TEST(map_word_test, s3_fifteen_protections_are_plain) {
    std::set<unsigned> seen;
    for (std::uint32_t value = 0; value < 0x800; ++value) {
        const std::uint32_t base = value & 0xff;
        const bool one = base != 0 && (base & (base - 1)) == 0;
        const bool expected = one && (value < 0x100 || (value < 0x200 && base != 1));
        const unsigned plain = plain_protection(value);
        ASSERT_EQ(plain != 0, expected) << std::hex << value;
        if (plain != 0) {
            ASSERT_LE(plain, 15u);
            ASSERT_EQ(protection_of(plain), value);
            ASSERT_TRUE(seen.insert(plain).second);
        }
    }
    EXPECT_EQ(seen.size(), 15u);
    EXPECT_EQ(plain_protection(0x40000010), 0u);
}

} // namespace
} // namespace memreeve::vm::map_detail
