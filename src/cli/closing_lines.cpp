// SPDX-License-Identifier: MIT
#include "cli/report.hpp"

#include "cli/size.hpp"
#include "cli/text.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <string_view>

namespace memreeve::cli {

namespace {

constexpr std::size_t most_named = 8; // ungoverned children named one by one
constexpr std::uint64_t telling_address_space = std::uint64_t{1} << 31; // less may be too little
constexpr double start_up_seconds = 0.5;

std::string joined(const std::vector<std::string>& words, const char* between) {
    return fmt::format("{}", fmt::join(words, between));
}

std::string ending_of(const run_report& r) {
    if (r.exit_signal != 0) {
        const char* name = ::sigabbrev_np(r.exit_signal);
        return fmt::format("was ended by signal {}{}", r.exit_signal,
                           name != nullptr ? fmt::format(" (SIG{})", name) : "");
    }
    return fmt::format("ended with status {}", r.exit_code);
}

template <class Counts>
Counts sum_of(const run_report& r, Counts process_report::*member) {
    Counts sum{};
    for (const process_report& p : r.processes) {
        for (std::size_t i = 0; i < sum.size(); ++i) {
            sum[i] += (p.*member)[i];
        }
    }
    return sum;
}

// Where an exec left an image, its successor's figures count; of images that ran side by side, all.
std::string charged_by_owner(const run_report& r) {
    std::array<std::uint64_t, telemetry::owner_kind_count> charged{};
    for (const process_report& p : r.processes) {
        if (!p.picture || p.end == telemetry::image_end::exec) {
            continue;
        }
        for (std::size_t k = 0; k < charged.size(); ++k) {
            charged[k] += p.picture->owners[k].charged;
        }
    }
    std::vector<std::string> words;
    for (std::size_t k = 0; k < charged.size(); ++k) {
        if (charged[k] != 0) {
            words.push_back(fmt::format("{} {}", telemetry::owner_names[k], show_size(charged[k])));
        }
    }
    return words.empty() ? "nothing" : joined(words, ", ");
}

bool somebody_looked(const run_report& r) {
    return std::any_of(r.processes.begin(), r.processes.end(),
                       [](const process_report& p) { return p.picture.has_value(); });
}

// Images that ended one after the other are added up: more than was ever held at a time.
const char* when_charged(const run_report& r) {
    const auto pictured =
        std::count_if(r.processes.begin(), r.processes.end(),
                      [](const process_report& p) { return p.picture.has_value(); });
    return pictured > 1 ? "charged as each image ended, added up, by owner: "
                        : "charged at the end, by owner: ";
}

std::uint64_t refusals_of(const process_report& p) {
    std::uint64_t n = 0;
    for (const std::uint64_t level : p.refusals) {
        n += level;
    }
    return n;
}

std::string touched_by_owner(const run_report& r) {
    std::array<std::uint64_t, telemetry::owner_kind_count> touched{};
    for (const process_report& p : r.processes) {
        for (std::size_t k = 0;
             p.picture && p.end != telemetry::image_end::exec && k < touched.size(); ++k) {
            touched[k] += p.picture->owners[k].touched;
        }
    }
    std::vector<std::string> words;
    for (std::size_t k = 0; k < touched.size(); ++k) {
        if (touched[k] != 0) {
            words.push_back(fmt::format("{} {}", telemetry::owner_names[k], show_size(touched[k])));
        }
    }
    return words.empty() ? "nothing" : joined(words, ", ");
}

// What makes the runtime itself keep below a limit, where memreeve does not set it.
const char* advice_for(const run_report& r) {
    for (const process_report& p : r.processes) {
        if (!p.settings.empty() || refusals_of(p) == 0) {
            continue;
        }
        if (p.runtime == telemetry::runtime_kind::jvm) {
            return "; a JVM fits itself to a limit that it is told (-XX:MaxRAM=SIZE or -Xmx)";
        }
        if (p.runtime == telemetry::runtime_kind::node) {
            return "; V8's heap keeps below --max-old-space-size=MIB";
        }
    }
    return "";
}

// What became of the limit, and why the program failed, where the limit may be the reason; empty when it is not.
std::string explained_failure(const run_report& r) {
    const bool failed = r.exit_signal != 0 || r.exit_code != 0;
    const bool was_governed = std::any_of(r.processes.begin(), r.processes.end(),
                                          [](const process_report& p) { return p.governed; });
    if (failed && was_governed && refusals_of(r) == 0 && r.address_space < telling_address_space) {
        return fmt::format("ulimit -v allows {} of address space, of which memreeve takes some "
                           "60 MiB in each process; raise it if that was the reason",
                           show_size(r.address_space));
    }
    if ((!r.limit && r.limit_changes.empty()) || refusals_of(r) == 0) {
        return {};
    }
    const std::string reached =
        r.limit_changes.empty() ? fmt::format("the limit of {} was reached", show_size(*r.limit))
                                : std::string("the limit then in force was reached");
    if (!failed) {
        return reached + "; the program lived on";
    }
    std::uint64_t smallest = 0;
    std::optional<double> first;
    for (const process_report& p : r.processes) {
        if (p.smallest_refused != 0 && (smallest == 0 || p.smallest_refused < smallest)) {
            smallest = p.smallest_refused;
        }
        if (p.refused_after && (!first || *p.refused_after < *first)) {
            first = p.refused_after;
        }
    }
    const bool starting =
        first && *first < start_up_seconds && r.wall_seconds < 2 * start_up_seconds;
    std::string line = reached;
    if (first) {
        line += fmt::format(", {:.1f} s after the start", *first);
    }
    if (smallest != 0) {
        line += fmt::format("; the smallest request refused was {}", show_size(smallest));
    }
    return line +
           fmt::format("; raise --limit, or run once without it and read the peak{}{}",
                       starting ? "; so early, the runtime itself may need more than that to start"
                                : "",
                       advice_for(r));
}

std::string show_limit(const std::optional<std::uint64_t>& limit) {
    return limit ? show_size(*limit) : "none";
}

std::string peak_line(const run_report& r) {
    const std::string peak = fmt::format("peak charged {}", show_size(r.peak_charged));
    if (!r.limit_changes.empty()) {
        return r.highest_limit
                   ? fmt::format("{}; the highest limit was {}", peak, show_size(*r.highest_limit))
                   : fmt::format("{} (no limit at times)", peak);
    }
    return r.limit ? fmt::format("{} of {} (reserve {})", peak, show_size(*r.limit),
                                 show_size(r.reserve))
                   : fmt::format("{} (no limit)", peak);
}

std::string limit_changes_line(const run_report& r) {
    constexpr std::size_t most_told = 3;
    std::vector<std::string> words;
    const std::size_t told = std::min(r.limit_changes.size(), most_told);
    for (auto c = r.limit_changes.end() - static_cast<std::ptrdiff_t>(told);
         c != r.limit_changes.end(); ++c) {
        words.push_back(fmt::format("{} to {} after {:.1f} s ({} charged)", show_limit(c->from),
                                    show_limit(c->to), c->at_seconds, show_size(c->charged)));
    }
    return fmt::format("limit changed {} time{} while it ran: {}{}", r.limit_changes_total,
                       r.limit_changes_total == 1 ? "" : "s",
                       r.limit_changes_total > told ? "at last " : "", joined(words, ", "));
}

// Decision 31. V8 ends its process at the limit of its own heap and nothing was refused: a word of
// where that limit came from. Who died is seen by the last words, a sample would be too old.
std::string v8_limit_line(const run_report& r, const process_report& p) {
    constexpr const char* option = "--max-old-space-size=";
    const auto set = std::find_if(p.settings.begin(), p.settings.end(), [&](const auto& s) {
        return s.first == "NODE_OPTIONS" && s.second.find(option) != std::string::npos;
    });
    const auto death = std::find_if(p.words.begin(), p.words.end(), [](const words_report& w) {
        return w.cause == words_cause::death;
    });
    if (set == p.settings.end() || death == p.words.end() || !r.limit) {
        return {};
    }
    const std::string_view value(set->second);
    const std::string digits(value.substr(value.find(option) + std::strlen(option)));
    const std::uint64_t heap_limit = std::strtoull(digits.c_str(), nullptr, 10) << 20;
    const auto gc = static_cast<std::size_t>(telemetry::owner_kind::gc);
    if (heap_limit == 0 || death->owner_charged[gc] < heap_limit - heap_limit / 16) {
        return {};
    }
    return fmt::format("{} reached the limit of V8's heap, {}, which follows from --limit {} "
                       "({}={}): V8 ends its process there; what runs in a Worker with "
                       "resourceLimits can be caught, and buffers lie outside",
                       who(p), show_size(heap_limit), show_size(*r.limit), set->first, set->second);
}

// Lines about single processes, as many as a reader bears.
class few_lines {
public:
    void add(std::vector<std::string>& lines, std::string line) {
        if (!line.empty() && ++count_ <= most_named) {
            lines.push_back(std::move(line));
        }
    }

private:
    std::size_t count_ = 0;
};

// Decision 29. A heap within a sixteenth of its limit has met it: what it asks for at once is
// seldom less, and nothing shows the exception itself.
std::string heap_limit_line(const run_report& r, const process_report& p) {
    const auto set = std::find_if(p.settings.begin(), p.settings.end(), [](const auto& s) {
        return s.first == "DOTNET_GCHeapHardLimit";
    });
    if (set == p.settings.end() || !p.picture || !r.limit) {
        return {};
    }
    const std::uint64_t heap_limit = std::strtoull(set->second.c_str(), nullptr, 16);
    const auto gc = static_cast<std::size_t>(telemetry::owner_kind::gc);
    if (p.picture->owners[gc].peak_charged < heap_limit - heap_limit / 16) {
        return {};
    }
    const std::string why = fmt::format(
        "{} reached the limit of its GC heap, {}, which follows from --limit {} ({}={})", who(p),
        show_size(heap_limit), show_size(*r.limit), set->first, set->second);
    return refusals_of(p) == 0
               ? why +
                     ": what OutOfMemoryExceptions there were came from there, nothing was refused"
               : why + ": what OutOfMemoryExceptions there were came from there or from a refusal";
}

} // namespace

std::string who(const process_report& p) {
    return fmt::format("{} (pid {})", shell_word(p.image.substr(p.image.rfind('/') + 1)), p.pid);
}

std::uint64_t refusals_of(const run_report& r) {
    std::uint64_t n = 0;
    for (const process_report& p : r.processes) {
        n += refusals_of(p);
    }
    return n;
}

std::vector<std::string> closing_lines(const run_report& r) {
    std::vector<std::string> lines;
    const auto governed = std::count_if(r.processes.begin(), r.processes.end(),
                                        [](const process_report& p) { return p.governed; });
    lines.push_back(fmt::format("{} {} after {:.1f} s; {} process image{} governed",
                                shell_word(r.command.front()), ending_of(r), r.wall_seconds,
                                governed, governed == 1 ? "" : "s"));

    const auto requests = sum_of(r, &process_report::requests);
    std::vector<std::string> words;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        words.push_back(fmt::format("{} {}", telemetry::request_names[i], requests[i]));
    }
    lines.push_back("requests: " + joined(words, ", "));

    lines.push_back(peak_line(r));
    if (!r.limit_changes.empty()) {
        lines.push_back(limit_changes_line(r));
    }
    if (r.touched_overshoot != 0) {
        lines.push_back(fmt::format("charged and touched memory passed the limit by up to {}: what "
                                    "grows by touch alone (stacks, libraries' data) is measured, "
                                    "not refused; leave a container as much room",
                                    show_size(r.touched_overshoot)));
    }
    if (somebody_looked(r)) {
        lines.push_back(when_charged(r) + charged_by_owner(r));
        lines.push_back("touched beside it, by owner: " + touched_by_owner(r));
    } else if (governed != 0) {
        lines.emplace_back("it ended before anybody could look at who holds what");
    }

    const auto refusals = sum_of(r, &process_report::refusals);
    lines.push_back(fmt::format("refusals: task {}, appdomain {}, process {}", refusals[0],
                                refusals[1], refusals[2]));
    if (std::string why = explained_failure(r); !why.empty()) {
        lines.push_back(std::move(why));
    }

    few_lines said;
    for (const process_report& p : r.processes) {
        for (const words_report& w : p.words) {
            // Who holds what, and what was refused, stands above.
            if (w.cause == words_cause::death && !w.was_told &&
                (refusals_of(p) != 0 || w.is_near_limit())) {
                said.add(lines, fmt::format("{} {}", who(p), grew_last(w)));
            }
        }
        if (p.governed) {
            said.add(lines, heap_limit_line(r, p));
            said.add(lines, v8_limit_line(r, p));
            said.add(lines,
                     p.note.empty() ? p.note : fmt::format("{}: {}", who(p), printable(p.note)));
        }
        for (const auto& [name, value] : p.settings) {
            if (r.verbose) {
                said.add(lines,
                         fmt::format("set for {}: {}", who(p), printable(name + "=" + value)));
            }
        }
        for (const std::string& theirs : p.users_settings) {
            if (r.verbose) {
                said.add(lines, fmt::format("left for {} as the user has set it: {}", who(p),
                                            printable(theirs)));
            }
        }
    }

    std::size_t named = 0;
    std::size_t ungoverned = 0;
    for (const process_report& p : r.processes) {
        if (p.governed) {
            continue;
        }
        if (++ungoverned <= most_named) {
            ++named;
            lines.push_back(fmt::format("not governed: {} (pid {}): {}", shell_word(p.image), p.pid,
                                        printable(p.reason)));
        }
    }
    if (ungoverned > named) {
        lines.push_back(fmt::format("not governed: {} more", ungoverned - named));
    }
    if (r.ledger_was_damaged) {
        lines.emplace_back(
            "a program that it started has written over the ledger, where limits and "
            "figures are kept: figures may be wrong, and the limit may not have held");
    }
    if (r.without_place != 0) {
        lines.push_back(fmt::format("{} processes found every slot of the ledger taken "
                                    "(512 at once) and are not listed",
                                    r.without_place));
    }
    return lines;
}

} // namespace memreeve::cli
