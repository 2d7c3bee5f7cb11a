# SPDX-License-Identifier: MIT
# Decision 28, contract sections 4 and 5: large arrays on Mono end in an OutOfMemoryException that can
# be caught; the program works on; nothing ever passes the limit; every kind of request is counted.
import _support  # noqa: F401
from _run import MIB, Folder, compile_csharp, expect, expect_equal, finish, run, sums_hold

with Folder() as folder:
    exe = compile_csharp("arrays", folder)
    for options, limit in [(["--limit", "200M"], 200), (["--limit", "100M"], 100)]:
        r = run(["mono", exe], *options)
        print(r.out, r.err)
        expect_equal(r.status, 0, f"status under {limit}M")
        expect("caught 3" in r.out, "OutOfMemoryException was not caught three times")
        expect("worked on" in r.out, "did not work on")
        s = r.summary
        expect_equal(len(s["processes"]), 1, "processes")
        p = s["processes"][0]
        expect_equal((p["runtime"], p["governed"]), ("mono", True), "runtime, governed")
        expect(sum(p["refusals"].values()) >= 3, f"refusals {p['refusals']}")
        expect(s["peak_charged_bytes"] <= limit * MIB, f"peak {s['peak_charged_bytes']} above the limit")
        expect(s["peak_charged_bytes"] >= limit * MIB * 3 // 4, f"peak {s['peak_charged_bytes']}: refused far too early")
        for kind in ("virtual_alloc", "virtual_free", "acquired", "released"):
            expect(p["requests"][kind] > 0, f"no {kind} was counted")
        expect(p["peak_charged_bytes"] <= s["peak_charged_bytes"], "a process's peak above the run's")
        expect(p["end"] == "exited" and "as_of_seconds" not in p, f"end {p['end']}: not its own last picture")
        expect(sums_hold(p), "the sums at the end")
        owners = {o["name"]: o for o in p["owners"]}
        expect(owners["gc"]["peak_charged_bytes"] > limit * MIB // 2, f"gc {owners['gc']}")
        wanted = {"MONO_GC_PARAMS": "nursery-size=1m"} if limit <= 128 else {}
        expect_equal(p["settings"], wanted, f"settings under {limit}M")
        lines = "\n".join(r.lines)
        for part in ("virtual_alloc ", "peak charged ", f" of {limit} MiB", "charged at the end, by owner: ", "refusals: task "):
            expect(part in lines, f"closing lines lack {part!r}")

    expect_equal(run(["mono", exe], "--limit", "100M", "--no-knobs").summary["processes"][0]["settings"], {}, "--no-knobs")

    r = run(["mono", exe])
    expect_equal(r.status, 0, "without a limit")
    expect("caught 0" in r.out, "refused without a limit")
    expect_equal(sum(r.summary["processes"][0]["refusals"].values()), 0, "refusals without a limit")
finish()
