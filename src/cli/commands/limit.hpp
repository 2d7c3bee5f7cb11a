// SPDX-License-Identifier: MIT
// memreeve limit: looks at the limit of a governed tree and changes it while it runs.
#pragma once

#include <optional>
#include <string>

namespace memreeve::cli {

struct limit_options {
    std::string pid; // as written; checked by limit()
    std::optional<std::string> size;
    bool json = false;
};

// The exit status for the shell.
int limit(const limit_options& o);

} // namespace memreeve::cli
