// SPDX-License-Identifier: MIT
// Heaps against each other, each run of a row in a fresh process of heap_driver, in turn.
#pragma once

#include "measure.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace memreeve::bench {

struct contender {
    std::string name;
    std::string heap;                       // heap_driver's first argument
    std::vector<std::string> environment{}; // "NAME=value"
    bool is_peer = false;                   // one of those that ours is to be as good as
    std::vector<std::string> launcher{};    // put before heap_driver
};

// The contender `name`, whose malloc comes with a preloaded `library`; nothing when the loader does not
// find that, or it does not replace malloc.
std::optional<contender> preloaded(const std::string& driver, const std::string& name,
                                   const std::string& library,
                                   const std::vector<std::string>& more = {});

// Nanoseconds per operation, [contender][round], each the best of five slices.
struct row_times {
    std::string why; // not empty: a run went wrong, nothing else is meant
    std::vector<std::vector<double>> ns;

    unsigned rounds() const { return ns.empty() ? 0 : static_cast<unsigned>(ns[0].size()); }
    double median_ns(std::size_t of) const;
    quartiles ratios(std::size_t of, std::size_t to) const; // of the rounds
    double ratio(std::size_t of, std::size_t to) const { return ratios(of, to).middle; }
};

// heap_driver's command line for it.
std::vector<std::string> command_of(const std::string& driver, const contender& c,
                                    const std::vector<std::string>& arguments);

class contest {
public:
    contest(std::string driver, std::vector<contender> contenders, unsigned rounds)
        : driver_(std::move(driver)), contenders_(std::move(contenders)), rounds_(rounds) {}

    // Runs it unless it was run before: every round every contender once, beginning with another. On a
    // busy machine a row ends before the last round, after seven at least.
    const row_times& row(const std::string& name);
    const std::vector<contender>& contenders() const { return contenders_; }
    std::optional<std::size_t> find(const std::string& name) const;
    unsigned rounds() const { return rounds_; }
    // Of all runs so far: blocks and bytes by which the books were off when all was free again;
    // nothing: there was no run of ours.
    std::optional<double> drift() const { return drift_; }

private:
    row_times measure(const std::string& row);

    std::string driver_;
    std::vector<contender> contenders_;
    unsigned rounds_;
    std::optional<double> drift_;
    std::map<std::string, row_times> rows_;
};

// The value of `name=value` among the words of heap_driver's output.
std::optional<double> value_of(const std::string& output, const std::string& name);

// User-space instructions of one operation of the row: the difference of two lengths under callgrind.
struct instructions {
    std::string why; // not empty: could not be counted
    double each = 0;
};
instructions instructions_of(const std::string& driver, const contender& c, const std::string& row);

} // namespace memreeve::bench
