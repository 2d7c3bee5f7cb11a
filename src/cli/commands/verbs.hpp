// SPDX-License-Identifier: MIT
// Options and help of the verbs beside run.
#pragma once

#include "cli/commands/doctor.hpp"
#include "cli/commands/squeeze.hpp"

#include <CLI/CLI.hpp>

namespace memreeve::cli {

// The options are filled when `app` has parsed them; they outlive it.
CLI::App* add_doctor(CLI::App& app, doctor_options& d);
CLI::App* add_squeeze(CLI::App& app, squeeze_options& q);

} // namespace memreeve::cli
