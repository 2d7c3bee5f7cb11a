// SPDX-License-Identifier: MIT
#include "heap_programs.hpp"

#include "program_duel.hpp"
#include "subjects.hpp"

#include <unistd.h>

namespace memreeve::bench {

namespace {

constexpr double goal = 1.00;
constexpr double seconds_each = 20; // of measuring, for one program

// espresso and cfrac are named for the kinds of program; what they run is ours.
struct named_program {
    const char* name;
    subject (*make)(const std::string& folder);
};
constexpr named_program programs[] = {
    {"espresso", [](const std::string&) { return native_subject("minimise", {"100"}); }},
    {"cfrac", [](const std::string&) { return native_subject("factor", {"3"}); }},
    {"mono", [](const std::string& folder) { return runtime_subject("mono", folder); }},
    {"dotnet", [](const std::string& folder) { return runtime_subject("dotnet", folder); }},
    {"node", [](const std::string& folder) { return runtime_subject("node", folder); }},
    {"python", [](const std::string& folder) { return runtime_subject("python3", folder); }},
};

} // namespace

void measure_programs(report& out, const char* name, const char* library,
                      const std::string& why_not, unsigned rounds) {
    const std::string memreeve = own_folder() + "/memreeve";
    const temporary_folder folder;
    for (const named_program& p : programs) {
        const std::string metric = std::string("heap_programs_") + p.name;
        if (!out.wants_metric(metric)) {
            continue;
        }
        std::string why = access(memreeve.c_str(), X_OK) != 0 ? "memreeve is not built" : why_not;
        const subject s = why.empty() ? p.make(folder.path()) : subject{{}, why};
        why = s.why;
        std::vector<std::string> governed = {memreeve, "run", "-q", "--"};
        governed.insert(governed.end(), s.command.begin(), s.command.end());
        duel d({s.command, {std::string("LD_PRELOAD=") + library}, std::string("with ") + name},
               {governed, {}, "under memreeve"});
        if (why.empty()) {
            why = d.run(rounds, seconds_each).value_or("");
        }
        if (!why.empty()) {
            out.skipped(metric.c_str(), why.c_str());
            continue;
        }
        char reference[96];
        std::snprintf(reference, sizeof reference,
                      "CPU time with %s preloaded; wall %.3f, rss %.3f", name, d.wall().middle,
                      d.rss().middle);
        const quartiles q = d.cpu();
        std::printf("# %s: %.3f of the CPU time with %s\n", p.name, q.middle, name);
        std::fflush(stdout);
        out.value(metric.c_str(), q.middle, "ratio", with_spread(reference, q, 3).c_str(),
                  d.rounds(), goal);
    }
}

} // namespace memreeve::bench
