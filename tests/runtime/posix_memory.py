# SPDX-License-Identifier: MIT
# Decisions 19, 23, 24: POSIX memory calls through the bridge do what the kernel's do. The program
# checks itself against a model of pages, first naked (which tests the test), then governed; the
# books must add up at its end.
import os
import random
import subprocess

import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, run

program = helper("posix_memory")
seed = int(os.environ.get("MEMREEVE_SEED", random.randrange(1 << 30)))
rounds = 40 if os.environ.get("MEMREEVE_LONG") else 3
print(f"MEMREEVE_SEED={seed}")
for n in range(rounds):
    naked = subprocess.run([program, str(seed + n), "20000"], capture_output=True, text=True, timeout=120)
    expect_equal(naked.stdout, "20000 steps agreed\n", f"naked, seed {seed + n}")
    r = run([program, str(seed + n), "20000"])
    expect_equal(r.out, "20000 steps agreed\n", f"governed, seed {seed + n}: {r.err}")
    requests = max((p["requests"] for p in r.summary["processes"]), key=lambda q: q["virtual_alloc"])
    for kind in ("virtual_alloc", "virtual_free", "virtual_protect"):
        expect(requests[kind] > 100, f"{kind} counted {requests[kind]}")
    for p in r.summary["processes"]:
        kernel = p["kernel"]
        expect_equal(sum(o["mapped_writable_bytes"] for o in p["owners"]) + kernel["unclassified_bytes"],
                     kernel["private_writable_bytes"], f"mapped writable of {p['pid']}")
        expect_equal(sum(o["resident_bytes"] for o in p["owners"]) + kernel["unclassified_resident_bytes"],
                     kernel["private_resident_bytes"], f"resident of {p['pid']}")
finish()
