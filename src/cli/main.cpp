// SPDX-License-Identifier: MIT
// Parses, dispatches, prints errors.
#include "cli/commands/doctor.hpp"
#include "cli/commands/limit.hpp"
#include "cli/commands/run.hpp"
#include "cli/commands/squeeze.hpp"
#include "cli/commands/verbs.hpp"
#include "cli/size.hpp"
#include "cli/text.hpp"
#include "manager/ledger.hpp"
#include "memreeve/version.h"
#include "prim/linux/launch.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <iostream>
#include <string>
#include <vector>

namespace {

using memreeve::cli::memreeve_failed;
using memreeve::cli::say;
using memreeve::cli::shell_word;

constexpr const char* overview =
    R"(Gives an unmodified program a memory budget: what its runtime asks of the system is asked of
memreeve, charged to an owner, and refused at the limit, where the runtime can still throw its
exception.)";

constexpr const char* overview_footer = R"(Examples:
  memreeve run --limit 256M -- mono app.exe
  memreeve run --limit 25% --summary mem.json -- ./service.sh
  memreeve run -- mono app.exe      accounts and refuses nothing: read the peak, then set a limit
  memreeve doctor -- ./service      can it be governed here, and if not, why?
  memreeve squeeze -- mono app.exe  the smallest limit at which it still succeeds
  memreeve limit 4711 512M          changes the limit of a program that runs

memreeve VERB --help tells the rest.)";

constexpr const char* run_footer =
    R"(SIZE: bytes, a number with K M G T or KiB MiB GiB TiB (powers of 1024), a percentage of this
machine's or container's memory, or max.

The limit is a ceiling for what is charged: committed memory, of all processes of the run together.
A request that would pass it is refused, and the program gets what a full machine would give it: a
null pointer, std::bad_alloc, MemoryError, OutOfMemoryException. Runtimes are told the limit in their
own variables (DOTNET_GCHeapHardLimit, JAVA_TOOL_OPTIONS, NODE_OPTIONS, MONO_GC_PARAMS), where you
have not set a size yourself; -v shows what was set. The reserve is the part of the limit that only
requests a runtime cannot do without may use (default: 5 %, at least 8M, at most a quarter). Child
processes share the limit.

Exit status: the program's own; 128+n when signal n ended it; 125 memreeve failed or its arguments
are wrong; 126 the command cannot be run or cannot be governed (static, setuid, foreign libc); 127
it was not found.

Examples:
  memreeve run --limit 256M -- mono app.exe
  memreeve run --limit 1GiB --reserve 64M --summary mem.json -- ./start-service --port 80
  memreeve run --limit 200M --quiet --exit-code-on-limit 99 -- mono tests.exe)";

class teaching_formatter : public CLI::Formatter {
public:
    std::string make_usage(const CLI::App* app, std::string) const override {
        return fmt::format("\nUsage: memreeve {}\n",
                           app->get_parent() == nullptr ? "VERB [OPTIONS]"
                                                        : memreeve::cli::shape_of(app->get_name()));
    }
    std::string make_option_opts(const CLI::Option* option) const override {
        return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
    }
};

// `verb` is empty where none was given.
int wrong_arguments(std::string_view what, std::string_view verb) {
    say(fmt::format("{}; memreeve {}{}--help tells what there is", what, verb,
                    verb.empty() ? "" : " "));
    return memreeve_failed;
}

int dispatch(std::vector<std::string> words, std::vector<std::string> command, bool has_separator) {
    memreeve::cli::run_options o;
    CLI::App app(overview, "memreeve");
    app.formatter(std::make_shared<teaching_formatter>());
    app.footer(overview_footer);
    app.set_version_flag("--version",
                         fmt::format("memreeve {} (ledger layout {}, Linux x86-64)",
                                     MEMREEVE_VERSION, memreeve::manager::ledger_version),
                         "Print the version and end");
    app.set_help_flag("-h,--help", "Print this help and end");
    CLI::App* run = app.add_subcommand("run", "Run a program with its memory governed");
    run->footer(run_footer);
    run->add_option("--limit", o.limit,
                    "Ceiling for all memory charged; without it memreeve only accounts")
        ->type_name("SIZE");
    run->add_option("--reserve", o.reserve,
                    "Part of the limit kept for what a runtime cannot do without")
        ->type_name("SIZE");
    run->add_option("--summary", o.summary, "Write figures as JSON at the end")->type_name("FILE");
    CLI::Option* const quiet = run->add_flag("-q,--quiet", o.quiet, "No closing lines");
    run->add_flag("-v,--verbose", o.verbose,
                  "Closing lines tell what was set for each runtime too (not with -q)")
        ->excludes(quiet);
    run->add_flag("--no-knobs", o.no_knobs,
                  "Set none of the variables that tell runtimes the limit");
    CLI::Option* const ask =
        run->add_flag("--ask", o.ask,
                      "Ask runtimes to collect: before the limit refuses anything and when the "
                      "kernel is short of memory, not only after the limit was lowered below "
                      "what is held; Python too");
    run->add_flag("--no-ask", o.no_ask, "Never ask a runtime to collect")->excludes(ask);
    run->add_flag("--no-children", o.no_children, "Leave child processes alone");
    run->add_flag("--best-effort", o.best_effort,
                  "What cannot reach memreeve runs ungoverned instead of ending with 125");
    run->add_option("--exit-code-on-limit", o.exit_code_on_limit,
                    "Exit status when anything was refused")
        ->type_name("N")
        ->check(CLI::Range(1, 255).description(""));

    memreeve::cli::doctor_options d;
    const CLI::App* const doctor = memreeve::cli::add_doctor(app, d);
    memreeve::cli::squeeze_options q;
    const CLI::App* const squeeze = memreeve::cli::add_squeeze(app, q);
    memreeve::cli::limit_options l;
    const CLI::App* const limit = memreeve::cli::add_limit(app, l);

    const std::vector<CLI::App*> verbs = app.get_subcommands([](CLI::App*) { return true; });
    const bool knows_verb =
        !words.empty() && std::any_of(verbs.begin(), verbs.end(), [&](const CLI::App* v) {
            return v->get_name() == words.front();
        });
    const std::string verb = knows_verb ? words.front() : "";
    const std::string shape =
        fmt::format("memreeve {}", memreeve::cli::shape_of(knows_verb ? verb : "run"));
    try {
        std::reverse(words.begin(), words.end()); // CLI11 takes them from the back
        app.parse(words);
    } catch (const CLI::CallForHelp&) {
        const std::vector<CLI::App*> asked = app.get_subcommands();
        std::cout << (asked.empty() ? app.help() : asked.front()->help());
        return 0;
    } catch (const CLI::CallForVersion&) {
        std::cout << app.version() << '\n';
        return 0;
    } catch (const CLI::ExtrasError&) {
        std::vector<std::string> extras = app.remaining(true);
        const std::string first = extras.empty() ? "" : extras.front();
        if (first.starts_with("-")) {
            return wrong_arguments(fmt::format("unknown option {}", shell_word(first)), verb);
        }
        if (limit->parsed()) {
            return wrong_arguments(
                fmt::format("{} is too much; write {}", shell_word(first), shape), verb);
        }
        if (knows_verb) {
            return wrong_arguments(
                fmt::format("{} stands before --; write {}", shell_word(first), shape), verb);
        }
        return wrong_arguments(fmt::format("unknown verb {}", shell_word(first)), verb);
    } catch (const CLI::ParseError& e) {
        return wrong_arguments(memreeve::cli::printable(e.what()), verb);
    }
    if (app.get_subcommands().empty()) {
        return wrong_arguments("no verb given", "");
    }
    if (limit->parsed()) {
        if (has_separator) {
            return wrong_arguments(fmt::format("-- is too much; write {}", shape), verb);
        }
        return memreeve::cli::limit(l);
    }
    if (!has_separator || command.empty()) {
        return wrong_arguments(fmt::format("no command given; write {}", shape), verb);
    }
    if (doctor->parsed()) {
        d.command = std::move(command);
        return memreeve::cli::doctor(d);
    }
    if (squeeze->parsed()) {
        q.command = std::move(command);
        return memreeve::cli::squeeze(q);
    }
    o.command = std::move(command);
    return memreeve::cli::run(o);
}

} // namespace

int main(int argc, char** argv) {
    memreeve::prim::hold_standard_streams();
    try {
        // Everything behind the first -- is the program's, letter by letter.
        std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
        const auto separator = std::find(words.begin(), words.end(), "--");
        const bool has_separator = separator != words.end();
        std::vector<std::string> command;
        if (has_separator) {
            command.assign(separator + 1, words.end());
            words.erase(separator, words.end());
        }
        const int status = dispatch(std::move(words), std::move(command), has_separator);
        if (!std::cout.flush()) {
            say("what was found could not be written to standard output completely");
            return memreeve_failed;
        }
        return status;
    } catch (const std::exception& e) {
        say(fmt::format("failed: {}", memreeve::cli::printable(e.what())));
        return memreeve_failed;
    }
}
