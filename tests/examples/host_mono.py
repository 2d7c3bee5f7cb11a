# SPDX-License-Identifier: MIT
# examples/host_mono: a leak in one domain ends in a caught OutOfMemoryException, the other domain's
# work goes on, nothing passes a limit, the table adds up.
import shutil
import subprocess

from _host import ROUNDS, expect, expect_equal, expect_news, numbers_after, program, run_host, skip, source
from _run import Folder, finish

host = program("host_mono", "it was not built: libmono-2.0-dev was not there, or sanitizers are on")
if shutil.which("mcs") is None:
    skip("mcs is not installed")

LIMIT, OWNER_LIMIT = 512 * 1024, 160 * 1024
with Folder() as folder:
    tenant = folder.file("tenant.exe")
    subprocess.run(["mcs", "-target:library", "-out:" + tenant, source("host_mono", "tenant.cs")], check=True)
    for parameters in ("", "nursery-size=1m", "major=marksweep") * ROUNDS:
        out, table = run_host(host, tenant, MONO_GC_PARAMS=parameters)
        held = numbers_after(r"OutOfMemoryException caught with (\d+) MiB held, worked on", out)
        expect(held and 40 <= held[0] <= 140, f"held {held}")
        expect_equal(numbers_after(r"server: (\d+) of 1000 requests answered", out), [1000], "requests answered")
        expect_news(out, table, "leaker")
        owners = [table[name] for name in ("mono", "leaker", "server")]
        for column in ("reserved", "committed", "heap", "mapped", "charged", "refusals"):
            expect_equal(sum(o[column] for o in owners), table["all"][column], f"sum of {column}")
        expect(table["all"]["peak"] <= LIMIT, "the host's limit was passed")
        for name in ("leaker", "server"):
            expect(table[name]["peak"] <= OWNER_LIMIT, f"{name} passed its limit")
        expect(table["leaker"]["refusals"] > 0 and table["server"]["refusals"] == 0, "refused the wrong one")
        expect(table["leaker"]["peak"] > OWNER_LIMIT * 3 // 4, "refused far too early")
        expect(table["leaker"]["charged"] < OWNER_LIMIT // 4, "what was let go of did not come back")
        expect(table["mono"]["heap"] > 0, "Mono's malloc did not reach the host")
finish()
