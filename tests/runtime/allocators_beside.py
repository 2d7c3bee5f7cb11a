# SPDX-License-Identifier: MIT
# Another allocator in LD_PRELOAD is left out, one sentence says so, the program works, its books are
# right and its limit holds.
import glob
import os
import shutil
import sys

import _support  # noqa: F401
from _run import MIB, expect, expect_equal, finish, helper, run, skip, sums_hold

ALLOCATORS = [f[0] for name in ("libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4")
              if (f := glob.glob("/usr/lib/*/" + name))]
if not ALLOCATORS:
    skip("neither jemalloc nor mimalloc nor tcmalloc is installed")
BYTES = "x = [bytearray(1 << 20) for _ in range(20)]; print(len(x))"
LEAK = """
held = []
try:
    while True:
        held.append(bytearray(1 << 20))
except MemoryError:
    held = None
    print("caught")
"""
SEEN = "import os; print(os.environ['LD_PRELOAD'].count(':'), any('alloc' in line for line in open('/proc/self/maps')))"
commands = [([sys.executable, "-c", SEEN], "0 False\n"), ([sys.executable, "-c", BYTES], "20\n"), ([helper("hold"), "8"], "held 8192 KiB\n")]
if shutil.which("node"):
    commands.append((["node", "-e", "console.log(Buffer.alloc(1 << 20).length)"], "1048576\n"))
if shutil.which("java"):
    commands.append((["java", "-XX:+UseSerialGC", "-Xmx64m", "--version"], None))

for library in ALLOCATORS:
    name = os.path.basename(library)
    for command, out in commands:
        r = run(command, "--limit", "256M", env={**os.environ, "LD_PRELOAD": library})
        expect(r.status == 0 and (out is None or r.out == out), f"{name}, {command[0]}: {r.status} {r.out} {r.err}")
        said = [x for x in r.lines if f"LD_PRELOAD names {library}, which was left out: " in x]
        expect_equal(len(said), 1, f"{name}, {command[0]}: {r.err}")
        p = r.summary["processes"][-1]
        expect(p["governed"] and sums_hold(p), f"{name}, {command[0]}: the sums")
    r = run([sys.executable, "-c", LEAK], "--limit", "64M", env={**os.environ, "LD_PRELOAD": library})
    expect_equal((r.status, r.out), (0, "caught\n"), f"{name}: a leak: {r.err}")
    expect(r.summary["peak_charged_bytes"] <= 64 * MIB, f"{name}: peak above the limit")
    expect(r.summary["processes"][-1]["requests"]["malloc"] > 100, f"{name}: its malloc is not ours")

    # What a program puts there in memreeve's place leaves a child ungoverned: it is named.
    r = run([shutil.which("env"), f"LD_PRELOAD={library}", helper("hold"), "1"], "--limit", "64M")
    away = [p for p in r.summary["processes"] if not p["governed"]]
    expect(len(away) == 1 and "LD_PRELOAD names other libraries" in away[0]["reason"], f"{name}: {r.summary['processes']}")
    expect(any(x.startswith("memreeve: not governed: ") for x in r.lines), f"{name}: {r.err}")

r = run(["true"], env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})
expect("LD_PRELOAD names" not in r.err, f"without one: {r.err}")
finish()
