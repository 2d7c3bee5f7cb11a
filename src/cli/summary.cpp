// SPDX-License-Identifier: MIT
#include "cli/report.hpp"

#include <nlohmann/json.hpp>

namespace memreeve::cli {

namespace {

using json = nlohmann::ordered_json;

constexpr int schema_version = 1;
constexpr std::array level_names = {"task", "appdomain", "process"};
constexpr std::array notification_names = {"low", "neutral", "high"};

template <class Names, class Counts>
json named(const Names& names, const Counts& counts) {
    json out = json::object();
    for (std::size_t i = 0; i < counts.size(); ++i) {
        out[names[i]] = counts[i];
    }
    return out;
}

json owners_of(const telemetry::picture& p) {
    json out = json::array();
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        const telemetry::owner_figures& o = p.owners[k];
        out.push_back({{"name", telemetry::owner_names[k]},
                       {"reserved_bytes", o.reserved},
                       {"committed_bytes", o.committed},
                       {"charged_bytes", o.charged},
                       {"touched_bytes", o.touched},
                       {"mapped_writable_bytes", o.mapped_writable},
                       {"slack_bytes", o.slack},
                       {"resident_bytes", o.resident},
                       {"peak_charged_bytes", o.peak_charged}});
    }
    return out;
}

json process_of(const process_report& p) {
    json out = {{"pid", p.pid},
                {"image", p.image},
                {"runtime", telemetry::name_of(p.runtime)},
                {"governed", p.governed}};
    if (!p.governed) {
        out["reason"] = p.reason;
    }
    constexpr std::array ends = {"running", "exited", "exec", "killed"};
    out["end"] = p.governed ? json(ends[static_cast<std::size_t>(p.end) % ends.size()]) : json();
    out["requests"] = named(telemetry::request_names, p.requests);
    out["refusals"] = named(level_names, p.refusals);
    out["notifications"] = named(notification_names, p.notifications);
    out["asked"] = {{"times", p.asked.times},
                    {"charged_before_bytes", p.asked.before},
                    {"charged_after_bytes", p.asked.after},
                    {"seconds", p.asked.seconds}};
    json settings = json::object();
    for (const auto& [name, value] : p.settings) {
        settings[name] = value;
    }
    out["settings"] = settings;
    out["peak_charged_bytes"] = p.peak_charged;
    if (p.as_of) {
        out["as_of_seconds"] = *p.as_of;
    }
    // Nothing is known of an image that was never seen; zeroes would be a statement.
    if (!p.picture) {
        out["owners"] = json::array();
        out["kernel"] = nullptr;
        return out;
    }
    out["owners"] = owners_of(*p.picture);
    const telemetry::kernel_figures& k = p.picture->kernel;
    out["kernel"] = {{"rss_bytes", k.rss},
                     {"private_writable_bytes", k.private_writable},
                     {"private_resident_bytes", k.private_resident},
                     {"unclassified_bytes", k.unclassified},
                     {"unclassified_resident_bytes", k.unclassified_resident}};
    if (p.picture->in_flight != 0) {
        out["operation_in_flight"] = true;
    }
    return out;
}

} // namespace

std::string summary_json(const run_report& r) {
    json out = {{"schema_version", schema_version}, {"command", r.command}};
    out["exit"] = {{"code", r.exit_signal == 0 ? json(r.exit_code) : json()},
                   {"signal", r.exit_signal != 0 ? json(r.exit_signal) : json()}};
    out["wall_seconds"] = r.wall_seconds;
    out["limit_bytes"] = r.limit ? json(*r.limit) : json();
    out["reserve_bytes"] = r.reserve;
    out["peak_charged_bytes"] = r.peak_charged;
    out["touched_overshoot_bytes"] = r.touched_overshoot;
    out["processes"] = json::array();
    for (const process_report& p : r.processes) {
        out["processes"].push_back(process_of(p));
    }
    // Names and arguments need not be UTF-8.
    return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

} // namespace memreeve::cli
