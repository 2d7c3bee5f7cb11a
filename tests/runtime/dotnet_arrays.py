# SPDX-License-Identifier: MIT
# Decision 29, contract sections 4 and 5: large arrays on .NET end in an OutOfMemoryException that can
# be caught, at the limit of the GC heap that follows from --limit; the program works on; nothing ever
# passes the limit; the closing lines tell where the exception came from.
import os

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app, dotnet_self_contained, run_collecting
from _run import MIB, expect, expect_equal, finish, run, sums_hold

app = dotnet_app()
by_muxer = [dotnet(), os.path.join(app, "app.dll"), "arrays"]
by_apphost = [os.path.join(app, "app"), "arrays"]


def variables(**more):
    return {**os.environ, **more}


for command, limit, environment in [(by_muxer, 200, {}), (by_apphost, 100, {}), (by_muxer, 64, {}),
                                    ([dotnet_self_contained(), "arrays"], 200, {"DOTNET_ROOT": "/nowhere"}),
                                    (by_apphost, 200, {"DOTNET_gcServer": "1"}),
                                    (by_muxer, 200, {"DOTNET_gcServer": "1", "DOTNET_GCHeapCount": "2"}),
                                    (by_muxer, 200, {"DOTNET_TieredCompilation": "0"}),
                                    (by_muxer, 200, {"DOTNET_EnableWriteXorExecute": "0"}),
                                    (by_muxer, 200, {"DOTNET_GCgen0size": "0x4000000"})]:
    name = f"{os.path.basename(command[0])} {limit}M {environment}"
    r = run_collecting(command, "--limit", f"{limit}M", env=variables(**environment))
    print(name, r.out, r.err)
    expect_equal(r.status, 0, f"{name}: status")
    expect("caught 3" in r.out and "worked on" in r.out, f"{name}: not caught three times, or no work after it")
    s, p = r.summary, r.summary["processes"][0]
    expect_equal(len(s["processes"]), 1, f"{name}: processes")
    expect_equal((p["runtime"], p["governed"], p["end"]), ("coreclr", True, "exited"), f"{name}: runtime, governed, end")
    heap = int(p["settings"].get("DOTNET_GCHeapHardLimit", "0"), 16)
    expect(limit * MIB // 2 <= heap <= limit * MIB * 7 // 8, f"{name}: the heap's limit is {heap}")
    expect(s["peak_charged_bytes"] <= limit * MIB, f"{name}: peak {s['peak_charged_bytes']} above the limit")
    expect(s["peak_charged_bytes"] >= heap * 9 // 10, f"{name}: peak {s['peak_charged_bytes']}: refused far too early")
    expect_equal(sum(p["refusals"].values()), 0, f"{name}: the heap's own limit comes first")
    expect(sums_hold(p), f"{name}: the sums at the end")
    for kind in ("virtual_alloc", "virtual_free", "virtual_protect", "acquired", "malloc", "free"):
        expect(p["requests"][kind] > 0, f"{name}: no {kind} was counted")
    expect(any("reached the limit of its GC heap" in line and "came from there, nothing was refused" in line
               for line in r.lines), f"{name}: the closing lines do not tell whose exception it was")

# Without the setting the refusals are what the program meets, and it lives.
r = run(by_muxer, "--limit", "200M", "--no-knobs")
print(r.out, r.err)
p = r.summary["processes"][0]
expect_equal(r.status, 0, "--no-knobs: status")
expect("caught 3" in r.out and "worked on" in r.out, "--no-knobs: not caught three times, or no work after it")
expect_equal(p["settings"], {}, "--no-knobs: settings")
expect(sum(p["refusals"].values()) >= 3, f"--no-knobs: refusals {p['refusals']}")
expect(r.summary["peak_charged_bytes"] <= 200 * MIB, "--no-knobs: peak above the limit")
expect(not any("limit of its GC heap" in line for line in r.lines), "--no-knobs: a limit of the GC heap is told of")

r = run(by_muxer)
expect_equal(r.status, 0, "without a limit")
expect("caught 0" in r.out, "refused without a limit")
p = r.summary["processes"][0]
expect_equal((sum(p["refusals"].values()), p["settings"]), (0, {}), "refusals and settings without a limit")
finish()
