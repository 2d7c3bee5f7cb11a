# SPDX-License-Identifier: MIT
# squeeze against the truth found by stepping, for each runtime: the smallest limit from which on a step
# of one percent worked three of three times, up to a tenth above. Long: some minutes.
import json
import os
import shutil
import subprocess
import sys

import _dotnet
from _run import MEMREEVE, MIB, Folder, expect, expect_equal, finish, memreeve, skip

if not os.environ.get("MEMREEVE_LONG"):
    skip("MEMREEVE_LONG is not set; tests/cli/squeeze.py asks the same of C and Python")
KEPT = 60
PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs", "keep")


def works(limit, command, patience):
    for _ in range(3):
        try:
            done = subprocess.run([MEMREEVE, "run", "-q", "--limit", str(limit), "--", *command], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=patience)
        except subprocess.TimeoutExpired:
            return False
        if done.returncode != 0:
            return False
    return True


def compare(name, *command):
    r = memreeve("squeeze", "-q", "--json", "--", *command, timeout=1200)
    if not expect_equal(r.status, 0, f"{name}: {r.err}"):
        return
    found = json.loads(r.out)
    answer = found["smallest_bytes"]
    steps = [int(answer * 0.88 * 1.01 ** i) // 4096 * 4096 for i in range(23)]
    worked = [works(limit, command, found["longest_run_seconds"]) for limit in steps]
    failing = [limit for limit, w in zip(steps, worked) if not w]
    true = min([limit for limit in steps if not failing or limit > max(failing)], default=0)
    marks = "".join("+" if w else "." for w in worked)
    print(f"{name}: squeeze {answer / MIB:.1f} MiB in {found['runs']} runs, by stepping {true / MIB:.1f} MiB, ratio "
          f"{answer / max(true, 1):.3f}; without a limit {found['unlimited']['peak_charged_bytes'] / MIB:.1f} MiB; {marks}", flush=True)
    # Half a step on either side is not known.
    expect(true and 0.945 <= answer / true <= 1.055, f"{name}: not within 5 %")
    expect(worked[-1], f"{name}: a tenth above the answer fails")


compare("CPython", sys.executable, os.path.join(PROGRAMS, "keep.py"), str(KEPT))
with Folder() as folder:
    if shutil.which("node"):
        compare("Node", "node", os.path.join(PROGRAMS, "keep.js"), str(KEPT))
    else:
        print("not tried: node is not installed")
    if shutil.which("mono") and shutil.which("mcs"):
        program = folder.file("keep.exe")
        subprocess.run(["mcs", "-out:" + program, os.path.join(PROGRAMS, "keep.cs")], check=True)
        compare("Mono", "mono", program, str(KEPT))
    else:
        print("not tried: mono and mcs are not installed")
    if shutil.which("java") and shutil.which("javac"):
        subprocess.run(["javac", "-d", folder.path, os.path.join(PROGRAMS, "Keep.java")], check=True)
        for collector in ("Serial", "G1"):
            compare(f"Java, {collector}", "java", f"-XX:+Use{collector}GC", f"-XX:ErrorFile={folder.path}/error.log", "-cp", folder.path,
                    "Keep", str(KEPT))
    else:
        print("not tried: java and javac are not installed")
if shutil.which("dotnet"):
    made = _dotnet.build(os.path.join(PROGRAMS, "keep.csproj"))
    compare(".NET", "dotnet", os.path.join(made, "keep.dll"), str(KEPT))
else:
    print("not tried: dotnet is not installed")
finish()
