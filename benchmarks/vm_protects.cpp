// SPDX-License-Identifier: MIT
// VirtualProtect that changes something against raw mprotect, and that which changes nothing.
#include "child.hpp"
#include "vm_regions.hpp"
#include "vm_rows.hpp"

namespace memreeve::bench {

void measure_protects(report& out, unsigned rounds) {
    if (!out.wants({"vm_protect_"})) {
        return;
    }
    race r;
    const auto empty = r.add("getppid", [](std::uint64_t n) {
        while (n-- != 0) {
            use(syscall(SYS_getppid));
        }
    });
    population ours10(10);
    population ours1k(1000);
    population ours50k(50000);
    raw_population raw10(10);
    raw_population raw50k(50000);
    const auto change10 = r.add("protect, 10", [&](std::uint64_t n) { ours10.protect(n); });
    const auto raw_change10 = r.add("mprotect, 10", [&](std::uint64_t n) { raw10.protect(n); });
    const auto change50k = r.add("protect, 50000", [&](std::uint64_t n) { ours50k.protect(n); });
    const auto raw_change50k =
        r.add("mprotect, 50000", [&](std::uint64_t n) { raw50k.protect(n); });
    const auto same = r.add("protect, unchanged", [&](std::uint64_t n) { ours1k.protect_same(n); });

    const double same_each = instructions_each([&] { ours10.protect_same(1); });
    const double change_each = instructions_each([&] { ours10.protect(2); });
    if (same_each < 0) {
        out.skipped("vm_protect_same_instructions", "ptrace is refused here");
    } else {
        out.value("vm_protect_same_instructions", same_each, "instructions",
                  "one call, loop and all", 1);
        out.value("vm_protect_change_instructions", change_each / 2, "instructions",
                  "one call, outside the kernel", 1);
    }
    if (!out.wants({"vm_protect_same", "vm_protect_change_10", "vm_protect_change_50k"})) {
        return;
    }
    r.run(rounds);
    r.print(stdout);
    out.value("vm_protect_change_10", r.ratio(change10, raw_change10), "ratio", "raw mprotect",
              rounds, 1.10);
    out.value("vm_protect_change_50k", r.ratio(change50k, raw_change50k), "ratio", "raw mprotect",
              rounds, 1.10);
    out.value("vm_protect_same", r.ratio(same, empty), "ratio", "getppid", rounds, 0.15);
}

} // namespace memreeve::bench
