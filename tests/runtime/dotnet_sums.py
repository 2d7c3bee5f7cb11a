# SPDX-License-Identifier: MIT
# Contract section 5, decision 4: .NET at five moments of a run, asked through the request word: the
# sums hold to the page, under load too, and less than 2 % of what is resident belongs to nobody.
import os
import subprocess

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app
from _run import MIB, expect, expect_equal, finish, probe, start

MOMENTS = ("started", "arrays", "native", "busy", "collected")
app = dotnet_app()
for name, environment in (("workstation", {}), ("server", {"DOTNET_gcServer": "1"}),
                          ("W^X off", {"DOTNET_EnableWriteXorExecute": "0"})):
    p = start([dotnet(), os.path.join(app, "app.dll"), "moments"], "-q", "--limit", "1G", stdin=subprocess.PIPE,
              stdout=subprocess.PIPE, env={**os.environ, **environment})
    quiet = 0
    for moment in MOMENTS:
        expect_equal(p.stdout.readline().strip(), moment, f"{name}: moment")
        at = f"{name}, {moment}"
        images = probe(p.pid, "images")
        if not expect(images and len(images) == 1, f"{at}: images {images}"):
            break
        expect_equal(images[0]["runtime"], "coreclr", f"{at}: runtime")
        expect_equal(images[0]["extents_lost"], 0, f"{at}: extents without a slot")
        for _ in range(8 if moment == "busy" else 2):
            picture = (probe(p.pid, "picture", images[0]["pid"]) or [None])[0]
            if not expect(picture, f"{at}: no picture"):
                break
            k, owners = picture["kernel"], picture["owners"]
            print(at, "retries", picture["retries"], "in flight", picture["in_flight"], k)
            if picture["in_flight"] == 0:
                quiet += moment == "busy"
                expect(picture["adds_up"], f"{at}: the sums: {owners}")
            else:
                expect(moment == "busy", f"{at}: an operation in flight")
            expect(k["unclassified_resident"] * 50 < k["private_resident"], f"{at}: unclassified {k}")
            expect(8 * MIB < k["private_resident"] <= k["rss"], f"{at}: resident {k}")
            expect(owners["gc"]["charged"] > 0 and owners["stacks"]["touched"] > 0, f"{at}: {owners}")
            if moment in ("arrays", "native", "busy"):
                expect(owners["gc"]["resident"] >= 64 * MIB, f"{at}: gc {owners['gc']}")
            if moment in ("native", "busy"):
                expect(owners["malloc"]["resident"] >= 16 * MIB, f"{at}: malloc {owners['malloc']}")
        p.stdin.write("\n")
        p.stdin.flush()
    expect(quiet > 0, f"{name}: no picture under load without an operation in flight")
    p.stdin.close()
    expect_equal(p.wait(timeout=60), 0, f"{name}: status")
finish()
