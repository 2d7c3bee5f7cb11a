# SPDX-License-Identifier: MIT
# After mrv_host_govern_process every mmap and malloc of Mono and .NET reaches the host: what the kernel
# has mapped writable since then is what the owners' figures say, but for memreeve's own records.
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "runtime"))
import _dotnet  # noqa: E402
from _run import BIN, SOURCE, Folder, expect, expect_equal, finish, skip  # noqa: E402

REACH = os.path.join(BIN, "tests", "reach")
PROGRAM = os.path.abspath(os.path.join(SOURCE, "tests", "embed", "programs", "reached"))
HELD = 100 * (1 << 20) + 100 * 300000  # what the program certainly keeps: arrays and native memory
SHARE = 0.995


def compare(*arguments, **environment):
    done = subprocess.run([REACH, *arguments], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment})
    print(arguments[0], environment, done.stdout + done.stderr, end="")
    expect_equal(done.returncode, 0, "status")
    found = re.fullmatch(r"kernel (\d+) host (\d+) virtual_alloc (\d+) malloc (\d+)\n", done.stdout)
    if expect(found, "no figures"):
        kernel, host, virtual_alloc, malloc = map(int, found.groups())
        print(f"  {100 * host / kernel:.2f} % of what the kernel mapped")
        expect(host >= kernel * SHARE, "memory that did not reach the host")
        expect(host <= kernel, "more than the kernel knows")
        expect(host >= HELD, "less than the program holds")
        expect(virtual_alloc >= 50 and malloc >= 1000, "too few requests")


ran = 0
if shutil.which("mcs") and shutil.which("mono"):
    with Folder() as folder:
        exe = folder.file("reached.exe")
        subprocess.run(["mcs", "-target:library", "-out:" + exe, os.path.join(PROGRAM, "reached.cs")], check=True)
        for parameters in ("", "nursery-size=1m", "major=marksweep"):
            compare("mono", "libmonosgen-2.0.so.1", exe, MONO_GC_PARAMS=parameters)
        # One heap for all: exact for large arrays, nearly so in sections of a mebibyte, approximate for
        # small objects (docs/embedding.md).
        done = subprocess.run([REACH, "owners", "libmonosgen-2.0.so.1", exe], capture_output=True, text=True, timeout=120)
        print(done.stdout + done.stderr, end="")
        words = done.stdout.split()
        charged = dict(zip(words[::2], map(int, words[1::2])))
        if expect(done.returncode == 0 and set(charged) == {"Large", "Middle", "Small"}, f"owners: {done.returncode}"):
            wanted = 60 * 1024
            # Beside the arrays, what the runtime needs on that thread: halves of a mebibyte, two at most.
            expect(wanted <= charged["Large"] < wanted + 1536, "large arrays are not charged exactly")
            expect(wanted * 0.95 <= charged["Middle"] <= wanted * 1.2, "arrays in sections are charged to somebody else")
            expect(wanted * 0.7 <= charged["Small"] <= wanted * 2.5, "small objects are charged to somebody else")
        ran += 1
else:
    print("Mono left out: mono and mcs are not installed")
if shutil.which("dotnet"):
    dll = os.path.join(_dotnet.build(os.path.join(PROGRAM, "reached.csproj")), "reached.dll")
    for settings in ({}, {"DOTNET_EnableWriteXorExecute": "0"}, {"DOTNET_gcServer": "1"}):
        compare("coreclr", dll, DOTNET_CLI_TELEMETRY_OPTOUT="1", **settings)
    ran += 1
else:
    print(".NET left out: dotnet is not installed")
if not ran:
    skip("neither Mono nor .NET is installed")
finish()
