# SPDX-License-Identifier: MIT
# CPython collects cycles when it is asked to before its limit, in a child of fork too.
import os
import sys

from _ask import hold, hold_all_ways
from _run import SOURCE, expect_equal, finish

command = [sys.executable, os.path.join(SOURCE, "tests", "runtime", "programs", "hold.py"), "64"]
expect_equal(hold_all_ways("cpython", command, "96M"), "done True\n", "asked: is the cycle gone?")
expect_equal(hold("cpython", command, "--limit", "96M", is_asked=False), "done False\n", "not asked: is it there?")
expect_equal(hold("cpython", [*command, "fork"], "--limit", "96M", "--ask", is_asked=True), "done True\n", "in a child: is it gone?")
finish()
