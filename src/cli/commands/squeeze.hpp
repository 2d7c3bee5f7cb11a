// SPDX-License-Identifier: MIT
// memreeve squeeze: the smallest limit at which a command still succeeds, found by running it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace memreeve::cli {

struct squeeze_options {
    std::optional<std::string> from; // sizes as written
    std::optional<std::string> to;
    double tolerance_percent = 5;
    unsigned repeat = 3;
    double timeout = 5; // times the unlimited run
    int expect = 0;     // exit status that counts as success
    bool no_knobs = false;
    bool show = false;
    bool quiet = false;
    bool json = false;
    std::vector<std::string> command;
};

inline constexpr int squeeze_found_none = 1;
inline constexpr int squeeze_interrupted = 130;

// 0: found; squeeze_found_none; squeeze_interrupted; or why the command cannot be run, as run().
int squeeze(const squeeze_options& o);

} // namespace memreeve::cli
