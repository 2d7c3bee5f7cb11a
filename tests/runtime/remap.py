# SPDX-License-Identifier: MIT
# Decisions 23, 24: mremap where the program's own mappings lie against reservations of ours, over other
# mappings, and of what stays: it does what the kernel does, naked and governed, and every page is charged
# once and comes back once.
import subprocess

import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, probe, start

program = helper("remap")
naked = subprocess.run([program], input="\n" * 99, capture_output=True, text=True, timeout=60)
expect(naked.stdout.endswith("\ndone\n"), f"naked: {naked.stdout}")

p = start([program, "governed"], "-q", stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def charged():
    probe(p.pid, "places")  # gives back what the thread holds prepaid
    picture = probe(p.pid, "picture", probe(p.pid, "images")[0]["pid"])[0]
    expect(picture["adds_up"], f"a picture that adds up: {picture}")
    return picture["owners"]["runtime"]["charged"]


steps = 0
before = 0
for said in p.stdout:
    if not said.strip().isdigit():
        expect_equal(said, "done\n", "the program's last word")
        break
    now = charged()
    before = before if steps else now
    expect_equal((now - before) // 4096, int(said), f"pages charged at step {steps}")
    steps += 1
    p.stdin.write("\n")
    p.stdin.flush()
expect(steps >= 14, f"{steps} steps")
p.stdin.close()
p.stdout.close()
expect_equal(p.wait(timeout=60), 0, "status")
finish()
