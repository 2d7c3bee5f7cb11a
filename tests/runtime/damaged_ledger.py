# SPDX-License-Identifier: MIT
# A governed program that writes over the ledger ends neither its launcher nor `memreeve limit`, which says so in one sentence.
import os
import random
import re
import signal
import subprocess

import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, memreeve, start

ALL_ONES = 0xFFFFFFFF
ROOT = 4096  # its account
OVER = r"is governed by pid {}, whose ledger has been written over by a program under it: its limit cannot be looked at or changed"
TOLD = "a program that it started has written over the ledger"


def damaged(*words):
    """The launcher and the pid of a program that has written these over its ledger; it may not have lived to say so."""
    p = start([helper("scribble"), *map(str, words)], "--limit", "64M", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pid = int(p.stdout.readline())
    p.stdout.readline()
    return p, pid


def end(p, pid, what):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        _, said = p.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        p.kill()
        _, said = p.communicate()
        expect(False, f"{what}: the launcher does not come to an end")
    expect(p.returncode > 125, f"{what}: the launcher's status {p.returncode}")
    lines = [line for line in said.splitlines() if line.startswith("memreeve: ")]
    expect(f"{helper('scribble')} was ended by signal" in said and len(lines) >= 4, f"{what}: said {said!r}")
    return said


for what, words in {
    "nothing": (),
    "images": (f"52={ALL_ONES}",),
    "room for accounts": (f"12={ALL_ONES}",),
    "room for images": (f"20={ALL_ONES}",),
    "the mark": (f"0={ALL_ONES}",),
    "the root's parent": (f"{ROOT + 4}=0",),
    "the root's state": (f"{ROOT}=7",),
    "a process's parent": (f"{ROOT + 256 + 4}=1",),
    "an owner's parent": (f"{ROOT + 512 + 4}=70000",),
}.items():
    p, pid = damaged(*words)
    for size in ([], ["48M"], ["48M", "--json"]):
        r = memreeve("limit", str(p.pid), *size)
        if what == "nothing":
            expect_equal((r.status, r.err), (0, ""), "an undamaged ledger")
        else:
            expect_equal((r.status, r.out), (125, ""), f"{what}: limit {size}")
            expect(re.fullmatch(f"memreeve: limit {p.pid}: {OVER.format(p.pid)}\n", r.err), f"{what}: limit {size} said {r.err!r}")
    said = end(p, pid, what)
    expect_equal(TOLD in said, what != "nothing", f"{what}: said {said!r}")

first = random.randrange(1 << 32)
print(f"seeds from {first}")
for seed in range(first, first + 12):
    p, pid = damaged("random", seed, 4000)
    for size in ([], ["48M"], ["16M", "--json"], ["max"]):
        r = memreeve("limit", str(p.pid), *size)
        expect(r.status in (0, 125) and len(r.lines) == (r.status == 125), f"seed {seed}: limit {size}: {r.status} {r.err!r}")
    end(p, pid, f"seed {seed}")

finish()
