# SPDX-License-Identifier: MIT
# A host program under memreeve run: the outer limit governs it, once, and the host is told so.
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from _run import BIN, MIB, expect, expect_equal, finish, run  # noqa: E402

r = run([os.path.join(BIN, "tests", "reach"), "refused"], "--limit", "100M")
print(r.out, r.err)
expect_equal(r.status, 0, "status")
said, granted = r.out.rsplit(", ", 1)
expect_equal(said, "still in use", "what the host was told")
expect(40 <= int(granted.split()[0]) <= 100, f"granted {granted}")
expect_equal(len(r.summary["processes"]), 1, "processes")
p = r.summary["processes"][0]
expect(p["governed"] and p["requests"]["malloc"] > 40, f"requests {p['requests']}")
expect(40 * MIB <= r.summary["peak_charged_bytes"] <= 100 * MIB, f"peak {r.summary['peak_charged_bytes']}")
expect(sum(p["refusals"].values()) > 0, "no refusal was counted")
finish()
