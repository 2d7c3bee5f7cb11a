// SPDX-License-Identifier: MIT
// The rows of bench_vm, a function a noun; each leaves out what `out` does not want.
#pragma once

#include "measure.hpp"

namespace memreeve::bench {

void measure_cycles(report& out, unsigned rounds);    // vm_cycle_*
void measure_queries(report& out, unsigned rounds);   // vm_query_*
void measure_protects(report& out, unsigned rounds);  // vm_protect_*
void measure_threads(report& out, unsigned rounds);   // vm_*_2threads
void measure_sizes(report& out);                      // vm_bytes_*, vm_vmas_*
void measure_start(report& out, unsigned rounds);     // startup*
void measure_callbacks(report& out, unsigned rounds); // budget_callback_*

// What main() does with --start-...; < 0: it is none of these.
int run_as_started(const char* argument);

} // namespace memreeve::bench
