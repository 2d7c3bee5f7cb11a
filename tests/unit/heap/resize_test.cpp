// SPDX-License-Identifier: MIT
// heap: zeroed and aligned blocks, resize, owns, trim.
#include "one_heap.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <vector>

namespace memreeve::heap {
namespace {

unsigned char* at(address a) { return reinterpret_cast<unsigned char*>(a); }

struct heap_resize : one_heap {
    // Every byte tells its place, so that a block which came over in the wrong order shows.
    static unsigned char mark(byte_count i) { return static_cast<unsigned char>(i * 7 + i / 251); }
    static void fill(address a, byte_count size) {
        for (byte_count i = 0; i < size; ++i) {
            at(a)[i] = mark(i);
        }
    }
    static bool is_filled(address a, byte_count size) {
        for (byte_count i = 0; i < size; ++i) {
            if (at(a)[i] != mark(i)) {
                return false;
            }
        }
        return true;
    }
};

TEST_F(heap_resize, zeroed_blocks_read_zero_where_others_wrote_before) {
    for (const byte_count size : {1u, 100u, 5000u, 32768u, 32769u, 500000u, 9000000u}) {
        for (int round = 0; round < 3; ++round) {
            const auto got = h->allocate_zeroed(size, task);
            ASSERT_TRUE(got);
            for (byte_count i = 0; i < size; ++i) {
                ASSERT_EQ(at(*got)[i], 0) << size << "+" << i;
            }
            std::memset(at(*got), 0xff, h->size_of(*got));
            EXPECT_TRUE(h->free(*got));
        }
    }
    EXPECT_EQ(h->allocate_zeroed(~byte_count{0}, task).error().code, errc::out_of_address_space);
}

TEST_F(heap_resize, every_alignment_and_size) {
#ifdef __SANITIZE_THREAD__
    constexpr byte_count largest = byte_count{1} << 32; // its shadow leaves no longer free ranges
#else
    constexpr byte_count largest = byte_count{1} << 40;
#endif
    std::map<address, byte_count> live;
    for (byte_count alignment = 1; alignment <= largest; alignment *= 2) {
        for (const byte_count size : {0u, 1u, 24u, 100u, 4096u, 5000u, 33000u, 70000u, 200000u}) {
            for (int i = 0; i < 3; ++i) {
                const auto got = h->allocate_aligned(size, alignment, task);
                ASSERT_TRUE(got) << size << " at " << alignment;
                ASSERT_EQ(*got % alignment, 0u) << size << " at " << alignment;
                ASSERT_EQ(*got % 16, 0u);
                const byte_count usable = h->size_of(*got);
                ASSERT_GE(usable, size);
                std::memset(at(*got), 0x77, usable);
                ASSERT_TRUE(live.emplace(*got, usable).second);
                EXPECT_EQ(h->free(*got + 1).error().code, errc::not_ours);
                EXPECT_EQ(h->free(*got + 4096).error().code, errc::not_ours);
            }
        }
    }
    EXPECT_EQ(h->stats().live_blocks, live.size());
    EXPECT_EQ(h->stats().pages_held, source.pages());
    address end = 0;
    for (const auto& [a, size] : live) {
        EXPECT_GE(a, end) << "two blocks overlap";
        end = a + size;
        EXPECT_TRUE(h->free(a));
        EXPECT_FALSE(h->free(a));
    }
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

TEST_F(heap_resize, alignment_costs_no_more_than_its_pages) {
    EXPECT_TRUE(h->free(get(5000))); // records and a cache
    h->trim();
    const page_count before = source.pages();
    const auto far = h->allocate_aligned(5000, byte_count{1} << 30, task);
    ASSERT_TRUE(far);
    EXPECT_LE(source.pages(), before + 2);
    EXPECT_TRUE(h->free(*far));
}

TEST_F(heap_resize, alignments_that_are_none) {
    for (const byte_count alignment :
         {byte_count{0}, byte_count{3}, byte_count{24}, ~byte_count{0}}) {
        EXPECT_EQ(h->allocate_aligned(8, alignment, task).error().code, errc::invalid_argument);
    }
    EXPECT_EQ(h->allocate_aligned(8, byte_count{1} << 63, task).error().code,
              errc::out_of_address_space);
    EXPECT_EQ(h->allocate_aligned(~byte_count{0}, 64, task).error().code,
              errc::out_of_address_space);
}

TEST_F(heap_resize, contents_come_along_whatever_the_sizes) {
    const byte_count sizes[] = {0,     1,     40,     100,    3000,    20000,
                                32768, 32769, 140000, 600000, 5000000, 30};
    for (const byte_count from : sizes) {
        for (const byte_count to : sizes) {
            const address a = get(from);
            fill(a, from);
            const auto b = h->resize(a, to, task);
            ASSERT_TRUE(b) << from << " to " << to;
            ASSERT_GE(h->size_of(*b), to);
            ASSERT_TRUE(is_filled(*b, std::min(from, to))) << from << " to " << to;
            std::memset(at(*b), 0x11, h->size_of(*b));
            ASSERT_EQ(h->stats().live_blocks, 1u);
            ASSERT_EQ(h->stats().pages_held, source.pages());
            if (*b != a) {
                EXPECT_EQ(h->size_of(a), 0u);
            }
            ASSERT_TRUE(h->free(*b));
        }
    }
    EXPECT_GE(source.moves, 3u);
    EXPECT_GT(source.resizes, 5u);
}

TEST_F(heap_resize, a_growing_block_is_seldom_moved_and_never_charged_twice) {
    address a = get(200000);
    source.limit = source.pages() + pages_of(16 << 20);
    byte_count size = 200000;
    unsigned moved = 0;
    for (; size < 15 << 20; size += 100000) {
        fill(a + size - 100001, 1);
        const auto b = h->resize(a, size, task);
        ASSERT_TRUE(b) << size << ": the limit is more than the block, and less than it twice";
        moved += *b != a ? 1u : 0u;
        a = *b;
    }
    EXPECT_LE(moved, 5u);
    // Shrinking gives pages back at once.
    const page_count full = source.pages();
    const auto b = h->resize(a, 1 << 20, task);
    ASSERT_TRUE(b);
    EXPECT_EQ(*b, a);
    EXPECT_LE(source.pages(), full - pages_of(13 << 20));
    EXPECT_EQ(h->stats().pages_held, source.pages());
    EXPECT_TRUE(h->free(a));
}

TEST_F(heap_resize, small_blocks_stay_while_they_fit_and_waste_less_than_half) {
    const address a = get(1000);
    EXPECT_EQ(*h->resize(a, h->size_of(a), task), a);
    EXPECT_EQ(*h->resize(a, 600, task), a);
    const auto less = h->resize(a, 100, task);
    ASSERT_TRUE(less);
    EXPECT_NE(*less, a);
    EXPECT_LT(h->size_of(*less), 200u);
    EXPECT_TRUE(h->free(*less));
}

TEST_F(heap_resize, what_is_no_block_is_not_resized) {
    const address small = get(100);
    const address large = get(300000);
    int local = 0;
    const address freed = get(100);
    EXPECT_TRUE(h->free(freed));
    const heap_stats before = h->stats();
    for (const address wrong : {address{0}, reinterpret_cast<address>(&local), small + 16,
                                large + 4096, freed, reinterpret_cast<address>(h), ~address{15}}) {
        for (const byte_count size : {0u, 100u, 1000000u}) {
            EXPECT_EQ(h->resize(wrong, size, task).error().code, errc::not_ours) << wrong;
        }
    }
    EXPECT_EQ(h->stats().live_bytes, before.live_bytes);
    EXPECT_TRUE(h->free(small));
    EXPECT_TRUE(h->free(large));
}

TEST_F(heap_resize, a_refusal_leaves_the_block_as_it_was) {
    for (const byte_count from :
         {byte_count{100}, byte_count{20000}, byte_count{100000}, byte_count{1000000}}) {
        const address a = get(from);
        fill(a, from);
        const heap_stats before = h->stats();
        source.fail_from = 1;
        for (const byte_count to : {from * 30 + 100000, byte_count{1} << 40}) {
            EXPECT_EQ(h->resize(a, to, task).error().code, errc::over_budget);
        }
        EXPECT_EQ(h->resize(a, ~byte_count{0}, task).error().code, errc::out_of_address_space);
        EXPECT_TRUE(is_filled(a, from));
        EXPECT_EQ(h->stats().live_bytes, before.live_bytes);
        const auto less = h->resize(a, 17, task);
        ASSERT_TRUE(less) << "letting go is never refused";
        EXPECT_TRUE(is_filled(*less, 17));
        source.fail_from = 0;
        EXPECT_TRUE(h->free(*less));
    }
}

TEST_F(heap_resize, owns_tells_misuse_from_foreign_addresses) {
    const address small = get(100);
    const address large = get(300000);
    int local = 0;
    EXPECT_TRUE(h->owns(small));
    EXPECT_TRUE(h->owns(small + 1));
    EXPECT_TRUE(h->owns(large + 4096));
    EXPECT_TRUE(h->owns(reinterpret_cast<address>(h)));
    EXPECT_FALSE(h->owns(0));
    EXPECT_FALSE(h->owns(reinterpret_cast<address>(&local)));
    EXPECT_FALSE(h->owns(~address{0}));
    const auto other = heap::create(source, {});
    ASSERT_TRUE(other);
    EXPECT_FALSE((*other)->owns(small));
    (*other)->destroy();
    EXPECT_TRUE(h->free(small));
    EXPECT_TRUE(h->free(large));
}

TEST_F(heap_resize, trim_gives_back_what_holds_no_block) {
    const page_count empty = source.pages();
    for (byte_count size = 16; size <= 32768; size *= 2) {
        EXPECT_TRUE(h->free(get(size)));
    }
    EXPECT_TRUE(h->free(get(100000)));
    EXPECT_GT(source.pages(), empty);
    const page_count before = source.pages();
    const byte_count given = h->trim();
    EXPECT_EQ(bytes_of(before - source.pages()), given);
    EXPECT_GT(given, 0u);
    EXPECT_LE(source.pages(), empty + 16) << "records may stay";
    EXPECT_EQ(h->stats().pages_held, source.pages());
    EXPECT_EQ(h->trim(), 0u);
    // And all of it can be used again; what is live is left alone.
    const address a = get(100);
    std::memset(at(a), 1, 100);
    h->trim();
    EXPECT_EQ(at(a)[99], 1);
    EXPECT_EQ(h->size_of(a), 112u);
    EXPECT_TRUE(h->free(a));
}

TEST_F(heap_resize, random_resizes_agree_with_a_naive_model) {
    std::mt19937_64 random(11);
    std::map<address, byte_count> live;
    for (int i = 0; i < 20000; ++i) {
        const byte_count size = random() % 3 == 0 ? random() % 400000 : random() % 3000;
        if (live.size() < 50 || random() % 4 == 0) {
            const byte_count alignment = byte_count{1} << random() % 14;
            const auto got = h->allocate_aligned(size, alignment, task);
            ASSERT_TRUE(got);
            fill(*got, size);
            ASSERT_TRUE(live.emplace(*got, size).second);
            continue;
        }
        auto it = live.begin();
        std::advance(it, static_cast<long>(random() % live.size()));
        const auto [a, old] = *it;
        live.erase(it);
        if (live.size() > 150 || random() % 3 == 0) {
            ASSERT_TRUE(is_filled(a, old));
            ASSERT_TRUE(h->free(a));
            continue;
        }
        const auto b = h->resize(a, size, task);
        ASSERT_TRUE(b);
        ASSERT_TRUE(is_filled(*b, std::min(old, size)));
        fill(*b, size);
        ASSERT_TRUE(live.emplace(*b, size).second);
        ASSERT_EQ(h->stats().live_blocks, live.size());
        ASSERT_EQ(h->stats().pages_held, source.pages());
    }
    for (const auto& [a, size] : live) {
        ASSERT_TRUE(is_filled(a, size));
        ASSERT_TRUE(h->free(a));
    }
}

} // namespace
} // namespace memreeve::heap
