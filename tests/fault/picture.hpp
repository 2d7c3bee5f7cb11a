// SPDX-License-Identifier: MIT
// A picture of a host's whole state: what the region map says of every page, what the kernel says, what
// is in the pages, what the books say; and in what two pictures differ.
#pragma once

#include "base/units.hpp"
#include "fault/kernel_view.hpp"
#include "support/fault_sweep.hpp"
#include "vm/page_state.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

namespace memreeve::test {

inline std::string text_of(const char* format, ...) __attribute__((format(printf, 1, 2)));
inline std::string text_of(const char* format, ...) {
    char buffer[400];
    va_list list;
    va_start(list, format);
    std::vsnprintf(buffer, sizeof buffer, format, list);
    va_end(list);
    return buffer;
}

struct page_run {
    range where;
    vm::page_code code{};
    range whole;
    owner_id owner{};
    std::uint32_t protect = 0;
    std::uint64_t tag = 0;
    bool operator==(const page_run&) const = default;
};

struct books_of_account {
    std::string name;
    std::uint32_t state = 0;
    page_count charged = 0, reserved = 0, committed = 0, writable = 0, slack = 0, heap = 0,
               mapped = 0;
    bool operator==(const books_of_account&) const = default;
};

struct known_extent {
    range where;
    std::uint32_t owner = 0;
    std::uint32_t kind = 0;
    std::uint64_t charged = 0;
    auto operator<=>(const known_extent& o) const { return where.begin <=> o.where.begin; }
    bool operator==(const known_extent&) const = default;
};

struct picture {
    std::vector<page_run> runs;
    std::vector<kernel_line> kernel; // of the reservations and what the script watches besides
    std::map<address, std::uint64_t> contents; // hash of each committed page
    std::vector<books_of_account> books;
    std::vector<known_extent> extents; // but the arenas and records

    // Adjacent lines that agree are one: the kernel may leave two after a refused split.
    void add_kernel(const kernel_view& view, range r) {
        view.for_each(r, [&](range piece, const kernel_line* l) {
            kernel_line x{piece, l == nullptr ? access::none : l->allowed,
                          l != nullptr && l->is_private_anonymous};
            if (!kernel.empty() && kernel.back().where.end == x.where.begin &&
                kernel.back().allowed == x.allowed &&
                kernel.back().is_private_anonymous == x.is_private_anonymous) {
                kernel.back().where.end = x.where.end;
            } else {
                kernel.push_back(x);
            }
        });
    }
};

// Through /proc/self/mem, which reads inaccessible pages too.
inline std::uint64_t hash_of_page(address page) {
    static const int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    unsigned char bytes[page_size];
    if (pread(fd, bytes, sizeof bytes, static_cast<off_t>(page)) !=
        static_cast<ssize_t>(sizeof bytes)) {
        return 1;
    }
    std::uint64_t h = 14695981039346656037u;
    for (const unsigned char b : bytes) {
        h = (h ^ b) * 1099511628211u;
    }
    return h;
}

inline std::uint64_t hash_of_zeroes() {
    std::uint64_t h = 14695981039346656037u;
    for (byte_count i = 0; i < page_size; ++i) {
        h *= 1099511628211u;
    }
    return h;
}

inline std::string text_of_run(const std::vector<page_run>& runs, std::size_t i) {
    return i >= runs.size()
               ? "nothing"
               : text_of("%lx+%lu code %d of %lx+%lu owner %u", runs[i].where.begin,
                         runs[i].where.pages(), static_cast<int>(runs[i].code), runs[i].whole.begin,
                         runs[i].whole.pages(), static_cast<unsigned>(runs[i].owner));
}

inline std::string difference_of(const picture& before, const picture& after, strictness how) {
    const auto plain = [&](std::vector<page_run> runs) {
        std::vector<page_run> merged;
        for (page_run r : runs) {
            if (how != strictness::as_before && r.code == vm::page_code::reserved_writable) {
                r.code = vm::page_code::reserved;
            }
            if (!merged.empty() && merged.back().where.end == r.where.begin &&
                merged.back().code == r.code && merged.back().whole == r.whole) {
                merged.back().where.end = r.where.end;
            } else {
                merged.push_back(r);
            }
        }
        return merged;
    };
    const auto old_runs = plain(before.runs);
    const auto new_runs = plain(after.runs);
    for (std::size_t i = 0; i < std::max(old_runs.size(), new_runs.size()); ++i) {
        if (i >= old_runs.size() || i >= new_runs.size() || !(old_runs[i] == new_runs[i])) {
            return "pages: was " + text_of_run(old_runs, i) + ", is " + text_of_run(new_runs, i);
        }
    }
    for (const auto& [page, hash] : before.contents) {
        const auto now = after.contents.find(page);
        if (how != strictness::torn && (now == after.contents.end() || now->second != hash)) {
            return text_of("contents of page %lx", page);
        }
    }
    if (how == strictness::as_before && before.kernel != after.kernel) {
        return "the kernel's mappings";
    }
    for (std::size_t i = 0; i < before.books.size(); ++i) {
        books_of_account o = before.books[i];
        books_of_account n = after.books[i];
        if (how != strictness::as_before) {
            o.writable = n.writable;
            o.slack = n.slack;
        }
        if (!(o == n)) {
            return text_of("books of %zu %s: charged %lu>%lu reserved %lu>%lu committed %lu>%lu "
                           "writable %lu>%lu slack %lu>%lu heap %lu>%lu mapped %lu>%lu",
                           i, n.name.c_str(), o.charged, n.charged, o.reserved, n.reserved,
                           o.committed, n.committed, o.writable, n.writable, o.slack, n.slack,
                           o.heap, n.heap, o.mapped, n.mapped);
        }
    }
    if (how == strictness::as_before && !(before.extents == after.extents)) {
        return text_of("extents: %zu, then %zu", before.extents.size(), after.extents.size());
    }
    return "";
}

} // namespace memreeve::test
