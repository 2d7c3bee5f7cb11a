# SPDX-License-Identifier: MIT
# Contract section 5, decision 4: Mono at five moments of a run, asked through the request word: the sums
# hold to the page, under load too, and less than 2 % of what is resident belongs to nobody.
import subprocess

import _support  # noqa: F401
from _dotnet import mono_app
from _run import MIB, expect, expect_equal, finish, probe, start

quiet = 0
MOMENTS = ("started", "arrays", "native", "busy", "collected")
p = start(["mono", mono_app(), "moments"], "-q", "--limit", "400M", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for moment in MOMENTS:
    expect_equal(p.stdout.readline().strip(), moment, "moment")
    images = probe(p.pid, "images")
    if not expect(images and len(images) == 1, f"images at {moment}: {images}"):
        break
    expect_equal(images[0]["runtime"], "mono", "runtime")
    for _ in range(5 if moment == "busy" else 2):
        picture = (probe(p.pid, "picture", images[0]["pid"]) or [None])[0]
        if not expect(picture, f"no picture at {moment}"):
            break
        k, owners = picture["kernel"], picture["owners"]
        print(moment, "retries", picture["retries"], "in flight", picture["in_flight"], k)
        if picture["in_flight"] == 0:
            quiet += moment == "busy"
            expect(picture["adds_up"], f"the sums at {moment}: {owners}")
        else:
            expect(moment == "busy", f"an operation in flight at {moment}")
        expect(k["unclassified_resident"] * 50 < k["private_resident"], f"unclassified at {moment}: {k}")
        expect(8 * MIB < k["private_resident"] <= k["rss"], f"resident at {moment}: {k}")
        expect(owners["stacks"]["touched"] > 0, f"stacks touched nothing at {moment}")
        if moment in ("arrays", "native", "busy"):
            expect(owners["gc"]["resident"] >= 64 * MIB, f"gc at {moment}: {owners['gc']}")
        if moment in ("native", "busy"):
            expect(owners["malloc"]["resident"] >= 16 * MIB, f"malloc at {moment}: {owners['malloc']}")
    p.stdin.write("\n")
    p.stdin.flush()
expect(quiet > 0, "no picture under load without an operation in flight")
p.stdin.close()
expect_equal(p.wait(timeout=120), 0, "status")
finish()
