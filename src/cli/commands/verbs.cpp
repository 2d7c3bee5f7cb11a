// SPDX-License-Identifier: MIT
#include "cli/commands/verbs.hpp"

#include <fmt/format.h>

namespace memreeve::cli {

namespace {

// As CLI::Range, which takes "nan" for a number in any range.
CLI::Validator between(double least, double most) {
    return CLI::Validator(
        [least, most](const std::string& text) {
            double value = 0;
            return CLI::detail::lexical_cast(text, value) && value >= least && value <= most
                       ? std::string()
                       : fmt::format("Value {} not in range {} to {}", text, least, most);
        },
        "");
}

constexpr const char* doctor_footer =
    R"(Looks at the program file, its libraries, the kernel, limits and container, and says on one screen
whether memreeve run would govern the command, why not, and what to use instead. The command is not
started, unless --run is given; memreeve starts itself governed once, to see that this works here.

Each line is a finding: ok, note (worth knowing), limits (governed, but not all of it), no (what
stands against it), with what it means and, behind ->, what to do.

Exit status: 0 the command can be governed, perhaps with restrictions; 1 it cannot; 125 the arguments
are wrong; 130 ended by Ctrl-C.

Examples:
  memreeve doctor -- mono app.exe
  memreeve doctor --json -- ./service --port 80 | jq -r .verdict      yes, restricted or no)";

constexpr const char* squeeze_footer =
    R"(Runs the command once without a limit, then some 15 to 30 times under limits, halving the interval
between the largest limit that fails and the smallest that works; then it tries larger ones, to see
what room buys in time. A run works when it ends with the expected status in time; the answer has
worked --repeat times. The command reads nothing, its output is hidden, what it leaves running is
ended; it must bear being run again and again.

Prints the limits tried with their times, the smallest limit that works, a limit to recommend (a
tenth above it or more, at most a quarter slower than the fastest), the container limit that goes with
it, and the settings its runtime was given there. Progress goes to standard error. Ctrl-C ends the
command and prints what is known.

Exit status: 0 found; 1 no limit works, or the command fails without one too; 125, 126, 127 as
memreeve run; 130 ended by Ctrl-C.

Examples:
  memreeve squeeze -- mono app.exe
  memreeve squeeze --from 64M --to 1G --timeout 3 --json -- ./service --self-test
  memreeve squeeze --expect 3 --repeat 10 -- python3 job.py)";

constexpr const char* limit_footer =
    R"(PID is memreeve run's, or any process's of its tree. Without SIZE it tells what is in force. SIZE as
for memreeve run --limit.

Raising works at once. Lowering below what is held takes nothing back and ends nothing: requests of
task level are refused, and runtimes are told to give back, until it fits. What a runtime cannot do
without may still use the reserve above what was held. A reserve that --reserve has set stays; else
it follows the limit. Settings that a runtime was started with stay too.

Exit status: 0; 125 the process is not there, not governed or not yours, or SIZE is none.

Examples:
  memreeve limit 4711
  memreeve limit 4711 512M
  memreeve limit 4711 --json)";

} // namespace

CLI::App* add_doctor(CLI::App& app, doctor_options& d) {
    CLI::App* doctor = app.add_subcommand("doctor", "Say whether a command can be governed here");
    doctor->footer(doctor_footer);
    doctor->add_flag("--run", d.run, "Run the command too, once, without a limit");
    doctor->add_flag("--json", d.json, "Findings as JSON");
    return doctor;
}

CLI::App* add_squeeze(CLI::App& app, squeeze_options& q) {
    CLI::App* squeeze =
        app.add_subcommand("squeeze", "Find the smallest limit at which a command still succeeds");
    squeeze->footer(squeeze_footer);
    squeeze->add_option("--from", q.from, "Try nothing smaller (default: 256K)")->type_name("SIZE");
    squeeze->add_option("--to", q.to, "Try nothing larger (default: the memory there is)")
        ->type_name("SIZE");
    squeeze
        ->add_option("--tolerance", q.tolerance_percent,
                     "How far above a failing limit the answer may lie, in percent (default: 5)")
        ->type_name("N")
        ->check(between(0.1, 100));
    squeeze->add_option("--repeat", q.repeat, "How often the answer has to work (default: 3)")
        ->type_name("N")
        ->check(CLI::Range(1, 1000).description(""));
    squeeze
        ->add_option("--timeout", q.timeout,
                     "A run that takes N times as long as without a limit, and more than two "
                     "seconds, has failed (default: 5)")
        ->type_name("N")
        ->check(between(1, 1000000));
    squeeze->add_option("--expect", q.expect, "Exit status that counts as success (default: 0)")
        ->type_name("STATUS")
        ->check(CLI::Range(0, 255).description(""));
    squeeze->add_flag("--no-knobs", q.no_knobs, "As of memreeve run");
    squeeze->add_flag("--show", q.show, "Show the command's output, on standard error");
    squeeze->add_flag("-q,--quiet", q.quiet, "No progress");
    squeeze->add_flag("--json", q.json, "The result as JSON");
    return squeeze;
}

CLI::App* add_limit(CLI::App& app, limit_options& l) {
    CLI::App* limit =
        app.add_subcommand("limit", "Look at a running program's limit, or change it");
    limit->footer(limit_footer);
    limit->add_option("PID", l.pid, "A process of the tree")->type_name("")->required();
    limit->add_option("SIZE", l.size, "The new limit")->type_name("");
    limit->add_flag("--json", l.json, "Print figures as JSON");
    return limit;
}

std::string shape_of(std::string_view verb) {
    return fmt::format("{} [OPTIONS] {}", verb,
                       verb == "limit" ? "PID [SIZE]" : "-- COMMAND [ARG...]");
}

} // namespace memreeve::cli
