// SPDX-License-Identifier: MIT
// The flags and arguments of a call, decoded into what is asked for, or a refusal. Pure: the rules
// that need no look at the state of memory (A1-A7, F1-F3, V1-V3), in Windows' order of checks.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "vm/protection.hpp"

#include <cstdint>

namespace memreeve::vm {

enum class alloc_kind : unsigned char {
    reserve,        // a new reservation, all pages reserved
    reserve_commit, // a new reservation, all pages committed
    commit,         // pages of an existing reservation
    discard,        // MEM_RESET
    undo_discard,   // MEM_RESET_UNDO
    replace,        // a placeholder, by an allocation
    replace_commit, // the same, all pages committed
};

struct alloc_request {
    alloc_kind kind{};
    range span{};          // new reservation at an address: its whole range; anywhere: {0, size};
                           // otherwise the pages touched
    bool anywhere = false; // the implementation places it
    bool top_down = false;
    std::uint32_t flags = 0; // reservation_flag: watched, large_pages, placeholder
    protection protect{};
};

enum class placeholder_change : unsigned char { none, preserve, coalesce };

struct free_request {
    bool release = false;                                 // else decommit
    placeholder_change change = placeholder_change::none; // rules PH
    range span{};                                         // the pages named; empty when size was 0
    address where = 0;                                    // page of the address given
    bool whole = false;    // size 0: the whole reservation, `where` must be its base (F6)
    bool untagged = false; // what carries a tag (a heap's) counts as not ours
};

struct protect_request {
    range span{};
    protection protect{};
};

// Rules A1-A9 as far as they need no map. PHYSICAL: privilege_not_held (decision 7) once its own
// argument rules (A3) are met. WRITE_WATCH and LARGE_PAGES are for the system to allow (decisions 7, 9).
result<alloc_request> decode_alloc(address where, byte_count size, std::uint32_t type,
                                   std::uint32_t protect) noexcept;
// VirtualAlloc2: the same, and the placeholder bits (PH1, PH3).
result<alloc_request> decode_alloc2(address where, byte_count size, std::uint32_t type,
                                    std::uint32_t protect) noexcept;
// Rules F1-F3, and what PH2, PH4 and PH5 say of types and sizes.
result<free_request> decode_free(address where, byte_count size, std::uint32_t type) noexcept;
// Rules V1-V3, in that order; `has_old_out` false: no_access (V2).
result<protect_request> decode_protect(address where, byte_count size, std::uint32_t protect,
                                       bool has_old_out) noexcept;

} // namespace memreeve::vm
