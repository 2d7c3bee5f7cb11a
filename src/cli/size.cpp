// SPDX-License-Identifier: MIT
#include "cli/size.hpp"

#include <array>
#include <fmt/format.h>

namespace memreeve::cli {

namespace {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct suffix {
    std::string_view text;
    unsigned shift;
};
constexpr std::array<suffix, 9> suffixes = {{{"", 0},
                                             {"K", 10},
                                             {"KiB", 10},
                                             {"M", 20},
                                             {"MiB", 20},
                                             {"G", 30},
                                             {"GiB", 30},
                                             {"T", 40},
                                             {"TiB", 40}}};

} // namespace

std::optional<size> parse_size(std::string_view text, byte_count total, std::string& why) {
    if (text == "max") {
        return size{true, 0};
    }
    // whole.fraction, as digits / scale; nine digits of fraction are kept, the rest is below a byte
    // of anything that is used here.
    __extension__ typedef unsigned __int128 wide;
    constexpr wide most = ~std::uint64_t{0};
    wide digits = 0;
    wide scale = 1;
    std::size_t at = 0;
    for (; at < text.size() && is_digit(text[at]); ++at) {
        digits = digits * 10 + static_cast<unsigned>(text[at] - '0');
        if (digits > most) {
            why = "is larger than 64 bits can hold";
            return std::nullopt;
        }
    }
    if (at == 0) {
        why = "does not begin with a number";
        return std::nullopt;
    }
    const bool has_fraction = at < text.size() && text[at] == '.';
    if (has_fraction) {
        const std::size_t point = at++;
        for (; at < text.size() && is_digit(text[at]); ++at) {
            if (at - point <= 9) {
                digits = digits * 10 + static_cast<unsigned>(text[at] - '0');
                scale *= 10;
            }
        }
        if (at == point + 1) {
            why = "has no digits behind the point";
            return std::nullopt;
        }
    }
    const std::string_view rest = text.substr(at);
    if (rest == "%") {
        if (total == 0) {
            why = "is a percentage, and how much memory there is cannot be told here";
            return std::nullopt;
        }
        if (digits > 100 * scale) {
            why = "is more than all memory there is";
            return std::nullopt;
        }
        return size{false, static_cast<byte_count>(digits * total / (100 * scale))};
    }
    for (const suffix& s : suffixes) {
        if (rest != s.text) {
            continue;
        }
        if (has_fraction && s.shift == 0) {
            why = "is a fraction of a byte";
            return std::nullopt;
        }
        if (digits / scale > most >> s.shift) {
            why = "is larger than 64 bits can hold";
            return std::nullopt;
        }
        return size{false, static_cast<byte_count>((digits << s.shift) / scale)};
    }
    why = fmt::format("ends in an unknown unit, '{}'", rest);
    return std::nullopt;
}

std::string show_size(byte_count bytes) {
    constexpr std::array<const char*, 5> units = {"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t u = 0;
    auto value = static_cast<double>(bytes);
    while (value >= 1024 && u + 1 < units.size()) {
        value /= 1024;
        ++u;
    }
    const bool is_whole = (bytes & ((byte_count{1} << (10 * u)) - 1)) == 0;
    return is_whole ? fmt::format("{:.0f} {}", value, units[u])
                    : fmt::format("{:.1f} {}", value, units[u]);
}

} // namespace memreeve::cli
