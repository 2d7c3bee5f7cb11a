// SPDX-License-Identifier: MIT
// The few things with characters that the bridge needs, without libc: a line for standard error,
// comparisons, names.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memreeve::bridge {

inline bool starts_with(const char* text, const char* prefix) noexcept {
    for (; *prefix != '\0'; ++text, ++prefix) {
        if (*text != *prefix) {
            return false;
        }
    }
    return true;
}

inline bool same_text(const char* a, const char* b) noexcept {
    return starts_with(a, b) && starts_with(b, a);
}

inline std::size_t length(const char* text) noexcept {
    std::size_t n = 0;
    while (text[n] != '\0') {
        ++n;
    }
    return n;
}

inline const char* base_name(const char* path) noexcept {
    const char* name = path;
    for (; *path != '\0'; ++path) {
        name = *path == '/' ? path + 1 : name;
    }
    return name;
}

// One line, cut off at 511 characters. text() ends it.
class line {
public:
    line& add(const char* text) noexcept {
        for (; *text != '\0' && size_ + 2 < sizeof buffer_; ++text) {
            // Control characters of a path or variable never reach the terminal.
            buffer_[size_++] = static_cast<unsigned char>(*text) < ' ' ? '?' : *text;
        }
        return *this;
    }
    line& add_number(std::uint64_t n) noexcept {
        char digits[24]{};
        std::size_t at = sizeof digits - 1;
        do {
            digits[--at] = static_cast<char>('0' + n % 10);
            n /= 10;
        } while (n != 0);
        return add(digits + at);
    }
    line& add_hexadecimal(std::uint64_t n) noexcept {
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

} // namespace memreeve::bridge
