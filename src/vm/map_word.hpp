// SPDX-License-Identifier: MIT
// The words of the region map. Pure.
//
//   bits     0-1  2-5    6        7          8-31         32-35  36-39  40-43   44           45-60
//   -------  ---  -----  -------  ---------  -----------  -----  -----  ------  -----------  ----------
//   empty    0    0      0        0          0            0      0      0       0            0
//   uniform  1    code   claimed  inherited  reservation  last   plain  0       0            0
//   pair     2    code   claimed  inherited  reservation  last   plain  code B  inherited B  pages of B
//   record   3    slot   claimed  0          unit         generation of the record ->
//   node     2    0      0        0          0            index of the node ->
//
// uniform and pair describe the pages 0 to `last` of the granule, which are those that the reservation
// has there; what lies behind them is `outside`. Page 0 has `code`. node stands in levels 0 to 2, pair
// and record in level 3; an upper uniform entry has last = 15 and plain = 0.
//
// plain is AllocationProtect as a number from 1 to 15 where the whole reservation lies in this granule
// and the value is a base protection with or without PAGE_GUARD: then the word says all that
// VirtualQuery asks. 0: the reservation's record has it.
//
// Row in full: a uniform word with code rw, reservation 5, last 2, plain 3 says that reservation 5
// begins here, has three pages, was reserved with PAGE_READWRITE, and all three are committed
// PAGE_READWRITE; nobody is changing them.
#pragma once

#include "base/units.hpp"
#include "vm/page_state.hpp"

#include <cstdint>

namespace memreeve::vm::map_detail {

enum class kind : std::uint64_t { empty = 0, uniform = 1, pair = 2, node = 2, record = 3 };

inline constexpr unsigned level_shift[4] = {36, 28, 21, 16};
inline constexpr unsigned level_bits[4] = {11, 8, 7, 5};
inline constexpr unsigned granule_level = 3;

constexpr byte_count span_at(unsigned level) noexcept {
    return byte_count{1} << level_shift[level];
}
constexpr std::uint32_t entries_at(unsigned level) noexcept { return 1U << level_bits[level]; }
constexpr std::uint32_t slot_of(address a, unsigned level) noexcept {
    return static_cast<std::uint32_t>(a >> level_shift[level]) & (entries_at(level) - 1);
}

inline constexpr std::uint64_t claimed_bit = 1U << 6;
inline constexpr std::uint64_t inherited_bit = 1U << 7;
inline constexpr unsigned place_shift = 8;

constexpr kind kind_of(std::uint64_t w) noexcept { return static_cast<kind>(w & 3); }
constexpr page_code code_of(std::uint64_t w) noexcept {
    return static_cast<page_code>(w >> 2 & 15);
}
constexpr std::uint32_t node_of(std::uint64_t w) noexcept {
    return static_cast<std::uint32_t>(w >> 32);
}
constexpr std::uint64_t node_word(std::uint32_t index) noexcept {
    return 2 | std::uint64_t{index} << 32;
}

// ---- whose granule it is ------------------------------------------------------------------------
// reservation:24 last:4 plain:4, the bits 8 to 39 of uniform and pair.

constexpr std::uint32_t place_word(std::uint32_t reservation, unsigned last,
                                   unsigned plain) noexcept {
    return reservation | last << 24 | plain << 28;
}
inline constexpr std::uint32_t largest_reservation = 0xffffff;
constexpr std::uint32_t place_of(std::uint64_t w) noexcept {
    return static_cast<std::uint32_t>(w >> place_shift);
}
constexpr std::uint32_t owner_of(std::uint32_t place) noexcept {
    return place & largest_reservation;
}
constexpr unsigned last_of(std::uint32_t place) noexcept { return place >> 24 & 15; }
constexpr unsigned plain_of(std::uint32_t place) noexcept { return place >> 28; }
// The pages that the reservation has in the granule.
constexpr std::uint32_t pages_in(std::uint32_t place) noexcept {
    return (2U << last_of(place)) - 1;
}

// The base protections are single bits, 01h to 80h: 1 to 8; with PAGE_GUARD (100h) 02h to 80h: 9 to 15.
constexpr unsigned plain_protection(std::uint32_t value) noexcept {
    const std::uint32_t base = value & 0xff;
    const bool guarded = (value & 0x100) != 0;
    if ((value & ~0x1ffU) != 0 || base == 0 || (base & (base - 1)) != 0 || (guarded && base == 1)) {
        return 0;
    }
    const auto bit = static_cast<unsigned>(__builtin_ctz(base));
    return guarded ? bit + 8 : bit + 1;
}
constexpr std::uint32_t protection_of(unsigned plain) noexcept {
    return plain <= 8 ? 1U << (plain - 1) : 1U << (plain - 8) | 0x100;
}
static_assert(plain_protection(0x01) == 1 && plain_protection(0x180) == 15);
static_assert(plain_protection(0x101) == 0 && plain_protection(0x204) == 0);
static_assert(protection_of(plain_protection(0x40)) == 0x40);
static_assert(protection_of(plain_protection(0x102)) == 0x102);

// ---- page states --------------------------------------------------------------------------------

constexpr std::uint64_t pattern(page_code code) noexcept {
    return 0x1111111111111111ULL * static_cast<std::uint64_t>(code);
}
constexpr page_code code_at(std::uint64_t codes, unsigned page) noexcept {
    return static_cast<page_code>(codes >> (page * 4) & 15);
}
// Each set bit of the 16 becomes four.
constexpr std::uint64_t spread(std::uint32_t mask) noexcept {
    std::uint64_t x = mask;
    x = (x | x << 24) & 0x000000ff000000ffULL;
    x = (x | x << 12) & 0x000f000f000f000fULL;
    x = (x | x << 6) & 0x0303030303030303ULL;
    x = (x | x << 3) & 0x1111111111111111ULL;
    return x * 15;
}
// One bit for each group of four that is not 0.
constexpr std::uint32_t gather(std::uint64_t codes) noexcept {
    std::uint64_t x = (codes | codes >> 1 | codes >> 2 | codes >> 3) & 0x1111111111111111ULL;
    x = (x | x >> 3) & 0x0303030303030303ULL;
    x = (x | x >> 6) & 0x000f000f000f000fULL;
    x = (x | x >> 12) & 0x000000ff000000ffULL;
    return static_cast<std::uint32_t>(x | x >> 24) & 0xffff;
}
static_assert(spread(0x8001) == 0xf00000000000000fULL && gather(0x8000000000000401ULL) == 0x8005);

// VirtualQuery joins reserved, dead and reserved_writable (rule Q8): all become `reserved`.
constexpr std::uint64_t fold(std::uint64_t codes) noexcept {
    const std::uint64_t ones = 0x1111111111111111ULL;
    const std::uint64_t high = codes >> 2 | codes >> 3;
    const std::uint64_t joined = (codes | codes >> 1) & ~high & ones;
    return (codes & ~(joined * 3)) | joined;
}
constexpr page_code fold(page_code code) noexcept {
    return is_reserved(code) ? page_code::reserved : code;
}
static_assert(fold(0xfedcba9876543210ULL) == 0xfedcba9876541110ULL);

// How many pages from `page` on are `code`, inside the granule.
constexpr unsigned run_length(std::uint64_t codes, unsigned page, page_code code) noexcept {
    const std::uint64_t differ = (codes ^ pattern(code)) >> (page * 4);
    return differ == 0 ? pages_per_granule - page
                       : static_cast<unsigned>(__builtin_ctzll(differ)) >> 2;
}

// What a granule's word says, page by page.
struct granule_pages {
    std::uint64_t codes = 0; // 16 x 4 bits
    std::uint32_t inherited = 0;
    std::uint32_t place = 0;
};

constexpr std::uint64_t uniform_word(std::uint32_t place, page_code code, bool inherited) noexcept {
    return 1 | static_cast<std::uint64_t>(code) << 2 | (inherited ? inherited_bit : 0) |
           std::uint64_t{place} << place_shift;
}

// Of a uniform or pair word.
constexpr granule_pages unpack(std::uint64_t w) noexcept {
    granule_pages g;
    g.place = place_of(w);
    const std::uint32_t all = pages_in(g.place);
    const std::uint32_t second = static_cast<std::uint32_t>(w >> 45) & 0xffff;
    const std::uint64_t wide = spread(second);
    g.codes =
        ((pattern(code_of(w)) & ~wide) | (pattern(static_cast<page_code>(w >> 40 & 15)) & wide)) &
        spread(all);
    g.inherited =
        ((w & inherited_bit) != 0 ? all & ~second : 0) | ((w >> 44 & 1) != 0 ? second : 0);
    return g;
}

// The word for it; 0 when the pages are of more than two kinds.
constexpr std::uint64_t pack(const granule_pages& g) noexcept {
    const std::uint32_t all = pages_in(g.place);
    const page_code first = code_at(g.codes, 0);
    const bool first_inherited = (g.inherited & 1) != 0;
    const std::uint32_t second =
        (gather(g.codes ^ pattern(first)) | (g.inherited ^ (first_inherited ? all : 0))) & all;
    const std::uint64_t uniform = uniform_word(g.place, first, first_inherited);
    if (second == 0) {
        return uniform;
    }
    const auto page = static_cast<unsigned>(__builtin_ctz(second));
    const page_code code = code_at(g.codes, page);
    const bool inherited = (g.inherited >> page & 1) != 0;
    const std::uint32_t third =
        (gather(g.codes ^ pattern(code)) | (g.inherited ^ (inherited ? all : 0))) & second;
    if (third != 0) {
        return 0;
    }
    return (uniform + 1) | static_cast<std::uint64_t>(code) << 40 | std::uint64_t{inherited} << 44 |
           std::uint64_t{second} << 45;
}

// 16 bits, one for each page of `part` inside the granule that starts at `granule`.
constexpr std::uint32_t page_mask(range part, address granule) noexcept {
    const auto first = static_cast<unsigned>((part.begin - granule) >> page_shift);
    const auto last = static_cast<unsigned>((part.end - granule) >> page_shift);
    return ((1U << last) - 1) & ~((1U << first) - 1);
}

constexpr range clip(range a, range b) noexcept {
    return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

} // namespace memreeve::vm::map_detail
