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

json words_of(const words_report& w) {
    json owners = json::array();
    std::size_t grew = 0;
    for (std::size_t k = 0; k < w.owner_charged.size(); ++k) {
        owners.push_back({{"name", telemetry::owner_names[k]},
                          {"charged_bytes", w.owner_charged[k]},
                          {"touched_bytes", w.owner_touched[k]},
                          {"grown_bytes", w.owner_grown[k]}});
        grew = w.owner_grown[k] > w.owner_grown[grew] ? k : grew;
    }
    json out = {{"cause", words_cause_names[static_cast<std::size_t>(w.cause)]},
                {"after_seconds", w.after_seconds},
                {"limit_bytes", w.limit ? json(*w.limit) : json()},
                {"reserve_bytes", w.reserve},
                {"charged_bytes", w.charged},
                {"touched_bytes", w.touched},
                {"owners", owners}};
    out["grew_last"] = w.owner_grown[grew] > 0 ? json{{"owner", telemetry::owner_names[grew]},
                                                      {"bytes", w.owner_grown[grew]},
                                                      {"seconds", w.grown_over}}
                                               : json();
    out["refused"] = json();
    if (w.refused) {
        out["refused"] = {
            {"bytes", w.refused->bytes},
            {"level", level_names[w.refused->level]},
            {"what_for", telemetry::purpose_names[static_cast<std::size_t>(w.refused->what_for)]},
            {"owner", telemetry::owner_names[w.refused->owner]},
            {"caller", w.refused->caller.empty() ? json() : json(w.refused->caller)}};
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
                    {"seconds", p.asked.seconds},
                    {"over_limit_times", p.asked.over_limit},
                    {"kernel_pressure_times", p.asked.pressed}};
    json settings = json::object();
    for (const auto& [name, value] : p.settings) {
        settings[name] = value;
    }
    out["settings"] = settings;
    out["users_settings"] = p.users_settings;
    out["peak_charged_bytes"] = p.peak_charged;
    json words = json::array();
    for (const words_report& w : p.words) {
        words.push_back(words_of(w));
    }
    out["last_words"] = words;
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
    json changes = json::array();
    for (const limit_change_report& c : r.limit_changes) {
        changes.push_back({{"at_seconds", c.at_seconds},
                           {"from_bytes", c.from ? json(*c.from) : json()},
                           {"to_bytes", c.to ? json(*c.to) : json()},
                           {"charged_bytes", c.charged}});
    }
    out["limit_changes"] = changes;
    out["limit_changes_total"] = r.limit_changes_total;
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
