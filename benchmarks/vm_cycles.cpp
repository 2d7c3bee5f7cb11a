// SPDX-License-Identifier: MIT
// reserve, commit, touch, decommit, release of 64 KiB against the same in naked system calls.
#include "child.hpp"
#include "vm_host.hpp"
#include "vm_rows.hpp"

#include <memory>

namespace memreeve::bench {

namespace {

constexpr unsigned touched[3] = {0, 1, 16};

std::string metric_of(const char* kind, unsigned pages, const char* suffix) {
    return std::string("vm_cycle_") + kind + "touch" + std::to_string(pages) + suffix;
}

void count_calls(report& out, host_kind kind, const char* metric, double goal) {
    const long calls = count_syscalls([kind] {
        host h(kind);
        cycle(h, 0); // makes the arena
        count_mark();
        cycle(h, 0);
        count_mark();
    });
    if (calls < 0) {
        out.skipped(metric, "ptrace is refused here");
    } else {
        out.value(metric, static_cast<double>(calls), "system calls", "S0 makes 5", 1, goal);
    }
}

void count_cycle_instructions(report& out) {
    host h;
    cycle(h, 0);
    const double each = instructions_each([&h] { cycle(h, 0); });
    if (each < 0) {
        out.skipped("vm_cycle_instructions", "ptrace is refused here");
    } else {
        out.value("vm_cycle_instructions", each, "instructions", "four calls, outside the kernel",
                  1);
    }
}

} // namespace

void measure_cycles(report& out, unsigned rounds) {
    if (!out.wants({"vm_cycle_64k", "vm_cycle_relaxed", "vm_cycle_instructions"})) {
        return;
    }
    constexpr const char* no_relaxed = "hosts with relaxed faulting are not offered";
    constexpr const char* no_fallback = "a host cannot do without guards on request";
    const bool has_relaxed = host::exists(host_kind::relaxed);
    const bool has_fallback = host::exists(host_kind::no_guard);

    count_calls(out, host_kind::plain, "vm_cycle_64k_syscalls", 2);
    if (has_fallback) {
        count_calls(out, host_kind::no_guard, "vm_cycle_64k_syscalls_noguard", -1);
    } else {
        out.skipped("vm_cycle_64k_syscalls_noguard", no_fallback);
    }
    if (out.wants({"vm_cycle_instructions"})) {
        count_cycle_instructions(out);
    }
    if (has_relaxed) {
        count_calls(out, host_kind::relaxed, "vm_cycle_relaxed_syscalls", 0);
    } else {
        out.skipped("vm_cycle_relaxed_syscalls", no_relaxed);
    }
    if (!out.wants({"vm_cycle_64k_touch", "vm_cycle_relaxed_touch"})) {
        return;
    }

    race r;
    std::unique_ptr<host> hosts[3];
    std::size_t ours[3][3]{}; // kind, touched
    std::size_t naked[3];
    for (unsigned t = 0; t < 3; ++t) {
        naked[t] = r.add("S0, touched " + std::to_string(touched[t]), [t](std::uint64_t n) {
            while (n-- != 0) {
                naked_cycle(touched[t]);
            }
        });
    }
    constexpr host_kind kinds[3] = {host_kind::plain, host_kind::relaxed, host_kind::no_guard};
    constexpr const char* names[3] = {"cycle", "relaxed cycle", "cycle without guards"};
    const bool has[3] = {true, has_relaxed, has_fallback};
    for (unsigned k = 0; k < 3; ++k) {
        if (!has[k]) {
            continue;
        }
        hosts[k] = std::make_unique<host>(kinds[k]);
        for (unsigned t = 0; t < 3; ++t) {
            const host& h = *hosts[k];
            ours[k][t] = r.add(names[k] + std::string(", touched ") + std::to_string(touched[t]),
                               [&h, t](std::uint64_t n) {
                                   while (n-- != 0) {
                                       cycle(h, touched[t]);
                                   }
                               });
        }
    }
    r.run(rounds);
    r.print(stdout);

    const auto tell = [&](unsigned k, unsigned t, const char* kind, const char* suffix, double goal,
                          const char* why_not) {
        const std::string metric = metric_of(kind, touched[t], suffix);
        if (has[k]) {
            out.value(metric.c_str(), r.ratio(ours[k][t], naked[t]), "ratio", "naked S0", rounds,
                      goal);
        } else {
            out.skipped(metric.c_str(), why_not);
        }
    };
    constexpr double strict_goals[3] = {0.45, 0.65, 0.50};
    for (unsigned t = 0; t < 3; ++t) {
        tell(0, t, "64k_", "", strict_goals[t], "");
    }
    tell(1, 0, "relaxed_", "", 0.02, no_relaxed);
    tell(1, 2, "relaxed_", "", 0.10, no_relaxed);
    for (unsigned t = 0; t < 3; ++t) {
        tell(2, t, "64k_", "_noguard", 0.80, no_fallback);
    }
}

} // namespace memreeve::bench
