// SPDX-License-Identifier: MIT
// What the user has said to Node about V8's heap: in NODE_OPTIONS and on the command line, which wins.
#pragma once

#include "base/units.hpp"

namespace memreeve::bridge {

struct node_size {
    bool is_there = false;
    byte_count bytes = 0; // 0: not understood, or a share of something
    char word[64]{};      // as it was written, cut off
};

struct node_options {
    node_size heap;       // --max-old-space-size, --max-heap-size, --max-old-space-size-percentage
    node_size semi_space; // --max-semi-space-size
};

// `variable`: the user's part of NODE_OPTIONS, or null. `_` counts as `-`. The command line is read up
// to `--` or the script's name; a word behind an option may be its value, so that of
// `node --inspect app.js --max-heap-size=9` too much counts as the user's. Allocates nothing.
node_options read_node_options(const char* variable, int argument_count,
                               char* const* arguments) noexcept;

} // namespace memreeve::bridge
