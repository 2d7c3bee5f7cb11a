# SPDX-License-Identifier: MIT
# `dotnet build` under one limit: the muxer, the SDK, the compiler and what they start, offline; the
# same product as naked.
import os
import subprocess
import time

import _support  # noqa: F401
from _dotnet import dotnet
from _run import MIB, Folder, expect, expect_equal, finish, run

# Nothing is asked of a network, nothing stays behind.
QUIET = {"DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1", "DOTNET_GENERATE_ASPNET_CERTIFICATE": "false",
         "DOTNET_CLI_WORKLOAD_UPDATE_NOTIFY_DISABLE": "true", "DOTNET_CLI_USE_MSBUILD_SERVER": "0",
         "MSBUILDDISABLENODEREUSE": "1"}
NO_SOURCES = "<configuration><packageSources><clear/></packageSources></configuration>\n"
PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net10.0</TargetFramework>
<Deterministic>true</Deterministic><NuGetAudit>false</NuGetAudit></PropertyGroup></Project>
"""

muxer = dotnet()
with Folder() as folder:
    os.mkdir(folder.file("p"))
    folder.file("p/p.csproj", PROJECT)
    folder.file("p/p.cs", "public static class P { public static int Twice(int x) => x * 2; }\n")
    folder.file("nuget.config", NO_SOURCES)
    environment = {**os.environ, **QUIET, "HOME": folder.path, "DOTNET_CLI_HOME": folder.path, "TMPDIR": folder.path,
                   "NUGET_PACKAGES": folder.file("packages")}
    command = [muxer, "build", folder.file("p/p.csproj"), "-c", "Release", "-o", folder.file("out"), "--disable-build-servers",
               "-v", "quiet", "-p:RestoreConfigFile=" + folder.file("nuget.config")]

    def build(start):
        for made in ("out", "p/obj"):
            subprocess.run(["rm", "-rf", folder.file(made)], check=True)
        since = time.monotonic()
        r = start()
        return r, time.monotonic() - since, os.path.exists(folder.file("out/p.dll"))

    naked, seconds, made = build(lambda: subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder.path,
                                                        env=environment))
    expect(naked.returncode == 0 and made, f"naked: {naked.stdout}{naked.stderr}")
    r, governed_seconds, made = build(lambda: run(command, "--limit", "1500M", timeout=280, cwd=folder.path, env=environment))
    expect_equal(r.status, 0, f"governed: {r.out[-2000:]}{r.err[-2000:]}")
    expect(made, "governed: no product")
    print(f"naked {seconds:.1f} s, governed {governed_seconds:.1f} s, peak {r.summary['peak_charged_bytes'] // MIB} MiB,",
          [os.path.basename(p["image"]) for p in r.summary["processes"]])
    expect(any(p["runtime"] == "coreclr" for p in r.summary["processes"]), "no .NET among the images")
    expect(all(p["governed"] for p in r.summary["processes"]), f"not governed: {r.err}")
finish()
