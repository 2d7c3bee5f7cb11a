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
};

struct alloc_request {
    alloc_kind kind{};
    range span{};          // new reservation at an address: its whole range; anywhere: {0, size};
                           // otherwise the pages touched
    bool anywhere = false; // the implementation places it
    bool top_down = false;
    protection protect{};
};

struct free_request {
    bool release = false;  // else decommit
    range span{};          // the pages named; empty when size was 0
    address where = 0;     // page of the address given
    bool whole = false;    // size 0: the whole reservation, `where` must be its base (F6)
    bool untagged = false; // what carries a tag (a heap's) counts as not ours
};

struct protect_request {
    range span{};
    protection protect{};
};

// Rules A1-A9 as far as they need no map. PHYSICAL and LARGE_PAGES: privilege_not_held (decision 7)
// once their own argument rules (A3, A4) are met. WRITE_WATCH: invalid_argument until the system
// offers it (decision 9).
result<alloc_request> decode_alloc(address where, byte_count size, std::uint32_t type,
                                   std::uint32_t protect) noexcept;
// Rules F1-F3.
result<free_request> decode_free(address where, byte_count size, std::uint32_t type) noexcept;
// Rules V1-V3, in that order; `has_old_out` false: no_access (V2).
result<protect_request> decode_protect(address where, byte_count size, std::uint32_t protect,
                                       bool has_old_out) noexcept;

} // namespace memreeve::vm
