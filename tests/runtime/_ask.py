# SPDX-License-Identifier: MIT
"""Shared by ask_*.py: a program takes much and waits; was its runtime asked to collect meanwhile? Nothing here depends
on how long anything takes: the program waits until it has been seen."""
import glob
import json
import os
import subprocess

import _support  # noqa: F401
from _run import MEMREEVE, Folder, content, expect, expect_equal, probe, start, wait_for

NAME = "memreeve-ask"


def asked(launcher, pid):
    image = next((i for i in probe(launcher, "images") or [] if i["pid"] == pid), None)
    return image["asked"] if image else 0


def helpers(pid):
    return [c for c in (content(t).strip() for t in glob.glob(f"/proc/{pid}/task/*/comm")) if c == NAME]


def governed(launcher, runtime):
    """The last image of that runtime: of a program that forks, the child."""
    images = [i for i in probe(launcher, "images") or [] if i["runtime"] == runtime]
    return images[-1]["pid"] if images else None


def hold(runtime, command, *options, is_asked, has_helper=None, lowered=None):
    """Runs it with these options until it was asked, or, where it is not to be, until it is ready; its output's end.
    lowered: the limit that it gets when it is ready."""
    p = start(command, "-q", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    what = f"{runtime} {' '.join(options)}{f' lowered to {lowered}' if lowered else ''}"
    try:
        line = p.stdout.readline()
        if not expect_equal(line, "ready\n", f"{what}: its first line"):
            return ""
        pid = governed(p.pid, runtime)
        if not expect(pid, f"{what}: not recognised"):
            return ""
        if lowered:
            expect_equal(asked(p.pid, pid), 0, f"{what}: asked before")
            done = subprocess.run([MEMREEVE, "limit", str(pid), lowered], capture_output=True, text=True, timeout=60)
            says = ", and runtimes are asked to collect\n"
            expect(done.returncode == 0 and done.stdout.endswith(says) == is_asked, f"{what}: {done.stdout}{done.stderr}")
        if is_asked:
            expect(wait_for(lambda: asked(p.pid, pid)), f"{what}: was not asked")
        else:
            expect_equal(asked(p.pid, pid), 0, f"{what}: asked")
        expect_equal(len(helpers(pid)), int(is_asked if has_helper is None else has_helper), f"{what}: threads {NAME}")
        p.stdin.close()
        out = p.stdout.read()
        # It ends though the thread is there.
        expect_equal(p.wait(timeout=100), 0, f"{what}: status")
        expect(out.startswith("done"), f"{what}: printed {out!r}")
        return out
    finally:
        p.kill()
        p.wait()


def told_of_pressure(what, command, runtime, *options, meanwhile, is_asked=True, env=None):
    """Runs what prints "ready" and holds garbage; meanwhile(launcher, pid, tell), where tell(bytes) speaks through what
    MEMORY_PRESSURE_WATCH names. Waits until it was asked, if it is to be; what it printed at the end, and its entry."""
    with Folder() as folder:
        fifo, path = folder.file("pressure"), folder.file("summary.json")
        os.mkfifo(fifo)
        end = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        p = start(command, "-q", "--summary", path, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  env={**os.environ, "MEMORY_PRESSURE_WATCH": fifo, **(env or {})})
        try:
            expect_equal(p.stdout.readline(), "ready\n", f"{what}: its first line")
            pid = governed(p.pid, runtime)
            meanwhile(p.pid, pid, lambda text: os.write(end, text))
            if is_asked:
                expect(wait_for(lambda: asked(p.pid, pid)), f"{what}: was not asked")
            p.stdin.close()
            out = p.stdout.read()
            expect_equal(p.wait(timeout=100), 0, f"{what}: status")
        finally:
            p.kill()
            p.wait()
            p.stdout.close()
            os.close(end)
        with open(path) as f:
            return out, next(i for i in json.load(f)["processes"] if i["runtime"] == runtime)


def hold_all_ways(runtime, command, limit):
    """What holds more than `limit` - reserve. The output's end of the run that is asked at a watermark."""
    unasked = runtime != "cpython"  # asked without --ask, after the limit was lowered
    out = hold(runtime, command, "--limit", limit, "--ask", is_asked=True)
    hold(runtime, command, "--limit", limit, is_asked=False, has_helper=unasked)
    hold(runtime, command, "--ask", is_asked=False, has_helper=True)
    hold(runtime, command, "--limit", "2G", "--ask", is_asked=False, has_helper=True)
    low = f"{int(limit[:-1]) // 3}M"
    hold(runtime, command, is_asked=unasked, lowered=low)
    hold(runtime, command, "--limit", "2G", is_asked=unasked, lowered=low)
    hold(runtime, command, "--limit", "2G", "--no-ask", is_asked=False, lowered=low)
    return out
