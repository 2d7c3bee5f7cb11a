// SPDX-License-Identifier: MIT
#include "cli/text.hpp"

#include "prim/prim.hpp"

#include <fmt/format.h>

namespace memreeve::cli {

namespace {

// Length of the well-formed UTF-8 sequence at the front of `s`, 0 when there is none.
std::size_t utf8_length(std::string_view s) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    const unsigned char first = byte(0);
    std::size_t n = 0;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        n = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        n = 3;
    } else if (first >= 0xf0 && first <= 0xf4) {
        n = 4;
    }
    if (n == 0 || s.size() < n) {
        return 0;
    }
    for (std::size_t i = 1; i < n; ++i) {
        if ((byte(i) & 0xc0) != 0x80) {
            return 0;
        }
    }
    const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
    const bool surrogate = first == 0xed && byte(1) >= 0xa0;
    const bool too_high = first == 0xf4 && byte(1) >= 0x90;
    return overlong || surrogate || too_high ? 0 : n;
}

} // namespace

std::string printable(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const std::size_t n = utf8_length(text);
        const auto c = static_cast<unsigned char>(text[0]);
        const bool is_c1 = n == 2 && c == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
        if (n == 0 || (n == 1 && (c < 0x20 || c == 0x7f)) || is_c1) {
            const std::size_t taken = is_c1 ? 2 : 1;
            for (std::size_t i = 0; i < taken; ++i) {
                out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
            }
            text.remove_prefix(taken);
        } else {
            out.append(text.substr(0, n));
            text.remove_prefix(n);
        }
    }
    return out;
}

void say(std::string_view text) { prim::say(fmt::format("memreeve: {}", text).c_str()); }

std::string shell_word(std::string_view word) {
    constexpr std::string_view plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%";
    if (!word.empty() && word.find_first_not_of(plain) == std::string_view::npos) {
        return std::string(word);
    }
    const bool is_plain = printable(word) == word;
    std::string quoted;
    for (const char c : word) {
        if (c == '\'') {
            quoted += is_plain ? "'\\''" : "\\'";
        } else {
            quoted += !is_plain && c == '\\' ? "\\\\" : std::string(1, c);
        }
    }
    return is_plain ? fmt::format("'{}'", quoted) : fmt::format("$'{}'", printable(quoted));
}

} // namespace memreeve::cli
