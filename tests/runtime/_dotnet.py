# SPDX-License-Identifier: MIT
"""The program of programs/dotnet for .NET and for Mono, compiled once per build folder."""
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess

import _support  # noqa: F401
from _run import BIN, SOURCE, Folder, run, skip

PROGRAMS = os.path.abspath(os.path.join(SOURCE, "tests", "runtime", "programs"))
SHARED = ("arrays.cs", "small_objects.cs")


def run_collecting(command, *options, env):
    """run(), but for what CoreCLR 10 does to itself: naked, with DOTNET_GCHeapHardLimit=0x9600000 and two server
    heaps, 2 of 900 runs ended by SIGSEGV in its collector (a segment that is null). Such an end, where nothing was
    refused, is passed over twice."""
    for _ in range(3):
        r = run(command, *options, env=env)
        refused = sum(r.summary["processes"][0]["refusals"].values())
        if r.status != 128 + signal.SIGSEGV or "DOTNET_gcServer" not in env or refused != 0:
            break
        print("CoreCLR's server collector ended by SIGSEGV; again")
    return r


def _sources(project):
    folder = os.path.dirname(project)
    paths = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith((".cs", ".csproj"))]
    if folder == os.path.join(PROGRAMS, "dotnet"):
        paths += [os.path.join(PROGRAMS, n) for n in SHARED]
    return paths


def _digest(paths):
    h = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            h.update(path.encode() + b"\0" + f.read())
    return h.hexdigest()


def _once(name, digest, make):
    """Runs make(folder) when the build folder has no outcome of these sources; the outcome's folder."""
    root = os.path.join(os.path.abspath(BIN), "tests", "csharp")
    os.makedirs(root, exist_ok=True)
    folder = os.path.join(root, name)
    stamp = os.path.join(folder, "made-of")
    with open(os.path.join(root, name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(stamp) and open(stamp).read() == digest:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder)
        with open(stamp, "w") as f:
            f.write(digest)
    return folder


def dotnet():
    """The path of the muxer; skips where .NET 10 cannot build."""
    path = shutil.which("dotnet")
    if path is None:
        skip("dotnet is not installed")
    with Folder() as home:
        listed = subprocess.run([path, "--list-sdks"], capture_output=True, text=True, timeout=120,
                                env={**os.environ, "DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1",
                                     "HOME": home.path, "DOTNET_CLI_HOME": home.path})
    if not any(line.startswith("10.") for line in listed.stdout.splitlines()):
        skip("no SDK of .NET 10 is installed: " + (listed.stdout + listed.stderr).strip())
    return path


def build(project, verb="build", *properties):
    """A project built offline; the folder with what came of it."""
    muxer = dotnet()
    project = os.path.abspath(project)

    def make(folder):
        done = subprocess.run([os.path.join(SOURCE, "tools", "dotnet_build.sh"), verb, project, folder, *properties],
                              capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise SystemExit(f"dotnet {verb} failed:\n" + done.stdout + done.stderr)

    name = os.path.splitext(os.path.basename(project))[0]
    return _once("-".join(["dotnet", verb, name]), _digest(_sources(project)) + muxer, make)


def dotnet_app():
    """programs/dotnet for .NET: the folder with app and app.dll."""
    return build(os.path.join(PROGRAMS, "dotnet", "app.csproj"))


def dotnet_single_file():
    """The same as one file, which needs the installed framework: the path of app."""
    # SelfContained=false and no runtime identifier: no pack is needed that the SDK does not bring.
    return os.path.join(build(os.path.join(PROGRAMS, "dotnet", "app.csproj"), "publish", "-p:PublishSingleFile=true",
                              "-p:SelfContained=false", "-p:PublishTrimmed=false", "-p:EnableSingleFileAnalyzer=false"),
                        "app")


def dotnet_self_contained():
    """The same with a runtime of its own, which `dotnet publish` would make with a package that the SDK
    does not bring: laid out here from the installed runtime, as links. The path of app."""
    muxer = os.path.realpath(dotnet())
    root, made = os.path.dirname(muxer), dotnet_app()
    shared = os.path.join(root, "shared", "Microsoft.NETCore.App")
    version = next((v for v in sorted(os.listdir(shared), reverse=True) if v.startswith("10.")), None)
    if version is None:
        skip("no runtime of .NET 10 is installed beside " + muxer)
    runtime = os.path.join(shared, version)

    def make(folder):
        for name in ("app", "app.dll"):
            shutil.copy(os.path.join(made, name), folder)
        for name in os.listdir(runtime):
            if name.endswith((".dll", ".so")):
                os.symlink(os.path.join(runtime, name), os.path.join(folder, name))
        os.symlink(os.path.join(root, "host", "fxr", version, "libhostfxr.so"), os.path.join(folder, "libhostfxr.so"))
        target, pack = ".NETCoreApp,Version=v10.0/linux-x64", "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/" + version
        files = {"runtime": {n: {} for n in os.listdir(runtime) if n.endswith(".dll")},
                 "native": {n: {} for n in os.listdir(runtime) if n.endswith(".so")}}
        library = {"serviceable": False, "sha512": ""}
        deps = {"runtimeTarget": {"name": target, "signature": ""},
                "targets": {target.split("/")[0]: {}, target: {"app/1.0.0": {"runtime": {"app.dll": {}}}, pack: files}},
                "libraries": {"app/1.0.0": {"type": "project", **library}, pack: {"type": "runtimepack", **library}}}
        options = {"tfm": "net10.0", "includedFrameworks": [{"name": "Microsoft.NETCore.App", "version": version}],
                   "configProperties": {"System.Globalization.Invariant": True}}
        for name, content in (("app.deps.json", deps), ("app.runtimeconfig.json", {"runtimeOptions": options})):
            with open(os.path.join(folder, name), "w") as f:
                json.dump(content, f)

    with open(os.path.join(made, "made-of")) as f:
        digest = f.read()
    return os.path.join(_once("dotnet-self-contained", digest + runtime, make), "app")


def mono_app():
    """The same program for Mono: the path of app.exe; skips without Mono."""
    if shutil.which("mono") is None or shutil.which("mcs") is None:
        skip("mono and mcs are not installed")
    sources = [s for s in _sources(os.path.join(PROGRAMS, "dotnet", "app.csproj")) if s.endswith(".cs")]

    def make(folder):
        subprocess.run(["mcs", "-unsafe", "-nowarn:618", "-main:Program", "-out:" + os.path.join(folder, "app.exe"), *sources],
                       check=True, timeout=300)

    return os.path.join(_once("mono-app", _digest(sources), make), "app.exe")
