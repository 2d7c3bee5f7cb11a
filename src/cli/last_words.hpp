// SPDX-License-Identifier: MIT
// What is told of an image when it is refused for the first time, when the reserve is being used up, and
// when it is killed: who holds what, who grew last, what was refused, what to do.
#pragma once

#include "telemetry/image_record.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace memreeve::cli {

struct process_report;

enum class words_cause { refusal = 0, pressure, death };
inline constexpr std::array words_cause_names = {"refusal", "pressure", "death"};

// Bytes and seconds.
struct words_report {
    struct refused_request {
        std::uint64_t bytes = 0;
        unsigned level = 0;
        telemetry::purpose what_for = telemetry::purpose::mapping;
        unsigned owner = 0;
        std::string caller; // empty: not known
    };

    words_cause cause = words_cause::refusal;
    double after_seconds = 0; // since the image attached
    std::optional<std::uint64_t> limit;
    std::uint64_t reserve = 0;
    std::uint64_t charged = 0; // by everybody under the limit
    std::uint64_t touched = 0;
    double grown_over = 0;
    std::array<std::uint64_t, telemetry::owner_kind_count> owner_charged{};
    std::array<std::uint64_t, telemetry::owner_kind_count> owner_touched{};
    std::array<std::int64_t, telemetry::owner_kind_count> owner_grown{};
    std::optional<refused_request> refused;
    bool was_told = false; // on standard error, then

    // Not enough was left for a request of task level, or nearly.
    bool is_near_limit() const;
};

words_report report_of_words(const telemetry::last_words& words, words_cause cause,
                             std::uint64_t attached_at_ns);

// Five lines, without the prefix. `launcher`: whose limit it is.
std::vector<std::string> lines_of(const process_report& p, const words_report& w, int launcher);
// The third of them alone.
std::string grew_last(const words_report& w);

} // namespace memreeve::cli
