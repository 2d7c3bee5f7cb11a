// SPDX-License-Identifier: MIT
// The programs of benchmarks/programs, compiled where they have to be.
#pragma once

#include <string>
#include <vector>

namespace memreeve::bench {

// The command, or why there is none.
struct subject {
    std::vector<std::string> command;
    std::string why;
};

// "mono", "dotnet", "java", "node", "python3": mixed.* in that language, compiled into `folder`.
subject runtime_subject(const std::string& runtime, const std::string& folder);

// The program of that name beside this one, with its arguments.
subject native_subject(const std::string& name, const std::vector<std::string>& arguments = {});

// The folder of this program.
std::string own_folder();

} // namespace memreeve::bench
