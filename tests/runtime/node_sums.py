# SPDX-License-Identifier: MIT
# Contract section 5, decisions 1 to 4: Node at five moments of a run, stopped at each: the sums hold to
# the byte beside the test's own reading of smaps, and less than 1 % belongs to nobody.
import os
import shutil

import _support  # noqa: F401
from _run import MIB, SOURCE, expect, finish, skip
from _sums import moments

if shutil.which("node") is None:
    skip("node is not installed")


def grown(moment, look, looks):
    if moment == "arrays":
        for what in ("charged", "resident"):
            more = look.owner("gc", what) - looks["started"].owner("gc", what)
            expect(more >= 64 * MIB, f"64 MiB of arrays: gc's {what} grew by {more}")
    if moment == "native":
        more = look.owner("malloc", "resident") - looks["arrays"].owner("malloc", "resident")
        expect(more >= 16 * MIB, f"16 MiB of buffers: malloc's resident grew by {more}")


moments(["node", os.path.join(SOURCE, "tests", "runtime", "programs", "moments.js")],
        ("started", "arrays", "native", "busy", "collected"), "500M", "node", grown)
finish()
