// SPDX-License-Identifier: MIT
// VirtualQuery of a random region out of N, and inside one huge reservation.
#include "child.hpp"
#include "vm_regions.hpp"
#include "vm_rows.hpp"

#include <memory>

namespace memreeve::bench {

void measure_queries(report& out, unsigned rounds) {
    constexpr const char* metrics[4] = {"vm_query_10", "vm_query_1k", "vm_query_10k",
                                        "vm_query_50k"};
    if (!out.wants({metrics[0], metrics[1], metrics[2], metrics[3], "vm_query_1tib_mixed_2000",
                    "vm_query_instructions"})) {
        return;
    }
    race r;
    const auto empty = r.add("getppid", [](std::uint64_t n) {
        while (n-- != 0) {
            use(syscall(SYS_getppid));
        }
    });
    constexpr unsigned counts[4] = {10, 1000, 10000, 50000};
    std::unique_ptr<population> live[4];
    std::size_t query[4];
    for (unsigned i = 0; i < 4; ++i) {
        live[i] = std::make_unique<population>(counts[i]);
        query[i] = r.add("query, " + std::to_string(counts[i]),
                         [p = live[i].get()](std::uint64_t n) { p->query(n); });
    }
    // With few runs what is asked for stays in the cache, as it does among 1000 regions; with many the
    // cache is what is measured.
    mixed_terabyte few(256);
    mixed_terabyte many(2000);
    const auto in_few = r.add("query, 1 TiB, 256 runs", [&](std::uint64_t n) { few.query(n); });
    const auto in_many = r.add("query, 1 TiB, 2000 runs", [&](std::uint64_t n) { many.query(n); });

    const double each = instructions_each([&] { live[0]->query(1); });
    if (each < 0) {
        out.skipped("vm_query_instructions", "ptrace is refused here");
    } else {
        out.value("vm_query_instructions", each, "instructions",
                  "one query of 64 KiB, loop and all", 1);
    }
    if (!out.wants({metrics[0], metrics[1], metrics[2], metrics[3], "vm_query_1tib_mixed_2000"})) {
        return;
    }
    r.run(rounds);
    r.print(stdout);
    for (unsigned i = 0; i < 4; ++i) {
        out.value(metrics[i], r.ratio(query[i], empty), "ratio", "getppid", rounds,
                  i == 3 ? 0.25 : 0.12);
    }
    out.value("vm_query_1tib_mixed", r.ratio(in_few, query[1]), "ratio",
              "a 64 KiB query among 1000; 256 runs", rounds, 4);
    out.value("vm_query_1tib_mixed_2000", r.ratio(in_many, query[1]), "ratio",
              "a 64 KiB query among 1000; 2000 runs", rounds);
}

} // namespace memreeve::bench
