# SPDX-License-Identifier: MIT
# Decision 25: thread stacks are named exactly, counted as touched, refused with EAGAIN at the limit;
# everything else about threads is as it was. Program: programs/thread_stacks.c.
import json
import os
import signal
import subprocess
import time

import _support  # noqa: F401
from _run import MIB, Folder, expect, expect_equal, finish, helper, probe, run, start, sums_hold, wait_for

PAGE = 4096
program = helper("thread_stacks")
long_run = bool(os.environ.get("MEMREEVE_LONG"))


def tell(p):
    p.stdin.write("\n")
    p.stdin.flush()


def read_until(p, word):
    """Lines up to `word`, without it."""
    lines = []
    while True:
        line = p.stdout.readline()
        if not line:
            expect(False, f"ended before {word!r}: {lines[-3:]}")
            return lines
        if line.strip() == word:
            return lines
        lines.append(line.split())


def picture_of(p):
    images = probe(p.pid, "images")
    if not expect(images and len(images) == 1, f"images: {images}"):
        return None, None
    return images[0], (probe(p.pid, "picture", images[0]["pid"]) or [None])[0]


# 200 threads of four sizes: what libc says of each stack is what is noted, to the page, and their
# touched pages are theirs. Every 50th has a stack of its own making, which is not libc's.
count = 200
p = start([program, "many", str(count)], "-q", "--limit", "1G", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
stacks = [(int(w[1]), int(w[2])) for w in read_until(p, "standing")]
expect_equal(len(stacks), count, "threads")
image, picture = picture_of(p)
if picture:
    noted = sorted(map(tuple, (probe(p.pid, "stacks", image["pid"]) or [[]])[0]))
    own = [s for s in stacks if s not in noted]
    expect_equal(len(own), count // 50, "stacks that are not libc's")
    expect(all(high - low == 256 << 10 for low, high in own), f"they are the program's own: {own}")
    expect_equal(len(noted), count - count // 50, "stacks noted")
    expect(set(noted) <= set(stacks), "noted as libc says")
    expect(picture["adds_up"] and picture["in_flight"] == 0, f"the sums: {picture}")
    expect_equal(picture["kernel"]["unclassified"], 0, "unclassified")
    expect_equal(picture["kernel"]["unclassified_resident"], 0, "unclassified resident")
    figures = picture["owners"]["stacks"]
    touched = sum((high - low) // 4 for low, high in noted)
    mapped = sum(high - low for low, high in noted)
    print("stacks: mapped", mapped, figures)
    expect(touched <= figures["touched"] <= touched + count * 5 * PAGE + MIB, f"touched: {figures} for {touched}")
    # Beside them: the main thread's.
    expect(mapped <= figures["mapped_writable"] <= mapped + 256 * 1024, f"mapped: {figures} for {mapped}")
    expect_equal(figures["charged"], 0, "charged")
tell(p)
read_until(p, "gone")
image, picture = picture_of(p)
if picture:
    expect(picture["adds_up"], f"the sums when they are gone: {picture}")
    expect_equal(picture["kernel"]["unclassified"], 0, "unclassified when they are gone")
    # libc keeps 40 MiB of stacks for the next threads.
    expect(picture["owners"]["stacks"]["mapped_writable"] <= 41 * MIB, f"kept: {picture['owners']['stacks']}")
tell(p)
expect_equal(p.wait(timeout=120), 0, "status")

# Threads come and go: the table does not fill, memory does not grow.
short = 200000 if long_run else 20000
p = start([program, "short", str(short)], "-q", "--limit", "1G", stdout=subprocess.PIPE)
words = p.stdout.readline().split()
expect(words[:1] == ["growth"] and int(words[1]) <= 256, f"growth in KiB over {short} threads: {words}")
expect_equal(p.wait(timeout=120), 0, "status of short threads")

# More at once than the table has places: noted or recognised by their guard, the sums hold.
crowd = 3000
p = start([program, "crowd", str(crowd)], "-q", "--limit", "2G", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
read_until(p, "standing")
image, picture = picture_of(p)
if picture:
    expect(picture["adds_up"], f"the sums of a crowd: {picture}")
    expect_equal(picture["kernel"]["unclassified"], 0, "unclassified in a crowd")
    expect(picture["owners"]["stacks"]["mapped_writable"] >= crowd * (191 << 10), "stacks of a crowd")
    expect(image["extents"] < 100 and image["extents_lost"] == 0, f"extents: {image}")
tell(p)
expect_equal(p.wait(timeout=60), 0, "status of a crowd")

# At the limit: each thread comes when what the one before has touched was sampled, however late that is.
with Folder() as folder:
    path = folder.file("summary.json")
    p = start([program, "limit"], "-q", "--limit", "64M", "--summary", path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out = p.stdout.readline()
    while out.startswith("standing "):
        counted = int(out.split()[1]) * 4 * MIB
        if not expect(wait_for(lambda: (probe(p.pid, "root") or [{"touched": counted}])[0]["touched"] >= counted), f"{out.strip()}: not sampled"):
            break
        tell(p)
        out = p.stdout.readline()
    p.stdin.close()
    out += p.stdout.read()
    expect_equal(p.wait(timeout=120), 0, f"status at the limit: {out}")
    expect(out.startswith("refused after ") and out.endswith("accepted again\n"), f"at the limit: {out}")
    with open(path) as f:
        process = json.load(f)["processes"][0]
    expect(process["refusals"]["task"] >= 2, f"refusals: {process['refusals']}")
    expect(sums_hold(process), "the sums at the limit")
    if out.startswith("refused after "):
        accepted = int(out.split()[2].rstrip(","))
        expect(11 <= accepted <= 15, f"{accepted} threads of 4 MiB in 56 MiB")

# A launcher that does not come to look: the next start waits for it, and is refused where several stacks
# have grown beyond the limit meanwhile. One that never comes holds nothing up for long.
for launcher_comes in (True, False):
    p = start([program, "late", "16"], "-q", "--limit", "64M", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    expect_equal(p.stdout.readline(), "ready\n", "the program of a late launcher")
    time.sleep(0.3)  # it has looked before
    p.send_signal(signal.SIGSTOP)
    tell(p)
    line = p.stdout.readline()
    expect(line.endswith(" ms\n") and int(line.split()[0]) < 2000, f"16 threads beside a stopped launcher: {line}")
    time.sleep(1.2)  # after a vain wait nobody waits again for a second
    tell(p)
    time.sleep(0.05)
    if launcher_comes:
        p.send_signal(signal.SIGCONT)
    expect_equal(p.stdout.readline(), "refused\n" if launcher_comes else "accepted\n",
                 f"one more thread, launcher comes: {launcher_comes}")
    p.send_signal(signal.SIGCONT)
    expect_equal(p.wait(timeout=60), 0, "status beside a late launcher")

for what, said in (("attributes", "kept\n"), ("endings", "ended\n"), ("forks", "forked\n")):
    more = ["1000" if long_run else "50"] if what == "forks" else []
    naked = subprocess.run([program, what, *more], capture_output=True, text=True, timeout=60)
    expect_equal(naked.stdout, said, f"{what}, naked")
    r = run([program, what, *more])
    expect_equal((r.status, r.out), (0, said), f"{what}: {r.err}")
    expect(r.summary is not None and sums_hold(r.summary["processes"][0]), f"the sums after {what}")
finish()
