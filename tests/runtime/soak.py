# SPDX-License-Identifier: MIT
# Decision 32: Mono and .NET under a steady load that holds eight to nine tenths of the limit, 30 seconds
# each, five minutes with MEMREEVE_LONG: no unexpected end, nothing changed by somebody else, never above
# the limit, and at rest afterwards not one page between the books of the run, of its owners and of the
# kernel.
import os
import statistics
import subprocess
import time

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app, mono_app
from _run import MIB, expect, expect_equal, finish, probe, start

SECONDS = 300 if os.environ.get("MEMREEVE_LONG") else 30
LIMIT = 400
# Managed and native MiB, chosen so that what is charged comes to that; .NET's heap grows to its own
# limit by itself.
for name, command, managed, native in [("dotnet", [dotnet(), os.path.join(dotnet_app(), "app.dll")], 180, 135),
                                       ("mono", ["mono", mono_app()], 200, 130)]:
    p = start([*command, "soak", str(SECONDS), str(managed), str(native)], "--limit", f"{LIMIT}M", stdin=subprocess.PIPE,
              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seen, since = [], time.monotonic()
    while time.monotonic() - since < SECONDS - 1 and p.poll() is None:
        time.sleep(0.5)
        root = probe(p.pid, "root")
        if root and time.monotonic() - since > 4:
            seen.append(root[0]["charged"] / MIB / LIMIT)
    line = p.stdout.readline().strip()
    print(name, line, f"charged {min(seen, default=0):.2f} to {max(seen, default=0):.2f} of the limit,",
          f"median {statistics.median(seen or [0]):.2f}")
    expect(line.startswith("0 failed, "), f"{name}: {line} {p.stdout.read() if p.poll() is not None else ''}")
    expect(statistics.median(seen or [0]) > 0.75, f"{name}: no load: {seen}")
    images = probe(p.pid, "images") or []
    if expect_equal(len(images), 1, f"{name}: images"):
        picture, root = probe(p.pid, "picture", images[0]["pid"])[0], probe(p.pid, "root")[0]
        charged = sum(o["charged"] for o in picture["owners"].values())
        expect_equal(root["charged"], charged, f"{name}: the run's books against the owners'")
        expect(picture["adds_up"] and picture["in_flight"] == 0, f"{name}: the sums: {picture}")
        expect(root["peak"] <= LIMIT * MIB, f"{name}: peak {root['peak']}")
        expect_equal(images[0]["extents_lost"], 0, f"{name}: extents without a slot")
    err = p.communicate("\n", timeout=60)[1]
    expect_equal(p.returncode, 0, f"{name}: {err}")
finish()
