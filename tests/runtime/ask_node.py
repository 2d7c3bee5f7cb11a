# SPDX-License-Identifier: MIT
# V8 is told of memory pressure before its limit.
import os
import shutil

from _ask import hold_all_ways
from _run import SOURCE, finish, skip

if shutil.which("node") is None:
    skip("node is not installed")
hold_all_ways("node", ["node", os.path.join(SOURCE, "tests", "runtime", "programs", "hold.js"), "90"], "160M")
finish()
