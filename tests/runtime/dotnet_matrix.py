# SPDX-License-Identifier: MIT
# {Mono, .NET} x {arrays, objects, threads, native memory, generated code} under --limit 200M, from the
# same sources: what is expected in each cell, and never a hang, nothing above the limit, no end by a
# signal or an error without memreeve telling why (decisions 28 and 29).
import os
import subprocess

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app, mono_app
from _run import MIB, Folder, expect, expect_equal, finish, run

LIMIT = 200
# The last lines of the output, alternatives; None: the runtime itself ends, with a refusal told of.
SURVIVES = ("worked on",)
CELLS = {
    ("mono", "arrays"): (("caught 3", "worked on"),),
    ("mono", "objects"): (None, ("caught", "worked on")),
    ("mono", "threads"): (SURVIVES,),
    ("mono", "native"): (("caught 3", "worked on"),),
    ("mono", "code"): (SURVIVES,),
    ("dotnet", "arrays"): (("caught 3", "worked on"),),
    ("dotnet", "objects"): (("caught", "worked on"),),
    ("dotnet", "threads"): (SURVIVES,),
    ("dotnet", "native"): (("caught 3", "worked on"),),
    ("dotnet", "code"): (SURVIVES,),
}
commands = {"mono": ["mono", mono_app()], "dotnet": [dotnet(), os.path.join(dotnet_app(), "app.dll")]}

WORK = {"code": ["code", "40000"]}  # more than fits
BOUND = ("threads", "native", "code")  # met by a refusal, not by a limit of the GC's heap

for (runtime, work), allowed in CELLS.items():
    name = f"{runtime} {work}"
    try:
        r = run([*commands[runtime], *WORK.get(work, [work])], "--limit", f"{LIMIT}M", timeout=300)
    except subprocess.TimeoutExpired:
        expect(False, f"{name}: hung")
        continue
    lines = r.out.splitlines()
    p = r.summary["processes"][0]
    refused = sum(p["refusals"].values())
    peak = r.summary["peak_charged_bytes"]
    print(f"{name:16} status {r.status:3} refusals {refused:6} peak {peak >> 20:4} MiB  {' / '.join(lines[-2:])}")
    if r.status == 0:
        expect(any(a is not None and tuple(lines[-len(a):]) == a for a in allowed), f"{name}: output {lines[-4:]}")
    else:
        expect(None in allowed, f"{name}: status {r.status}: {r.err[-2000:]}")
        expect(refused > 0 and any("was reached" in line for line in r.lines), f"{name}: ended without a word: {r.err[-2000:]}")
    expect(refused > 0 or work not in BOUND, f"{name}: nothing was refused")
    expect(peak <= LIMIT * MIB, f"{name}: peak {peak}")

with Folder() as folder:
    both = f"{commands['dotnet'][0]} {commands['dotnet'][1]}"
    r = run(["sh", "-c", f"{both} arrays > $0/a & {both} objects > $0/b; wait; cat $0/a $0/b", folder.path], "--limit",
            f"{LIMIT}M", timeout=180)
    print("side by side", r.out.splitlines())
    expect_equal((r.status, r.out.count("worked on"), r.out.count("caught")), (0, 2, 2), f"side by side: {r.err}")
    expect(r.summary["peak_charged_bytes"] <= LIMIT * MIB, f"side by side: peak {r.summary['peak_charged_bytes']}")
finish()
