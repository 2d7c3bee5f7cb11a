// SPDX-License-Identifier: MIT
// Whole programs as operations of a benchmark: started, waited for, and what they took.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace memreeve::bench {

struct program_run {
    bool ok = false;
    std::string why; // when not ok: one clause
    std::string output;
    double wall_s = 0;
    double cpu_s = 0; // user and system, of the program and all it waited for
    // Of the largest process among them. Under `memreeve run` that is the program, not the launcher,
    // as long as the program has more than a few MiB.
    double peak_rss_mib = 0;
};

// Runs `words` with `extra` ("NAME=value") added to the environment, standard output caught. One that
// takes longer than `seconds` is killed with its whole process group.
program_run run_program(const std::vector<std::string>& words,
                        const std::vector<std::string>& extra = {}, int seconds = 120);

// The file that the shell would run for `name`; empty: there is none.
std::string find_program(const std::string& name);

// A folder of its own that goes with the object.
class temporary_folder {
public:
    temporary_folder();
    ~temporary_folder();
    temporary_folder(const temporary_folder&) = delete;
    temporary_folder& operator=(const temporary_folder&) = delete;
    const std::string& path() const { return path_; } // empty: could not be made

private:
    std::string path_;
};

} // namespace memreeve::bench
