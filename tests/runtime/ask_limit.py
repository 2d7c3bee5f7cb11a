# SPDX-License-Identifier: MIT
# A limit that is lowered below what is held makes the runtime collect, again and again until it fits; then no more.
# Here by CPython's example, which is asked under --ask alone; the other runtimes in the ask_* of each.
import json
import os
import subprocess
import sys

from _ask import asked, governed
from _run import MEMREEVE, MIB, SOURCE, Folder, expect, expect_equal, finish, start, wait_for

CYCLE = [sys.executable, os.path.join(SOURCE, "tests", "runtime", "programs", "cycle.py"), "64"]


def limit(pid, *words):
    done = subprocess.run([MEMREEVE, "limit", str(pid), *words], capture_output=True, text=True, timeout=60)
    expect_equal((done.returncode, done.stderr), (0, ""), f"limit {words}")
    return done.stdout


def lowered(*options):
    """Lowers to 40M, looks, drops what is held, looks again, gives it all back; the summary's entry."""
    is_asked = "--ask" in options
    with Folder() as folder:
        path = folder.file("summary.json")
        p = start(CYCLE, "-q", "--summary", path, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            expect_equal(p.stdout.readline(), "ready\n", f"{options}: its first line")
            pid = governed(p.pid, "cpython")
            expect_equal(asked(p.pid, pid), 0, f"{options}: asked before the limit was lowered")
            line = limit(p.pid, "40M")
            expect((", and runtimes are asked to collect\n" if is_asked else " (under run --ask the runtime would be asked to collect)\n") in line, line)
            if is_asked:
                expect(wait_for(lambda: asked(p.pid, pid) >= 4), f"{options}: not asked again while it does not fit")
            p.stdin.write("drop\n")
            p.stdin.flush()
            expect_equal(p.stdout.readline(), "dropped\n", f"{options}: its second line")
            now = {}

            def fits():
                now.update(json.loads(limit(p.pid, "--json")))
                return now["too_much_bytes"] == 0

            if is_asked:
                expect(wait_for(fits), f"{options}: it does not fit: {now}")
            expect_equal(fits(), is_asked, f"{options}: does it fit?")
            p.stdin.close()
            expect_equal(p.wait(timeout=100), 0, f"{options}: status")
        finally:
            p.kill()
            p.wait()
            p.stdout.close()
        with open(path) as f:
            return next(i for i in json.load(f)["processes"] if i["runtime"] == "cpython")


for options in (("--limit", "400M", "--ask"), ("--ask",)):
    process = lowered(*options)
    told = process["asked"]
    # Every time but one that came after it fitted, if any, was because of the limit.
    expect(told["over_limit_times"] >= 4 and told["times"] - told["over_limit_times"] <= 1, f"{options}: {told}")
    expect_equal(process["notifications"]["low"], told["times"], f"{options}: Low")
    expect_equal(told["kernel_pressure_times"], 0, f"{options}: kernel's pressure")
    expect(told["charged_before_bytes"] - told["charged_after_bytes"] >= 60 * MIB, f"{options}: {told}")
process = lowered("--limit", "400M")
expect_equal(process["asked"]["times"], 0, "not asked without --ask")
finish()
