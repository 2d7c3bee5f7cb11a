// SPDX-License-Identifier: MIT
#include "manager/service_watch.hpp"

#include "prim/watching.hpp"

namespace memreeve::manager {

namespace {

// The value of one character; 64: none.
unsigned sextet(char c) noexcept {
    if (c >= 'A' && c <= 'Z') {
        return static_cast<unsigned>(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return static_cast<unsigned>(c - 'a') + 26;
    }
    if (c >= '0' && c <= '9') {
        return static_cast<unsigned>(c - '0') + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

} // namespace

long decode_base64(const char* text, std::uint8_t* out, std::size_t capacity) noexcept {
    std::size_t size = 0;
    while (*text != '\0') {
        std::uint32_t bits = 0;
        unsigned digits = 0;
        unsigned padding = 0;
        for (; digits + padding < 4; ++text) {
            if (*text == '=' && digits >= 2) {
                ++padding;
            } else if (sextet(*text) < 64 && padding == 0) {
                bits = bits << 6 | sextet(*text);
                ++digits;
            } else {
                return -1; // the end of the text too
            }
        }
        bits <<= 6 * padding;
        const unsigned bytes = digits - 1;
        const std::uint32_t unused = (std::uint32_t{1} << 8 * (3 - bytes)) - 1;
        if ((bits & unused) != 0 || size + bytes > capacity || (padding != 0 && *text != '\0')) {
            return -1;
        }
        for (unsigned i = 0; i < bytes; ++i) {
            out[size++] = static_cast<std::uint8_t>(bits >> (16 - 8 * i));
        }
    }
    return static_cast<long>(size);
}

void service_watch::set(const char* watch, const char* write) noexcept {
    path[0] = '\0';
    text_size = 0;
    is_off = false;
    if (watch == nullptr || watch[0] != '/') {
        return;
    }
    const char* const rest = after(watch, "/dev/null");
    if (rest != nullptr && *rest == '\0') {
        is_off = true;
        return;
    }
    std::size_t size = 0;
    for (; watch[size] != '\0'; ++size) {
        if (size + 1 >= sizeof path) {
            path[0] = '\0';
            return;
        }
        path[size] = watch[size];
    }
    path[size] = '\0';
    const long decoded = write != nullptr ? decode_base64(write, text, sizeof text) : 0;
    text_size = decoded > 0 ? static_cast<std::size_t>(decoded) : 0;
}

void service_watch::read_environment() noexcept {
    set(prim::inherited_variable("MEMORY_PRESSURE_WATCH"),
        prim::inherited_variable("MEMORY_PRESSURE_WRITE"));
}

} // namespace memreeve::manager
