# SPDX-License-Identifier: MIT
# Decisions 1, 18, 19: threads and children that map, protect, fill, empty and close memfds all at
# once leave nothing charged behind, and nothing is ever given back twice.
import os
import random
import subprocess

import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, probe, start

program = helper("file_storm")
seed = int(os.environ.get("MEMREEVE_SEED", random.randrange(1 << 30)))
steps = 200000 if os.environ.get("MEMREEVE_LONG") else 3000
print(f"MEMREEVE_SEED={seed}")
naked = subprocess.run([program, "4", "500", str(seed)], input="\n\n", capture_output=True, text=True, timeout=120)
expect_equal((naked.returncode, naked.stderr), (0, ""), "naked")
p = start([program, "4", str(steps), str(seed)], "-q", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for moment in ("busy", "over"):
    expect_equal(p.stdout.readline().strip(), moment, "moment")
    image = [i for i in probe(p.pid, "images") if i["image"].endswith("file_storm")][0]
    picture = probe(p.pid, "picture", image["pid"])[0]
    print(moment, image["file_pages"], picture["owners"]["runtime"])
    expect(all(0 <= pages < 1 << 20 for pages in image["file_pages"].values()), f"{moment}: {image['file_pages']}")
    if moment == "over":
        expect(picture["adds_up"], "the sums")
        expect_equal(image["file_pages"], {}, "pages still charged")
        # The credit of four threads, at most 80 pages each.
        expect(picture["owners"]["runtime"]["charged"] <= 5 * 80 * 4096, f"still charged: {picture['owners']['runtime']}")
    p.stdin.write("\n")
    p.stdin.flush()
p.stdin.close()
expect_equal(p.wait(timeout=60), 0, "status")
finish()
