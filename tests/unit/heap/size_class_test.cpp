// SPDX-License-Identifier: MIT
#include "heap/size_class.hpp"

#include <gtest/gtest.h>

namespace memreeve::heap {
namespace {

// D6, D5: aligned, large enough, never more than 12.5 % (or the alignment) above what was asked.
TEST(size_class, every_size_gets_the_smallest_class_that_holds_it) {
    for (byte_count size = 0; size <= largest_small; ++size) {
        const std::uint32_t c = class_of(size);
        ASSERT_LT(c, class_count) << size;
        const std::uint32_t got = size_of_class(c);
        ASSERT_GE(got, size);
        ASSERT_EQ(got % block_alignment, 0u) << size;
        if (c > 0) {
            ASSERT_LT(size_of_class(c - 1), size == 0 ? 1 : size) << "a smaller class would do";
        }
    }
}

TEST(size_class, neighbours_are_at_most_an_eighth_apart) {
    for (std::uint32_t c = 1; c < class_count; ++c) {
        const std::uint32_t below = size_of_class(c - 1);
        const std::uint32_t step = size_of_class(c) - below;
        EXPECT_TRUE(step == block_alignment || step * 8 <= below) << below;
    }
}

TEST(size_class, slabs_are_pages_grow_and_waste_little) {
    for (std::uint32_t c = 0; c < class_count; ++c) {
        const std::uint32_t size = size_of_class(c);
        std::uint32_t before = 0;
        for (std::uint32_t n = 0; n < 10; ++n) {
            const std::uint32_t bytes = slab_bytes(size, n);
            EXPECT_EQ(bytes % page_size, 0u);
            EXPECT_GE(bytes, size);
            EXPECT_GE(bytes, before);
            EXPECT_LE(bytes % size, bytes / 8) << size << " in " << bytes;
            before = bytes;
        }
        EXPECT_EQ(before, full_slab_bytes(size));
    }
}

TEST(size_class, one_block_of_every_class_costs_under_a_megabyte) {
    std::uint64_t all = 0;
    for (std::uint32_t c = 0; c < class_count; ++c) {
        all += slab_bytes(size_of_class(c), 0);
    }
    EXPECT_LT(all, 1024u * 1024u);
}

} // namespace
} // namespace memreeve::heap
