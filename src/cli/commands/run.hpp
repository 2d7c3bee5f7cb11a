// SPDX-License-Identifier: MIT
// memreeve run: an unmodified program with its memory governed.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace memreeve::cli {

inline constexpr int memreeve_failed = 125;

struct run_options {
    std::optional<std::string> limit; // as written; checked by run()
    std::optional<std::string> reserve;
    std::optional<std::string> summary;
    std::optional<int> exit_code_on_limit;
    bool quiet = false;
    bool verbose = false;
    bool no_knobs = false;
    bool no_ask = false;
    bool no_children = false;
    bool best_effort = false;
    std::vector<std::string> command;
};

// The exit status for the shell. Everything that can be checked is, before the program starts.
int run(const run_options& o);

} // namespace memreeve::cli
