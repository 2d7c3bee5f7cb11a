// SPDX-License-Identifier: MIT
#include "cli/commands/squeeze.hpp"

#include "budget/budget.hpp"
#include "cli/commands/run.hpp"
#include "cli/limit_search.hpp"
#include "cli/size.hpp"
#include "cli/text.hpp"
#include "cli/trial.hpp"
#include "manager/sensors.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

namespace memreeve::cli {

namespace {

using json = nlohmann::ordered_json;

constexpr int schema_version = 1;
constexpr byte_count mib = byte_count{1} << 20;
constexpr byte_count smallest_from = byte_count{256} << 10; // less starts no program
constexpr std::size_t longest_reason = 120;
constexpr double least_patience = 2; // seconds
constexpr double headroom = 1.1;     // recommended over the smallest
constexpr double slow_down = 1.25;   // recommended at most, times the fastest
constexpr double not_noticed = 0.1;  // seconds more than that
constexpr double container_headroom = 1.05;

// What the runs at one limit told.
struct point {
    std::vector<double> seconds; // of those that worked
    trial_outcome last;
    unsigned late = 0;
    std::string why; // of the last failure
};

double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v.empty() ? 0 : v[v.size() / 2];
}

std::string ending_of(const trial_outcome& t, double patience) {
    if (t.is_late) {
        return fmt::format("took longer than {:.1f} s and was ended", patience);
    }
    std::string out;
    if (t.status > 128 && t.status < 128 + NSIG) {
        const char* name = ::sigabbrev_np(t.status - 128);
        out = fmt::format("signal {}", name != nullptr ? fmt::format("SIG{}", name)
                                                       : std::to_string(t.status - 128));
    } else {
        out = fmt::format("status {}", t.status);
    }
    const std::string& words =
        t.last_words.empty() && !t.said.empty() ? t.said.back() : t.last_words;
    if (!words.empty()) {
        out += ": " + printable(words.substr(0, longest_reason));
    }
    return out;
}

struct search_report {
    trial_outcome unlimited;
    std::map<byte_count, point> points;
    double patience = 0;
    unsigned runs = 0;
    bool is_complete = false;
    bool is_interrupted = false;
    std::string cannot; // why it went on no further; empty: it was told to end
    std::optional<byte_count> smallest;
    byte_count largest_failure = 0;
    std::vector<byte_count> islands;
    std::optional<byte_count> recommended;
    byte_count container = 0;
};

byte_count up_to_mib(double bytes) {
    return (static_cast<byte_count>(bytes) + mib - 1) / mib * mib;
}

void recommend(search_report& r) {
    double fastest = r.unlimited.seconds;
    for (const auto& [limit, p] : r.points) {
        if (limit >= *r.smallest) {
            fastest = std::min(fastest, median(p.seconds));
        }
    }
    for (const auto& [limit, p] : r.points) {
        const bool is_roomy =
            static_cast<double>(limit) >= static_cast<double>(*r.smallest) * headroom - page_size;
        if (limit < *r.smallest || !is_roomy) {
            continue;
        }
        r.recommended = limit;
        if (median(p.seconds) <= fastest * slow_down + not_noticed) {
            break;
        }
    }
    if (!r.recommended) {
        r.recommended = r.smallest;
    }
    byte_count beside = 0;
    for (const auto& [limit, p] : r.points) {
        beside = std::max(beside, p.last.beside);
    }
    r.container = up_to_mib(static_cast<double>(*r.recommended + beside) * container_headroom);
}

// `what` is --from or --to; false: it was said what is wrong.
bool parse(const char* what, const std::optional<std::string>& text, byte_count total,
           byte_count& out) {
    if (!text) {
        return true;
    }
    std::string why;
    const std::optional<size> s = parse_size(*text, total, why);
    if (!s || s->is_unlimited || s->bytes < page_size) {
        if (s) {
            why = s->is_unlimited ? "is no size to try" : "is less than one page";
        }
        say(fmt::format("{} {}: {}; accepted are {}", what, shell_word(*text), why,
                        accepted_sizes));
        return false;
    }
    out = s->bytes;
    return true;
}

// The smallest limit that leaves `peak` below the part that is kept in reserve.
byte_count limit_for(byte_count peak) {
    byte_count limit = peak + peak / 50;
    while (limit - budget::default_reserve(limit) < peak) {
        limit += std::max(limit / 50, page_size);
    }
    return limit;
}

class search_runner {
public:
    search_runner(const squeeze_options& o, prim::signal_desk& desk) : o_(o), desk_(desk) {}

    trial_outcome run(std::optional<byte_count> limit, double patience) {
        trial_options t;
        t.command = o_.command;
        t.limit = limit;
        t.patience = patience;
        t.show = o_.show;
        if (o_.no_knobs) {
            t.run_options.push_back("--no-knobs");
        }
        ++report_.runs;
        return try_command(t, desk_);
    }

    // False: it was said why there is nothing to look for; `status` is then squeeze()'s.
    bool begin(int& status) {
        report_.unlimited = run(std::nullopt, 0);
        const trial_outcome& u = report_.unlimited;
        if (u.is_interrupted) {
            say("squeeze: ended before the run without a limit was over; nothing is known yet");
            status = squeeze_interrupted;
            return false;
        }
        if (!u.cannot.empty() || u.processes.empty()) {
            say(fmt::format("squeeze: {}", printable(!u.cannot.empty() ? u.cannot
                                                     : u.said.empty()  ? "nothing was governed"
                                                                       : u.said.front())));
            status = memreeve_failed;
            return false;
        }
        if (u.status != o_.expect) {
            say(fmt::format("squeeze: without a limit the command ends with {} already, not with "
                            "status {}; mend that first, or name the status that counts as "
                            "success with --expect",
                            ending_of(u, 0), o_.expect));
            status = squeeze_found_none;
            return false;
        }
        report_.patience = std::max(least_patience, o_.timeout * u.seconds);
        progress(
            fmt::format("without a limit: {:.2f} s, {} charged at most; a run may take {:.1f} s",
                        u.seconds, show_size(u.peak_charged), report_.patience));
        return true;
    }

    void search(const search_bounds& b) {
        limit_search s(b);
        while (const auto limit = s.next()) {
            const trial_outcome t = run(*limit, report_.patience);
            if (t.is_interrupted || !t.cannot.empty()) {
                report_.is_interrupted = true;
                report_.cannot = t.cannot;
                break;
            }
            const bool worked = !t.is_late && t.status == o_.expect;
            s.note(*limit, worked);
            point& p = report_.points[*limit];
            p.last = t;
            if (worked) {
                p.seconds.push_back(t.seconds);
                progress(fmt::format("{}: worked, {:.2f} s", show_size(*limit), t.seconds));
            } else {
                p.late += t.is_late ? 1 : 0;
                p.why = ending_of(t, report_.patience);
                progress(fmt::format("{}: failed, {}", show_size(*limit), p.why));
            }
        }
        report_.is_complete = !report_.is_interrupted;
        report_.smallest = s.answer();
        report_.largest_failure = s.largest_failure();
        report_.islands = s.islands();
        tried_ = s.all();
        if (report_.smallest) {
            recommend(report_);
        }
    }

    const search_report& report() const { return report_; }
    std::string as_text() const;
    json as_json() const;

private:
    void progress(const std::string& text) const {
        if (!o_.quiet) {
            say(fmt::format("squeeze: {}", text));
        }
    }
    std::string command_line() const {
        std::string out;
        for (const std::string& w : o_.command) {
            out += " " + shell_word(w);
        }
        return out;
    }

    const squeeze_options& o_;
    prim::signal_desk& desk_;
    search_report report_;
    std::map<byte_count, limit_search::tried> tried_;
};

std::string search_runner::as_text() const {
    const search_report& r = report_;
    std::string out = fmt::format("{:>12}{:>10}{:>9}  {}\n", "limit", "time", "x", "result");
    for (const auto& [limit, p] : r.points) {
        const limit_search::tried& t = tried_.at(limit);
        if (p.seconds.empty()) {
            out +=
                fmt::format("{:>12}{:>10}{:>9}  failed: {}\n", show_size(limit), "-", "-", p.why);
            continue;
        }
        const double time = median(p.seconds);
        out += fmt::format("{:>12}{:>8.2f} s{:>9.2f}  worked {} of {}{}\n", show_size(limit), time,
                           time / std::max(r.unlimited.seconds, 1e-9), t.worked,
                           t.worked + t.failed, t.failed == 0 ? "" : "; failed: " + p.why);
    }
    out += fmt::format("{:>12}{:>8.2f} s{:>9.2f}  {} charged at most\n\n", "none",
                       r.unlimited.seconds, 1.0, show_size(r.unlimited.peak_charged));
    if (!r.smallest) {
        out += fmt::format("No limit that works {} up to {}.\n",
                           r.is_complete ? "was found" : "is known yet",
                           r.points.empty() ? "now" : show_size(r.points.rbegin()->first));
        return out;
    }
    if (r.is_interrupted) {
        out += "Ended early; this is what is known so far.\n";
    }
    if (r.largest_failure == 0) {
        out += fmt::format("Smallest limit that works: {} ({} bytes) or less; --from tries less.\n",
                           show_size(*r.smallest), *r.smallest);
    } else {
        out += fmt::format("Smallest limit that works: {} ({} bytes); {} fails.\n",
                           show_size(*r.smallest), *r.smallest, show_size(r.largest_failure));
    }
    if (!r.islands.empty()) {
        out +=
            fmt::format("Not monotone: {} worked too, although a larger limit failed: the command "
                        "does not need the same each time, or chance plays a part.\n",
                        show_size(r.islands.front()));
    }
    unsigned late = 0;
    for (const auto& [limit, p] : r.points) {
        late += p.late;
    }
    if (late != 0) {
        out += fmt::format("{} {} ended for taking longer than {:.1f} s: so close to its limit the "
                           "command only collects garbage (--timeout).\n",
                           late, late == 1 ? "run was" : "runs were", r.patience);
    }
    const point& there = r.points.at(*r.recommended);
    out += fmt::format("Recommended: memreeve run --limit {}M --{}\n",
                       up_to_mib(static_cast<double>(*r.recommended)) / mib, command_line());
    out += fmt::format("A container needs {}M: the limit, what its largest process holds beside it "
                       "(stacks, libraries), and {:.0f} %.\n",
                       r.container / mib, (container_headroom - 1) * 100);
    if (!there.last.settings.empty()) {
        out +=
            "Set by memreeve run at that limit; in a container without memreeve set it yourself:\n";
        for (const auto& [name, value] : there.last.settings) {
            out += fmt::format("  {}={}\n", name, shell_word(value));
        }
    }
    return out;
}

json search_runner::as_json() const {
    const search_report& r = report_;
    json curve = json::array();
    for (const auto& [limit, p] : r.points) {
        const limit_search::tried& t = tried_.at(limit);
        curve.push_back({{"limit_bytes", limit},
                         {"worked", t.worked},
                         {"failed", t.failed},
                         {"late", p.late},
                         {"seconds", p.seconds.empty() ? json() : json(median(p.seconds))},
                         {"peak_charged_bytes", p.last.peak_charged},
                         {"refusals", p.last.refusals},
                         {"why", p.why.empty() ? json() : json(p.why)}});
    }
    json out = {
        {"schema_version", schema_version},
        {"command", o_.command},
        {"expected_status", o_.expect},
        {"complete", r.is_complete},
        {"runs", r.runs},
        {"tolerance", o_.tolerance_percent / 100},
        {"repeat", o_.repeat},
        {"longest_run_seconds", r.patience},
        {"unlimited",
         {{"seconds", r.unlimited.seconds}, {"peak_charged_bytes", r.unlimited.peak_charged}}},
        {"smallest_bytes", r.smallest ? json(*r.smallest) : json()},
        {"largest_failing_bytes", r.largest_failure != 0 ? json(r.largest_failure) : json()},
        {"monotone", r.islands.empty()},
        {"curve", curve},
        {"recommended", nullptr}};
    if (r.recommended) {
        json settings = json::object();
        for (const auto& [name, value] : r.points.at(*r.recommended).last.settings) {
            settings[name] = value;
        }
        out["recommended"] = {{"limit_bytes", up_to_mib(static_cast<double>(*r.recommended))},
                              {"container_bytes", r.container},
                              {"settings", settings}};
    }
    return out;
}

} // namespace

int squeeze(const squeeze_options& o) {
    manager::sensors system;
    system.open("", true);
    const byte_count total = system.total();
    search_bounds b;
    b.tolerance = o.tolerance_percent / 100;
    b.repeat = o.repeat;
    b.from = smallest_from;
    if (!parse("--from", o.from, total, b.from) || !parse("--to", o.to, total, b.to)) {
        return memreeve_failed;
    }
    if (o.to && b.to < b.from) {
        say(fmt::format("--to {}: smaller than --from, {}", shell_word(*o.to), show_size(b.from)));
        return memreeve_failed;
    }
    run_options as_run;
    as_run.command = o.command;
    if (const auto against = obstacle_to(as_run)) {
        say(against->reason);
        return against->status;
    }
    prim::signal_desk desk;
    search_runner runner(o, desk);
    int status = 0;
    if (!runner.begin(status)) {
        return status;
    }
    b.guess = limit_for(runner.report().unlimited.peak_charged);
    if (!o.to) {
        b.to = std::max({total, b.guess, b.from});
    }
    runner.search(b);
    const search_report& r = runner.report();
    if (o.json) {
        std::cout << runner.as_json().dump(2, ' ', false, json::error_handler_t::replace) << '\n'
                  << std::flush;
    } else {
        std::cout << runner.as_text() << std::flush;
    }
    if (!r.cannot.empty()) {
        say(fmt::format("squeeze: ended early: {}", printable(r.cannot)));
        return memreeve_failed;
    }
    if (r.is_interrupted) {
        return squeeze_interrupted;
    }
    return r.smallest ? 0 : squeeze_found_none;
}

} // namespace memreeve::cli
