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
    bool ask = false;
    bool no_ask = false;
    bool no_children = false;
    bool best_effort = false;
    std::vector<std::string> command;
};

// Why a command is not started, in one line, and run()'s exit status then.
struct obstacle {
    int status = memreeve_failed;
    std::string reason;
};
// What run() would refuse to start the command for, sizes and the summary's path aside; nothing
// when it would start it. Tries the same things in the same order, starts nothing.
std::optional<obstacle> obstacle_to(const run_options& o);

// The exit status for the shell. Everything that can be checked is, before the program starts.
int run(const run_options& o);

} // namespace memreeve::cli
