// SPDX-License-Identifier: MIT
// What a governed program is given: the preload library, where the ledger is, and settings of its
// runtime that help it live under the limit.
#pragma once

#include "base/units.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace memreeve::cli {

// The preload library: MEMREEVE_PRELOAD, else beside this program in a build tree or an installed
// one. Nothing when it is nowhere; `tried` lists the places.
std::optional<std::string> find_preload_library(std::string& tried);

using variable = std::pair<std::string, std::string>;

// Variables memreeve sets for the runtime, none that the user has set. Only where measurement spoke
// for it (decision 28): never a heap limit for Mono, a small nursery under a tight limit.
std::vector<variable> runtime_settings(bool is_mono, std::optional<byte_count> limit,
                                       const std::vector<std::string>& environment);

// `environment` with `library` before what LD_PRELOAD already names, MEMREEVE_LEDGER, the variable
// that tells a child that finds no ledger to run all the same, and `settings`.
std::vector<std::string> governed_environment(std::vector<std::string> environment,
                                              const std::string& library, const std::string& ledger,
                                              bool best_effort,
                                              const std::vector<variable>& settings);

} // namespace memreeve::cli
