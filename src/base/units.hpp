// SPDX-License-Identifier: MIT
// Units of address space. An `address` is a number, never dereferenced; a `range` is half-open
// [begin, end) and never wraps, because user space ends far below the top of the number range.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memreeve {

using address = std::uintptr_t;
using byte_count = std::uint64_t;
using page_count = std::uint64_t;

inline constexpr byte_count page_size = 4096; // unit of state
inline constexpr byte_count granule_size =
    65536; // unit of reservation addresses (Windows allocation granularity)
inline constexpr unsigned page_shift = 12;
inline constexpr unsigned granule_shift = 16;
inline constexpr unsigned pages_per_granule = granule_size / page_size;
inline constexpr address lowest_address = granule_size; // rule A1: below it is the null region
inline constexpr address top_address =
    0x7fffffff0000; // exclusive end of user space (TOP in the rules)

constexpr address round_down(address a, byte_count unit) noexcept { return a & ~(unit - 1); }
// Caller guarantees that the result does not wrap (a <= top_address).
constexpr address round_up(address a, byte_count unit) noexcept {
    return (a + unit - 1) & ~(unit - 1);
}
constexpr bool is_aligned(address a, byte_count unit) noexcept { return (a & (unit - 1)) == 0; }
constexpr page_count pages_of(byte_count bytes) noexcept { return bytes >> page_shift; }
constexpr byte_count bytes_of(page_count pages) noexcept { return pages << page_shift; }

struct range {
    address begin = 0;
    address end = 0;

    constexpr byte_count size() const noexcept { return end - begin; }
    constexpr page_count pages() const noexcept { return pages_of(size()); }
    constexpr bool is_empty() const noexcept { return begin >= end; }
    constexpr bool contains(address a) const noexcept { return a - begin < end - begin; }
    constexpr bool contains(range r) const noexcept {
        return r.begin >= begin && r.end <= end && r.begin <= r.end;
    }
    constexpr bool overlaps(range r) const noexcept { return begin < r.end && r.begin < end; }
    constexpr bool operator==(const range&) const = default;
};

// The pages touched by [a, a + size): begin down, end up. Precondition: a + size <= top_address.
constexpr range span_of(address a, byte_count size) noexcept {
    return {round_down(a, page_size), round_up(a + size, page_size)};
}

// True when [a, a + size) lies below top_address without wrapping (rules A6, F3, V3).
constexpr bool fits_user_space(address a, byte_count size) noexcept {
    return a < top_address && size <= top_address - a;
}

// Who is charged. An index into the accounts of a ledger; 0 is the root.
enum class owner_id : std::uint32_t { root = 0, none = 0xffffffff };

// How much depends on a request (EMemoryCriticalLevel, decoded once at the edge).
enum class criticality : unsigned char { task, domain, process };
inline constexpr unsigned criticality_count = 3;

} // namespace memreeve
