# SPDX-License-Identifier: MIT
"""Shared by ask_*.py: a program takes much and waits; was its runtime asked to collect meanwhile? Nothing here depends
on how long anything takes: the program waits until it has been seen."""
import glob
import subprocess

import _support  # noqa: F401
from _run import content, expect, expect_equal, probe, start, wait_for

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


def hold(runtime, command, *options, is_asked, has_helper=None):
    """Runs it with these options until it was asked, or, where it is not to be, until it is ready; its output's end."""
    p = start(command, "-q", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    what = f"{runtime} {' '.join(options)}"
    try:
        line = p.stdout.readline()
        if not expect_equal(line, "ready\n", f"{what}: its first line"):
            return ""
        pid = governed(p.pid, runtime)
        if not expect(pid, f"{what}: not recognised"):
            return ""
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


def hold_all_ways(runtime, command, limit):
    out = hold(runtime, command, "--limit", limit, "--ask", is_asked=True)
    hold(runtime, command, "--limit", limit, is_asked=False)
    hold(runtime, command, "--ask", is_asked=False, has_helper=True)
    hold(runtime, command, "--limit", "2G", "--ask", is_asked=False, has_helper=True)
    return out
