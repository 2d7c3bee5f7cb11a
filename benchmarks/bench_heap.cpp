// SPDX-License-Identifier: MIT
// IHostMalloc through the COM interface of libmemreeve.so, accounting and an owner's limit in force,
// against other mallocs: rows heap_* (heap/workloads.hpp says what the rows do).
//
// Every run is a process of its own with one heap and one row; a round runs all heaps in turn, and a
// ratio is the median of the rounds' ratios. Best of five slices of 15 ms of CPU time; waiting for
// the other thread is left out.
#include "heap_contest.hpp"
#include "heap_programs.hpp"
#include "measure.hpp"
#include "program_run.hpp"
#include "subjects.hpp"

#include <unistd.h>

#include <cmath>

namespace {

using namespace memreeve::bench;

constexpr const char* ours = "memreeve";
constexpr const char* governed_name = "governed";
constexpr const char* yardstick = "mimalloc";
constexpr const char* yardstick_library = "libmimalloc.so.2";
struct peer {
    const char* name;
    const char* shared_object;
};
constexpr peer peers[] = {{yardstick, yardstick_library},
                          {"jemalloc", "libjemalloc.so.2"},
                          {"tcmalloc", "libtcmalloc_minimal.so.4"}};
const std::vector<std::string> averaged = {"pair", "small", "mixed"};
const std::vector<std::string> rows_of_one_thread = {"pair", "small", "mixed", "large"};
const std::vector<std::string> rows_of_two_threads = {"two", "larson", "xmt"};

struct paths {
    std::string driver, shared_object, memreeve;
};

struct goal {
    const char* row;
    double most; // of mimalloc; < 0: has none of its own
};
constexpr goal goals[] = {{"pair", -1},  {"small", -1},    {"mixed", -1}, {"large", 1.05},
                          {"two", 1.00}, {"larson", 1.00}, {"xmt", 0.95}};

std::string missing(const char* name) {
    return std::string(name) +
           " is not in the loader's path (Debian: libmimalloc2.0, libjemalloc2, "
           "libtcmalloc-minimal4)";
}

// Ours first, and every other malloc that is there; our own too, as governed programs have it.
std::vector<contender> all_there(const paths& p) {
    std::vector<contender> all = {{ours, "host:" + p.shared_object}};
    for (const peer& other : peers) {
        if (auto c = preloaded(p.driver, other.name, other.shared_object)) {
            all.push_back(*c);
        } else {
            std::printf("# %s\n", missing(other.name).c_str());
        }
    }
    all.push_back({"glibc", "malloc"});
    if (access(p.memreeve.c_str(), X_OK) == 0) {
        all.push_back({governed_name, "malloc", {}, false, {p.memreeve, "run", "-q", "--"}});
    }
    return all;
}

void against_mimalloc(report& out, contest& c) {
    const auto peer = c.find(yardstick);
    for (const goal& g : goals) {
        const std::string metric = std::string("heap_") + g.row;
        if (!out.wants_metric(metric)) {
            continue;
        }
        if (!peer) {
            out.skipped(metric.c_str(), missing(yardstick).c_str());
            continue;
        }
        const row_times& times = c.row(g.row);
        if (times.why.empty()) {
            const quartiles q = times.ratios(0, *peer);
            out.value(metric.c_str(), q.middle, "ratio", with_spread(yardstick, q, 3).c_str(),
                      times.rounds(), g.most);
        } else {
            out.skipped(metric.c_str(), times.why.c_str());
        }
    }
}

// Of the three rows of one thread.
void geomean(report& out, contest& c, const char* metric, std::size_t of, double most) {
    if (!out.wants_metric(metric)) {
        return;
    }
    const auto peer = c.find(yardstick);
    double product = 1;
    std::string why = peer ? "" : missing(yardstick);
    for (const std::string& row : averaged) {
        if (why.empty()) {
            why = c.row(row).why;
        }
        if (why.empty()) {
            product *= c.row(row).ratio(of, *peer);
        }
    }
    why.empty() ? out.value(metric, std::cbrt(product), "ratio", "mimalloc; pair, small, mixed",
                            c.rounds(), most)
                : out.skipped(metric, why.c_str());
}

// The row that is worst against the best of the other mallocs but the C library's. The goal is one of
// the rows of one thread; two threads' have theirs against mimalloc.
void worst_row(report& out, contest& c, const char* metric, const std::vector<std::string>& rows,
               double most) {
    if (!out.wants_metric(metric)) {
        return;
    }
    double worst = 0;
    std::string which;
    std::string why;
    for (const peer& p : peers) {
        why = why.empty() && !c.find(p.name) ? missing(p.name) : why;
    }
    for (const std::string& row : rows) {
        if (why.empty()) {
            why = c.row(row).why;
        }
        if (!why.empty()) {
            break;
        }
        const row_times& times = c.row(row);
        double against_best = 0;
        std::string best;
        for (std::size_t i = 1; i < c.contenders().size(); ++i) {
            if (c.contenders()[i].is_peer && times.ratio(0, i) > against_best) {
                against_best = times.ratio(0, i);
                best = c.contenders()[i].name;
            }
        }
        if (against_best > worst) {
            worst = against_best;
            which = row + " against " + best;
        }
    }
    why.empty() ? out.value(metric, worst, "ratio", which.c_str(), c.rounds(), most)
                : out.skipped(metric, why.c_str());
}

void drift(report& out, contest& c) {
    constexpr const char* metric = "heap_drift";
    if (!out.wants_metric(metric)) {
        return;
    }
    if (!c.drift()) {
        c.row("two");
    }
    if (c.drift()) {
        out.value(metric, *c.drift(), "blocks, bytes", "the books when all is free again",
                  c.rounds(), 0);
    }
}

void pair_instructions(report& out, const paths& p, const contest& c) {
    constexpr const char* metric = "heap_pair_instructions";
    if (!out.wants_metric(metric)) {
        return;
    }
    const instructions counted = instructions_of(p.driver, c.contenders().front(), "pair");
    if (!counted.why.empty()) {
        out.skipped(metric, counted.why.c_str());
        return;
    }
    std::string others = "loop included";
    for (std::size_t i = 1; i < c.contenders().size(); ++i) {
        const instructions of_peer = instructions_of(p.driver, c.contenders()[i], "pair");
        if (of_peer.why.empty()) {
            char text[64];
            std::snprintf(text, sizeof text, "; %s %.0f", c.contenders()[i].name.c_str(),
                          of_peer.each);
            others += text;
        }
    }
    out.value(metric, counted.each, "instructions", others.c_str(), 1, 60);
}

// The same heap built without a part of it (benchmarks/CMakeLists.txt): instructions of a pair are
// exact, the time of two builds differs by some percent for where their code lies.
void variants(report& out, const paths& p, unsigned rounds) {
    constexpr struct {
        const char* metric;
        const char* shared_object;
        const char* reference;
        double most;
    } all[] = {
        {"heap_accounting", "libheap_unaccounted.so", "compiled without accounting", 1.03},
        {"heap_hardened", "libheap_unchecked.so", "compiled without checks", 1.05},
    };
    for (const auto& v : all) {
        if (!out.wants_metric(v.metric)) {
            continue;
        }
        const std::string library = own_folder() + "/../lib/" + v.shared_object;
        if (access(library.c_str(), R_OK) != 0) {
            out.skipped(v.metric, "the variant is not built");
            continue;
        }
        contest c(p.driver, {{ours, "host:" + p.shared_object}, {v.reference, "host:" + library}},
                  rounds);
        double product = 1;
        std::string why;
        for (const std::string& row : averaged) {
            why = why.empty() ? c.row(row).why : why;
            product *= why.empty() ? c.row(row).ratio(0, 1) : 1;
        }
        if (!why.empty()) {
            out.skipped(v.metric, why.c_str());
            continue;
        }
        std::string reference = std::string(v.reference) + "; pair, small, mixed";
        const instructions with = instructions_of(p.driver, c.contenders()[0], "pair");
        const instructions without = instructions_of(p.driver, c.contenders()[1], "pair");
        if (with.why.empty() && without.why.empty()) {
            char text[96];
            std::snprintf(text, sizeof text, "; a pair takes %.0f and %.0f instructions", with.each,
                          without.each);
            reference += text;
        }
        out.value(v.metric, std::cbrt(product), "ratio", reference.c_str(), rounds, v.most);
    }
}

// DebugAlloc on a pair (gated, as the sketch it is measured by) and on the other two rows.
void debug_blocks(report& out, const paths& p, unsigned rounds) {
    constexpr const char* against_check = "heap_debugalloc_vs_malloc_check";
    if (!out.wants({"heap_debugalloc", against_check})) {
        return;
    }
    std::vector<contender> all = {{ours, "host:" + p.shared_object},
                                  {"DebugAlloc", "debug:" + p.shared_object}};
    const auto checked =
        preloaded(p.driver, "MALLOC_CHECK_=3", "libc_malloc_debug.so.0", {"MALLOC_CHECK_=3"});
    if (checked) {
        all.push_back(*checked);
    }
    contest c(p.driver, all, rounds);
    for (const std::string& row : averaged) {
        const bool gated = row == averaged.front();
        const std::string suffix = gated ? "" : "_" + row;
        const auto value = [&](const std::string& metric, std::size_t to, const char* reference,
                               double most) {
            if (!out.wants_metric(metric)) {
                return;
            }
            const row_times& times = c.row(row);
            times.why.empty() ? out.value(metric.c_str(), times.ratio(1, to), "ratio", reference,
                                          rounds, gated ? most : -1)
                              : out.skipped(metric.c_str(), times.why.c_str());
        };
        value("heap_debugalloc" + suffix, 0, ("own Alloc; " + row).c_str(), 2.0);
        if (checked) {
            value(against_check + suffix, 2, ("glibc MALLOC_CHECK_=3; " + row).c_str(), 0.40);
        } else {
            out.skipped((against_check + suffix).c_str(),
                        "glibc's libc_malloc_debug.so.0 is not there");
        }
    }
}

// Exact, so one run each.
void resident(report& out, const paths& p, const contest& c) {
    constexpr const char* full = "heap_rss_per_live";
    constexpr const char* thinned = "heap_rss_per_live_thinned";
    if (!out.wants_metric(full)) {
        return;
    }
    const char* const names[] = {"rss_per_live", "thinned_rss_per_live"};
    double values[2] = {};
    std::string references[] = {"96 MiB in 131,000 blocks",
                                "three quarters of them freed, trimmed"};
    std::string why;
    for (const contender& one : c.contenders()) {
        const program_run run = run_program(command_of(p.driver, one, {"rss"}), one.environment);
        for (int i = 0; i < 2; ++i) {
            const auto value = value_of(run.output, names[i]);
            if (one.name == ours) {
                values[i] = value.value_or(0);
                why = run.ok && value ? why : "it " + run.why;
            } else if (run.ok && value) {
                char text[64];
                std::snprintf(text, sizeof text, "; %s %.3f", one.name.c_str(), *value);
                references[i] += text;
            }
        }
    }
    if (!why.empty()) {
        out.skipped(full, why.c_str());
        return;
    }
    out.value(full, values[0], "ratio", references[0].c_str(), 1, 1.08);
    out.value(thinned, values[1], "ratio", references[1].c_str(), 1);
}

} // namespace

int main(int argc, char** argv) {
    const arguments a = arguments::parse(
        argc, argv, "Cost of IHostMalloc::Alloc and Free, against other mallocs' malloc and free.");
    report out(a.json, a.only);
    if (!out.wants({"heap_"})) {
        return 0;
    }
    const paths p{own_folder() + "/heap_driver", own_folder() + "/../lib/libmemreeve.so",
                  own_folder() + "/memreeve"};
    for (const std::string& file : {p.driver, p.shared_object}) {
        if (access(file.c_str(), R_OK) != 0) {
            std::fprintf(stderr, "bench_heap: %s is not built\n", file.c_str());
            return 2;
        }
    }
    contest c(p.driver, all_there(p), a.rounds);
    against_mimalloc(out, c);
    geomean(out, c, "heap_1t_geomean", 0, 0.75);
    worst_row(out, c, "heap_worst_row", rows_of_one_thread, 1.15);
    worst_row(out, c, "heap_worst_row_2t", rows_of_two_threads, -1);
    if (const auto governed = c.find(governed_name)) {
        geomean(out, c, "heap_governed_1t_geomean", *governed, -1);
    }
    drift(out, c);
    pair_instructions(out, p, c);
    variants(out, p, a.rounds);
    debug_blocks(out, p, a.rounds);
    resident(out, p, c);
    measure_programs(out, yardstick, yardstick_library, c.find(yardstick) ? "" : missing(yardstick),
                     a.rounds);
    return 0;
}
