# SPDX-License-Identifier: MIT
# The README's example: works, leaks until refused, lets go, works on, ends with 0.
import os

import _support  # noqa: F401
from _run import MIB, SOURCE, Folder, compile_csharp, expect, expect_equal, finish, run

with Folder() as folder:
    exe = compile_csharp(os.path.abspath(os.path.join(SOURCE, "examples", "leak", "leak.cs")), folder)
    r = run(["mono", exe], "--limit", "256M")
    print(r.out, r.err)
    expect_equal(r.status, 0, "status")
    expect("OutOfMemoryException at " in r.out, "the exception was not caught")
    expect(r.out.rstrip().endswith("working on: 17984 primes below 200000"), "did not work on")
    expect(r.summary["peak_charged_bytes"] <= 256 * MIB, "peak above the limit")
    expect(sum(r.summary["processes"][0]["refusals"].values()) > 0, "nothing was refused")
finish()
