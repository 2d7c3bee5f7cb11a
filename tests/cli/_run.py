# SPDX-License-Identifier: MIT
"""Shared by the scripts of tests/cli and tests/runtime: run memreeve, read what it says."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = os.environ.get("MEMREEVE_BIN", "build/dev/bin")
SOURCE = os.environ.get("MEMREEVE_SOURCE", os.path.join(os.path.dirname(__file__), "..", ".."))
MEMREEVE = os.path.join(BIN, "memreeve")
PROBE = os.path.join(BIN, "tests", "ledger_probe")
MIB = 1 << 20

_failures = []


def helper(name):
    """A program built from programs/<name>.c."""
    return os.path.join(BIN, "tests", name)


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def expect(holds, what):
    """A check that goes on, so that one run shows everything that is wrong."""
    if not holds:
        _failures.append(what)
        print("FAILED:", what)
    return holds


def expect_equal(got, wanted, what):
    return expect(got == wanted, f"{what}: got {got!r}, expected {wanted!r}")


def finish():
    if _failures:
        print(f"{len(_failures)} failed")
        sys.exit(1)
    print("passed")
    sys.exit(0)


def wait_for(what, seconds=60):
    """What `what()` gives once it gives something; None when time runs out."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found or time.monotonic() > end:
            return found or None
        time.sleep(0.02)


def content(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


class Folder:
    """A temporary folder that is removed at the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="memreeve-test-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, name, text=None, mode=None):
        path = os.path.join(self.path, name)
        if text is not None:
            with open(path, "w" if isinstance(text, str) else "wb") as f:
                f.write(text)
        if mode is not None:
            os.chmod(path, mode)
        return path


class Result:
    def __init__(self, done, summary):
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        self.lines = done.stderr.splitlines()
        self.summary = summary


def memreeve(*arguments, timeout=120, **options):
    """Runs memreeve with these arguments; text streams."""
    done = subprocess.run([MEMREEVE, *arguments], capture_output=True, text=True, timeout=timeout,
                          errors="replace", **options)
    return Result(done, None)


def _complete(command, timeout, input=None, **popen):
    """subprocess.run in a session of its own: where time runs out, what memreeve started ends with it."""
    if input is not None:
        popen["stdin"] = subprocess.PIPE
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                         start_new_session=True, **popen)
    try:
        out, err = p.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        p.communicate()
        raise
    return subprocess.CompletedProcess(command, p.returncode, out, err)


def run(command, *options, timeout=120, **popen):
    """memreeve run OPTIONS -- COMMAND with a summary."""
    with Folder() as folder:
        path = folder.file("summary.json")
        done = _complete([MEMREEVE, "run", "--summary", path, *options, "--", *command], timeout, **popen)
        summary = None
        if os.path.exists(path) and os.path.getsize(path):
            with open(path) as f:
                summary = json.load(f)
        return Result(done, summary)


def start(command, *options, **popen):
    return subprocess.Popen([MEMREEVE, "run", *options, "--", *command], text=True, **popen)


def probe(launcher, *what):
    """Lines of JSON from the ledger of a running memreeve, None when there are none."""
    done = subprocess.run([PROBE, str(launcher), *map(str, what)], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        return None
    return [json.loads(line) for line in done.stdout.splitlines()]


def sums_hold(process):
    """The sums of the contract, to the page, in one process entry of a summary."""
    kernel = process["kernel"]
    writable = sum(o["mapped_writable_bytes"] for o in process["owners"]) + kernel["unclassified_bytes"]
    resident = sum(o["resident_bytes"] for o in process["owners"]) + kernel["unclassified_resident_bytes"]
    good = writable == kernel["private_writable_bytes"] and resident == kernel["private_resident_bytes"]
    if not good:
        print("writable", writable, "of", kernel["private_writable_bytes"], "resident", resident, "of",
              kernel["private_resident_bytes"])
        for o in process["owners"]:
            print("  ", o)
    return good


def compile_csharp(name, folder):
    """tests/runtime/programs/<name>.cs or an example, compiled by mcs; the path of the .exe."""
    if shutil.which("mono") is None or shutil.which("mcs") is None:
        skip("mono and mcs are not installed")
    source = name if os.path.isabs(name) else os.path.join(SOURCE, "tests", "runtime", "programs", name + ".cs")
    exe = folder.file(os.path.splitext(os.path.basename(source))[0] + ".exe")
    subprocess.run(["mcs", "-out:" + exe, source], check=True)
    return exe
