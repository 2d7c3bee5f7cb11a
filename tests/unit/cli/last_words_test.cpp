// SPDX-License-Identifier: MIT
// Five lines that name who holds what, who grew last, what was refused, what to do; growth is measured
// against what was charged a second before.
#include "cli/last_words.hpp"
#include "cli/report.hpp"

#include <cstdio>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace {

using namespace memreeve;
using namespace memreeve::cli;
using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr std::uint64_t second = 1'000'000'000;

struct example : telemetry::last_words {
    example();
};

example::example() {
    auto& w = *this;
    w.at_ns = 7 * second;
    w.level = 1;
    w.what_for = static_cast<std::uint32_t>(telemetry::purpose::malloc);
    w.owner = static_cast<std::uint32_t>(telemetry::owner_kind::malloc);
    w.refused = 3 * mib;
    w.limit = 64 * mib;
    w.reserve = 8 * mib;
    w.charged = 55 * mib;
    w.touched = 2 * mib;
    w.grown_over = second;
    w.owner_charged[0] = 40 * mib;
    w.owner_charged[2] = 15 * mib;
    w.owner_touched[3] = 2 * mib;
    w.owner_grown[0] = -static_cast<std::int64_t>(mib);
    w.owner_grown[2] = static_cast<std::int64_t>(9 * mib);
    std::snprintf(w.caller, sizeof w.caller, "libfoo.so.1+0x12\x1b");
}

process_report process() {
    process_report p;
    p.pid = 4711;
    p.image = "/usr/bin/app";
    p.refusals = {2, 1, 0};
    p.end = telemetry::image_end::killed;
    return p;
}

TEST(last_words, five_lines_of_a_refusal) {
    const auto w = report_of_words(example(), words_cause::refusal, 5 * second);
    EXPECT_THAT(
        lines_of(process(), w, 4700),
        ElementsAre(
            "app (pid 4711) was refused memory for the first time, 2.0 s after its start: 55 "
            "MiB charged and 2 MiB touched of 64 MiB (reserve 8 MiB)",
            "it holds: gc 40 MiB, malloc 15 MiB; touched beside it: stacks 2 MiB",
            "grew last: malloc by 9 MiB within 1.0 s",
            "refused: 3 MiB for malloc (owner malloc), at appdomain level, asked for by "
            "libfoo.so.1+0x12\\x1b; what follows is counted",
            "what to do: raise the limit (memreeve limit 4700 SIZE, at once), or look at "
            "malloc: malloc is native memory: buffers, extensions, libraries"));
}

TEST(last_words, at_death_and_without_a_limit) {
    example words;
    words.limit = ~std::uint64_t{0};
    words.owner_grown[2] = 0;
    const auto w = report_of_words(words, words_cause::death, 5 * second);
    EXPECT_FALSE(w.is_near_limit());
    const auto lines = lines_of(process(), w, 4700);
    ASSERT_EQ(lines.size(), 5u);
    EXPECT_THAT(lines[0], HasSubstr("was killed, 2.0 s after its start: 55 MiB charged and 2 MiB "
                                    "touched, without a limit"));
    EXPECT_EQ(lines[2], "grew last: nothing within 1.0 s");
    EXPECT_EQ(lines[3], "refused: task 2, appdomain 1, process 0");
    EXPECT_THAT(lines[4], HasSubstr("set a limit below")) << "and the largest owner is named";
    EXPECT_THAT(lines[4], HasSubstr("gc is the runtime's heap"));
}

TEST(last_words, near_the_limit_is_a_tenth_of_what_task_level_may_use) {
    example words;
    words.touched = 0;
    words.charged = 56 * mib - 56 * mib / 10;
    EXPECT_TRUE(report_of_words(words, words_cause::death, 0).is_near_limit());
    words.charged -= 4096;
    EXPECT_FALSE(report_of_words(words, words_cause::death, 0).is_near_limit());
}

TEST(last_words, the_summary_has_an_entry_and_the_closing_lines_say_the_rest_once) {
    run_report r;
    r.command = {"app"};
    r.limit = 64 * mib;
    r.exit_signal = 9;
    process_report p = process();
    p.words = {report_of_words(example(), words_cause::refusal, 5 * second),
               report_of_words(example(), words_cause::death, 5 * second)};
    r.processes.push_back(p);
    const json words = json::parse(summary_json(r))["processes"][0]["last_words"];
    ASSERT_EQ(words.size(), 2u);
    EXPECT_EQ(words[0]["cause"], "refusal");
    EXPECT_EQ(words[0]["refused"], (json{{"bytes", 3 * mib},
                                         {"level", "appdomain"},
                                         {"what_for", "malloc"},
                                         {"owner", "malloc"},
                                         {"caller", "libfoo.so.1+0x12\x1b"}}));
    EXPECT_EQ(words[0]["grew_last"],
              (json{{"owner", "malloc"}, {"bytes", 9 * mib}, {"seconds", 1.0}}));
    EXPECT_EQ(words[0]["owners"][0], (json{{"name", "gc"},
                                           {"charged_bytes", 40 * mib},
                                           {"touched_bytes", 0},
                                           {"grown_bytes", -static_cast<std::int64_t>(mib)}}));
    EXPECT_EQ(words[1]["refused"], nullptr);
    EXPECT_THAT(closing_lines(r),
                Contains("app (pid 4711) grew last: malloc by 9 MiB within 1.0 s"));
    EXPECT_THAT(closing_lines(r), Contains(HasSubstr("raise --limit")));
    for (words_report& w : r.processes[0].words) {
        w.was_told = true;
    }
    EXPECT_THAT(closing_lines(r), Not(Contains(HasSubstr("grew last"))));
    EXPECT_THAT(closing_lines(r), Not(Contains(HasSubstr("raise --limit"))));
}

TEST(last_words, what_was_cut_off_or_is_out_of_range_is_read_all_the_same) {
    example words;
    words.level = words.what_for = words.owner = 99;
    for (char& c : words.caller) {
        c = 'x';
    }
    const auto w = report_of_words(words, words_cause::refusal, 9 * second);
    EXPECT_EQ(w.refused->caller, std::string(sizeof words.caller, 'x'));
    EXPECT_EQ(w.after_seconds, 0);
    EXPECT_EQ(lines_of(process(), w, 1).size(), 5u);
}

TEST(growth, is_measured_against_the_latest_sample_that_is_a_second_old) {
    auto g = std::make_unique<telemetry::growth>();
    EXPECT_EQ(g->base(9 * second), nullptr);
    EXPECT_TRUE(g->is_due(9 * second));
    for (unsigned i = 0; i < 20; ++i) {
        const std::uint64_t now = 10 * second + i * telemetry::growth::period_ns;
        EXPECT_TRUE(g->is_due(now));
        g->note(now, [&](std::uint32_t k) { return i * 10 + k; });
        EXPECT_FALSE(g->is_due(now + telemetry::growth::period_ns - 1));
        const auto* const base = g->base(now + 1);
        if (i < 4) {
            EXPECT_EQ(base, nullptr);
        } else {
            ASSERT_NE(base, nullptr);
            EXPECT_EQ(base->charged[3], (i - 4) * 10 + 3);
        }
    }
    g->clear();
    EXPECT_EQ(g->base(99 * second), nullptr);
}

} // namespace
