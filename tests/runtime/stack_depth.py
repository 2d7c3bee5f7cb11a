# SPDX-License-Identifier: MIT
# F45: the calls that ask for memory need at most 4 KiB of the caller's stack, refused or not; runtimes
# make them on stacks of 16 KiB. Program: programs/stack_depth.c.
import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, run

for options in ((), ("--limit", "12M")):
    r = run([helper("stack_depth")], *options)
    expect_equal(r.status, 0, f"status {options}: {r.err}")
    depths = dict(line.split() for line in r.out.splitlines())
    print(options, depths)
    expect(len(depths) == 14, f"calls measured: {depths}")
    for call, depth in depths.items():
        expect(int(depth) <= 4096, f"{call} needs {depth} bytes of stack")
finish()
