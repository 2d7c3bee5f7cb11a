# SPDX-License-Identifier: MIT
# Decision 28: small objects. Mono ends inside a collection by its own error; the refusal is counted,
# the closing lines say why, nothing hangs.
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, compile_csharp, expect, finish, run

with Folder() as folder:
    exe = compile_csharp("small_objects", folder)
    for limit in (150, 60):
        try:
            r = run(["mono", exe], "--limit", f"{limit}M", timeout=120)
        except subprocess.TimeoutExpired:
            expect(False, f"hung under {limit}M")
            continue
        print(limit, r.status, r.out[-300:], r.err[-1500:])
        p = r.summary["processes"][0]
        expect(sum(p["refusals"].values()) > 0, f"no refusal was counted under {limit}M")
        expect(r.summary["peak_charged_bytes"] <= limit * MIB, f"peak above {limit}M")
        if r.status != 0:
            expect(any("the limit of " in line and "was reached" in line for line in r.lines), "the failure is not explained")

    # A limit below what the runtime needs to start, where nobody looks at it before.
    r = run(["mono", exe], "--limit", "4M", "--no-knobs", timeout=120)
    print(r.status, r.err)
    expect(r.status not in (0, 125), f"status {r.status} under 4M")
    line = [x for x in r.lines if "was reached" in x]
    expect(line and "smallest request refused was " in line[0] and "raise --limit" in line[0], f"4M is not explained: {r.err}")
finish()
