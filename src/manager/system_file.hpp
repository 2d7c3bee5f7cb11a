// SPDX-License-Identifier: MIT
// Small text files of the kernel, read without allocating: paths put together on the stack, lines,
// numbers. What is cut off, too long or no number is not believed rather than guessed at.
#pragma once

#include "base/units.hpp"

#include <cstddef>

namespace memreeve::manager {

// A path put together on the stack; one that does not fit is not used.
class file_path {
public:
    static constexpr std::size_t capacity = 1024; // a longer control group path is not followed

    explicit file_path(const char* prefix) noexcept { *this += prefix; }
    file_path& operator+=(const char* text) noexcept;
    // To the directory above; false at the root of `keep` characters.
    bool ascend(std::size_t keep) noexcept;
    void cut(std::size_t size) noexcept; // back to a size at which it fitted
    bool fits() const noexcept { return fits_; }
    std::size_t size() const noexcept { return size_; }
    const char* text() const noexcept { return text_; }

private:
    char text_[capacity]{};
    std::size_t size_ = 0;
    bool fits_ = true;
};

class file_lines {
public:
    explicit file_lines(const char* name) noexcept;
    file_lines(const file_lines&) = delete;
    file_lines& operator=(const file_lines&) = delete;
    ~file_lines();
    bool is_open() const noexcept { return file_ >= 0; }
    // The next line, NUL-terminated, without its end; null at the end of the file. A line longer
    // than file_path::capacity is passed over; the kernel ends every line, so one without its end
    // was cut off and is not returned. Reads at most 4 MiB.
    const char* next() noexcept;

private:
    int file_;
    std::size_t at_ = 0;
    std::size_t filled_ = 0;
    std::size_t left_ = std::size_t{4} << 20;
    char buffer_[512];
    char line_[file_path::capacity];
};

// `text` after `word`, or null when it does not begin with it.
const char* after(const char* text, const char* word) noexcept;

// A decimal number after blanks, followed by a blank or the end; false for anything else: "max", "-1",
// "12x", nothing, more than 64 bits.
bool read_number(const char* text, std::uint64_t* out) noexcept;

// The number that is the first line of `directory` + `name`, or that follows `field` at the beginning
// of a line there. False when it cannot be read; `directory` is as before.
bool file_number(file_path& directory, const char* name, std::uint64_t* out) noexcept;
bool file_field(file_path& directory, const char* name, const char* field,
                std::uint64_t* out) noexcept;

} // namespace memreeve::manager
