# SPDX-License-Identifier: MIT
# CPython has no heap limit to set: nothing is set, and what is refused is a MemoryError that the
# program catches.
import os
import shutil
import sys

import _support  # noqa: F401
from _run import MIB, expect, expect_equal, finish, run

PROGRAM = """
import os, sys
kinds = {"objects": lambda: [None] * 8, "arrays": lambda: bytearray(1 << 20)}
for n in range(3):
    held = []
    try:
        while True:
            held.append(kinds[sys.argv[1]]())
    except MemoryError:
        held = None
        print("caught", flush=True)
"""
SHOW = "import os; print(sorted(k for k in os.environ if k.startswith(('MALLOC', 'PYTHON', 'MEMREEVE_SET'))))"
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC", "PYTHON"))}
pythons = {os.path.realpath(p) for p in (sys.executable, shutil.which("python3"), "/usr/bin/python3") if p and os.path.exists(p)}
for python in sorted(pythons):
    r = run([python, "-c", SHOW], "--limit", "64M", env=CLEAN)
    mine = r.summary["processes"][-1]
    if mine["runtime"] != "cpython":  # a shim, which is what it is
        print(f"{python} is {mine['runtime']}")
        continue
    expect_equal((r.status, r.out, mine["settings"]), (0, "[]\n", {}), f"{python}: {r.err}")
    for leak in ("objects", "arrays"):
        r = run([python, "-c", PROGRAM, leak], "--limit", "64M", env=CLEAN)
        expect_equal((r.status, r.out), (0, "caught\n" * 3), f"{python}, {leak}: {r.err}")
        expect(r.summary["peak_charged_bytes"] <= 64 * MIB, f"{python}, {leak}: peak above the limit")
        expect(sum(r.summary["processes"][-1]["refusals"].values()) > 0, f"{python}, {leak}: nothing was refused")
    r = run([python, "-c", "print('hello')"], "--limit", "2M", env=CLEAN)
    line = [x for x in r.lines if "is too small for Python to start" in x]
    expect_equal((r.status, r.out, len(line)), (125, "", 1), f"{python}, too small: {r.err}")
    named = line[0].rsplit("--limit ", 1)[1] if line else "?"
    r = run([python, "-c", "print('hello')"], "--limit", named, env=CLEAN)
    expect_equal((r.status, r.out), (0, "hello\n"), f"{python}, the limit named, {named}: {r.err}")
finish()
