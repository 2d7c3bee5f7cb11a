# SPDX-License-Identifier: MIT
# Decision 25 on Mono: a thread that is refused is an exception, the program goes on, and when
# threads have gone there is room for the next. Without a limit nothing is refused.
import subprocess

import _support  # noqa: F401
from _run import MIB, SOURCE, Folder, compile_csharp, expect, expect_equal, finish, run, sums_hold

with Folder() as folder:
    source = SOURCE + "/tests/runtime/programs/threads.cs"
    exe = folder.file("threads.exe")
    compile_csharp("arrays", folder)  # skips where there is no Mono
    subprocess.run(["mcs", "-unsafe", "-out:" + exe, source], check=True)
    r = run(["mono", exe, "200", "100"])
    expect_equal((r.status, r.out), (0, "started\n200 threads stood\n"), f"without a limit: {r.err}")
    expect_equal(sum(r.summary["processes"][0]["refusals"].values()), 0, "refusals without a limit")
    for limit in (64, 100):
        # Stacks are touched between two samples: by more than the reserve, and Mono, refused a few bytes
        # then, ends itself by its own words, sometimes with status 0. Not every time.
        for _ in range(3):
            r = run(["mono", exe, "60", "4000"], "--limit", f"{limit}M")
            if "ould not allocate" not in r.err:
                break
            print(f"under {limit}M Mono ended itself:", r.err.splitlines()[:2])
        expect_equal(r.status, 0, f"status under {limit}M: {r.err}")
        expect(r.out.startswith("started\n") and r.out.endswith(" caught, and started again\n"),
               f"under {limit}M: {r.out} {r.err}")
        process = r.summary["processes"][0]
        expect(process["refusals"]["task"] >= 1, f"refusals under {limit}M: {process['refusals']}")
        expect(r.summary["peak_charged_bytes"] <= limit * MIB, f"peak under {limit}M")
        expect(sums_hold(process), f"the sums under {limit}M")
finish()
