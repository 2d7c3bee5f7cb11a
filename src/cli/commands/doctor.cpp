// SPDX-License-Identifier: MIT
#include "cli/commands/doctor.hpp"

#include "cli/command.hpp"
#include "cli/commands/run.hpp"
#include "cli/finding.hpp"
#include "cli/preparation.hpp"
#include "cli/program_facts.hpp"
#include "cli/size.hpp"
#include "cli/text.hpp"
#include "cli/trial.hpp"
#include "prim/linux/launch.hpp"
#include "prim/linux/launch_surroundings.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <iostream>
#include <nlohmann/json.hpp>

namespace memreeve::cli {

namespace {

using enum finding_state;
using telemetry::runtime_kind;
using json = nlohmann::ordered_json;

constexpr int schema_version = 1;
constexpr int interrupted_status = 130;
constexpr double patience_with_itself = 30; // seconds for starting memreeve's own --version

struct diagnosis {
    std::string verdict; // "yes", "restricted", "no"
    std::string reason;  // of a no
    int run_status = 0;  // what `memreeve run` would end with before it starts anything
    std::string file;
    std::string program;
    std::string runtime = "other";
    std::vector<finding> findings;
    bool is_interrupted = false;
};

struct runtime_advice {
    runtime_kind kind;
    const char* called;
    const char* means;
    const char* remedy;
};
constexpr runtime_advice runtimes[] = {
    {runtime_kind::mono, "Mono",
     "large arrays end in OutOfMemoryException; when its collector is refused it ends the process",
     "run --limit sets MONO_GC_PARAMS where it is tight; memreeve squeeze finds what it needs"},
    {runtime_kind::coreclr, ".NET", "the limit ends in OutOfMemoryException",
     "run --limit sets DOTNET_GCHeapHardLimit; yours wins"},
    {runtime_kind::jvm, "a JVM", "the limit ends in OutOfMemoryError",
     "run --limit sets JAVA_TOOL_OPTIONS (heap and what is beside it); yours wins"},
    {runtime_kind::node, "Node",
     "buffers end in RangeError; V8 ends the process when its own heap is full",
     "run --limit sets NODE_OPTIONS (--max-old-space-size); yours wins"},
    {runtime_kind::cpython, "CPython", "the limit ends in MemoryError", ""},
};

std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& w : words) {
        out += (out.empty() ? "" : " ") + shell_word(w);
    }
    return out;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The loader's own list of what it would load, ours included. It executes nothing of the program,
// but a loader from elsewhere would itself be executed, so only the system's is asked.
finding libraries_of(const program_facts& facts, const std::string& program,
                     const std::string& library) {
    std::string loader; // /lib64/../.. leads anywhere
    const bool is_the_systems =
        prim::resolve_path(facts.loader, loader) == 0 &&
        (loader.starts_with("/lib64/") || loader.starts_with("/lib/") ||
         loader.starts_with("/usr/lib/") || loader.starts_with("/usr/lib64/"));
    if (!is_the_systems) {
        return finding{
            "libraries", note,
            fmt::format("not looked for: {} is no system's loader", shell_word(facts.loader)), "",
            ""};
    }
    std::vector<std::string> inside = prim::environment();
    std::erase_if(inside, [](const std::string& v) {
        return v.starts_with("LD_PRELOAD=") || v.starts_with("MEMREEVE_");
    });
    if (!library.empty()) {
        inside.push_back("LD_PRELOAD=" + library);
    }
    inside.push_back("LD_TRACE_LOADED_OBJECTS=1");
    captured_output heard;
    std::string resolved = program; // $ORIGIN is where the file is, not the link
    (void)prim::resolve_path(program, resolved);
    if (const int e = run_captured(loader, {loader, resolved}, inside, heard); e != 0) {
        return finding{"libraries", note, fmt::format("cannot be looked for: {}", std::strerror(e)),
                       "", ""};
    }
    std::string missing;
    for (const std::string& line : heard.lines) {
        if (line.find("=> not found") != line.npos ||
            line.find("error while loading") != line.npos ||
            line.find("not found (required by") != line.npos) {
            missing = line.substr(line.find_first_not_of(" \t"));
            break;
        }
        if (line.find("cannot be preloaded") != line.npos) {
            return finding{"libraries", prevents, printable(line),
                           "the loader does not take memreeve's library in for this program",
                           "look at MEMREEVE_PRELOAD and at which C library it was built for"};
        }
    }
    if (!missing.empty()) {
        return finding{"libraries", prevents, printable(missing),
                       "the loader ends with 127 before the program begins, governed or not",
                       "install what is missing, or set LD_LIBRARY_PATH"};
    }
    return finding{"libraries", fine,
                   library.empty() ? "all are found" : "all are found, memreeve's among them", "",
                   ""};
}

void add_runtime(const program_facts& facts, diagnosis& out) {
    out.runtime = telemetry::name_of(facts.runtime);
    const auto* advice =
        std::find_if(std::begin(runtimes), std::end(runtimes),
                     [&](const runtime_advice& a) { return a.kind == facts.runtime; });
    if (advice != std::end(runtimes)) {
        out.findings.push_back({"runtime", fine, fmt::format("looks like {}", advice->called),
                                advice->means, advice->remedy});
    } else {
        out.findings.push_back({"runtime", fine, "none that is known: native code",
                                "the limit ends in null pointers and std::bad_alloc", ""});
    }
}

// Where one program gives way to another, or starts others.
void add_hint_at_others(const char* name, std::string found, diagnosis& out) {
    out.findings.push_back(
        {name, note, std::move(found),
         "what it starts is governed too where it can be; what cannot be is listed at the end",
         "ask doctor about the program it starts"});
}

bool is_shell(const std::string& name) {
    return name == "dash" || name == "sh" || name == "bash" || name == "busybox";
}

void examine_program(const command_verdict& verdict, const std::string& library, diagnosis& out) {
    const program_facts facts = facts_of(verdict.program);
    out.findings.push_back(
        {"program", fine,
         fmt::format("{}: ELF, x86-64, dynamic, glibc", shell_word(verdict.program)), "", ""});
    const std::string name = base_name(verdict.program);
    if (verdict.program != verdict.file) {
        const std::string found = fmt::format("{} is a script", shell_word(verdict.file));
        if (facts.runtime == runtime_kind::other && name != "env") {
            add_hint_at_others("script", found, out);
        } else {
            out.findings.push_back({"script", fine, found, "", ""});
        }
    } else if (is_shell(name)) {
        add_hint_at_others("shell", "it is a shell", out);
    }
    if (name != "env") {
        add_runtime(facts, out);
    }
    if (facts.is_go) {
        out.findings.push_back(
            {"system-calls", restricts, "it is a Go program",
             "Go asks the kernel itself: its heap is seen by nobody; only its C part is governed",
             "GOMEMLIMIT for its heap, and a cgroup limit (systemd-run --scope -p "
             "MemoryMax=512M)"});
    }
    if (!facts.allocator.empty() || facts.supplies_malloc) {
        const std::string which = facts.allocator.empty() ? "an allocator" : facts.allocator;
        if (facts.supplies_malloc) {
            out.findings.push_back({"malloc", note, fmt::format("{} is linked into it", which),
                                    "its own malloc comes before any library's: the mappings it "
                                    "asks for are charged, single blocks are not counted",
                                    ""});
        } else {
            out.findings.push_back({"malloc", note, fmt::format("{} is linked into it", which),
                                    "what it allocates through that is charged by mappings, not "
                                    "by blocks",
                                    ""});
        }
    }
    for (const std::string& needed : facts.needed) {
        if (!allocator_in(needed).empty()) {
            out.findings.push_back(
                {"malloc", note, fmt::format("{} is a library of it", needed),
                 "malloc and free are memreeve's; what it serves by itself (C++'s "
                 "new) is charged by mappings",
                 "if the two do not go together, use a build without it"});
        }
    }
    for (const std::string& other : foreign_allocators(prim::environment())) {
        prim::file_facts file;
        const bool is_missing =
            other.find('/') != other.npos && prim::examine_file(other, file) != 0;
        out.findings.push_back(
            {"preload", note,
             fmt::format("{} is in LD_PRELOAD{}", shell_word(other),
                         is_missing ? ", and is not there" : ""),
             "run leaves it out: blocks come from memreeve; two mallocs in one process would free "
             "each other's",
             ""});
    }
    out.findings.push_back(libraries_of(facts, verdict.program, library));
}

// What `env [-OPTION...] [NAME=value...] PROGRAM` starts; empty when that cannot be told.
std::string started_by_env(const command_verdict& verdict,
                           const std::vector<std::string>& command) {
    std::vector<std::string> words;
    if (verdict.program != verdict.file) {
        std::string word;
        for (const char c : verdict.program_argument + " ") {
            if (c != ' ' && c != '\t') {
                word += c;
            } else if (!word.empty()) {
                words.push_back(std::exchange(word, {}));
            }
        }
    } else {
        words.assign(command.begin() + 1, command.end());
    }
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& w = words[i];
        if (w == "-u" || w == "-C" || w == "--unset" || w == "--chdir") {
            ++i; // the next word belongs to it
        } else if ((w == "-S" || w == "--split-string") && i + 1 < words.size()) {
            const std::size_t at = words[i + 1].find_first_not_of(" \t");
            words[i + 1].erase(0, std::min(at, words[i + 1].size()));
            words[i + 1].erase(std::min(words[i + 1].find_first_of(" \t"), words[i + 1].size()));
        } else if (!w.starts_with("-") && w.find('=') == w.npos) {
            return w;
        }
    }
    return {};
}

// env gives way to another program, which may be one that cannot be governed.
void examine_successor(const command_verdict& verdict, const doctor_options& o, diagnosis& out) {
    const std::string name =
        base_name(verdict.program) == "env" ? started_by_env(verdict, o.command) : "";
    if (name.empty()) {
        return;
    }
    const command_verdict next = examine_command(name, search_path_of(prim::environment()));
    if (next.status == 0) {
        const program_facts facts = facts_of(next.program);
        const bool is_script = next.program != next.file;
        out.findings.push_back(
            {"successor", fine, fmt::format("env starts {}", shell_word(next.file)), "", ""});
        if (facts.runtime == runtime_kind::other &&
            (is_script || is_shell(base_name(next.program)))) {
            add_hint_at_others(is_script ? "script" : "shell",
                               is_script ? "which is a script" : "which is a shell", out);
        } else {
            add_runtime(facts, out);
        }
    } else {
        const bool would_run = next.reason.find("cannot be governed") != next.reason.npos;
        out.findings.push_back(
            {"successor", restricts, next.reason,
             would_run ? "env gives way to it: it would run ungoverned" : "env could not start it",
             ""});
    }
}

// Starts memreeve's own --version governed, in these surroundings: what a library that is put into
// a program needs is all needed there.
std::optional<finding> start_governed(prim::signal_desk& desk, bool& interrupted) {
    std::string self;
    if (prim::read_link("/proc/self/exe", self) != 0 || examine_command(self, "").status != 0) {
        return std::nullopt; // another finding says why
    }
    trial_options o;
    o.command = {self, "--version"};
    o.patience = patience_with_itself;
    const trial_outcome t = try_command(o, desk);
    interrupted = t.is_interrupted;
    const bool was_governed = std::any_of(t.processes.begin(), t.processes.end(),
                                          [](const trial_process& p) { return p.governed; });
    if (t.cannot.empty() && t.status == 0 && was_governed) {
        return finding{"start", fine, "a program was started governed (memreeve --version)", "",
                       ""};
    }
    std::string why = !t.cannot.empty()       ? t.cannot
                      : !t.said.empty()       ? t.said.front()
                      : t.is_late             ? "it did not end"
                      : !t.last_words.empty() ? t.last_words
                                              : fmt::format("it ended with {}", t.status);
    return finding{"start", prevents, printable(why),
                   "no program can be governed in these surroundings",
                   "the sentence says what is missing; --best-effort runs ungoverned"};
}

void run_it(const doctor_options& o, prim::signal_desk& desk, diagnosis& out) {
    trial_options t;
    t.command = o.command;
    const trial_outcome r = try_command(t, desk);
    out.is_interrupted = r.is_interrupted;
    if (!r.cannot.empty() || r.processes.empty()) {
        out.findings.push_back({"run", prevents,
                                printable(!r.cannot.empty() ? r.cannot
                                          : r.said.empty()  ? fmt::format("status {}", r.status)
                                                            : r.said.front()),
                                "it could not be run", ""});
        return;
    }
    out.findings.push_back({"run", fine,
                            fmt::format("ended with {} after {:.2f} s, {} charged at most",
                                        r.status, r.seconds, show_size(r.peak_charged)),
                            "without a limit", "memreeve squeeze finds the smallest that works"});
    std::size_t ungoverned = 0;
    for (const trial_process& p : r.processes) {
        if (p.governed && p.runtime != "other") {
            out.runtime = p.runtime;
        }
        if (!p.governed && ++ungoverned <= 4) {
            out.findings.push_back(
                {"child", restricts,
                 fmt::format("{} ran ungoverned: {}", shell_word(p.image), printable(p.reason)),
                 "the limit does not hold for it", "a cgroup limit beside"});
        }
    }
}

diagnosis diagnose(const doctor_options& o) {
    diagnosis out;
    run_options as_run;
    as_run.command = o.command;
    const std::optional<obstacle> against = obstacle_to(as_run);
    const command_verdict verdict =
        examine_command(o.command.front(), search_path_of(prim::environment()));
    out.file = verdict.file;
    out.program = verdict.program;
    std::string tried;
    const std::optional<std::string> library = find_preload_library(tried);

    if (verdict.status != 0) {
        out.findings.push_back({"program", prevents, verdict.reason, "", ""});
    } else {
        examine_program(verdict, library.value_or(""), out);
        examine_successor(verdict, o, out);
    }
    if (library) {
        out.findings.push_back({"library", fine, *library, "", ""});
    } else {
        out.findings.push_back(
            {"library", prevents,
             tried.empty() ? "where it is cannot be told: /proc/self/exe is not there"
                           : fmt::format("libmemreeve_preload.so is not in {}", printable(tried)),
             "it is what governs the program",
             "build or install it, or name it in MEMREEVE_PRELOAD"});
    }
    prim::signal_desk desk;
    bool can_start = !against || against->status != memreeve_failed;
    if (can_start) {
        if (const auto started = start_governed(desk, out.is_interrupted)) {
            can_start = started->state == fine;
            out.findings.push_back(*started);
        }
    }
    const std::vector<finding> around = examine_surroundings();
    out.findings.insert(out.findings.end(), around.begin(), around.end());
    if (o.run && !against && can_start && !out.is_interrupted) {
        run_it(o, desk, out);
    }

    const auto first = [&](finding_state s) {
        return std::find_if(out.findings.begin(), out.findings.end(),
                            [s](const finding& f) { return f.state == s; });
    };
    if (against) {
        out.verdict = "no";
        out.reason = against->reason;
        out.run_status = against->status;
    } else if (const auto no = first(prevents); no != out.findings.end()) {
        out.verdict = "no";
        out.reason = no->found;
    } else {
        out.verdict = first(restricts) != out.findings.end() ? "restricted" : "yes";
    }
    return out;
}

void print_text(const doctor_options& o, const diagnosis& d) {
    std::string text;
    const std::string command = joined(o.command);
    if (d.verdict == "no") {
        const bool runs = d.run_status != 126 && d.run_status != 127;
        const bool is_told = d.reason.find("cannot be governed") != d.reason.npos;
        text += fmt::format("NO: {} cannot be {} here\n    {}\n", command,
                            runs || is_told ? "governed" : "run", d.reason);
    } else if (d.verdict == "restricted") {
        text += fmt::format("YES, with restrictions: {}\n", command);
    } else {
        text += fmt::format("YES: {} can be governed\n", command);
    }
    text += "\n";
    std::string kernel;
    for (const finding& f : d.findings) {
        if (f.is_of_kernel && f.state == fine) {
            kernel += (kernel.empty() ? "" : ", ") + f.name;
        }
    }
    bool kernel_is_told = false;
    for (const finding& f : d.findings) {
        if (f.is_of_kernel && f.state == fine) {
            if (!std::exchange(kernel_is_told, true)) {
                text += fmt::format("{:<6}  {:<16}{}\n", name_of(fine), "kernel", kernel);
            }
            continue;
        }
        text += fmt::format("{:<6}  {:<16}{}\n", name_of(f.state), f.name, printable(f.found));
        const bool tells = f.state != fine || f.name == "runtime";
        if (tells && !f.means.empty()) {
            text += fmt::format("{:24}{}\n", "", f.means);
        }
        if (tells && !f.remedy.empty()) {
            text += fmt::format("{:24}-> {}\n", "", f.remedy);
        }
    }
    std::cout << text << std::flush;
}

void print_json(const doctor_options& o, const diagnosis& d) {
    json findings = json::array();
    for (const finding& f : d.findings) {
        findings.push_back({{"name", f.name},
                            {"state", name_of(f.state)},
                            {"found", f.found},
                            {"means", f.means},
                            {"remedy", f.remedy}});
    }
    const json out = {{"schema_version", schema_version},
                      {"command", o.command},
                      {"verdict", d.verdict},
                      {"reason", d.reason.empty() ? json() : json(d.reason)},
                      {"run_status", d.run_status},
                      {"file", d.file},
                      {"program", d.program},
                      {"runtime", d.runtime},
                      {"findings", findings}};
    std::cout << out.dump(2, ' ', false, json::error_handler_t::replace) << '\n' << std::flush;
}

} // namespace

int doctor(const doctor_options& o) {
    const diagnosis d = diagnose(o);
    if (d.is_interrupted) {
        say("doctor: ended early; ask again");
        return interrupted_status;
    }
    if (o.json) {
        print_json(o, d);
    } else {
        print_text(o, d);
    }
    return d.verdict == "no" ? doctor_says_no : 0;
}

} // namespace memreeve::cli
