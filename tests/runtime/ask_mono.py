# SPDX-License-Identifier: MIT
# Mono is asked to collect before its limit, by a thread that is there only then and in nobody's way at the end.
from _ask import hold_all_ways
from _run import Folder, compile_csharp, finish

with Folder() as folder:
    hold_all_ways("mono", ["mono", compile_csharp("hold", folder), "70"], "100M")
finish()
