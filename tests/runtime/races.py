# SPDX-License-Identifier: MIT
# Programs that once made the books wrong (programs/races.c tells each): they run to their end, and
# at the end nothing is charged that is not there.
import os
import subprocess

import _support  # noqa: F401
from _run import Folder, expect, expect_equal, finish, helper, run

program = helper("races")
for what in ("cut", "halves", "sequence"):
    r = run([program, what], "--limit", "64M")
    expect_equal(r.out, f"{what}: ok\n", f"{what}: {r.err}")
    for p in r.summary["processes"]:
        charged = sum(o["charged_bytes"] for o in p["owners"])
        expect(charged <= 41 << 20, f"{what}: {charged} bytes charged at the end")
    if what == "cut":
        owners = r.summary["processes"][0]["owners"]
        expect_equal(sum(o["charged_bytes"] for o in owners if o["name"] != "malloc"), 0, "cut")

with Folder() as folder:
    # A script without #! gets all its arguments, however many.
    script = folder.file("script", "echo $#\n")
    os.chmod(script, 0o755)
    r = run(["sh", "-c", f"seq 6000 | xargs -n 6000 {script}"])
    expect_equal(r.out, "6000\n", "arguments of a script")

    # exec of a FIFO fails as it does naked and does not wait for a writer.
    fifo = folder.file("fifo", "")
    os.remove(fifo)
    os.mkfifo(fifo)
    os.chmod(fifo, 0o777)
    naked = subprocess.run(["sh", "-c", f"exec {fifo}"], capture_output=True, timeout=60).returncode
    expect_equal(run(["sh", "-c", f"exec {fifo}"]).status, naked, "exec of a FIFO")
finish()
