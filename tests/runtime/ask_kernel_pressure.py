# SPDX-License-Identifier: MIT
# The kernel's memory pressure, told as service managers let it be told (MEMORY_PRESSURE_WATCH), makes runtimes collect
# under --ask, without a limit too.
import os
import sys

from _ask import asked, told_of_pressure
from _run import SOURCE, expect, expect_equal, finish

HOLD = [sys.executable, os.path.join(SOURCE, "tests", "runtime", "programs", "hold.py"), "32"]


def pressed(*options, is_asked=True, told=b"x"):
    """Holds garbage while pressure is told; what it printed at the end and the summary's entry."""
    def meanwhile(launcher, pid, tell):
        expect_equal(asked(launcher, pid), 0, f"{options}: asked before there was pressure")
        tell(told)

    return told_of_pressure(options, HOLD, "cpython", *options, meanwhile=meanwhile, is_asked=is_asked)


for options in (("--ask",), ("--ask", "--limit", "1G")):
    out, process = pressed(*options)
    expect_equal(out, "done True\n", f"{options}: is the cycle gone?")
    told = process["asked"]
    freed = told["charged_before_bytes"] - told["charged_after_bytes"]
    expect(freed >= 30 << 20, f"{options}: freed {freed}, our heap's own pages with it")
    expect(told["times"] >= 1 and told["kernel_pressure_times"] == told["times"] and told["over_limit_times"] == 0, f"{options}: {told}")
out, process = pressed("--limit", "1G", is_asked=False)
expect_equal((out, process["asked"]["times"]), ("done False\n", 0), "not asked without --ask")
finish()
