// SPDX-License-Identifier: MIT
// Which block size serves a request, and how long a slab of such blocks is.
//
// Sizes: 16, 32 ... 128 (the alignment, D6), then eight to a doubling, so at most 12.5 % apart.
// Slabs: a class begins with the fewest pages that waste at most an eighth in their tail, and each
// further slab is twice as long until it holds 64 KiB or, above 8 KiB, eight blocks: one block of
// every class costs a small heap well under a megabyte, a large heap takes 64 KiB at a time.
#pragma once

#include "base/units.hpp"

#include <bit>
#include <cstdint>

namespace memreeve::heap {

inline constexpr byte_count block_alignment = 16;
inline constexpr byte_count largest_small = 32768;
inline constexpr byte_count largest_quick = 8192; // whose class is looked up in a table
inline constexpr std::uint32_t class_count = 72;

// Precondition: size <= largest_small. 0 is served like 1 (D5).
constexpr std::uint32_t class_of(byte_count size) noexcept {
    if (size <= 128) {
        return static_cast<std::uint32_t>((size - (size != 0)) / block_alignment);
    }
    const auto last = static_cast<std::uint32_t>(size - 1);
    const auto power = static_cast<std::uint32_t>(std::bit_width(last)) - 1; // 2^power <= last
    const std::uint32_t eighth = (last >> (power - 3)) & 7;
    return 8 + (power - 7) * 8 + eighth;
}

constexpr std::uint32_t size_of_class(std::uint32_t index) noexcept {
    if (index < 8) {
        return (index + 1) * static_cast<std::uint32_t>(block_alignment);
    }
    const std::uint32_t power = (index - 8) / 8 + 7;
    return (1u << power) + ((index - 8) % 8 + 1) * (1u << (power - 3));
}

// Log2 of the largest power of two that divides it.
constexpr unsigned grain_shift(std::uint32_t block_size) noexcept {
    return static_cast<unsigned>(std::countr_zero(block_size));
}

constexpr std::uint32_t full_slab_bytes(std::uint32_t block_size) noexcept {
    return block_size <= 8192 ? 65536 : block_size * 8;
}

// Bytes of the next slab when a class has had `slabs` of them; a multiple of the page size.
constexpr std::uint32_t slab_bytes(std::uint32_t block_size, std::uint32_t slabs) noexcept {
    const std::uint32_t full = full_slab_bytes(block_size);
    auto bytes = static_cast<std::uint32_t>(round_up(block_size, page_size));
    while (bytes < full && bytes % block_size > bytes / 8) {
        bytes += static_cast<std::uint32_t>(page_size);
    }
    for (std::uint32_t i = 0; i < slabs && bytes < full; ++i) {
        bytes *= 2;
    }
    return bytes < full ? bytes : full;
}

// Of requests up to largest_quick.
inline constexpr std::uint32_t quick_classes = class_of(largest_quick) + 1;

static_assert(size_of_class(class_count - 1) == largest_small);
static_assert(class_of(largest_small) == class_count - 1);

} // namespace memreeve::heap
