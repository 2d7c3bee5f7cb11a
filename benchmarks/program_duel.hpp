// SPDX-License-Identifier: MIT
// One program run in two ways, each round in the other order.
#pragma once

#include "measure.hpp"
#include "program_run.hpp"

#include <optional>
#include <string>
#include <vector>

namespace memreeve::bench {

class duel {
public:
    struct side {
        std::vector<std::string> command;
        std::vector<std::string> environment; // "NAME=value", added
        std::string how;                      // "without memreeve"
    };
    static constexpr unsigned fewest_rounds = 5;

    duel(side reference, side subject)
        : reference_(std::move(reference)), subject_(std::move(subject)) {}

    // At most `rounds`, and no more after so many seconds, but fewest_rounds. What went wrong; what
    // they print must be the same.
    std::optional<std::string> run(unsigned rounds, double seconds);

    // Of the rounds' ratios, subject to reference.
    quartiles wall() const;
    quartiles cpu() const;
    quartiles rss() const;
    quartiles more_ms() const; // wall milliseconds that the subject takes longer
    unsigned rounds() const { return static_cast<unsigned>(wall_.size()); }

private:
    std::optional<std::string> round(unsigned number);

    side reference_, subject_;
    std::vector<double> wall_, cpu_, rss_, more_ms_;
    double last_round_s_ = 0;
};

} // namespace memreeve::bench
