# SPDX-License-Identifier: MIT
# The README's example on .NET: works, leaks until its exception, lets go, works on, ends with 0.
import os

import _support  # noqa: F401
from _dotnet import build
from _run import MIB, SOURCE, expect, expect_equal, finish, run

folder = build(os.path.join(SOURCE, "examples", "leak", "leak.csproj"))
for command in (["dotnet", os.path.join(folder, "leak.dll")], [os.path.join(folder, "leak")]):
    r = run(command, "--limit", "256M")
    print(r.out, r.err)
    expect_equal(r.status, 0, "status")
    expect("OutOfMemoryException at " in r.out, "the exception was not caught")
    expect(r.out.rstrip().endswith("working on: 17984 primes below 200000"), "did not work on")
    expect(r.summary["peak_charged_bytes"] <= 256 * MIB, "peak above the limit")
    expect(any("reached the limit of its GC heap" in line for line in r.lines), "the closing lines do not tell why")
finish()
