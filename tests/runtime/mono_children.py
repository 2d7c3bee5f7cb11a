# SPDX-License-Identifier: MIT
# Two Monos started by a shell, one after the other and side by side, under one limit.
import _support  # noqa: F401
from _run import MIB, Folder, compile_csharp, expect, expect_equal, finish, run, sums_hold

with Folder() as folder:
    exe = compile_csharp("arrays", folder)
    for command, name in [(f"mono {exe}; mono {exe}", "one after the other"),
                          (f"mono {exe} & mono {exe} & wait", "side by side")]:
        r = run(["sh", "-c", command], "--limit", "200M")
        expect_equal(r.status, 0, name)
        monos = [p for p in r.summary["processes"] if p["runtime"] == "mono"]
        expect_equal(len(monos), 2, f"{name}: monos of {[p['image'] for p in r.summary['processes']]}")
        # Side by side one may find that the other holds everything when it wants to work on.
        at_least = 2 if name == "one after the other" else 1
        expect(r.out.count("worked on") >= at_least, name + ": " + r.out)
        expect(all(sum(p["refusals"].values()) > 0 for p in monos), f"{name}: refusals {[p['refusals'] for p in monos]}")
        expect(r.summary["peak_charged_bytes"] <= 200 * MIB, f"{name}: peak {r.summary['peak_charged_bytes']}")
        for p in monos:
            expect(sums_hold(p), f"{name}: the sums of {p['pid']}")
finish()
