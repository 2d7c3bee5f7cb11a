// SPDX-License-Identifier: MIT
// What a service manager wishes a service to watch: MEMORY_PRESSURE_WATCH names a PSI file, a FIFO
// or an AF_UNIX socket (/dev/null: nothing at all), MEMORY_PRESSURE_WRITE is, in base64, what to
// write into it once it is open.
#pragma once

#include "manager/system_file.hpp"

#include <cstddef>
#include <cstdint>

namespace memreeve::manager {

// Decodes strict base64 (RFC 4648: padded, no blanks). The number of bytes, or -1: malformed, or more
// than `capacity`.
long decode_base64(const char* text, std::uint8_t* out, std::size_t capacity) noexcept;

struct service_watch {
    static constexpr std::size_t write_capacity = 1024;

    bool is_off = false;            // /dev/null
    char path[file_path::capacity]; // empty: nothing was said, or nothing that can be followed
    std::uint8_t text[write_capacity];
    std::size_t text_size = 0;

    bool names_file() const noexcept { return path[0] != '\0'; }
    // Copies what is said. `watch` and `write` may be null. A path that is not absolute or too long
    // is not followed, a text that cannot be decoded is not written.
    void set(const char* watch, const char* write) noexcept;
    // From the environment; nothing when the process is privileged.
    void read_environment() noexcept;
};

} // namespace memreeve::manager
