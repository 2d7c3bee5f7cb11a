# SPDX-License-Identifier: MIT
# Decisions 19, 23, 24: random POSIX memory calls at random page ranges, partial munmap and FIXED before all,
# agree with a model and with the kernel's own idea of every page touched: first naked, which tests the test,
# then governed. In the end everything is unmapped, and what is charged is what was charged at the start.
import os
import random
import subprocess

import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, probe, start

program = helper("mapping_fuzz")
seed = int(os.environ.get("MEMREEVE_SEED", random.randrange(1 << 30)))
STEPS = 200000 if os.environ.get("MEMREEVE_LONG") is None else 2000000
RUNS = 4
print(f"MEMREEVE_SEED={seed}")


def charged(launcher):
    probe(launcher, "places")  # gives back what the thread holds prepaid
    images = probe(launcher, "images")
    picture = (probe(launcher, "picture", images[0]["pid"]) or [None])[0] if images else None
    if not expect(picture and picture["adds_up"], f"a picture that adds up: {picture}"):
        return None
    return {name: owner["charged"] for name, owner in picture["owners"].items() if owner["charged"]}


for n in range(RUNS):
    steps = STEPS // RUNS
    words = [program, str(seed + n), str(steps // 10)]
    naked = subprocess.run(words, input="\n\n", capture_output=True, text=True, timeout=300)
    expect(f"{steps // 10} steps agreed" in naked.stdout, f"naked, seed {seed + n}: {naked.stdout}")

    p = start([program, str(seed + n), str(steps), "governed"], "-q", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said = p.stdout.readline()
    expect_equal(said, "ready\n", f"seed {seed + n}")
    before = charged(p.pid)
    p.stdin.write("\n")
    p.stdin.flush()
    said = p.stdout.readline()
    print(f"seed {seed + n}: {said.strip()}")
    if expect(f"{steps} steps agreed" in said, f"governed, seed {seed + n}: {said}"):
        expect_equal(p.stdout.readline(), "ready\n", f"the end of seed {seed + n}")
        after = charged(p.pid)
        expect_equal(after, before, f"charged to the owners, seed {seed + n}")
        p.stdin.write("\n")
        p.stdin.flush()
    p.stdin.close()
    status = p.wait(timeout=60)
    expect_equal(status, 0, f"status, seed {seed + n}")
finish()
