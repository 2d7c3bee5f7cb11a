// SPDX-License-Identifier: MIT
#include "bridge_cost.hpp"

#include "program_run.hpp"

#include <unistd.h>

#include <filesystem>
#include <optional>

namespace memreeve::bench {

namespace {

namespace fs = std::filesystem;
using words = std::vector<std::string>;

constexpr double wall_goal = 1.03;
constexpr double rss_goal = 1.02;
constexpr double start_goal_ms = 3;
constexpr double seconds_each = 45; // of measuring, for one program
constexpr unsigned fewest_rounds = 5;

const std::string sources = MEMREEVE_BENCH_PROGRAMS;

// The command, or why there is none.
struct subject {
    words command;
    std::string why;
};

subject absent(const std::string& why) { return {{}, why}; }

subject compiled(const words& compiler, const words& extra, const words& command) {
    const program_run made = run_program(compiler, extra, 180);
    return made.ok ? subject{command, {}} : absent(compiler.front() + " " + made.why);
}

subject mono(const std::string& folder) {
    if (find_program("mono").empty() || find_program("mcs").empty()) {
        return absent("mono and mcs are not installed");
    }
    const std::string exe = folder + "/mixed.exe";
    return compiled({"mcs", "-optimize", "-out:" + exe, sources + "/mixed.cs"}, {}, {"mono", exe});
}

// Offline and without traces: no source of packages, every folder it writes to is ours.
subject dotnet(const std::string& folder) {
    if (find_program("dotnet").empty()) {
        return absent("dotnet is not installed");
    }
    const std::string config = folder + "/nuget.config";
    if (std::FILE* f = std::fopen(config.c_str(), "w")) {
        std::fputs("<configuration><packageSources><clear/></packageSources></configuration>\n", f);
        std::fclose(f);
    }
    const words quiet = {"HOME=" + folder,
                         "DOTNET_CLI_HOME=" + folder,
                         "NUGET_PACKAGES=" + folder + "/packages",
                         "TMPDIR=" + folder,
                         "DOTNET_CLI_TELEMETRY_OPTOUT=1",
                         "DOTNET_NOLOGO=1",
                         "DOTNET_GENERATE_ASPNET_CERTIFICATE=false",
                         "DOTNET_CLI_WORKLOAD_UPDATE_NOTIFY_DISABLE=true",
                         "DOTNET_CLI_USE_MSBUILD_SERVER=0",
                         "MSBUILDDISABLENODEREUSE=1"};
    return compiled({"dotnet", "build", sources + "/mixed.csproj", "-c", "Release", "-o",
                     folder + "/dotnet", "--disable-build-servers", "-v", "quiet",
                     "-p:RestoreConfigFile=" + config,
                     "-p:BaseIntermediateOutputPath=" + folder + "/obj/", "-p:NuGetAudit=false"},
                    quiet, {"dotnet", folder + "/dotnet/mixed.dll"});
}

subject java(const std::string& folder) {
    if (find_program("java").empty() || find_program("javac").empty()) {
        return absent("java and javac are not installed");
    }
    return compiled({"javac", "-d", folder, sources + "/Mixed.java"}, {},
                    {"java", "-cp", folder, "Mixed"});
}

subject node(const std::string&) {
    return find_program("node").empty() ? absent("node is not installed")
                                        : subject{{"node", sources + "/mixed.js"}, {}};
}

// The interpreter itself: `python3` may be a script that finds it, which is another program's cost.
subject python3(const std::string&) {
    if (find_program("python3").empty()) {
        return absent("python3 is not installed");
    }
    const program_run asked = run_program(
        {"python3", "-c", "import os, sys; print(os.path.realpath(sys.executable), end='')"});
    return asked.ok ? subject{{asked.output, sources + "/mixed.py", "25"}, {}}
                    : absent("python3 " + asked.why);
}

struct quartiles {
    double low, middle, high;
};

quartiles quartiles_of(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return {v[v.size() / 4], median(v), v[v.size() - 1 - v.size() / 4]};
}

std::string with_spread(const char* reference, const quartiles& q, int digits) {
    char text[128];
    std::snprintf(text, sizeof text, "%s; middle half %.*f to %.*f", reference, digits, q.low,
                  digits, q.high);
    return text;
}

// Both, each round in the other order. Not ok: what went wrong.
class duel {
public:
    duel(words naked, words governed) : naked_(std::move(naked)), governed_(std::move(governed)) {}

    std::optional<std::string> run(unsigned rounds, double seconds) {
        std::optional<std::string> wrong = round(0); // warms the file cache
        wall_.clear();
        cpu_.clear();
        rss_.clear();
        more_ms_.clear();
        double spent = 0;
        for (unsigned r = 0; !wrong && r < rounds && (r < fewest_rounds || spent < seconds); ++r) {
            wrong = round(r);
            spent += last_round_s_;
        }
        return wrong;
    }
    quartiles wall() const { return quartiles_of(wall_); }
    quartiles cpu() const { return quartiles_of(cpu_); }
    quartiles rss() const { return quartiles_of(rss_); }
    quartiles more_ms() const { return quartiles_of(more_ms_); }
    unsigned rounds() const { return static_cast<unsigned>(wall_.size()); }

private:
    std::optional<std::string> round(unsigned number) {
        program_run first = run_program(number % 2 == 0 ? naked_ : governed_);
        program_run second = run_program(number % 2 == 0 ? governed_ : naked_);
        const program_run& naked = number % 2 == 0 ? first : second;
        const program_run& governed = number % 2 == 0 ? second : first;
        if (!naked.ok) {
            return "without memreeve it " + naked.why;
        }
        if (!governed.ok) {
            return "under memreeve it " + governed.why;
        }
        if (naked.output != governed.output) {
            return "it prints something else under memreeve";
        }
        wall_.push_back(governed.wall_s / naked.wall_s);
        cpu_.push_back(naked.cpu_s > 0 ? governed.cpu_s / naked.cpu_s : 1);
        rss_.push_back(governed.peak_rss_mib / naked.peak_rss_mib);
        more_ms_.push_back((governed.wall_s - naked.wall_s) * 1e3);
        last_round_s_ = naked.wall_s + governed.wall_s;
        return {};
    }

    words naked_, governed_;
    std::vector<double> wall_, cpu_, rss_, more_ms_;
    double last_round_s_ = 0;
};

words governed_by(const std::string& memreeve, const words& command) {
    words all = {memreeve, "run", "-q", "--"};
    all.insert(all.end(), command.begin(), command.end());
    return all;
}

void measure_program(report& out, const std::string& memreeve, const std::string& name,
                     const subject& s, unsigned rounds) {
    const std::string wall = "bridge_wall_" + name;
    const std::string cpu = "bridge_cpu_" + name;
    const std::string rss = "bridge_rss_" + name;
    std::string why = s.why;
    duel d(s.command, governed_by(memreeve, s.command));
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
    std::error_code ignored;
    const std::string memreeve =
        (fs::read_symlink("/proc/self/exe", ignored).parent_path() / "memreeve").string();
    const temporary_folder folder;
    const char* why = access(memreeve.c_str(), X_OK) != 0 ? "memreeve is not built"
                      : folder.path().empty()             ? "no temporary folder"
                                                          : nullptr;
    struct {
        const char* name;
        subject (*make)(const std::string& folder);
    } constexpr programs[] = {
        {"mono", mono}, {"dotnet", dotnet}, {"java", java}, {"node", node}, {"python3", python3}};
    for (const auto& p : programs) {
        if (out.wants({std::string("bridge_wall_") + p.name, std::string("bridge_cpu_") + p.name,
                       std::string("bridge_rss_") + p.name})) {
            measure_program(out, memreeve, p.name,
                            why != nullptr ? absent(why) : p.make(folder.path()), rounds);
        }
    }
    constexpr const char* start = "bridge_start_true_ms";
    if (!out.wants({start})) {
        return;
    }
    duel d({"true"}, governed_by(memreeve, {"true"}));
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
