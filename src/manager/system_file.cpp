// SPDX-License-Identifier: MIT
#include "manager/system_file.hpp"

#include "prim/prim.hpp"

#include <algorithm>

namespace memreeve::manager {

file_path& file_path::operator+=(const char* text) noexcept {
    for (; *text != '\0' && fits_; ++text) {
        if (size_ + 1 >= capacity) {
            fits_ = false;
        } else {
            text_[size_++] = *text;
        }
    }
    text_[size_] = '\0';
    return *this;
}

bool file_path::ascend(std::size_t keep) noexcept {
    if (size_ <= keep) {
        return false;
    }
    while (size_ > keep && text_[size_ - 1] != '/') {
        --size_;
    }
    if (size_ > keep) {
        --size_; // the slash
    }
    text_[size_] = '\0';
    return true;
}

void file_path::cut(std::size_t size) noexcept {
    size_ = std::min(size, size_);
    text_[size_] = '\0';
    fits_ = true;
}

file_lines::file_lines(const char* name) noexcept
    : file_(static_cast<int>(prim::open_read(name))) {}

file_lines::~file_lines() {
    if (file_ >= 0) {
        prim::close(file_);
    }
}

const char* file_lines::next() noexcept {
    std::size_t size = 0;
    bool fits = true;
    for (;;) {
        if (at_ == filled_) {
            const std::size_t most = std::min(sizeof buffer_, left_);
            const long n = file_ >= 0 && most != 0 ? prim::read(file_, buffer_, most) : 0;
            if (n <= 0) {
                left_ = 0;
                return nullptr;
            }
            at_ = 0;
            filled_ = static_cast<std::size_t>(n);
            left_ -= filled_;
        }
        const char c = buffer_[at_++];
        if (c == '\n') {
            if (fits) {
                line_[size] = '\0';
                return line_;
            }
            size = 0;
            fits = true;
        } else if (size + 1 < sizeof line_) {
            line_[size++] = c != '\0' ? c : '?'; // nothing the kernel writes has one
        } else {
            fits = false;
        }
    }
}

const char* after(const char* text, const char* word) noexcept {
    for (; *word != '\0'; ++word, ++text) {
        if (*text != *word) {
            return nullptr;
        }
    }
    return text;
}

bool read_number(const char* text, std::uint64_t* out) noexcept {
    while (*text == ' ' || *text == '\t') {
        ++text;
    }
    if (*text < '0' || *text > '9') {
        return false;
    }
    std::uint64_t value = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        const auto digit = static_cast<std::uint64_t>(*text - '0');
        if (value > (~std::uint64_t{0} - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (*text != '\0' && *text != ' ' && *text != '\t') {
        return false;
    }
    *out = value;
    return true;
}

bool file_number(file_path& directory, const char* name, std::uint64_t* out) noexcept {
    return file_field(directory, name, nullptr, out);
}

bool file_field(file_path& directory, const char* name, const char* field,
                std::uint64_t* out) noexcept {
    if (!directory.fits()) {
        return false;
    }
    const std::size_t keep = directory.size();
    directory += name;
    bool found = false;
    if (directory.fits()) {
        file_lines file(directory.text());
        while (const char* line = file.next()) {
            const char* value = field != nullptr ? after(line, field) : line;
            if (value != nullptr) {
                found = read_number(value, out);
                break;
            }
        }
    }
    directory.cut(keep);
    return found;
}

} // namespace memreeve::manager
