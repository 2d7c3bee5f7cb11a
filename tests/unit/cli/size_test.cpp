// SPDX-License-Identifier: MIT
// Contract section 4, SIZE: what is accepted, what is refused.
#include "cli/size.hpp"

#include <gtest/gtest.h>

namespace {

using namespace memreeve::cli;
using memreeve::byte_count;

constexpr byte_count total = byte_count{8} << 30;

std::optional<byte_count> bytes(const char* text, byte_count of = total) {
    std::string why;
    const auto s = parse_size(text, of, why);
    EXPECT_EQ(why.empty(), s.has_value()) << text;
    return s ? std::optional(s->bytes) : std::nullopt;
}

TEST(size, every_form_of_the_contract) {
    EXPECT_EQ(bytes("268435456"), byte_count{256} << 20);
    EXPECT_EQ(bytes("1K"), 1024u);
    EXPECT_EQ(bytes("256M"), byte_count{256} << 20);
    EXPECT_EQ(bytes("2G"), byte_count{2} << 30);
    EXPECT_EQ(bytes("1T"), byte_count{1} << 40);
    EXPECT_EQ(bytes("1KiB"), 1024u);
    EXPECT_EQ(bytes("256MiB"), byte_count{256} << 20);
    EXPECT_EQ(bytes("2GiB"), byte_count{2} << 30);
    EXPECT_EQ(bytes("1TiB"), byte_count{1} << 40);
    EXPECT_EQ(bytes("25%"), byte_count{2} << 30);
    EXPECT_EQ(bytes("0.5G"), byte_count{512} << 20);
    EXPECT_EQ(bytes("12.5%"), byte_count{1} << 30);
    EXPECT_EQ(bytes("100%"), total);
    EXPECT_EQ(bytes("0"), 0u);
    EXPECT_EQ(bytes("18446744073709551615"), ~byte_count{0});
    std::string why;
    EXPECT_TRUE(parse_size("max", 0, why)->is_unlimited);
}

TEST(size, anything_else_is_refused) {
    for (const char* text : {"",
                             "12Q",
                             "Q",
                             "-1",
                             "+1",
                             " 1",
                             "1 ",
                             "1 M",
                             "1m",
                             "1k",
                             "512MB",
                             "2Gi",
                             "1e9",
                             "0x10",
                             "none",
                             "MAX",
                             "1..5G",
                             "1.G",
                             ".5G",
                             "1.5",
                             "1.5B",
                             "1,5G",
                             "101%",
                             "100.1%",
                             "-5%",
                             "%",
                             "1%%",
                             "1MM",
                             "1KiBB",
                             "18446744073709551616",
                             "17179869184G",
                             "16777216T",
                             "99999999999999999999999999999G",
                             "18446744073709551615.999999999T"}) {
        EXPECT_FALSE(bytes(text)) << text;
    }
    EXPECT_FALSE(bytes("5%", 0)) << "a percentage of nothing known";
}

TEST(size, shown_in_iec_units) {
    EXPECT_EQ(show_size(0), "0 B");
    EXPECT_EQ(show_size(1023), "1023 B");
    EXPECT_EQ(show_size(64 * 1024), "64 KiB");
    EXPECT_EQ(show_size((byte_count{389} << 20) + (byte_count{2} << 20) / 10), "389.2 MiB");
    EXPECT_EQ(show_size(byte_count{200} << 20), "200 MiB");
    EXPECT_EQ(show_size(~byte_count{0}), "16777216.0 TiB");
}

} // namespace
