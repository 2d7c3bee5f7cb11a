# SPDX-License-Identifier: MIT
# Decisions 28 and 29: small objects, which end Mono, end in a caught OutOfMemoryException on .NET, at
# the limit of the GC heap. Without the setting the collector takes all there is and survives refusals
# (60 of 60 runs here); what the program asks for right after it has let go may be refused once more
# (seen once), and ends a program that catches only once; and on a machine with no processor to spare the
# exception may come where CoreCLR itself does not catch it (2 of 6 rounds). Then memreeve tells of the limit.
import os
import signal

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app, run_collecting
from _run import MIB, expect, expect_equal, finish, sums_hold

command = [dotnet(), os.path.join(dotnet_app(), "app.dll"), "objects"]
for limit, environment, options in [(200, {}, []), (64, {}, []), (200, {"DOTNET_gcServer": "1"}, []),
                                    (200, {"DOTNET_gcConcurrent": "0"}, []), (200, {}, ["--no-knobs"])]:
    name = f"{limit}M {environment} {options}"
    r = run_collecting(command, "--limit", f"{limit}M", *options, env={**os.environ, **environment})
    print(name, r.out, r.err)
    p = r.summary["processes"][0]
    if options and r.status != 0:
        expect(r.status == 128 + signal.SIGABRT and r.out in ("", "caught\n"), f"{name}: {r.status} {r.out}")
        words = [w for w in ("Out of memory.", "terminate called after throwing an instance of 'PAL_SEHException'") if w in r.err]
        expect(words, f"{name}: ended without .NET's words: {r.err}")
        expect(any("was reached" in line for line in r.lines), f"{name}: ended without memreeve's: {r.err}")
    else:
        expect_equal((r.status, r.out), (0, "caught\nworked on\n"), f"{name}: status, output")
    expect(r.summary["peak_charged_bytes"] <= limit * MIB, f"{name}: peak {r.summary['peak_charged_bytes']}")
    # A killed one's figures are the last that were taken, of a program in motion.
    expect(r.status != 0 or sums_hold(p), f"{name}: the sums at the end")
    if options:
        expect(sum(p["refusals"].values()) > 0, f"{name}: nothing was refused")
    else:
        expect("DOTNET_GCHeapHardLimit" in p["settings"], f"{name}: settings {p['settings']}")
        expect(any("reached the limit of its GC heap" in line for line in r.lines), f"{name}: {r.err}")
finish()
