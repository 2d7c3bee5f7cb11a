# SPDX-License-Identifier: MIT
# Decision 26: what the loader maps later is seen, under `images`, and gone when it is gone; what
# lies there afterwards has its own owner. Program: programs/late_library.c.
import os
import subprocess

import _support  # noqa: F401
from _run import BIN, MIB, expect, expect_equal, finish, helper, probe, start

PAGE = 4096
library = os.path.join(BIN, "tests", "ballast.so")
p = start([helper("late_library"), library], "-q", "--limit", "1G", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
at = {}
for step in ("before", "open", "above", "closed", "replaced", "after"):
    said = p.stdout.readline().strip()
    if not expect(said == step or (step, said) == ("above", "elsewhere"), f"step {said!r}, expected {step!r}"):
        break
    images = probe(p.pid, "images")
    picture = (probe(p.pid, "picture", images[0]["pid"]) or [None])[0] if images else None
    if not expect(picture, f"no picture {step}"):
        break
    expect(picture["adds_up"] and picture["in_flight"] == 0, f"the sums {step}: {picture}")
    for what in ("unclassified", "unclassified_resident"):
        expect_equal(picture["kernel"][what], 0, f"{what} {step}")
    at[step] = picture["owners"]
    print(step, {k: (v["mapped_writable"], v["touched"], v["charged"]) for k, v in at[step].items()})
    p.stdin.write("\n")
    p.stdin.flush()
p.stdin.close()
expect_equal(p.wait(timeout=60), 0, "status")


def growth(step, since, owner, what):
    return at[step][owner][what] - at[since][owner][what]


if len(at) == 6:
    for what in ("mapped_writable", "touched", "resident"):
        expect(16 * MIB <= growth("open", "before", "images", what) <= 16 * MIB + 32 * PAGE,
               f"images, {what}, by the library: {growth('open', 'before', 'images', what)}")
    expect_equal(growth("above", "open", "images", "mapped_writable"), 0, "images by what lies above")
    expect_equal(growth("above", "open", "runtime", "charged"), 4 * MIB, "runtime by what lies above")
    # The loader keeps a little for itself.
    for step in ("closed", "replaced", "after"):
        expect(abs(growth(step, "before", "images", "mapped_writable")) <= 4 * PAGE, f"images are left {step}")
    expect_equal(growth("replaced", "closed", "runtime", "charged"), 4 * MIB, "what lies there instead")
    expect_equal(growth("after", "closed", "runtime", "charged"), 0, "and went")
    # 1 MiB for the thread that touched it came from malloc.
    expect(growth("open", "before", "malloc", "charged") + growth("open", "before", "malloc", "touched") >= MIB,
           "the thread's part of the library")
finish()
