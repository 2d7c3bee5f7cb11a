// SPDX-License-Identifier: MIT
#include "bridge_cost.hpp"

#include "program_duel.hpp"
#include "subjects.hpp"

#include <unistd.h>

namespace memreeve::bench {

namespace {

using words = std::vector<std::string>;

constexpr double wall_goal = 1.03;
constexpr double rss_goal = 1.02;
constexpr double start_goal_ms = 3;
constexpr double seconds_each = 45; // of measuring, for one program

duel naked_and_governed(const std::string& memreeve, const words& command) {
    words governed = {memreeve, "run", "-q", "--"};
    governed.insert(governed.end(), command.begin(), command.end());
    return {{command, {}, "without memreeve"}, {governed, {}, "under memreeve"}};
}

void measure_program(report& out, const std::string& memreeve, const std::string& name,
                     const subject& s, unsigned rounds) {
    const std::string wall = "bridge_wall_" + name;
    const std::string cpu = "bridge_cpu_" + name;
    const std::string rss = "bridge_rss_" + name;
    std::string why = s.why;
    duel d = naked_and_governed(memreeve, s.command);
    if (!s.command.empty()) {
        why = d.run(rounds, seconds_each).value_or("");
    }
    if (!why.empty()) {
        for (const std::string& metric : {wall, cpu, rss}) {
            out.skipped(metric.c_str(), why.c_str());
        }
        return;
    }
    const auto value = [&](const std::string& metric, const quartiles& q, double goal) {
        out.value(metric.c_str(), q.middle, "ratio",
                  with_spread("the same program naked", q, 3).c_str(), d.rounds(), goal);
    };
    value(wall, d.wall(), wall_goal);
    value(cpu, d.cpu(), -1);
    value(rss, d.rss(), rss_goal);
}

} // namespace

void measure_bridge(report& out, unsigned rounds) {
    const std::string memreeve = own_folder() + "/memreeve";
    const temporary_folder folder;
    const char* const why = access(memreeve.c_str(), X_OK) != 0 ? "memreeve is not built" : nullptr;
    for (const std::string name : {"mono", "dotnet", "java", "node", "python3"}) {
        if (out.wants({"bridge_wall_" + name, "bridge_cpu_" + name, "bridge_rss_" + name})) {
            measure_program(
                out, memreeve, name,
                why != nullptr ? subject{{}, why} : runtime_subject(name, folder.path()), rounds);
        }
    }
    constexpr const char* start = "bridge_start_true_ms";
    if (!out.wants({start})) {
        return;
    }
    duel d = naked_and_governed(memreeve, {"true"});
    const std::string wrong = why != nullptr ? why : d.run(4 * rounds, seconds_each).value_or("");
    if (!wrong.empty()) {
        out.skipped(start, wrong.c_str());
        return;
    }
    const quartiles q = d.more_ms();
    out.value(start, q.middle, "ms", with_spread("added to `true`", q, 2).c_str(), d.rounds(),
              start_goal_ms);
}

} // namespace memreeve::bench
