# SPDX-License-Identifier: MIT
# V8 is told of memory pressure before its limit.
import os
import shutil

from _ask import hold, hold_all_ways
from _run import SOURCE, expect_equal, finish, skip

if shutil.which("node") is None:
    skip("node is not installed")
script = os.path.join(SOURCE, "tests", "runtime", "programs", "hold.js")
hold_all_ways("node", ["node", script, "90"], "160M")
# V8 collects by itself some time after a collection, unless it is told not to.
out = hold("node", ["node", "--expose-gc", "--no-memory-reducer", script, "120", "wait"], "--limit", "160M", "--ask", is_asked=True)
expect_equal(out, "done True\n", "asked: is anything gone?")
finish()
