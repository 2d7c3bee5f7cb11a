// SPDX-License-Identifier: MIT
// Sizes as people write them on the command line.
#pragma once

#include "base/units.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace memreeve::cli {

inline constexpr const char* accepted_sizes =
    "bytes (268435456), a number with K, M, G, T or KiB, MiB, GiB, TiB (512M, 1.5GiB; powers of "
    "1024), "
    "a percentage of this machine's or container's memory (25%), or max";

struct size {
    bool is_unlimited = false; // "max"
    byte_count bytes = 0;
};

// `total` is what a percentage refers to; 0: unknown, percentages are refused. Fractions need a
// suffix and are rounded down. Nothing where the text is none of the accepted forms or does not fit
// 64 bits; `why` then says what is wrong, as a fragment.
std::optional<size> parse_size(std::string_view text, byte_count total, std::string& why);

// "389.2 MiB", "64 KiB", "0 B".
std::string show_size(byte_count bytes);

} // namespace memreeve::cli
