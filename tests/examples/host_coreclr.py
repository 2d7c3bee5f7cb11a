# SPDX-License-Identifier: MIT
# examples/host_coreclr: a leak ends in a caught OutOfMemoryException, once by refusal and once by the
# heap limit that .NET was told when the owner's limit changed.
import os
import subprocess

from _host import ROUNDS, expect, expect_equal, expect_news, numbers_after, program, run_host, source
from _run import finish
import _dotnet

host = program("host_coreclr", "it was not built: sanitizers are on")
folder = _dotnet.build(source("host_coreclr", "tenant.csproj"))

LIMITS = {256: 256 * 1024, 160: 160 * 1024}
SETTINGS = ({}, {"DOTNET_gcConcurrent": "0"}, {"DOTNET_EnableWriteXorExecute": "0"}, {"DOTNET_gcServer": "1"})
for settings in SETTINGS * ROUNDS:
    out, table = run_host(host, os.path.join(folder, "tenant.dll"), DOTNET_CLI_TELEMETRY_OPTOUT="1", **settings)
    first = numbers_after(r"limit 256 MiB: \w+ caught with (\d+) MiB held after (\d+) refusals, worked on", out)
    second = numbers_after(r"limit 160 MiB: \w+ caught with (\d+) MiB held after (\d+) refusals, worked on", out)
    expect(first and first[0] >= 100 and first[1] > 0, f"first leak {first}: not ended by a refusal")
    expect(second and second[0] <= 96 and second[1] == 0, f"second leak {second}: not ended by .NET's own limit")
    expect("told a heap limit of 96 MiB\n" in out, "RefreshMemoryLimit failed")
    expect_news(out, table, "coreclr")
    row = table["coreclr"]
    expect(row["peak"] <= LIMITS[256], "the limit was passed")
    expect(row["peak"] > LIMITS[256] * 3 // 4, "refused far too early")
    expect(row["charged"] <= LIMITS[160], "above the new limit at the end")
    expect(row["heap"] > 0 and row["mapped"] > 0, "malloc or file mappings did not reach the host")
    expect(first and row["refusals"] >= first[1], "refusals are missing in the table")
# Without dotnet on PATH: one line, no crash.
done = subprocess.run([host, os.path.join(folder, "tenant.dll")], capture_output=True, text=True, timeout=60,
                      env={**os.environ, "PATH": "/nonexistent"})
expect_equal((done.returncode, done.stderr), (1, "host_coreclr: there is no dotnet on PATH\n"), "without dotnet")
finish()
