# SPDX-License-Identifier: MIT
# Contract section 5, decision 4: at three moments of a run, asked through the request word, the sums
# hold to the page and less than 2 % of what is resident belongs to nobody.
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, compile_csharp, expect, expect_equal, finish, probe, start

with Folder() as folder:
    exe = compile_csharp("steps", folder)
    p = start(["mono", exe], "-q", "--limit", "400M", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for moment in ("started", "busy", "collected"):
        expect_equal(p.stdout.readline().strip(), moment, "moment")
        images = probe(p.pid, "images")
        if not expect(images and len(images) == 1, f"images at {moment}: {images}"):
            break
        expect_equal(images[0]["runtime"], "mono", "runtime")
        for _ in range(5 if moment == "busy" else 2):
            picture = (probe(p.pid, "picture", images[0]["pid"]) or [None])[0]
            if not expect(picture, f"no picture at {moment}"):
                break
            k = picture["kernel"]
            print(moment, "retries", picture["retries"], "in flight", picture["in_flight"], k)
            expect_equal(picture["in_flight"], 0, f"an operation in flight at {moment}")
            expect(picture["adds_up"], f"the sums at {moment}: {picture['owners']}")
            expect(k["unclassified_resident"] * 50 < k["private_resident"], f"unclassified at {moment}: {k}")
            expect(k["private_resident"] <= k["rss"] and k["private_resident"] > 8 * MIB, f"resident at {moment}: {k}")
            expect(picture["owners"]["gc"]["charged"] > 0, f"gc holds nothing at {moment}")
            expect(picture["owners"]["stacks"]["touched"] > 0, f"stacks touched nothing at {moment}")
            expect(picture["owners"]["malloc"]["charged"] > 0, f"malloc holds nothing at {moment}")
        p.stdin.write("\n")
        p.stdin.flush()
    p.stdin.close()
    expect_equal(p.wait(timeout=30), 0, "status")
finish()
