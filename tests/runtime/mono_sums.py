# SPDX-License-Identifier: MIT
# Contract section 5, decisions 1 to 4: Mono at five moments of a run, stopped at each: the sums hold to the
# byte beside the test's own reading of smaps, under load too, and less than 1 % belongs to nobody.
import _support  # noqa: F401
from _dotnet import mono_app
from _run import MIB, expect, finish
from _sums import moments


def grown(moment, look, looks):
    expect(look.owner("stacks", "touched") > 0, f"stacks touched nothing at {moment}")
    if moment in ("arrays", "native", "busy"):
        expect(look.owner("gc", "resident") >= 64 * MIB, f"gc at {moment}: {look.picture['owners']['gc']}")
    if moment in ("native", "busy"):
        expect(look.owner("malloc", "resident") >= 16 * MIB, f"malloc at {moment}: {look.picture['owners']['malloc']}")


moments(["mono", mono_app(), "moments"], ("started", "arrays", "native", "busy", "collected"), "400M", "mono", grown)
finish()
