// SPDX-License-Identifier: MIT
// PAGE_* values: which are valid (rules P1-P5), and what page state they ask for. Pure.
#pragma once

#include "base/access.hpp"
#include "base/result.hpp"
#include "vm/page_state.hpp"
#include "vm/win32.hpp"

#include <cstdint>

namespace memreeve::vm {

// A PAGE_* value that passed rules P1 to P3.
struct protection {
    std::uint32_t value = 0;    // as given
    page_code code{};           // what a committed page becomes; outside for the write-copy values
    bool is_write_copy = false; // valid as a value, never on private memory (P4)
};

// invalid_argument when P1, P2 or P3 refuses it.
result<protection> decode_protection(std::uint32_t value) noexcept;

// The code of a PAGE_* value without modifiers that private memory can have, as decode_protection()
// gives it; outside for every other value.
constexpr page_code plain_code(std::uint32_t value) noexcept {
    if (value == 0 || value > 0x80 || (value & (value - 1)) != 0) {
        return page_code::outside;
    }
    constexpr std::uint32_t codes = 0x09870654; // four bits for each bit of the value
    return static_cast<page_code>(codes >> (4 * __builtin_ctz(value)) & 15);
}

// The PAGE_* value of a committed page, cache bits of its reservation included (P6, Q9).
// Precondition: is_committed(code).
inline std::uint32_t encode_protection(page_code code, std::uint32_t allocation_protect) noexcept {
    using namespace win32;
    constexpr std::uint16_t values[16] = {page_noaccess,
                                          page_noaccess,
                                          page_noaccess,
                                          page_noaccess,
                                          page_noaccess,
                                          page_readonly,
                                          page_readwrite,
                                          page_execute,
                                          page_execute_read,
                                          page_execute_readwrite,
                                          page_readonly | page_guard,
                                          page_readwrite | page_guard,
                                          page_execute | page_guard,
                                          page_execute_read | page_guard,
                                          page_execute_readwrite | page_guard,
                                          page_noaccess};
    return values[static_cast<unsigned>(code)] | (allocation_protect & page_cache_bits);
}

// PAGE_* for what the kernel says of memory that is not ours; a private writable file mapping is
// write-copy on Windows, but the pages it would copy may be copied already, so it says READWRITE.
std::uint32_t encode_access(access a) noexcept;
// The kernel access a PAGE_* value asks for on memory that is not ours; guard bits are the caller's.
access access_of(std::uint32_t value) noexcept;

} // namespace memreeve::vm
