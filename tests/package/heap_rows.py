#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What bench_heap measures, done once: every row ends, on IHostMalloc, on DebugAlloc and on the malloc of a
governed program, and the books are right to the block and the byte when all is free again. The whole
programs print the same with memreeve's malloc as without.

usage: heap_rows.py HEAP_DRIVER LIBMEMREEVE MEMREEVE"""
import os
import subprocess
import sys

# operations asked for, blocks that they allocate
ROWS = {
    "pair": (65536, 65536),
    "small": (65536, 65536),
    "mixed": (65536, 65536),
    "large": (1024, 1024),
    "two": (65536, 2 * 65536),
    "larson": (65536, 2 * 65536),
    "xmt": (65536, 65536),
    "rss": (1, 130_912),
}
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

    for row, (operations, blocks) in ROWS.items():
        exactly = [row, "--exactly", str(operations)]
        for heap in ("host", "debug"):
            said = output([driver, f"{heap}:{library}", *exactly])
            check(f"{row}, {heap}", f"allocated={blocks} drift_blocks=0 drift_bytes=0" in said)
        said = output([memreeve, "run", "-q", "--", driver, "malloc", *exactly])
        check(f"{row}, governed malloc", "object=" in said and "libmemreeve_preload" in said)
    for name, size in PROGRAMS:
        command = [os.path.join(os.path.dirname(driver), name), size]
        check(name, output(command) == output([memreeve, "run", "-q", "--", *command]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
