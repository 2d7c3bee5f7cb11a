# SPDX-License-Identifier: MIT
# madvise() of what the kernel keeps with a mapping (MADV_WIPEONFORK) and of guard markers: naked and
# governed the program says the same.
import subprocess

import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, run

program = helper("advice")
naked = subprocess.run([program], capture_output=True, text=True, timeout=60)
expect_equal(naked.returncode, 0, "naked: status")
expect("the next one: 7" in naked.stdout and "protected faults" in naked.stdout, f"naked: {naked.stdout}")
for limit in ((), ("--limit", "64M")):
    r = run([program], *limit)
    expect_equal(r.status, 0, f"governed {limit}: status, {r.err}")
    expect_equal(r.out.splitlines(), naked.stdout.splitlines(), f"governed {limit}")
finish()
