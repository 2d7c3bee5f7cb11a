# SPDX-License-Identifier: MIT
# The code in docs/embedding.md is code that is built and run: every line of a block stands, in this
# order, in one of these files.
import os
import re

from _host import source
from _run import SOURCE, expect, finish

FILES = [source("host_c", "host_c.c"), source("heap_c", "heap_c.c"), source("host_mono", "host_mono.cpp"), source("host_coreclr", "host_coreclr.cpp"),
         os.path.join(SOURCE, "tests", "package", "consumer", "host.c")]


def stands_in(block, path):
    with open(path, encoding="utf-8") as f:
        there = iter([line.strip() for line in f])
    return all(any(line == other for other in there) for line in block)


with open(os.path.join(SOURCE, "docs", "embedding.md"), encoding="utf-8") as f:
    blocks = re.findall(r"^```c(?:pp)?\n(.*?)^```", f.read(), re.S | re.M)
expect(len(blocks) >= 3, "no code in docs/embedding.md")
for block in blocks:
    lines = [line.strip() for line in block.splitlines() if line.strip()]
    expect(any(stands_in(lines, path) for path in FILES), "in no example:\n" + block)
finish()
