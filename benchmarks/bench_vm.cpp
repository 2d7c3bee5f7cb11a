// SPDX-License-Identifier: MIT
// Cost of the four methods of virtual memory through IHostMemoryManager, accounting and budget on,
// against the system calls that do the same. Counts (system calls, mappings, bytes, instructions) are
// exact.
#include "bridge_cost.hpp"
#include "vm_rows.hpp"

int main(int argc, char** argv) {
    using namespace memreeve::bench;
    if (argc == 2) {
        if (const int status = run_as_started(argv[1]); status >= 0) {
            return status;
        }
    }
    const arguments a = arguments::parse(argc, argv,
                                         "Cost of VirtualAlloc, VirtualFree, VirtualProtect and "
                                         "VirtualQuery, of starting, of being told, and of "
                                         "`memreeve run`.");
    report out(a.json, a.only);
    // Before this process is large: what it starts inherits its peak (execve(2)).
    measure_bridge(out, a.rounds);
    measure_start(out, a.rounds);
    measure_callbacks(out, a.rounds);
    measure_threads(out, a.rounds);
    measure_sizes(out);
    measure_cycles(out, a.rounds);
    measure_queries(out, a.rounds);
    measure_protects(out, a.rounds);
    return 0;
}
