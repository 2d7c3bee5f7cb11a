# SPDX-License-Identifier: MIT
# syscall() through the bridge: six arguments, results and errno as libc gives them, memory calls
# recognised. The program says what it got; naked and governed it must say the same.
import os
import subprocess

import _support  # noqa: F401
from _run import MIB, expect, expect_equal, finish, helper, run

program = helper("system_call")
naked = subprocess.run([program, "all"], capture_output=True, text=True, timeout=60)
expect_equal(naked.returncode, 0, "naked: status")
expect("six arguments: 14" in naked.stdout and "clone with a stack: 7" in naked.stdout, f"naked: {naked.stdout}")
r = run([program, "all"])
expect_equal(r.status, 0, f"governed: status, {r.err}")
for a, b in zip(naked.stdout.splitlines(), r.out.splitlines()):
    expect_equal(b, a, "governed")
expect_equal(len(r.out.splitlines()), len(naked.stdout.splitlines()), "lines")

images = r.summary["processes"]
expect(all(p["governed"] for p in images), f"a child was not governed: {images}")
first = max(images, key=lambda p: p["requests"]["virtual_alloc"])
for kind, least in (("virtual_alloc", 5), ("virtual_free", 3), ("acquired", 2), ("released", 1)):
    expect(first["requests"][kind] >= least, f"{kind} counted {first['requests'][kind]}")
names = [(os.path.basename(p["image"]), p["end"]) for p in images]
expect(sum(end == "exec" for _, end in names) == 2, f"two images ended by exec: {names}")
expect(all(p["kernel"]["private_resident_bytes"] > 0 for p in images if p["end"] == "exited"),
       "exit_group was left without a picture")

r = run([program, "vfork"])
expect_equal(r.out, "100 children of vfork\n", f"vfork: {r.err}")

r = run([program, "limit"], "--limit", "64M", "--reserve", "0")
print(r.out)
expect_equal(r.out.splitlines(), [
    "mmap: -1 ENOMEM", "mprotect: -1 ENOMEM", "fallocate: -1 ENOSPC", "ftruncate: 0 -", "mmap of it: -1 ENOMEM",
    "shmat: -1 ENOMEM", "brk: 0", "mremap: -1 ENOMEM"], "at a limit")
expect_equal(sum(r.summary["processes"][0]["refusals"].values()), 7, "refusals")
expect(r.summary["peak_charged_bytes"] <= 64 * MIB, "peak above the limit")

times = {"naked": [], "governed": []}
for _ in range(5):
    times["naked"].append(float(subprocess.run([program, "time", "300000"], capture_output=True, text=True).stdout))
    times["governed"].append(float(run([program, "time", "300000"], "-q").out))
print("ns for a call that passes:", {k: sorted(v)[len(v) // 2] for k, v in times.items()})
finish()
