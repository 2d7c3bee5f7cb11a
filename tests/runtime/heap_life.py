# SPDX-License-Identifier: MIT
# malloc at the edges of threads, processes and libraries, naked first, which tests the test: a million
# threads come and go (100,000 without MEMREEVE_LONG), children of a process with busy threads use and
# free what they inherit, requests come when a thread, a library or the process is nearly gone.
import os
import subprocess

import _support  # noqa: F401
from _run import BIN, MIB, expect, expect_equal, finish, helper, run, sums_hold

long_run = bool(os.environ.get("MEMREEVE_LONG"))
program = helper("heap_life")


def both(*arguments, options=(), timeout=3000):
    """What it prints naked and governed; the governed run's result."""
    naked = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=timeout)
    expect_equal((naked.returncode, naked.stderr), (0, ""), f"{arguments}, naked")
    r = run([program, *arguments], *options, timeout=timeout)
    expect_equal(r.status, 0, f"{arguments}, governed: {r.err}")
    if expect(r.summary is not None, f"{arguments}: no summary"):
        p = r.summary["processes"][0]
        expect(sums_hold(p), f"{arguments}: sums")
        expect_equal(p["kernel"]["unclassified_bytes"], 0, f"{arguments}: unclassified")
    print(*arguments, "naked:", naked.stdout.strip(), "governed:", r.out.strip())
    return naked.stdout, r


def malloc_of(r):
    return next(o for o in r.summary["processes"][0]["owners"] if o["name"] == "malloc")


# Caches of ended threads are found by those that begin: nothing is left of a thread. How many of them run at one time
# differs, and with it a span or two of 64 KiB (0, 40 and 72 KiB were seen); a byte and a half of each would be too much.
count = 1000000 if long_run else 100000
r = run([program, "threads", str(count)], timeout=3000)
expect_equal(r.status, 0, f"threads: {r.err}")
words = r.out.split()
print("threads", count, r.out.strip())
expect(words[:1] == ["growth"] and int(words[1]) <= 128, f"growth in KiB over {count} threads: {words}")

count = 10000 if long_run else 100
said, r = both("forks", str(count))
expect_equal(said, f"forks {count} hangs 0 bad 0\n", "forks, naked")
expect_equal(r.out, said, "forks, governed")
if r.summary:
    # Everything was freed. What is charged is records, one slab a class and thread, and what is kept warm.
    expect(malloc_of(r)["charged_bytes"] <= 24 * MIB, f"charged after forks: {malloc_of(r)}")

said, r = both("teardown")
expect_equal(said, "torn down\n", "teardown, naked")
expect_equal(r.out, said, "teardown, governed")

library = os.path.join(BIN, "tests", "guest.so")
count = 5000
_, r = both("unload", library, str(count))
words = r.out.split()
expect(words[:1] == ["growth"] and int(words[1]) <= 64, f"growth in KiB over {count} loadings: {words}")
finish()
