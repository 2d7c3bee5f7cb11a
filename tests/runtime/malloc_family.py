# SPDX-License-Identifier: MIT
# The malloc family behind the bridge (contract section 5: owner malloc, requests malloc and free):
# libc's promises, errors and ends, naked first, which tests the test; then governed, charged to the
# owner malloc and bounded by the limit.
import signal
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, expect, expect_equal, finish, helper, run, sums_hold

program = helper("malloc_family")


def owner(result, name="malloc"):
    return next(o for o in result.summary["processes"][0]["owners"] if o["name"] == name)


for verb, out in (("rules", "rules hold"), ("libc", "passed on"), ("info", "info holds")):
    naked = subprocess.run([program, verb], capture_output=True, text=True, timeout=120)
    expect_equal((naked.returncode, naked.stdout.strip()), (0, out), f"{verb}, naked: {naked.stderr}")
    r = run([program, verb])
    expect_equal((r.status, r.out.strip()), (0, out), f"{verb}, governed: {r.err}")
    p = r.summary["processes"][0]
    expect(p["requests"]["malloc"] > 0 and p["requests"]["free"] > 0, f"{verb}: requests {p['requests']}")
    expect(sums_hold(p), f"{verb}: sums")
    expect_equal(p["kernel"]["unclassified_bytes"], 0, f"{verb}: unclassified")

for verb in ("double", "interior", "wild"):
    naked = subprocess.run([program, verb], capture_output=True, text=True, timeout=60)
    expect_equal(naked.returncode, -signal.SIGABRT, f"{verb}, naked")
    r = run([program, verb])
    expect_equal(r.status, 128 + signal.SIGABRT, f"{verb}, governed: {r.err}")
    said = {"double": "free(): double free 0x", "interior": "free(): invalid pointer 0x"}
    expect(said.get(verb, "") in r.err, f"{verb}: {r.err}")
    expect("free(): invalid pointer" in r.err or verb != "wild", f"{verb}: {r.err}")

# Held blocks are charged, to the page; the limit holds; a refusal is ENOMEM and the program goes on.
# Of what is freed 32 MiB at most stay warm.
r = run([program, "hold", "163840"])
held = owner(r)
expect_equal(r.out, "held 163840 KiB\n", "hold without a limit")
expect(160 * MIB < held["peak_charged_bytes"] < 170 * MIB, f"160 MiB in blocks of 1 KiB: {held}")
expect(held["charged_bytes"] < 36 * MIB, f"freed, yet charged: {held}")

r = run([program, "hold", "40960"], "--limit", "32M")
got = int(r.out.split()[1])
expect(24 * 1024 < got < 32 * 1024, f"under 32 MiB it held {got} KiB")
p = r.summary["processes"][0]
expect(sum(p["refusals"].values()) > 0, f"no refusal counted: {p['refusals']}")
expect(r.summary["peak_charged_bytes"] <= 32 * MIB, "peak above the limit")

# A program at a fixed address that takes malloc's address does not bring a malloc of its own.
with Folder() as folder:
    source = folder.file("taken.c", "#include <stdlib.h>\nint main(void) { void* (*volatile m)(size_t) = malloc; "
                                    "free(m(10)); return 0; }\n")
    taken = folder.file("taken")
    subprocess.run(["gcc", "-no-pie", "-fno-pic", "-o", taken, source], check=True)
    r = run([taken])
    expect_equal(r.status, 0, "malloc's address taken")
    expect("comes before" not in r.err, f"malloc's address taken: {r.err}")
finish()
