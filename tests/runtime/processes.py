# SPDX-License-Identifier: MIT
# Every way a program comes to be started (decisions 15, 19, 20, 27): it runs as it would naked, is
# listed with one entry for each image, shares the limit; what escapes is named; what is killed gives
# back its charge within 100 ms.
import collections
import os
import shutil
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, expect, expect_equal, finish, helper, probe, run, start, sums_hold

kinds = helper("children_kinds")
ME = os.path.basename(kinds)
LACKS = "its environment lacks LD_PRELOAD or MEMREEVE_LEDGER"


def images(r):
    """How often each governed image is listed."""
    return dict(collections.Counter(os.path.basename(p["image"]) for p in r.summary["processes"] if p["governed"]))


def entries_hold(r, name):
    for p in r.summary["processes"]:
        if p["governed"] and p["end"] in ("exited", "exec"):
            expect(sums_hold(p), f"{name}: the sums of {p['image']} {p['pid']}")
            expect_equal(p["kernel"]["unclassified_bytes"], 0, f"{name}: unclassified in {p['image']} {p['pid']}")


# kind: the images it makes beside its own; None: what /bin/sh makes of it is its own affair.
KINDS = {"fork": {ME: 2}, "vfork": {ME: 2}, "vfork-alone": {ME: 1}, "spawn": {ME: 2}, "spawnp": {ME: 1, "true": 1},
         "system": None, "popen": None, "clone-call": {ME: 2}, "clone": {ME: 2}, "clone-vm": {ME: 2},
         "double-fork": {ME: 3}, "closed": {ME: 3}, "execveat": {ME: 3}, "failing-exec": {ME: 1}, "deep": {ME: 21}}
for kind, wanted in KINDS.items():
    naked = subprocess.run([kinds, kind], timeout=120).returncode
    expect_equal(naked, 0, f"{kind}, naked")
    r = run([kinds, kind], "--limit", "256M", timeout=120)
    expect_equal(r.status, 0, f"{kind}: {r.err}")
    if wanted:
        expect_equal(images(r), wanted, f"{kind}: images")
    expect(all(p["governed"] for p in r.summary["processes"]), f"{kind}: not all are governed")
    entries_hold(r, kind)

# Wrappers: the status and the output are the program's, every image is listed.
hold = helper("hold")
with Folder() as folder:
    inner = folder.file("inner", f'#!/usr/bin/env sh\nexec {hold} "$@"\n', 0o755)
    outer = folder.file("outer", f'#!/bin/sh\nset -e\nADDED=1 exec "{inner}" "$@"\n', 0o755)
    wrappers = {
        "sh -c": (["sh", "-c", f"{hold} 8; exit 3"], 3),
        "exec": (["sh", "-c", f"exec {hold} 8"], 0),
        "env": (["env", "ADDED=1", hold, "8"], 0),
        "nice": (["nice", "-n", "1", hold, "8"], 0),
        "timeout": (["timeout", "20", hold, "8"], 0),
        "timeout that ends it": (["timeout", "3", hold, "8", "1024", "60"], 124),
        "setsid": (["setsid", "-w", hold, "8"], 0),
        "nohup": (["nohup", hold, "8"], 0),
        "shims": ([outer, "8"], 0),
        "xargs": (["sh", "-c", f"echo 8 | xargs {hold}"], 0),
        "a pipe": (["sh", "-c", f"{hold} 8 | cat"], 0),
        "a subshell in the background": (["sh", "-c", f"({hold} 8 &) | cat"], 0),
    }
    for name, (command, status) in wrappers.items():
        naked = subprocess.run(command, capture_output=True, text=True, timeout=120)
        r = run(command, "--limit", "64M", timeout=120)
        expect_equal((naked.returncode, naked.stdout), (status, "held 8192 KiB\n"), f"{name}, naked")
        expect_equal((r.status, r.out), (status, "held 8192 KiB\n"), f"{name}: {r.err}")
        expect_equal(images(r).get("hold"), 1, f"{name}: images {images(r)}")
        expect(all(p["governed"] for p in r.summary["processes"]), f"{name}: {r.err}")
        expect(r.summary["peak_charged_bytes"] >= 8 * MIB, f"{name}: the peak lacks the child's")
        entries_hold(r, name)
    # The limit holds for what is behind a chain of execs.
    r = run([outer, "80"], "--limit", "32M")
    expect(0 < int(r.out.split()[1]) < 32 * 1024, f"shims under a limit: {r.out}")

    # One entry for each image of the chain, all under one pid.
    r = run([outer, "8"])
    expect_equal([p["end"] for p in r.summary["processes"]][-1], "exited", "the last of a chain")
    expect_equal({p["end"] for p in r.summary["processes"][:-1]}, {"exec"}, "the others of a chain")
    expect_equal(len({p["pid"] for p in r.summary["processes"]}), 1, "a chain's pid")

    python = shutil.which("python3")
    if python and "shims" in python:
        r = run([python, "-c", "import os; print(os.getpid() > 0)"], "--limit", "128M")
        expect_equal((r.status, r.out), (0, "True\n"), f"a shim of python3: {r.err}")
        expect_equal(r.summary["processes"][0]["runtime"] in ("other", "cpython"), True, "a shim's runtime")
        expect(any(p["runtime"] == "cpython" for p in r.summary["processes"]), f"python3 behind its shim: {images(r)}")

    # Who takes the environment away is named, and runs.
    emptied = {
        "env -u LD_PRELOAD": ["env", "-u", "LD_PRELOAD", "/bin/true"],
        "env -u MEMREEVE_LEDGER": ["env", "-u", "MEMREEVE_LEDGER", "/bin/true"],
        "env -i": ["env", "-i", "/bin/true"],
        "env -i, searched": ["env", "-i", "PATH=/bin", "true"],
        "a shell's child": ["sh", "-c", "env -i /bin/true; exit $?"],
        "posix_spawn": ["python3", "-c", "import os; os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"],
        "subprocess": ["python3", "-c", "import subprocess; subprocess.run(['/bin/true'], env={}, check=True)"],
        "execve": ["python3", "-c", "import os; os.execve('/bin/true', ['true'], {})"],
    }
    for name, command in emptied.items():
        r = run(command, "--limit", "128M")
        expect_equal(r.status, 0, f"{name}: {r.err}")
        listed = [p for p in r.summary["processes"] if not p["governed"]]
        expect(len(listed) == 1 and os.path.basename(listed[0]["image"]) == "true" and listed[0]["reason"] == LACKS,
               f"{name}: listed {listed}")
        named = [line for line in r.lines if line.startswith("memreeve: not governed: ") and line.endswith(LACKS)]
        expect_equal(len(named), 1, f"{name}: named in {r.err}")

    # A build of a hundred short children under one limit, make's and its own.
    if shutil.which("make") and shutil.which("gcc"):
        rules = ["all: " + " ".join([f"o{i}.o" for i in range(24)] + [f"t{i}" for i in range(76)])]
        for i in range(24):
            folder.file(f"o{i}.c", f"int f{i}(int x) {{ return x * {i} + 1; }}\n")
            rules.append(f"o{i}.o: o{i}.c\n\tgcc -O1 -c -o $@ $<")
        rules += [f"t{i}:\n\t@sh -c 'echo {i} > $@; true'" for i in range(76)]
        makefile = folder.file("Makefile", "\n".join(rules) + "\n")
        products = [f"o{i}.o" for i in range(24)] + [f"t{i}" for i in range(76)]

        def build(command):
            for name in products:
                if os.path.exists(folder.file(name)):
                    os.remove(folder.file(name))
            r = command(["make", "-j2", "-s", "-C", folder.path, "-f", makefile])
            return r, {name: open(folder.file(name), "rb").read() for name in products}

        naked, made = build(lambda c: subprocess.run(c, capture_output=True, text=True, timeout=120))
        r, again = build(lambda c: run(c, "--limit", "256M"))
        expect_equal((naked.returncode, r.status), (0, 0), f"make: {naked.stderr} {r.err}")
        expect(made == again, "make: other products than naked")
        found = images(r)
        print("make:", found, "peak", r.summary["peak_charged_bytes"] // 1024, "KiB")
        gcc = os.path.basename(os.path.realpath(shutil.which("gcc")))
        expect_equal([found.get(n) for n in ("make", gcc, "cc1")], [1, 24, 24], f"make: images {found}")
        expect_equal(sum(p["end"] != "exited" and p["end"] != "exec" for p in r.summary["processes"]), 0, "make: ends")
        expect(8 * MIB < r.summary["peak_charged_bytes"] <= 256 * MIB, "make: the peak of the tree")
        entries_hold(r, "make")

# What is killed gives back its charge: measured in the ledger, by the clock of who kills it, from its death on. Its
# parent has many children and waits for none of them.
p = start(["sh", "-c", f"for i in 1 2 3 4; do {kinds} hold 40 < /dev/zero & done; echo started; read line"],
          "-q", "--limit", "256M", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
lines = sorted(p.stdout.readline() for _ in range(5))
expect_equal(lines, ["holds\n"] * 4 + ["started\n"], "four that hold")
holders = [i["pid"] for i in probe(p.pid, "images") or [] if i["image"].endswith(ME)]
expect_equal(len(holders), 4, "four images")
waits = []
for pid in holders:
    came_back = (probe(p.pid, "kill", pid) or [None])[0]
    print("killed:", came_back)
    if expect(came_back, f"the charge of {pid} never came back"):
        expect(came_back["held"] >= 40 * MIB, f"it held {came_back['held']}")
        expect(came_back["before"] - came_back["after"] >= came_back["held"], f"given back: {came_back}")
        waits.append(came_back["milliseconds"])
# On a machine that has other work the launcher waits for its turn once or twice.
expect(len(waits) == 4 and sorted(waits)[1] < 100, f"came back after {waits} ms")
p.stdin.write("\n")
p.stdin.close()
expect_equal(p.wait(timeout=120), 0, "their parent's status")
finish()
