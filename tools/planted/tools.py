# SPDX-License-Identifier: MIT
"""In what measures: tools."""

FAULTS = [
    ("the matrix takes a crash for a runtime's design", "tools/matrix_judge.py",
     'o.ended == "own-words" and not faults', 'o.ended in ("own-words", "crash") and not faults', "tests/runtime/matrix.py"),
    ("the matrix does not see what is above the limit", "tools/matrix_run.py",
     "                self.over += own > self.limit\n", "", "tests/runtime/matrix.py"),
    ("where a released reservation lay is taken for the test's own", "tests/differential/twin.hpp",
     "        std::fill(std::begin(slot_base_), std::end(slot_base_), 0);\n", "",
     "differential_found_cases_test"),
]
