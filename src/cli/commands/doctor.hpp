// SPDX-License-Identifier: MIT
// memreeve doctor: can this command be governed here, why not, what else to use.
#pragma once

#include <string>
#include <vector>

namespace memreeve::cli {

struct doctor_options {
    bool run = false; // start the command too, once, without a limit
    bool json = false;
    std::vector<std::string> command;
};

inline constexpr int doctor_says_no = 1;

// 0: it can be governed, perhaps with restrictions; doctor_says_no. Starts nothing of the command
// unless o.run.
int doctor(const doctor_options& o);

} // namespace memreeve::cli
