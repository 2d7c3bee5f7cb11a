// SPDX-License-Identifier: MIT
// A line of text for standard error or a report, without libc and without memory of its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memreeve {

// One line, cut off at 511 characters. text() ends it.
class text_line {
public:
    text_line& add(const char* text) noexcept {
        for (; *text != '\0' && size_ + 2 < sizeof buffer_; ++text) {
            // Control characters of a path or variable never reach the terminal.
            buffer_[size_++] = static_cast<unsigned char>(*text) < ' ' ? '?' : *text;
        }
        return *this;
    }
    text_line& add_number(std::uint64_t n) noexcept {
        char digits[24]{};
        std::size_t at = sizeof digits - 1;
        do {
            digits[--at] = static_cast<char>('0' + n % 10);
            n /= 10;
        } while (n != 0);
        return add(digits + at);
    }
    text_line& add_hexadecimal(std::uint64_t n) noexcept {
        char digits[20]{};
        std::size_t at = sizeof digits - 1;
        do {
            digits[--at] = "0123456789abcdef"[n % 16];
            n /= 16;
        } while (n != 0);
        return add("0x").add(digits + at);
    }
    const char* text() noexcept {
        buffer_[size_] = '\0';
        return buffer_;
    }

private:
    char buffer_[512]{};
    std::size_t size_ = 0;
};

} // namespace memreeve
