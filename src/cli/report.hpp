// SPDX-License-Identifier: MIT
// What a run has to tell when it is over: one value, from which the summary file and the closing
// lines are both made. Bytes and seconds.
#pragma once

#include "budget/account.hpp"
#include "cli/last_words.hpp"
#include "telemetry/image_record.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace memreeve::cli {

struct process_report {
    int pid = 0;
    std::string image;
    telemetry::runtime_kind runtime = telemetry::runtime_kind::other;
    bool governed = true;
    std::string reason; // why it is not governed
    telemetry::image_end end = telemetry::image_end::running;
    std::array<std::uint64_t, telemetry::request_kind_count> requests{};
    std::array<std::uint64_t, criticality_count> refusals{};
    std::array<std::uint64_t, 3> notifications{};
    // How often its runtime was asked to collect, and the sums of what that found and left.
    struct asked {
        std::uint64_t times = 0, before = 0, after = 0;
        double seconds = 0;
        std::uint64_t over_limit = 0, pressed = 0; // of the times
    } asked;
    std::vector<std::pair<std::string, std::string>> settings;
    std::vector<std::string> users_settings; // what the user has set and was left
    std::string note;                        // a sentence for the closing lines
    std::uint64_t peak_charged = 0;
    std::uint64_t smallest_refused = 0;
    std::optional<double> refused_after; // seconds from its attaching to its first refusal
    std::optional<telemetry::picture> picture;
    std::optional<double> as_of; // of a picture that is older than the image's end
    std::vector<words_report> words;
};

// "mono-sgen (pid 4711)"
std::string who(const process_report& p);

// `memreeve limit` while the program ran; no value: no limit.
struct limit_change_report {
    double at_seconds = 0;
    std::optional<std::uint64_t> from, to;
    std::uint64_t charged = 0; // then
};

struct run_report {
    std::vector<std::string> command;
    int exit_code = 0;
    int exit_signal = 0; // 0: none
    double wall_seconds = 0;
    std::optional<std::uint64_t> limit; // as it was started with
    std::uint64_t reserve = 0;
    std::vector<limit_change_report> limit_changes; // the last ones
    std::uint64_t limit_changes_total = 0;
    std::optional<std::uint64_t> highest_limit; // ever in force

    std::optional<std::uint64_t> limit_at_end() const {
        return limit_changes.empty() ? limit : limit_changes.back().to;
    }
    std::uint64_t peak_charged = 0;
    std::uint64_t touched_overshoot = 0;
    std::uint64_t address_space = ~std::uint64_t{0}; // ulimit -v
    bool verbose = false;
    bool ledger_was_damaged = false; // a program under the limit has written over it
    std::uint64_t without_place = 0; // processes that found every slot of the ledger taken
    std::vector<process_report> processes;
};

// The summary of the contract, section 5.
std::string summary_json(const run_report& r);

// Standard error's closing lines, without the prefix.
std::vector<std::string> closing_lines(const run_report& r);

std::uint64_t refusals_of(const run_report& r);

} // namespace memreeve::cli
