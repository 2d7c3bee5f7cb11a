// SPDX-License-Identifier: MIT
#include "heap_contest.hpp"

#include "program_run.hpp"

#include <cmath>

namespace memreeve::bench {

namespace {

// A row gets no more rounds after so long, but these.
constexpr unsigned fewest_rounds = 7;
constexpr double most_s = 20;

double wall_s() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

std::optional<std::string> text_of(const std::string& output, const std::string& name) {
    for (std::size_t at = 0; (at = output.find(name + "=", at)) != std::string::npos; ++at) {
        if (at == 0 || output[at - 1] == ' ' || output[at - 1] == '\n') {
            const std::size_t begin = at + name.size() + 1;
            return output.substr(begin, output.find_first_of(" \n", begin) - begin);
        }
    }
    return {};
}

// Instructions that callgrind counted; 0: none.
std::uint64_t collected(const std::string& log) {
    const char* const title = "Collected : ";
    const std::size_t at = log.find(title);
    return at == std::string::npos
               ? 0
               : std::strtoull(log.c_str() + at + std::strlen(title), nullptr, 10);
}

} // namespace

std::optional<double> value_of(const std::string& output, const std::string& name) {
    const auto text = text_of(output, name);
    return text ? std::optional<double>(std::strtod(text->c_str(), nullptr)) : std::nullopt;
}

std::optional<contender> preloaded(const std::string& driver, const std::string& name,
                                   const std::string& library,
                                   const std::vector<std::string>& more) {
    contender c{name, "malloc", more, true, {}};
    c.environment.push_back("LD_PRELOAD=" + library);
    const auto object = [&](const std::vector<std::string>& environment) {
        // The loader's complaint about a library that is missing is not ours to show.
        std::vector<std::string> words = {"/bin/sh", "-c",
                                          "exec 2>/dev/null; exec /usr/bin/env \"$@\"", "sh"};
        words.insert(words.end(), environment.begin(), environment.end());
        words.insert(words.end(), {driver, "malloc", "pair", "--exactly", "1"});
        return text_of(run_program(words).output, "object");
    };
    const auto plain = object({});
    const auto with = object(c.environment);
    if (!plain || !with || plain == with) {
        return {};
    }
    return c;
}

std::vector<std::string> command_of(const std::string& driver, const contender& c,
                                    const std::vector<std::string>& arguments) {
    std::vector<std::string> words = c.launcher;
    words.insert(words.end(), {driver, c.heap});
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
}

double row_times::median_ns(std::size_t of) const { return median(ns[of]); }

quartiles row_times::ratios(std::size_t of, std::size_t to) const {
    std::vector<double> ratios;
    for (std::size_t r = 0; r < ns[of].size(); ++r) {
        ratios.push_back(ns[of][r] / ns[to][r]);
    }
    return quartiles_of(std::move(ratios));
}

std::optional<std::size_t> contest::find(const std::string& name) const {
    for (std::size_t i = 0; i < contenders_.size(); ++i) {
        if (contenders_[i].name == name) {
            return i;
        }
    }
    return {};
}

const row_times& contest::row(const std::string& name) {
    const auto found = rows_.find(name);
    return found != rows_.end() ? found->second : rows_.emplace(name, measure(name)).first->second;
}

row_times contest::measure(const std::string& row) {
    row_times times;
    times.ns.resize(contenders_.size());
    const double begin = wall_s();
    for (unsigned r = 0; r < rounds_ && (r < fewest_rounds || wall_s() - begin < most_s); ++r) {
        for (std::size_t i = 0; i < contenders_.size(); ++i) {
            const std::size_t which = (i + r) % contenders_.size();
            const contender& c = contenders_[which];
            const program_run run = run_program(command_of(driver_, c, {row}), c.environment);
            const auto ns = value_of(run.output, "ns");
            if (!run.ok || !ns) {
                times.why = c.name + " " + (run.ok ? "printed no figure" : run.why);
                return times;
            }
            if (const auto blocks = value_of(run.output, "drift_blocks")) {
                drift_ = drift_.value_or(0) + std::fabs(*blocks) +
                         std::fabs(value_of(run.output, "drift_bytes").value_or(0));
            }
            times.ns[which].push_back(*ns);
        }
    }
    std::printf("# %-7s", row.c_str());
    for (std::size_t i = 0; i < contenders_.size(); ++i) {
        std::printf("  %s %.1f", contenders_[i].name.c_str(), times.median_ns(i));
    }
    std::puts("  ns");
    std::fflush(stdout);
    return times;
}

instructions instructions_of(const std::string& driver, const contender& c,
                             const std::string& row) {
    if (find_program("valgrind").empty()) {
        return {"valgrind is not installed", 0};
    }
    constexpr std::uint64_t fewer = 10'000, more = 110'000;
    std::uint64_t counts[2] = {};
    for (const std::uint64_t length : {fewer, more}) {
        contender counted = c;
        counted.launcher.insert(
            counted.launcher.end(),
            {"valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"});
        const program_run run = run_program(
            command_of(driver, counted, {row, "--exactly", std::to_string(length)}), c.environment);
        std::uint64_t& count = counts[length == more];
        count = collected(run.output);
        if (!run.ok || count == 0) {
            return {run.ok ? "callgrind counted nothing" : "under callgrind it " + run.why, 0};
        }
    }
    return {{}, static_cast<double>(counts[1] - counts[0]) / static_cast<double>(more - fewer)};
}

} // namespace memreeve::bench
