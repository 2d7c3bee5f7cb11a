// SPDX-License-Identifier: MIT
// What a governed program is given: the preload library and where the ledger is. Settings of its
// runtime come from inside (bridge/knobs.hpp), where wrappers and children are covered too.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace memreeve::cli {

// The preload library: MEMREEVE_PRELOAD, else beside this program in a build tree or an installed
// one. Nothing when it is nowhere; `tried` lists the places.
std::optional<std::string> find_preload_library(std::string& tried);

// "" when the file is that library, as far as its content tells; otherwise why not. The loader only
// warns of a library that it does not take, and starts the program without it.
std::string why_no_preload_library(const std::string& path);

// Libraries of other allocators that LD_PRELOAD names (jemalloc, mimalloc, tcmalloc), which
// governed_environment() leaves out.
std::vector<std::string> foreign_allocators(const std::vector<std::string>& environment);

// `environment` with `library` before what LD_PRELOAD already names, MEMREEVE_LEDGER, and
// the variable that tells a child that finds no ledger to run all the same.
std::vector<std::string> governed_environment(std::vector<std::string> environment,
                                              const std::string& library, const std::string& ledger,
                                              bool best_effort);

} // namespace memreeve::cli
