# SPDX-License-Identifier: MIT
# Decisions 18 and 19: a process whose threads never rest forks again and again. No child hangs,
# contents stay whole, and afterwards nothing is charged but what the parent holds, to the page, and
# no place in the ledger stays taken.
import os
import shutil
import subprocess
import sys
import time

import _support  # noqa: F401
from _run import SOURCE, Folder, compile_csharp, expect, expect_equal, finish, helper, probe, start

long_run = bool(os.environ.get("MEMREEVE_LONG"))
PROGRAMS = os.path.join(SOURCE, "tests", "runtime", "programs")
ACCOUNTS_OF_ONE_IMAGE = 1 + 8  # the root; the process and its owners


def settled(launcher):
    """What the ledger says once the launcher has read the records of those that ended."""
    until = time.monotonic() + 60
    while True:
        places = (probe(launcher, "places") or [None])[0]
        if places is None or places["ended"] == 0 and places["live"] == 1 or time.monotonic() > until:
            return places
        time.sleep(0.02)


def storm(name, command, count, *options):
    since = time.monotonic()
    p = start([*command, str(count)], "-q", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said = p.stdout.readline().strip()
    expect_equal(said, f"forks {count} hangs 0 bad 0", name)
    places = settled(p.pid)
    image = (probe(p.pid, "images") or [None])[0]
    picture = (probe(p.pid, "picture", image["pid"]) or [None])[0] if image else None
    if expect(places and picture, f"{name}: nothing to be read of {image}"):
        print(name, f"{time.monotonic() - since:.1f} s", places)
        expect_equal((places["live"], places["claimed"], places["ended"]), (1, 0, 0), f"{name}: images")
        expect_equal(places["accounts"], ACCOUNTS_OF_ONE_IMAGE, f"{name}: accounts")
        expect_equal(places["draining"], False, f"{name}: somebody drains for ever")
        # Credit that a thread held when the picture was taken counts as charged (decision 2): till it is drained.
        until = time.monotonic() + 30
        while True:
            places = settled(p.pid)
            owners = picture["owners"].values()
            charged = sum(o["charged"] for o in owners)
            if charged == places["charged"] or time.monotonic() > until:
                break
            time.sleep(0.1)
            picture = probe(p.pid, "picture", image["pid"])[0]
        expect_equal(places["charged"], sum(o["charged"] for o in owners), f"{name}: charged, and the parent's share")
        expect_equal(places["held"], places["charged"], f"{name}: held without being charged")
        image = probe(p.pid, "images")[0]
        expect_equal(sum(o["charged"] for o in owners),
                     sum(o["committed"] for o in owners) + image["charged_elsewhere"],
                     f"{name}: charged, and what is committed: {picture['owners']}")
        expect(picture["adds_up"], f"{name}: the sums")
        expect_equal(picture["kernel"]["unclassified"], 0, f"{name}: unclassified")
    p.stdin.write("\n")
    p.stdin.close()
    expect_equal(p.wait(timeout=60), 0, f"{name}: status")


storm("C", [helper("fork_storm")], 10000 if long_run else 500)
storm("C under a limit", [helper("fork_storm")], 1000 if long_run else 100, "--limit", "64M")
storm("Python", [sys.executable, os.path.join(PROGRAMS, "fork_storm.py")], 1000 if long_run else 25)
if shutil.which("mono") and shutil.which("mcs"):
    with Folder() as folder:
        storm("Mono", ["mono", compile_csharp("children", folder)], 500 if long_run else 30)
else:
    print("not tried: Mono is not installed")
finish()
