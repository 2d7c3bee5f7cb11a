# SPDX-License-Identifier: MIT
# The kernel's memory pressure, told as service managers let it be told (MEMORY_PRESSURE_WATCH), makes runtimes collect
# under --ask, without a limit too.
import json
import os
import subprocess
import sys

from _ask import asked, governed
from _run import SOURCE, Folder, expect, expect_equal, finish, start, wait_for

HOLD = [sys.executable, os.path.join(SOURCE, "tests", "runtime", "programs", "hold.py"), "32"]


def pressed(*options, is_asked=True, told=b"x"):
    """Holds garbage while pressure is told; what it printed at the end and the summary's entry."""
    with Folder() as folder:
        fifo = folder.file("pressure")
        os.mkfifo(fifo)
        end = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        path = folder.file("summary.json")
        p = start(HOLD, "-q", "--summary", path, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  env={**os.environ, "MEMORY_PRESSURE_WATCH": fifo})
        try:
            expect_equal(p.stdout.readline(), "ready\n", f"{options}: its first line")
            pid = governed(p.pid, "cpython")
            expect_equal(asked(p.pid, pid), 0, f"{options}: asked before there was pressure")
            os.write(end, told)
            if is_asked:
                expect(wait_for(lambda: asked(p.pid, pid)), f"{options}: was not asked")
            p.stdin.close()
            out = p.stdout.read()
            expect_equal(p.wait(timeout=100), 0, f"{options}: status")
        finally:
            p.kill()
            p.wait()
            p.stdout.close()
            os.close(end)
        with open(path) as f:
            return out, next(i for i in json.load(f)["processes"] if i["runtime"] == "cpython")


for options in (("--ask",), ("--ask", "--limit", "1G")):
    out, process = pressed(*options)
    expect_equal(out, "done True\n", f"{options}: is the cycle gone?")
    told = process["asked"]
    freed = told["charged_before_bytes"] - told["charged_after_bytes"]
    expect(freed >= 30 << 20, f"{options}: freed {freed}, our heap's own pages with it")
    expect(told["times"] >= 1 and told["kernel_pressure_times"] == told["times"] and told["over_limit_times"] == 0, f"{options}: {told}")
out, process = pressed("--limit", "1G", is_asked=False)
expect_equal((out, process["asked"]["times"]), ("done False\n", 0), "not asked without --ask")
finish()
