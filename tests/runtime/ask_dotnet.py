# SPDX-License-Identifier: MIT
# Unmodified .NET is asked over its diagnostic socket: when the limit was lowered far below what is held (its server
# thread must get the thread it starts then), at a watermark, at the kernel's pressure; not where nothing listens.
import os
import subprocess

import _support  # noqa: F401
from _ask import told_of_pressure
from _dotnet import dotnet, dotnet_app
from _run import MEMREEVE, Folder, expect, expect_equal, finish

DROPPED = [dotnet(), os.path.join(dotnet_app(), "app.dll"), "dropped", "70"]


def dropped(what, *options, lowered=None, pressed=False, is_asked=True, env=None):
    """What it printed at the end and how it was asked."""
    def meanwhile(launcher, _, tell):
        if lowered:
            done = subprocess.run([MEMREEVE, "limit", str(launcher), lowered], capture_output=True, text=True, timeout=60)
            expect_equal((done.returncode, done.stderr), (0, ""), f"{what}: limit {lowered}")
        if pressed:
            tell(b"x")

    out, process = told_of_pressure(what, DROPPED, "coreclr", *options, meanwhile=meanwhile, is_asked=is_asked, env=env)
    return out, process["asked"]


for low in ("60M", "40M", "20M"):
    out, told = dropped(f"lowered to {low}", "--limit", "400M", "--ask", lowered=low)
    expect_equal(out, "done True\n", f"lowered to {low}: are they gone?")
    expect(told["over_limit_times"] >= 1, f"lowered to {low}: {told}")
with Folder() as folder:
    out, told = dropped("pressed", "--ask", pressed=True, env={"TMPDIR": folder.path})
    expect_equal(out, "done True\n", "pressed: are they gone?")
    expect(told["kernel_pressure_times"] == told["times"] >= 1, f"pressed: {told}")
out, told = dropped("at a watermark", "--limit", "100M", "--ask", "--no-knobs")
expect(told["times"] >= 1 and told["over_limit_times"] + told["kernel_pressure_times"] == 0, f"at a watermark: {told}")
out, told = dropped("lowered, deaf", "--limit", "400M", "--ask", lowered="60M", is_asked=False, env={"DOTNET_EnableDiagnostics": "0"})
expect_equal(told["times"], 0, "lowered, deaf")
out, told = dropped("lowered, without --ask", "--limit", "400M", lowered="60M")
expect_equal(out, "done True\n", "lowered, without --ask: are they gone?")
expect(told["over_limit_times"] == told["times"] >= 1, f"lowered, without --ask: {told}")
out, told = dropped("lowered, --no-ask", "--limit", "400M", "--no-ask", lowered="60M", is_asked=False)
expect_equal(told["times"], 0, "lowered, --no-ask")
finish()
