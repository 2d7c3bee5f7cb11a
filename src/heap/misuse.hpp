// SPDX-License-Identifier: MIT
// What a program does to a heap that it must not, in words that a report can be made of.
#pragma once

#include "base/units.hpp"

#include <cstdint>

namespace memreeve::heap {

enum class misuse_kind : std::uint8_t {
    none,           // a live block begins there, and nothing is wrong with it
    foreign,        // no memory of this heap
    own_records,    // the heap's own
    freed,          // a block begins there and is not live
    inside_live,    // `offset` bytes into a live block
    inside_free,    // in a block that is not live, or where none is
    written_before, // in front of a live debug block: the byte `offset` in front of its beginning
    written_behind, // behind one: the byte `offset` bytes behind its end
    written_after,  // after a debug block was freed: its byte `offset`
};

struct misuse {
    misuse_kind kind = misuse_kind::none;
    std::uint32_t heap = 0;  // number of the heap that was asked
    std::uint32_t other = 0; // foreign: number of the heap it belongs to; 0: none
    address where = 0;       // what was asked about
    address block = 0;       // where the block begins; 0: there is none
    byte_count size = 0;     // of the block
    byte_count offset = 0;
    bool was_live = true;  // freed: false when the block may never have been handed out
    bool is_named = false; // made by allocate_debug at:
    const char* file = nullptr;
    int line = 0;
};

// Called on the thread that does it, inside the request; must not call the heap.
struct misuse_listener {
    void (*tell)(void* context, const misuse& m) noexcept = nullptr;
    void* context = nullptr;
};

// A live block.
struct live_block {
    address where = 0;
    byte_count size = 0; // as heap::size_of
    bool is_named = false;
    const char* file = nullptr;
    int line = 0;
};

} // namespace memreeve::heap
