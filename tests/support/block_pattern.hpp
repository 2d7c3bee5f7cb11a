// SPDX-License-Identifier: MIT
// What a test writes into a block, so that two blocks in one place, or a byte that somebody else
// wrote, are found. Blocks up to 8 KiB from end to end; of larger ones the first and the last half
// KiB, and a word at every page.
#pragma once

#include "base/units.hpp"

#include <cstdint>
#include <cstring>

namespace memreeve::test {

inline std::uint64_t pattern_word(std::uint64_t seed, byte_count offset) {
    return (seed ^ (offset << 17)) * 0x9e3779b97f4a7c15;
}

// f(offset, bytes, word) for the words of a block of `size` bytes; `bytes` is 8 but for the last.
template <class F>
void for_each_pattern_word(byte_count size, std::uint64_t seed, F f) {
    constexpr byte_count whole = 8192;
    constexpr byte_count edge = 512;
    const auto stretch = [&](byte_count from, byte_count to) {
        for (byte_count at = from; at < to; at += 8) {
            f(at, to - at < 8 ? to - at : byte_count{8}, pattern_word(seed, at));
        }
    };
    if (size <= whole) {
        stretch(0, size);
        return;
    }
    stretch(0, edge);
    for (byte_count at = page_size; at + page_size < size; at += page_size) {
        f(at, byte_count{8}, pattern_word(seed, at));
    }
    stretch(round_down(size - edge, 8), size);
}

inline void write_pattern(address block, byte_count size, std::uint64_t seed) {
    for_each_pattern_word(size, seed, [&](byte_count at, byte_count n, std::uint64_t word) {
        std::memcpy(reinterpret_cast<void*>(block + at), &word, n);
    });
}

// The first `kept` bytes of a block that was written with write_pattern(block, size, seed) are as they
// were. Else false, and `at` is where not.
inline bool has_pattern(address block, byte_count size, std::uint64_t seed, byte_count kept,
                        byte_count* at = nullptr) {
    bool good = true;
    for_each_pattern_word(size, seed, [&](byte_count offset, byte_count n, std::uint64_t word) {
        if (offset >= kept || !good) {
            return;
        }
        const byte_count look = kept - offset < n ? kept - offset : n;
        if (std::memcmp(reinterpret_cast<const void*>(block + offset), &word, look) != 0) {
            good = false;
            if (at != nullptr) {
                *at = offset;
            }
        }
    });
    return good;
}

} // namespace memreeve::test
