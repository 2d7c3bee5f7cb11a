// SPDX-License-Identifier: MIT
#include "base/units.hpp"

#include <gtest/gtest.h>

namespace memreeve {
namespace {

TEST(units, rounding_at_every_offset_of_two_granules) {
    for (address a = 0; a <= 2 * granule_size; ++a) {
        for (const byte_count unit : {page_size, granule_size}) {
            ASSERT_EQ(round_down(a, unit), a / unit * unit);
            ASSERT_EQ(round_up(a, unit), (a + unit - 1) / unit * unit);
            ASSERT_EQ(is_aligned(a, unit), a % unit == 0);
        }
    }
}

// Rules A6, F3, V3: below the top of user space, without wrapping. A wider number is the judge.
TEST(units, a6_fits_user_space_never_wraps) {
    const address addresses[] = {0,
                                 1,
                                 0xffff,
                                 0x10000,
                                 top_address - 4096,
                                 top_address - 1,
                                 top_address,
                                 top_address + 1,
                                 address{1} << 63,
                                 ~address{0} - 4095,
                                 ~address{0}};
    const byte_count sizes[] = {0,
                                1,
                                4096,
                                0x10000,
                                top_address - 1,
                                top_address,
                                top_address + 1,
                                byte_count{1} << 63,
                                ~byte_count{0} - 4095,
                                ~byte_count{0}};
    for (const address a : addresses) {
        for (const byte_count size : sizes) {
            const long double end = static_cast<long double>(a) + static_cast<long double>(size);
            const bool fits = a < top_address && end <= static_cast<long double>(top_address);
            EXPECT_EQ(fits_user_space(a, size), fits) << std::hex << a << "+" << size;
        }
    }
}

TEST(units, span_is_every_page_touched) {
    EXPECT_EQ(span_of(0x20fff, 2), (range{0x20000, 0x22000}));
    EXPECT_EQ(span_of(0x20000, 4096), (range{0x20000, 0x21000}));
    EXPECT_EQ(span_of(0x20001, 4096), (range{0x20000, 0x22000}));
    EXPECT_TRUE(span_of(0x20000, 0).is_empty());
}

TEST(units, ranges_are_half_open) {
    constexpr range r{0x1000, 0x3000};
    EXPECT_EQ(r.size(), 0x2000u);
    EXPECT_EQ(r.pages(), 2u);
    EXPECT_FALSE(r.contains(address{0xfff}));
    EXPECT_TRUE(r.contains(address{0x1000}));
    EXPECT_TRUE(r.contains(address{0x2fff}));
    EXPECT_FALSE(r.contains(address{0x3000}));
    EXPECT_TRUE(r.contains(r));
    EXPECT_FALSE(r.contains(range{0x1000, 0x3001}));
    EXPECT_FALSE(r.overlaps({0x3000, 0x4000}));
    EXPECT_FALSE(r.overlaps({0, 0x1000}));
    EXPECT_TRUE(r.overlaps({0x2fff, 0x4000}));
    EXPECT_FALSE((range{5, 5}).contains(address{5}));
}

} // namespace
} // namespace memreeve
