# SPDX-License-Identifier: MIT
# Decision 28: Mono gets a small nursery under a tight limit, never a heap limit; behind wrappers and in
# children too; the user's word stands.
import os

import _support  # noqa: F401
from _dotnet import mono_app
from _run import expect, expect_equal, finish, memreeve, run

exe = mono_app()
clean = {k: v for k, v in os.environ.items() if k != "MONO_GC_PARAMS"}
small = {"MONO_GC_PARAMS": "nursery-size=1m"}
for command in (["mono", exe, "limit"], ["sh", "-c", f"mono {exe} limit; true"], ["mono", exe, "start", "mono", f"{exe} limit"]):
    for options, environment, wanted in [(["--limit", "128M"], {}, small), (["--limit", "129M"], {}, {}), ([], {}, {}),
                                         (["--limit", "64M", "--no-knobs"], {}, {}),
                                         (["--limit", "64M"], {"MONO_GC_PARAMS": "major=marksweep"}, {})]:
        r = run(command, *options, env={**clean, **environment})
        name = f"{command[0]} {options} {environment}"
        monos = [p["settings"] for p in r.summary["processes"] if p["runtime"] == "mono"]
        expect(r.status == 0 and monos and all(s == wanted for s in monos), f"{name}: status {r.status}, settings {monos}: {r.err}")
        seen = {**environment, **wanted}.get("MONO_GC_PARAMS", "unset")
        expect(f"MONO_GC_PARAMS {seen}" in r.out.splitlines(), f"{name}: {r.out}")
r = memreeve("run", "-v", "--limit", "64M", "--", "mono", exe, "hello", env=clean)
expect(any(x.startswith("memreeve: set for mono") and x.endswith(": MONO_GC_PARAMS=nursery-size=1m") for x in r.lines), r.err)
expect_equal(r.out, "hello\n", "output")

# The user's word is told of, and a limit too small to start under is one sentence whose limit works.
r = memreeve("run", "-v", "--limit", "64M", "--", "mono", exe, "hello", env={**clean, "MONO_GC_PARAMS": "major=marksweep"})
expect(any(x.startswith("memreeve: left for mono") and x.endswith(": MONO_GC_PARAMS=major=marksweep") for x in r.lines), r.err)
r = run(["mono", exe, "hello"], "--limit", "12M", env=clean)
line = [x for x in r.lines if "is too small for Mono to start" in x]
expect_equal((r.status, r.out, len(line)), (125, "", 1), f"too small: {r.err}")
named = line[0].rsplit("--limit ", 1)[1] if line else "?"
r = run(["mono", exe, "hello"], "--limit", named, env=clean)
expect_equal((r.status, r.out), (0, "hello\n"), f"the limit named, {named}: {r.err}")
r = run(["mono", exe, "hello"], "--limit", "12M", "--best-effort", env=clean)
expect("; it tries" in r.err and r.status != 125, f"--best-effort: {r.status} {r.err}")
finish()
