#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What bench_heap measures, done once: every row ends, on IHostMalloc, on DebugAlloc and on the malloc of a
governed program, and the books are right to the block and the byte when all is free again. The whole
programs print the same with memreeve's malloc as without.

usage: heap_rows.py HEAP_DRIVER LIBMEMREEVE MEMREEVE"""
import os
import subprocess
import sys

ROWS = {"pair": 50_000, "small": 50_000, "mixed": 50_000, "large": 1_000, "two": 50_000, "larson": 50_000,
        "xmt": 50_000, "rss": 1}
PROGRAMS = [("minimise", "20"), ("factor", "1")]


def output(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {run.returncode}\n{run.stdout}{run.stderr}")
    return run.stdout


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    driver, library, memreeve = sys.argv[1:]
    wrong = 0

    def check(what, right):
        nonlocal wrong
        wrong += not right
        print(f"{what}: {'ok' if right else 'WRONG'}")

    for row, operations in ROWS.items():
        exactly = [row, "--exactly", str(operations)]
        for heap in ("host", "debug"):
            said = output([driver, f"{heap}:{library}", *exactly])
            check(f"{row}, {heap}", "drift_blocks=0 drift_bytes=0" in said)
        said = output([memreeve, "run", "-q", "--", driver, "malloc", *exactly])
        check(f"{row}, governed malloc", "object=" in said and "libmemreeve_preload" in said)
    for name, size in PROGRAMS:
        command = [os.path.join(os.path.dirname(driver), name), size]
        check(name, output(command) == output([memreeve, "run", "-q", "--", *command]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
