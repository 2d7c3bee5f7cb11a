# SPDX-License-Identifier: MIT
# Contract section 5, decisions 1 to 4: CPython at six moments of a run, stopped at each: the sums hold to
# the byte beside the test's own reading of smaps, and less than 1 % belongs to nobody. A memory file with
# two views is charged once.
import os
import sys

import _support  # noqa: F401
from _run import MIB, SOURCE, expect, expect_equal, finish
from _sums import PAGE, moments


def grown(moment, look, looks):
    def more(before, owner, what):
        return look.owner(owner, what) - looks[before].owner(owner, what)

    if moment == "objects":
        expect(more("started", "gc", "resident") >= 40 * MIB, f"small objects: {more('started', 'gc', 'resident')}")
    if moment == "native":
        expect(more("objects", "malloc", "resident") >= 32 * MIB, f"blocks: {more('objects', 'malloc', 'resident')}")
    if moment == "views":
        expect_equal(look.image["file_pages"], {"gc": 8 * MIB // PAGE}, "pages of the file that were charged")
        expect_equal(look.memory_files.get("twice"), 8 * MIB, "what the file holds")
        mapped = sum(m.size for m in look.mappings if m.path.startswith("/memfd:twice"))
        expect_equal(mapped, 16 * MIB, "two views")
    if moment == "collected":
        expect_equal(look.image["file_pages"], {}, "pages of a file that is gone")


moments([os.path.realpath(sys.executable), os.path.join(SOURCE, "tests", "runtime", "programs", "moments.py")],
        ("started", "objects", "native", "views", "busy", "collected"), "400M", "cpython", grown)
finish()
