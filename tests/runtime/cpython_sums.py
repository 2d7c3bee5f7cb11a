# SPDX-License-Identifier: MIT
# Contract section 5, decisions 1 to 4: CPython at six moments of a run, stopped at each: the sums hold to
# the byte beside the test's own reading of smaps, and less than 1 % belongs to nobody. A memory file with
# two views is charged once; so is what a child of fork inherits, and what it writes to is its own.
import os
import subprocess
import sys

import _support  # noqa: F401
from _run import MIB, SOURCE, expect, expect_equal, finish, probe, start
from _sums import PAGE, Look, check, moments


def grown(moment, look, looks):
    def more(before, owner, what):
        return look.owner(owner, what) - looks[before].owner(owner, what)

    if moment == "objects":
        expect(more("started", "gc", "resident") >= 40 * MIB, f"small objects: {more('started', 'gc', 'resident')}")
    if moment == "native":
        expect(more("objects", "malloc", "resident") >= 32 * MIB, f"blocks: {more('objects', 'malloc', 'resident')}")
    if moment == "views":
        expect_equal(look.image["file_pages"], {"gc": 8 * MIB // PAGE}, "pages of the file that were charged")
        expect_equal(look.memory_files.get("twice"), 8 * MIB, "what the file holds")
        mapped = sum(m.size for m in look.mappings if m.path.startswith("/memfd:twice"))
        expect_equal(mapped, 16 * MIB, "two views")
    if moment == "collected":
        expect_equal(look.image["file_pages"], {}, "pages of a file that is gone")


FORK = """
import os, sys
held = [bytearray(1 << 20) for _ in range(32)]
for h in held: h[:] = b"1" * len(h)
if os.fork() != 0:
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
for h in held[:8]: h[:] = b"2" * len(h)
own = [bytearray(1 << 20) for _ in range(4)]
for h in own: h[:] = b"3" * len(h)
print("forked", flush=True)
sys.exit(0 if sys.stdin.readline() else 2)
"""


def fork():
    p = start([os.path.realpath(sys.executable), "-c", FORK], "-q", "--limit", "300M", stdin=subprocess.PIPE,
              stdout=subprocess.PIPE)
    expect_equal(p.stdout.readline(), "forked\n", "the child's line")
    looks = [Look(p.pid, i["pid"], lambda look: True) for i in probe(p.pid, "images")]
    if expect_equal(len(looks), 2, "parent and child"):
        for look in looks:
            check(look, "fork", alone=False)
        parent, child = sorted(looks, key=lambda look: -look.total("charged"))
        expect_equal(parent.total("charged") + child.total("charged"), child.root["charged"], "the charge of both")
        expect(parent.total("charged") >= 32 * MIB, f"the parent holds {parent.total('charged')}")
        own = child.total("charged") + child.total("touched")
        expect(12 * MIB <= own < 24 * MIB, f"the child is charged {own}, with what it has touched")
        expect(child.owner("malloc", "touched") >= 6 * MIB, f"what the child wrote to: {child.picture['owners']}")
    p.communicate("\n", timeout=60)
    expect_equal(p.returncode, 0, "fork: status")


moments([os.path.realpath(sys.executable), os.path.join(SOURCE, "tests", "runtime", "programs", "moments.py")],
        ("started", "objects", "native", "views", "busy", "collected"), "400M", "cpython", grown)
fork()
finish()
