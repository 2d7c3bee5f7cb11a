// SPDX-License-Identifier: MIT
// Options and help of the verbs beside run.
#pragma once

#include "cli/commands/doctor.hpp"
#include "cli/commands/limit.hpp"
#include "cli/commands/squeeze.hpp"

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace memreeve::cli {

// The options are filled when `app` has parsed them; they outlive it.
CLI::App* add_doctor(CLI::App& app, doctor_options& d);
CLI::App* add_squeeze(CLI::App& app, squeeze_options& q);
CLI::App* add_limit(CLI::App& app, limit_options& l);

// How the verb is written, itself first, as its usage line says.
std::string shape_of(std::string_view verb);

} // namespace memreeve::cli
