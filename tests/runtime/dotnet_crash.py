# SPDX-License-Identifier: MIT
# Contract section 4: a runtime that crashes passes its status through, and the summary is written.
import os
import signal
import subprocess

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app
from _run import Folder, expect, expect_equal, finish, probe, run, start, wait_for

app = os.path.join(dotnet_app(), "app.dll")
QUIET = {**os.environ, "DOTNET_DbgEnableMiniDump": "0"}

for how, code, number in (("failfast", None, signal.SIGABRT), ("throw", None, signal.SIGABRT),
                          ("segv", None, signal.SIGABRT), ("exit", 42, None)):
    command = [dotnet(), app, "crash", how]
    naked = subprocess.run(command, capture_output=True, text=True, timeout=60, env=QUIET).returncode
    expect_equal(naked, code if number is None else -number, f"{how}: naked, which tests the test")
    r = run(command, "--limit", "200M", env=QUIET)
    expect_equal(r.status, code if number is None else 128 + number, f"{how}: status")
    expect("about to" in r.out, f"{how}: output")
    if expect(r.summary is not None, f"{how}: no summary"):
        expect_equal(r.summary["exit"], {"code": code, "signal": number}, f"{how}: exit")
        expect_equal(len(r.summary["processes"]), 1, f"{how}: processes")
    said = f"ended by signal {int(number)}" if number else f"ended with status {code}"
    expect(any(said in line for line in r.lines), f"{how}: {r.err}")

def killed(p, pid, number, outlives=None):
    """Its status after the signal and, where it outlives that, the end of its input; outlives: known of it."""
    os.kill(pid, number)
    # What it outlives gets three seconds to end it all the same; what ends it, as long as it takes.
    wait_for(lambda: p.poll() is not None, 3 if outlives else 60)
    err = p.communicate(timeout=60)[1]
    return p.returncode, err


# From outside; naked .NET says what is right (a SIGSEGV or SIGABRT that a process sent leaves it alone).
command = [dotnet(), app, "crash", "wait"]
with Folder() as folder:
    for number in (signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT):
        p = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=QUIET)
        p.stdout.readline()
        naked = killed(p, p.pid, number, outlives=number in (signal.SIGSEGV, signal.SIGABRT))[0]
        path = folder.file("summary.json")
        p = start(command, "--summary", path, "--limit", "200M", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  stderr=subprocess.PIPE, env=QUIET)
        p.stdout.readline()
        image = (probe(p.pid, "images") or [None])[0]
        if not expect(image, f"{number}: no image"):
            continue
        status, err = killed(p, image["pid"], number, outlives=naked >= 0)
        print(number, naked, status)
        expect_equal(status, naked if naked >= 0 else 128 - naked, f"{number} from outside: {err}")
        with open(path) as f:
            expect('"runtime": "coreclr"' in f.read(), f"{number}: no summary")
finish()
