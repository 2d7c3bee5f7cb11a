// SPDX-License-Identifier: MIT
// Whole programs whose malloc is memreeve's: rows heap_programs_* of bench_heap.
#pragma once

#include "measure.hpp"

#include <string>

namespace memreeve::bench {

// CPU time under `memreeve run`, without a limit, to that with `library` preloaded, which is called
// `name`. A `why_not` that is not empty: all are skipped for that reason. `rounds` are the most for
// each program.
void measure_programs(report& out, const char* name, const char* library,
                      const std::string& why_not, unsigned rounds);

} // namespace memreeve::bench
