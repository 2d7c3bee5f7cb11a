// SPDX-License-Identifier: MIT
// The few things with characters that the bridge needs, without libc: a line for standard error,
// comparisons, names.
#pragma once

#include "base/text_line.hpp"

#include <cstddef>

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

using line = text_line;

} // namespace memreeve::bridge
