// SPDX-License-Identifier: MIT
// One run of a command under a `memreeve run` of its own, watched and bounded in time: what doctor
// and squeeze learn from. The command reads nothing, and what it leaves running is ended.
#pragma once

#include "base/units.hpp"
#include "prim/linux/launch.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace memreeve::cli {

struct trial_options {
    std::vector<std::string> command;
    std::optional<byte_count> limit;      // none: accounted only
    std::vector<std::string> run_options; // further ones, for `memreeve run`
    double patience = 0;                  // seconds, then it is ended; 0: as long as it takes
    bool show = false;                    // its output goes to this process's standard error
};

struct trial_process {
    std::string image;
    std::string runtime;
    bool governed = true;
    std::string reason;
};

struct trial_outcome {
    std::string cannot;          // why it could not even be tried; else empty
    int status = 0;              // as a shell would show it
    bool is_late = false;        // ended for taking longer than it may
    bool is_interrupted = false; // SIGINT, SIGTERM or SIGHUP came for this process
    double seconds = 0;
    byte_count peak_charged = 0;
    // Resident at an image's last picture without being charged (stacks, libraries, what was only
    // touched), of the image that had most of it.
    byte_count beside = 0;
    std::uint64_t refusals = 0;
    std::vector<trial_process> processes;
    std::vector<std::pair<std::string, std::string>> settings; // set for its runtimes
    std::vector<std::string> said; // memreeve's own lines, without the prefix
    // Of its other lines on standard error the first that speaks of memory, else the last.
    std::string last_words;
    int left_running = 0; // processes that were ended afterwards
};

// Not thread-safe. `desk` must have been there before; its signals end the trial.
trial_outcome try_command(const trial_options& o, prim::signal_desk& desk);

// Runs a program that is no trial, reads all it writes to both streams (at most 1 MiB), and waits for
// it, at most ten seconds. 0, or why it could not be started.
struct captured_output {
    std::vector<std::string> lines;
    int status = 0; // 124: it did not end in time
};
int run_captured(const std::string& file, const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment, captured_output& out);

} // namespace memreeve::cli
