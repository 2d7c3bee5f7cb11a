// SPDX-License-Identifier: MIT
// Can a command be governed? Found, runnable, and such that the loader will put the preload library
// into it: everything that can be told before the program starts (decision 27).
#pragma once

#include <string>
#include <vector>

namespace memreeve::cli {

struct command_verdict {
    int status = 0;      // 0: may be started; 126, 127: exit status
    std::string reason;  // one line: what, why, what to use instead
    std::string file;    // what to execute
    std::string program; // the program the kernel will run: the file, or the script's interpreter
    std::string program_argument; // what a script's first line hands to it, one string
};

// PATH of an environment, or what exec takes where there is none.
std::string search_path_of(const std::vector<std::string>& environment);

// `search_path` is PATH's value.
command_verdict examine_command(const std::string& name, const std::string& search_path);

// Is it a library that a program for x86-64 can load? By its header.
bool is_loadable(const std::string& library);

} // namespace memreeve::cli
