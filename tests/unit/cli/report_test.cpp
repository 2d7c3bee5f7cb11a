// SPDX-License-Identifier: MIT
// Contract section 5, the summary's shape; section 4, what the closing lines tell.
#include "cli/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace {

using namespace memreeve;
using namespace memreeve::cli;
using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

run_report example() {
    run_report r;
    r.command = {"mono", "app.exe"};
    r.wall_seconds = 1.9;
    r.limit = 256 * mib;
    r.reserve = 13421772;
    r.peak_charged = 255 * mib;
    process_report p;
    p.pid = 4711;
    p.image = "/usr/bin/mono-sgen";
    p.runtime = telemetry::runtime_kind::mono;
    p.end = telemetry::image_end::exited;
    p.requests[0] = 12;
    p.requests[8] = 3;
    p.refusals = {2, 0, 1};
    p.settings = {{"MONO_GC_PARAMS", "nursery-size=1m"}};
    p.peak_charged = 254 * mib;
    telemetry::picture picture;
    picture.owners[0].charged = 40 * mib;
    picture.owners[3].touched = 2 * mib;
    picture.kernel.rss = 7;
    p.picture = picture;
    r.processes.push_back(p);
    return r;
}

TEST(report, summary_has_every_key_of_the_contract) {
    const json s = json::parse(summary_json(example()));
    EXPECT_EQ(s["schema_version"], 1);
    EXPECT_EQ(s["command"], (json{"mono", "app.exe"}));
    EXPECT_EQ(s["exit"], (json{{"code", 0}, {"signal", nullptr}}));
    EXPECT_EQ(s["wall_seconds"], 1.9);
    EXPECT_EQ(s["limit_bytes"], 256 * mib);
    EXPECT_EQ(s["reserve_bytes"], 13421772);
    EXPECT_EQ(s["peak_charged_bytes"], 255 * mib);
    EXPECT_EQ(s["touched_overshoot_bytes"], 0);
    const json& p = s["processes"][0];
    EXPECT_EQ(p["pid"], 4711);
    EXPECT_EQ(p["image"], "/usr/bin/mono-sgen");
    EXPECT_EQ(p["runtime"], "mono");
    EXPECT_EQ(p["governed"], true);
    for (const char* name : {"virtual_alloc", "virtual_free", "virtual_protect", "virtual_query",
                             "malloc", "free", "needs", "acquired", "released"}) {
        EXPECT_TRUE(p["requests"].contains(name)) << name;
    }
    EXPECT_EQ(p["requests"]["virtual_alloc"], 12);
    EXPECT_EQ(p["requests"]["released"], 3);
    EXPECT_EQ(p["refusals"], (json{{"task", 2}, {"appdomain", 0}, {"process", 1}}));
    EXPECT_EQ(p["notifications"], (json{{"low", 0}, {"neutral", 0}, {"high", 0}}));
    EXPECT_EQ(p["settings"], (json{{"MONO_GC_PARAMS", "nursery-size=1m"}}));
    EXPECT_EQ(p["peak_charged_bytes"], 254 * mib);
    ASSERT_EQ(p["owners"].size(), 7u);
    const char* names[] = {"gc", "code", "malloc", "stacks", "images", "files", "runtime"};
    for (std::size_t i = 0; i < 7; ++i) {
        EXPECT_EQ(p["owners"][i]["name"], names[i]);
        for (const char* key :
             {"reserved_bytes", "committed_bytes", "charged_bytes", "touched_bytes",
              "mapped_writable_bytes", "slack_bytes", "resident_bytes", "peak_charged_bytes"}) {
            EXPECT_TRUE(p["owners"][i].contains(key)) << key;
        }
    }
    for (const char* key : {"rss_bytes", "private_writable_bytes", "private_resident_bytes",
                            "unclassified_bytes", "unclassified_resident_bytes"}) {
        EXPECT_TRUE(p["kernel"].contains(key)) << key;
    }
    EXPECT_FALSE(p.contains("as_of_seconds"));
}

TEST(report, changes_of_the_limit_are_told_and_the_peak_is_set_against_the_highest) {
    run_report r = example();
    r.highest_limit = 512 * mib;
    r.limit_changes = {{0.5, 256 * mib, 512 * mib, 200 * mib}, {3.25, 512 * mib, {}, 300 * mib}};
    r.limit_changes_total = 2;
    const json s = json::parse(summary_json(r));
    EXPECT_EQ(s["limit_bytes"], 256 * mib);
    EXPECT_EQ(s["limit_changes"][0], (json{{"at_seconds", 0.5},
                                           {"from_bytes", 256 * mib},
                                           {"to_bytes", 512 * mib},
                                           {"charged_bytes", 200 * mib}}));
    EXPECT_EQ(s["limit_changes"][1]["to_bytes"], nullptr);
    EXPECT_EQ(s["limit_changes_total"], 2);
    const auto lines = closing_lines(r);
    EXPECT_THAT(lines, Contains("peak charged 255 MiB; the highest limit was 512 MiB"));
    EXPECT_THAT(lines,
                Contains("limit changed 2 times while it ran: 256 MiB to 512 MiB after 0.5 s "
                         "(200 MiB charged), 512 MiB to none after 3.2 s (300 MiB charged)"));
    EXPECT_THAT(lines, Contains("the limit then in force was reached; the program lived on"));
    EXPECT_EQ(json::parse(summary_json(example()))["limit_changes"], json::array());
}

TEST(report, without_a_limit_and_after_a_signal) {
    run_report r = example();
    r.limit.reset();
    r.exit_signal = 9;
    r.processes[0].end = telemetry::image_end::killed;
    r.processes[0].as_of = 1.5;
    const json s = json::parse(summary_json(r));
    EXPECT_EQ(s["limit_bytes"], nullptr);
    EXPECT_EQ(s["exit"], (json{{"code", nullptr}, {"signal", 9}}));
    EXPECT_EQ(s["processes"][0]["as_of_seconds"], 1.5);
}

TEST(report, names_that_are_no_utf8_do_not_break_it) {
    run_report r = example();
    r.command.push_back("\xff\xfe");
    r.processes[0].image = "/tmp/\xff";
    EXPECT_EQ(json::parse(summary_json(r))["processes"][0]["pid"], 4711);
}

TEST(report, an_ungoverned_child_is_listed_without_figures) {
    run_report r = example();
    process_report child;
    child.pid = 99;
    child.image = "/bin/static\x1b[2J";
    child.governed = false;
    child.reason = "statically linked";
    r.processes.push_back(child);
    const json s = json::parse(summary_json(r));
    EXPECT_EQ(s["processes"][1]["governed"], false);
    EXPECT_EQ(s["processes"][1]["reason"], "statically linked");
    EXPECT_EQ(s["processes"][1]["kernel"], nullptr) << "unknown is not zero";
    EXPECT_THAT(closing_lines(r),
                Contains("not governed: $'/bin/static\\x1b[2J' (pid 99): statically linked"));
}

TEST(report, closing_lines_tell_requests_peak_owners_and_refusals) {
    const auto lines = closing_lines(example());
    EXPECT_THAT(lines, Contains("mono ended with status 0 after 1.9 s; 1 process image governed"));
    EXPECT_THAT(lines, Contains(HasSubstr("virtual_alloc 12, virtual_free 0")));
    EXPECT_THAT(lines, Contains("peak charged 255 MiB of 256 MiB (reserve 12.8 MiB)"));
    EXPECT_THAT(lines, Contains("charged at the end, by owner: gc 40 MiB"));
    EXPECT_THAT(lines, Contains("touched beside it, by owner: stacks 2 MiB"));
    EXPECT_THAT(lines, Contains("refusals: task 2, appdomain 0, process 1"));
    EXPECT_THAT(lines, Contains("the limit of 256 MiB was reached; the program lived on"));
}

TEST(report, closing_lines_say_what_an_overshoot_is) {
    run_report r = example();
    const auto told = Contains(AllOf(HasSubstr("passed the limit by up to 3 MiB"),
                                     HasSubstr("measured, not refused"), HasSubstr("container")));
    EXPECT_THAT(closing_lines(r), Not(told));
    r.touched_overshoot = 3 * mib;
    EXPECT_THAT(closing_lines(r), told);
}

TEST(report, closing_lines_say_what_their_figures_are_of) {
    run_report r = example();
    r.processes.push_back(r.processes[0]);
    EXPECT_THAT(closing_lines(r),
                Contains("charged as each image ended, added up, by owner: gc 80 MiB"));
    for (process_report& p : r.processes) {
        p.picture.reset();
    }
    EXPECT_THAT(closing_lines(r), Contains("it ended before anybody could look at who holds what"));
}

TEST(report, a_runtime_that_memreeve_does_not_set_is_named_its_own_setting) {
    run_report r = example();
    r.exit_code = 1;
    r.processes[0].runtime = telemetry::runtime_kind::jvm;
    EXPECT_THAT(closing_lines(r), Not(Contains(HasSubstr("MaxRAM")))) << "something was set for it";
    r.processes[0].settings.clear();
    EXPECT_THAT(closing_lines(r), Contains(HasSubstr("-XX:MaxRAM=SIZE")));
    r.processes[0].runtime = telemetry::runtime_kind::node;
    EXPECT_THAT(closing_lines(r), Contains(HasSubstr("--max-old-space-size")));
}

TEST(report, processes_without_a_place_in_the_ledger_are_counted) {
    run_report r = example();
    EXPECT_THAT(closing_lines(r), Not(Contains(HasSubstr("slot of the ledger"))));
    r.without_place = 28;
    EXPECT_THAT(closing_lines(r), Contains(HasSubstr("28 processes found every slot")));
}

// Bad input of the list: a limit below what the runtime needs to start.
TEST(report, a_program_that_the_limit_ended_is_explained) {
    run_report r = example();
    r.exit_code = 1;
    r.wall_seconds = 0.2;
    r.processes[0].smallest_refused = 65536;
    r.processes[0].refused_after = 0.05;
    EXPECT_THAT(closing_lines(r),
                Contains(AllOf(HasSubstr("the limit of 256 MiB was reached, 0.1 s after the start"),
                               HasSubstr("smallest request refused was 64 KiB"),
                               HasSubstr("raise --limit"))));
    r.processes[0].refusals = {};
    EXPECT_THAT(closing_lines(r), Not(Contains(HasSubstr("was reached"))))
        << "nothing was refused: not the limit's doing";
}

// Decision 29: whose exception it was.
TEST(report, a_heap_limit_of_dotnet_that_was_reached_is_told_of) {
    run_report r = example();
    process_report& p = r.processes[0];
    p.image = "/usr/bin/dotnet";
    p.runtime = telemetry::runtime_kind::coreclr;
    p.refusals = {};
    p.settings = {{"DOTNET_GCHeapHardLimit", "0xc000000"}};
    const auto told = Contains(
        AllOf(HasSubstr("dotnet (pid 4711) reached the limit of its GC heap, 192 MiB"),
              HasSubstr("--limit 256 MiB"), HasSubstr("came from there, nothing was refused")));
    EXPECT_THAT(closing_lines(r), Not(told)) << "its heap was never that large";
    p.picture->owners[0].peak_charged = 179 * mib;
    EXPECT_THAT(closing_lines(r), Not(told));
    p.picture->owners[0].peak_charged = 181 * mib;
    EXPECT_THAT(closing_lines(r), told);
    p.refusals = {0, 0, 1};
    EXPECT_THAT(closing_lines(r), Contains(HasSubstr("came from there or from a refusal")));
    p.settings.clear();
    EXPECT_THAT(closing_lines(r), Not(Contains(HasSubstr("GC heap"))))
        << "the user's own limit is no affair of ours";
}

// Decision 31: nothing is refused when V8 ends at the limit of its heap.
TEST(report, a_heap_limit_of_v8_that_ended_the_process_is_told_of) {
    run_report r = example();
    process_report& p = r.processes[0];
    p.image = "/usr/bin/node";
    p.runtime = telemetry::runtime_kind::node;
    p.refusals = {};
    p.settings = {
        {"NODE_OPTIONS", "--no-warnings --max-old-space-size=160 --max-semi-space-size=4"}};
    const auto told =
        Contains(AllOf(HasSubstr("node (pid 4711) reached the limit of V8's heap, 160 MiB"),
                       HasSubstr("--limit 256 MiB"), HasSubstr("resourceLimits")));
    EXPECT_THAT(closing_lines(r), Not(told)) << "it did not die";
    words_report death;
    death.cause = words_cause::death;
    death.owner_charged[0] = 149 * mib;
    p.words = {death};
    EXPECT_THAT(closing_lines(r), Not(told)) << "it died of something else";
    p.words[0].owner_charged[0] = 150 * mib;
    EXPECT_THAT(closing_lines(r), told);
    p.words[0].cause = words_cause::refusal;
    EXPECT_THAT(closing_lines(r), Not(told));
    p.words[0].cause = words_cause::death;
    p.settings = {{"NODE_OPTIONS", "--no-warnings"}};
    EXPECT_THAT(closing_lines(r), Not(told)) << "the user's own limit is no affair of ours";
}

TEST(report, settings_are_told_when_asked_for_and_notes_always) {
    run_report r = example();
    const auto setting = Contains("set for mono-sgen (pid 4711): MONO_GC_PARAMS=nursery-size=1m");
    EXPECT_THAT(closing_lines(r), Not(setting));
    r.verbose = true;
    EXPECT_THAT(closing_lines(r), setting);
    r.processes[0].note = "a note\x1b[2J";
    EXPECT_THAT(closing_lines(r), Contains("mono-sgen (pid 4711): a note\\x1b[2J"));
    r.processes.resize(50, r.processes[0]);
    EXPECT_LT(closing_lines(r).size(), 30u) << "fifty images, a few lines";
}

} // namespace
