// SPDX-License-Identifier: MIT
// What `memreeve run` costs programs that no limit holds: rows bridge_* of bench_vm.
#pragma once

#include "measure.hpp"

namespace memreeve::bench {

// `rounds` are the most for each program; fewer when they take too long.
void measure_bridge(report& out, unsigned rounds);

} // namespace memreeve::bench
