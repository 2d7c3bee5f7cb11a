# SPDX-License-Identifier: MIT
# Mono is asked to collect before its limit, by a thread that is there only then and in nobody's way at the end.
from _ask import hold, hold_all_ways
from _run import Folder, compile_csharp, expect_equal, finish

with Folder() as folder:
    command = ["mono", compile_csharp("hold", folder), "70"]
    hold_all_ways("mono", command, "100M")
    out = hold("mono", [*command, "wait"], "--limit", "100M", "--ask", is_asked=True)
    expect_equal(out, "done True\n", "asked: is anything gone?")
finish()
