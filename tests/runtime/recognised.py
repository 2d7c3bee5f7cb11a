# SPDX-License-Identifier: MIT
# The runtime of an image is told by what it maps, not by its name; each image of a chain of shims is
# what it is itself; a host that loads a runtime later is told when it does.
import glob
import os
import shutil
import sysconfig

import _support  # noqa: F401
from _run import Folder, expect_equal, finish, helper, run

def runtimes(command, *options):
    r = run(command, *options)
    if r.status != 0:
        print(command, r.status, r.out, r.err)
    return [(os.path.basename(p["image"]), p["runtime"]) for p in r.summary["processes"]]


def kinds(command):
    return sorted({kind for _, kind in runtimes(command)})


def first(*patterns):
    """The first file that is there, or None."""
    for pattern in patterns:
        for found in sorted(glob.glob(pattern)):
            return found
    return None


with Folder() as folder:
    # A name says nothing.
    for name in ("java", "node", "mono", "python3", "dotnet"):
        path = os.path.join(folder.path, name)
        shutil.copy(helper("hold"), path)
        os.chmod(path, 0o755)
        expect_equal(runtimes([path, "1"]), [(name, "other")], f"a program called {name}")

    for name, arguments, kind in [("java", ["-version"], "jvm"), ("javac", ["-version"], "jvm"), ("node", ["-e", "0"], "node"),
                                  ("mono", ["--version"], "mono"), ("python3", ["-c", "0"], "cpython"),
                                  ("dotnet", ["--list-runtimes"], "coreclr")]:
        path = shutil.which(name)
        if path is None:
            print(f"skipped: {name} is not installed")
            continue
        # The last image: what comes before may be a shim.
        expect_equal(runtimes([name, *arguments])[-1][1], kind, name)
        link = os.path.join(folder.path, "link-of-" + name)
        os.symlink(path, link)
        if name != "python3":  # a shim of pyenv goes by its own name
            expect_equal(runtimes([link, *arguments])[-1][1], kind, f"{name} by another name")
        expect_equal(kinds(["sh", "-c", " ".join([path, *(f"'{a}'" for a in arguments)]) + "; true"])[-2:],
                     sorted([kind, "other"]), f"{name} in a shell")
    with open(os.path.join(folder.path, "shim"), "w") as f:
        f.write("#!/bin/sh\nexec " + helper("hold") + " 1\n")
    os.chmod(f.name, 0o755)
    expect_equal({kind for _, kind in runtimes([f.name])}, {"other"}, "a shim of nothing")

    # Loaded later.
    java, dotnet = (os.path.dirname(os.path.realpath(shutil.which(n) or "/")) for n in ("java", "dotnet"))
    libraries = {
        "mono": first("/usr/lib/x86_64-linux-gnu/libmonosgen-2.0.so*", "/usr/lib/libmonosgen-2.0.so*"),
        "jvm": first(os.path.join(java, "../lib/server/libjvm.so")),
        "cpython": first(os.path.join(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME") or "libpython*.so*"),
                         "/usr/lib/x86_64-linux-gnu/libpython3.*.so.1.0"),
        "coreclr": first(os.path.join(dotnet, "shared/Microsoft.NETCore.App/10.*/libcoreclr.so")),
    }
    for kind, library in libraries.items():
        if library is None:
            print(f"skipped: no library of {kind}")
            continue
        more = [os.path.join(os.path.dirname(library), "System.Private.CoreLib.dll")] if kind == "coreclr" else []
        r = run([helper("late_runtime"), kind, library, *more])
        expect_equal((r.status, r.out.splitlines()[-1:]), (0, ["started"]), f"{kind} loaded later: {r.err}")
        expect_equal(r.summary["processes"][-1]["runtime"], kind, f"{kind} loaded later")
finish()
