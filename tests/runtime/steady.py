# SPDX-License-Identifier: MIT
# Minutes at nine tenths of the limit, on Mono and on .NET: no unexpected end, the charge near its mark
# and never above the limit, what is resident bounded by it, and no drift: whenever the program stands
# still, what is charged is to the page what it has committed, or holds in files that serve as heap, and the
# sums with the kernel's hold; when it has ended, nothing of it is left in the ledger. 5 minutes each with MEMREEVE_LONG, else 10 seconds,
# longer where the machine is too slow for LOOKS: the load is led by looks.
import os
import shutil
import statistics
import subprocess
import sys
import time

import _support  # noqa: F401
from _dotnet import dotnet_app, mono_app
from _run import MIB, expect, expect_equal, finish, probe, skip, start

LIMIT = 256 * MIB
MARK = 0.9 * LIMIT
SECONDS = 300 if os.environ.get("MEMREEVE_LONG") else 10
PERIOD = 0.1  # s between two looks
LOOKS = 80
PATIENCE = 180  # s


def look(launcher, pid):
    """One image, a picture of it, and the places taken; credit that threads hold is drained first."""
    places = (probe(launcher, "places") or [None])[0]
    image = next((i for i in probe(launcher, "images") or [] if i["pid"] == pid), None)
    picture = (probe(launcher, "picture", pid) or [None])[0]
    return image, picture, places


def no_drift(launcher, pid, shell, name):
    """The books against the pages of the program, which stands still, and against the root's."""
    image, picture, places = look(launcher, pid)
    _, shells, _ = look(launcher, shell)
    if not expect(image and picture and places and shells, f"{name}: nothing to be read"):
        return 0
    owners = picture["owners"].values()
    charged = sum(o["charged"] for o in owners)
    for kind, o in picture["owners"].items():
        # Views of a memfd are committed pages of ours too, but charged by the file's pages.
        in_files = image["file_pages"].get(kind, 0)
        drift = min(abs(o["charged"] // 4096 - o["committed"] // 4096 - in_files), abs(o["charged"] // 4096 - in_files))
        expect_equal(drift, 0, f"{name}: drift of {kind} in pages, {o}, {in_files} in files")
    expect_equal((places["charged"] - charged - sum(o["charged"] for o in shells["owners"].values())) // 4096, 0,
                 f"{name}: drift of the root in pages")
    expect(picture["adds_up"], f"{name}: the sums")
    expect_equal(picture["kernel"]["unclassified"], 0, f"{name}: unclassified")
    expect(image["extents_lost"] == 0, f"{name}: {image}")
    return charged


def hold_load(name, command):
    # A shell that outlives the program keeps the run alive for a look at what is left.
    words = " ".join(f"'{w}'" for w in command)
    p = start(["sh", "-c", f"{words}; echo status $?; read line"], "-q", "--limit", str(LIMIT), stdin=subprocess.PIPE,
              stdout=subprocess.PIPE)

    def tell(word):
        p.stdin.write(f"{word}\n")
        p.stdin.flush()

    target = 140.0
    tell(int(target))
    if not expect_equal(p.stdout.readline(), "at work\n", f"{name}: began"):
        p.kill()
        return
    images = {i["image"]: i["pid"] for i in probe(p.pid, "images") or []}
    shell = next(pid for path, pid in images.items() if "mono" not in path and "dotnet" not in path)
    pid = next(pid for path, pid in images.items() if pid != shell)
    seen, resident = [], 0
    begun = time.monotonic()
    while p.poll() is None:
        passed = time.monotonic() - begun
        if passed >= SECONDS and (len(seen) >= LOOKS and resident > 0 or passed >= SECONDS + PATIENCE):
            break
        root = (probe(p.pid, "root") or [None])[0]
        if root is None:
            break
        seen.append(root["charged"])
        # In small steps: the load takes a while to follow.
        target = max(8.0, target + min(2.0, max(-8.0, (MARK - root["charged"]) / MIB / 4)))
        tell(int(target))
        if len(seen) % 20 == 0:
            picture = (probe(p.pid, "picture", pid) or [None])[0]
            if picture and picture["in_flight"] == 0:
                expect(picture["adds_up"], f"{name}: the sums under load")
                resident = max(resident, sum(picture["owners"][o]["resident"] for o in ("gc", "code", "malloc", "runtime")))
        time.sleep(PERIOD)
    if not expect(p.poll() is None and seen, f"{name}: ended with {p.poll()} after {len(seen)} looks"):
        return
    tell("end")
    said = p.stdout.readline().split()
    expect_equal(said[:1], ["quiet"], f"{name}: at rest {said}")
    at_rest = no_drift(p.pid, pid, shell, name)
    peak = probe(p.pid, "root")[0]["peak"]
    settled = seen[len(seen) // 4:]
    median = statistics.median(settled)
    print(f"{name}: {len(seen)} looks in {passed:.0f} s, charged median {100 * median / LIMIT:.1f} %, peak {100 * peak / LIMIT:.1f} %, "
          f"resident at most {resident // MIB} MiB, {said[1]} refusals caught, at rest {at_rest // MIB} MiB", flush=True)
    expect(abs(median - MARK) < 0.05 * LIMIT, f"{name}: the load was at {100 * median / LIMIT:.1f} % of the limit")
    expect(peak <= LIMIT, f"{name}: peak {peak}")
    expect(0 < resident <= LIMIT, f"{name}: resident {resident}")
    tell("")
    expect_equal(p.stdout.readline(), "status 0\n", f"{name}: its end")
    left = None
    until = time.monotonic() + 60
    while time.monotonic() < until:  # the launcher reads the record of what has ended
        left = look(p.pid, shell)
        if left[2] is None or left[2]["live"] == 1 and left[2]["ended"] == 0:
            break
    if expect(left[1] and left[2], f"{name}: nothing to be read at the end"):
        owners = left[1]["owners"].values()
        expect_equal(left[2]["charged"], sum(o["charged"] for o in owners), f"{name}: left in the ledger")
        expect_equal((left[2]["live"], left[2]["claimed"], left[2]["accounts"]), (1, 0, 9), f"{name}: places")
    tell("")
    expect_equal(p.wait(timeout=120), 0, f"{name}: status")


wanted = sys.argv[1:] or ["mono", "dotnet"]
tried = 0
if "mono" in wanted and shutil.which("mono") and shutil.which("mcs"):
    hold_load("Mono", ["mono", mono_app(), "steady"])
    tried += 1
if "dotnet" in wanted and shutil.which("dotnet"):
    hold_load(".NET", ["dotnet", os.path.join(dotnet_app(), "app.dll"), "steady"])
    tried += 1
if not tried:
    skip("neither Mono nor .NET is installed")
finish()
