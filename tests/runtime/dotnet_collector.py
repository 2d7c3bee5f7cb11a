# SPDX-License-Identifier: MIT
# Decision 29: CoreCLR's collector is refused first, at limit - reserve, and what else the runtime asks
# for may use the reserve. Refused 128 times in a row, the collector gets a commit out of half of the
# reserve, 256 times out of all of it, and nothing above the limit. A program that asks likewise stands
# in for .NET, with a library that exports what CoreCLR does; without that it has no such ladder.
import os

import _support  # noqa: F401
from _run import expect, expect_equal, finish, helper, run

LIMIT, RESERVE = 65536, 4096  # KiB
SLACK = 512  # what is charged beside it, in batches of 256 KiB
PASSES = {**os.environ, "LD_PRELOAD": os.path.abspath(helper("passes.so"))}
for env, runtime in ((PASSES, "coreclr"), (None, "other")):
    r = run([helper("collector")], "--limit", "64M", "--reserve", "4M", "--no-knobs", env=env)
    print(runtime, r.out, r.err)
    p = r.summary["processes"][0]
    expect_equal((r.status, p["runtime"]), (0, runtime), "status, runtime")
    expect(r.summary["peak_charged_bytes"] <= LIMIT << 10, f"peak {r.summary['peak_charged_bytes']}")
    storms = [tuple(map(int, line.split())) for line in r.out.splitlines()]
    if not expect(storms and storms[-1][2] == 0 and LIMIT - SLACK <= storms[-1][0] <= LIMIT,
                  f"{runtime}: not refused for good at the limit: {storms[-3:]}"):
        continue
    if runtime == "other":
        expect_equal(len(storms), 1, f"storms {storms}")
        continue
    rows = [row for _, _, row in storms[:-1]]
    expect(LIMIT - RESERVE - SLACK <= storms[0][0] <= LIMIT - RESERVE, f"first refused after {storms[0][0]} KiB")
    expect_equal(sorted(set(rows)), [128, 256], "refusals in a row until a commit was granted")
    expect_equal(rows, sorted(rows), "half of the reserve first")
    middle = next((kib for kib, _, row in storms if row == 256), 0)
    expect(LIMIT - RESERVE // 2 - SLACK <= middle <= LIMIT - RESERVE // 2, f"half of the reserve ended at {middle} KiB")
    expect(all(others for _, others, row in storms[:-1]), f"the rest of the runtime was refused too: {storms}")
finish()
