# SPDX-License-Identifier: MIT
# Decision 29: what memreeve sets for .NET reaches it through wrappers and in children, is listed, and gives way to whatever the user has set, in the environment or in the program's files.
import json
import os
import shutil

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app, dotnet_self_contained, dotnet_single_file
from _run import MIB, Folder, expect, expect_equal, finish, memreeve, run

LIMIT = "DOTNET_GCHeapHardLimit"
CLEAN = {k: v for k, v in os.environ.items() if "GCHeap" not in k}
muxer, app = dotnet(), dotnet_app()
dll, apphost, single = os.path.join(app, "app.dll"), os.path.join(app, "app"), dotnet_single_file()


def seen(text):
    """The lines of the verb limit as a dictionary."""
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def coreclr(result):
    return [p for p in result.summary["processes"] if p["runtime"] == "coreclr"]


def check_set(command, name, limit=200, heap=150, environment=None, options=()):
    r = run([*command], "--limit", f"{limit}M", *options, env={**CLEAN, **(environment or {})})
    images = coreclr(r)
    expect_equal((r.status, len(images)), (0, 1), f"{name}: status, images of .NET: {r.err}")
    expect_equal(seen(r.out).get("available"), str(heap * MIB), f"{name}: what the runtime takes for its memory")
    expect_equal([p["settings"] for p in images], [{LIMIT: hex(heap * MIB)}], f"{name}: settings")
    return r


def check_not_set(command, name, environment=None, available=None, options=("--limit", "200M")):
    r = run([*command], *options, env={**CLEAN, **(environment or {})})
    expect_equal((r.status, [p["settings"] for p in coreclr(r)]), (0, [{}]), f"{name}: status, settings: {r.err}")
    expect_equal(seen(r.out).get(LIMIT), (environment or {}).get(LIMIT, "unset"), f"{name}: {LIMIT}")
    if available is not None:
        expect_equal(seen(r.out).get("available"), str(available), f"{name}: what the runtime takes for its memory")
    return r


# However the program is started.
check_set([muxer, dll, "limit"], "muxer")
check_set([muxer, "exec", dll, "limit"], "muxer, exec")
check_set([apphost, "limit"], "apphost")
check_set([single, "limit"], "single file")
check_set([dotnet_self_contained(), "limit"], "self-contained", environment={"DOTNET_ROOT": "/nowhere"})
check_set(["sh", "-c", f"{muxer} {dll} limit; true"], "in a shell")
check_set(["python3", "-c", f"import subprocess; subprocess.run(['{apphost}', 'limit'], check=True)"], "from Python")
check_set(["env", "-u", "HOME", apphost, "limit"], "behind env")
check_set([muxer, dll, "limit"], "64M", 64, 48)
check_set([muxer, dll, "limit"], "32M", 32, 16)
check_set([muxer, dll, "limit"], "8G", 8192, 6144)
r = check_set([muxer, dll, "limit"], "server", environment={"DOTNET_gcServer": "1", "DOTNET_GCHeapAffinitizeMask": "3",
                                                          "DOTNET_GCHeapCount": "2"})
expect_equal(seen(r.out).get("server"), "True", "gcServer")

# Off.
check_not_set([muxer, dll, "limit"], "--no-knobs", options=("--limit", "200M", "--no-knobs"))
check_not_set([muxer, dll, "limit"], "without a limit", options=())

# The user's environment, as CoreCLR reads it: with the letters as they are (a variable that it does
# not read does not count).
for name, value, available in [("DOTNET_GCHeapHardLimit", "0x6000000", 96 * MIB),
                               ("COMPlus_GCHeapHardLimit", "6000000", 96 * MIB),
                               ("DOTNET_GCHeapHardLimit", "0", None), ("DOTNET_GCHeapHardLimitPercent", "A", None),
                               ("COMPlus_GCHeapHardLimitPercent", "A", None)]:
    check_not_set([muxer, dll, "limit"], f"{name}={value}", {name: value}, available)
for part in ("SOH", "LOH", "POH", "SOHPercent", "LOHPercent", "POHPercent"):
    # Alone they keep CoreCLR from starting: the user's affair.
    r = run([muxer, dll, "limit"], "--limit", "200M", env={**CLEAN, LIMIT + part: "20"})
    expect_equal([p["settings"] for p in coreclr(r)], [{}], f"{LIMIT}{part}: settings")
check_set([muxer, dll, "limit"], "a variable CoreCLR does not read", environment={"dotnet_gcheaphardlimit": "0x6000000"})

# What the collector reserves, five times its limit, is not taken for the loader's, which is about as large.
for limit in (480, 512, 546):
    r = run([muxer, dll, "arrays"], "--limit", f"{limit}M", env=CLEAN)
    peak = {o["name"]: o["peak_charged_bytes"] // MIB for o in coreclr(r)[0]["owners"]}
    expect(r.status == 0 and peak["gc"] > limit / 2 and 0 < peak["code"] < 32, f"whose the memory is under {limit} MiB: {peak}")

# The user's size of regions, of which CoreCLR wants room for 19: with the limit alone it would not start.
RANGE = "DOTNET_GCRegionRange"
REGIONS = {"DOTNET_GCRegionSize": "4000000"}  # 64 MiB
HEAPS = len(os.sched_getaffinity(0))


def check_regions(command, name, environment, limit=64, heap=48, wanted=2 * 19 * 64 * MIB * HEAPS):
    r = run([*command], "--limit", f"{limit}M", env={**CLEAN, **environment})
    settings = {LIMIT: hex(heap * MIB), **({RANGE: hex(wanted)} if wanted else {})}
    expect_equal((r.status, [p["settings"] for p in coreclr(r)]), (0, [settings]), f"{name}: status, settings: {r.err}")
    expect_equal(seen(r.out).get("available"), str(heap * MIB), f"{name}: what the runtime takes for its memory")


check_regions([muxer, dll, "limit"], "large regions", REGIONS)
check_regions([muxer, dll, "limit"], "large regions, as it was called", {"COMPlus_GCRegionSize": "0x4000000"})
check_regions([apphost, "limit"], "large regions, server", {**REGIONS, "DOTNET_gcServer": "1", "DOTNET_GCHeapCount": "2"})
check_regions([muxer, dll, "limit"], "small regions", {"DOTNET_GCRegionSize": "100000"}, wanted=None)
check_regions([muxer, dll, "limit"], "the user's range", {**REGIONS, RANGE: "100000000"}, wanted=None)
check_regions([muxer, dll, "limit"], "large regions under a large limit", REGIONS, 16384, 12288, None if HEAPS < 26 else 2 * 19 * 64 * MIB * HEAPS)
for program, wanted in (("arrays", "caught 3"), ("objects", "caught")):
    r = run([muxer, dll, program], "--limit", "64M", env={**CLEAN, **REGIONS})
    expect(r.status == 0 and wanted in r.out, f"large regions, {program}: {r.status} {r.out} {r.err}")
# A child whose regions are others does not inherit it.
with Folder() as folder:
    other = folder.file("other", f'#!/bin/sh\nunset DOTNET_GCRegionSize\nexec "{apphost}" "$@"\n', 0o755)
    r = run([apphost, "start", other, "limit"], "--limit", "64M", env={**CLEAN, **REGIONS})
    images = sorted(coreclr(r), key=lambda p: p["pid"])
    expect_equal([RANGE in p["settings"] for p in images], [True, False], f"large regions, a child: {r.out} {r.err}")

# The user's configuration, wherever the host reads it.
with Folder() as folder:
    def configured(name, ending=".runtimeconfig.json", **properties):
        copy = os.path.join(folder.path, name)
        shutil.copytree(app, copy)
        path = os.path.join(copy, "app" + ending)
        config = {"runtimeOptions": {}}
        if os.path.exists(path):
            with open(path) as f:
                config = json.load(f)
        config["runtimeOptions"].setdefault("configProperties", {}).update(
            {"System.GC." + k: v for k, v in properties.items()})
        with open(path, "w") as f:
            json.dump(config, f, indent=2)
        return copy

    with_limit = configured("limit", HeapHardLimit=96 * MIB)
    check_not_set([muxer, os.path.join(with_limit, "app.dll"), "limit"], "configuration, muxer", None, 96 * MIB)
    check_not_set([muxer, "exec", os.path.join(with_limit, "app.dll"), "limit"], "configuration, exec", None, 96 * MIB)
    check_not_set([os.path.join(with_limit, "app"), "limit"], "configuration, apphost", None, 96 * MIB)
    check_not_set([muxer, "exec", "--runtimeconfig", os.path.join(with_limit, "app.runtimeconfig.json"), dll, "limit"],
                  "--runtimeconfig", None, 96 * MIB)
    percent = configured("percent", HeapHardLimitPercent=10)
    check_not_set([muxer, os.path.join(percent, "app.dll"), "limit"], "percent in the configuration")
    regions = configured("regions", RegionSize=64 * MIB)
    check_regions([muxer, os.path.join(regions, "app.dll"), "limit"], "large regions in the configuration", {})
    check_regions([os.path.join(regions, "app"), "limit"], "large regions in the configuration, of no account", {"DOTNET_GCRegionSize": "100000"}, wanted=None)
    server = configured("server", Server=True, ConserveMemory=1)
    check_set([os.path.join(server, "app"), "limit"], "a configuration without a limit")

    # In a single file the configuration is inside.
    project = os.path.join(folder.path, "project")
    os.makedirs(project)
    shutil.copy(single, os.path.join(project, "app"))
    with open(os.path.join(project, "app"), "rb") as f:
        image = f.read()
    old = b'"configProperties": {'
    if expect_equal(image.count(old), 1, "configProperties in the single file"):
        at = image.index(old)
        end = image.index(b"}", at) + 1
        text = b'"configProperties": {"System.GC.HeapHardLimit": 100663296'
        if expect(len(text) < end - at, "the single file's configuration has no room"):
            changed = image[:at] + text + b" " * (end - at - len(text) - 1) + b"}" + image[end:]
            path = folder.file("single", changed, 0o755)
            check_not_set([path, "limit"], "configuration in a single file", None, 96 * MIB)

    # What contradicts the limit stands, and is told of.
    above = configured("above", HeapHardLimit=300 * MIB)
    r = check_not_set([os.path.join(above, "app"), "limit"], "configuration above the limit", None, 300 * MIB)
    expect(any("System.GC.HeapHardLimit of 300 MiB is above the limit of 200 MiB" in line for line in r.lines), r.err)

r = run([muxer, dll, "arrays"], "--limit", "200M", env={**CLEAN, LIMIT: "0x12c00000"})
expect("caught 3" in r.out and r.status == 0, f"above the limit: {r.out} {r.err}")
expect(sum("DOTNET_GCHeapHardLimit of 300 MiB is above the limit of 200 MiB" in line for line in r.lines) == 1, r.err)
expect(sum(coreclr(r)[0]["refusals"].values()) > 0, "above the limit: nothing was refused")
r = run([muxer, dll, "hello"], "--limit", "200M", env={**CLEAN, LIMIT: "0x6000000"})
expect(not any("is above the limit" in line for line in r.lines), f"below the limit: {r.err}")

# -v tells, and only -v.
setting = f": {LIMIT}=0x9600000"
r = memreeve("run", "-v", "--limit", "200M", "--", muxer, dll, "hello", env=CLEAN)
expect(any(line.startswith("memreeve: set for dotnet (pid ") and line.endswith(setting) for line in r.lines), f"-v: {r.err}")
r = memreeve("run", "--limit", "200M", "--", muxer, dll, "hello", env=CLEAN)
expect(setting not in r.err, f"without -v: {r.err}")
expect_equal(memreeve("run", "-v", "-q", "--", "true").status, 125, "-v and -q")

# A limit too small to start: one line, 125, and the limit it names works.
r = run([muxer, dll, "hello"], "--limit", "12M", env=CLEAN)
line = [x for x in r.lines if "too small for .NET to start" in x]
expect_equal((r.status, r.out, len(line)), (125, "", 1), f"too small: {r.err}")
expect("CoreCLR" not in r.err and "HRESULT" not in r.err, f"too small: {r.err}")
named = line[0].rsplit("--limit ", 1)[1] if line else "?"
for command in ([muxer, dll, "hello"], [apphost, "hello"], [single, "hello"]):
    for environment in ({}, {"DOTNET_gcServer": "1"}, {"DOTNET_EnableWriteXorExecute": "0"},
                        {"DOTNET_TieredCompilation": "0"}):
        r = run(command, "--limit", named, env={**CLEAN, **environment})
        expect_equal((r.status, r.out), (0, "hello\n"), f"the limit named, {named}, {environment}: {r.err}")
r = run([muxer, dll, "hello"], "--limit", "12M", "--best-effort", env=CLEAN)
expect("it tries" in r.err and r.status != 125, f"--best-effort: {r.status} {r.err}")

# A child inherits it as ours, not as the user's; a child that is left alone does not get it.
r = run([apphost, "start", apphost, "limit"], "--limit", "200M", env=CLEAN)
expect_equal([p["settings"] for p in coreclr(r)], [{LIMIT: "0x9600000"}] * 2, f"a child of .NET: {r.out} {r.err}")
r = run([apphost, "start", apphost, "limit"], "--limit", "200M", "--no-children", env=CLEAN)
expect_equal((len(coreclr(r)), seen(r.out).get(LIMIT)), (1, "unset"), f"a child left alone: {r.out} {r.err}")
finish()
