# SPDX-License-Identifier: MIT
# Contract section 4, decisions 19, 20, 27: children share the limit and are listed, one entry per
# image; a static child runs and is named; --no-children leaves them alone.
import json
import os
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, content, expect, expect_equal, finish, helper, memreeve, run, start, wait_for

hold = helper("hold")
with Folder() as folder:
    # One after another: what the first held is there for the second.
    r = run(["sh", "-c", f"{hold} 40 && {hold} 40"], "--limit", "64M")
    expect_equal(r.status, 0, "one after another")
    expect_equal(r.out, "held 40960 KiB\n" * 2, "one after another")
    names = [os.path.basename(p["image"]) for p in r.summary["processes"]]
    expect_equal(names.count("hold"), 2, f"images {names}")
    expect(all(p["governed"] for p in r.summary["processes"]), "a child was not governed")
    expect(r.summary["peak_charged_bytes"] <= 64 * MIB, "peak above the limit")

    # At the same time: they share it.
    outs, go, path = [folder.file("a"), folder.file("b")], folder.file("go"), folder.file("side.json")
    p = start(["sh", "-c", " ".join(f"{hold} 60 1024 {go} > {out} &" for out in outs) + " wait"], "--summary", path,
              "--limit", "64M", stderr=subprocess.PIPE)
    expect(wait_for(lambda: all(map(content, outs))), "side by side: they do not hold")
    folder.file("go", "")
    p.communicate(timeout=60)
    summary = json.loads(content(path))
    held = sum(int(content(out).split()[1]) for out in outs)
    expect(held <= 64 * 1024, f"side by side they held {held} KiB of 64 MiB")
    expect(held >= 40 * 1024, f"side by side they held only {held} KiB")
    expect(sum(sum(p["refusals"].values()) for p in summary["processes"]) > 0, "nothing was refused")
    expect(summary["peak_charged_bytes"] <= 64 * MIB, "peak above the limit")

    # exec: the shell's image and its successor are two entries under one pid.
    r = run(["sh", "-c", f"exec {hold} 8"])
    pids = [p["pid"] for p in r.summary["processes"]]
    ends = [p["end"] for p in r.summary["processes"]]
    expect_equal(len(pids), 2, f"entries {r.summary['processes']}")
    expect(len(set(pids)) == 1, f"pids {pids}")
    expect_equal(ends, ["exec", "exited"], "ends")

    # A child that was killed gives back what it held.
    outs = [folder.file("c"), folder.file("d")]
    p = start(["sh", "-c", f"{hold} 40 1024 300 > {outs[0]} & read line; kill -9 $!; wait; {hold} 40 > {outs[1]}"], "-q",
              "--limit", "64M", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    expect(wait_for(lambda: content(outs[0])), "the child does not hold")
    p.communicate("\n", timeout=60)
    expect_equal([content(out) for out in outs], ["held 40960 KiB\n"] * 2, "after a child was killed")

    # A chain of many short ones.
    r = run(["sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done"], "--limit", "64M")
    expect_equal(r.status, 0, "a hundred children")
    expect_equal(sum(os.path.basename(p["image"]) == "true" for p in r.summary["processes"]), 100, "a hundred children")

    source = folder.file("p.c", "int main(void) { return 0; }\n")
    static = folder.file("static")
    if subprocess.run(["gcc", "-static", "-o", static, source], capture_output=True).returncode == 0:
        r = run(["sh", "-c", f"{static}; exit $?"])
        expect_equal(r.status, 0, "a static child runs")
        listed = [p for p in r.summary["processes"] if not p["governed"]]
        expect(len(listed) == 1 and listed[0]["image"] == static and "static" in listed[0]["reason"], f"listed {listed}")
        expect(any(line.startswith(f"memreeve: not governed: {static} (pid ") for line in r.lines), f"not named: {r.err}")
    else:
        print("not tried: gcc -static does not work here")

    # Another folder of glibc's, with a long name, is none of another libc's.
    folders = os.path.join(folder.path, "a" * 60, "b" * 60)
    os.makedirs(folders)
    loader = os.path.join(folders, "ld-linux-x86-64.so.2")
    os.symlink("/lib64/ld-linux-x86-64.so.2", loader)
    elsewhere = folder.file("elsewhere")
    if subprocess.run(["gcc", "-Wl,--dynamic-linker=" + loader, "-o", elsewhere, source], capture_output=True).returncode == 0:
        for starts in (f"{elsewhere}; exit $?", f"exec {elsewhere}"):
            r = run(["sh", "-c", starts])
            expect_equal(r.status, 0, "the loader lies elsewhere")
            expect(any(p["image"] == elsewhere for p in r.summary["processes"]), "the loader lies elsewhere: not listed")
            reasons = [p["reason"] for p in r.summary["processes"] if not p["governed"]]
            expect_equal(reasons, [], "the loader lies elsewhere: not governed")
    else:
        print("not tried: gcc does not work here")

    r = run(["sh", "-c", f"{hold} 40"], "--limit", "16M", "--no-children")
    expect_equal(r.out, "held 40960 KiB\n", "--no-children")
    expect(all(os.path.basename(p["image"]) != "hold" or not p["governed"] for p in r.summary["processes"]), "--no-children")

    # So are the children of those that are left alone, however deep.
    r = run(["sh", "-c", f"( ( ( {hold} 40; exit 5 ); exit $? ); exit $? )"], "--limit", "16M", "--no-children")
    expect_equal((r.status, r.out), (5, "held 40960 KiB\n"), f"--no-children, children of children: {r.err}")
finish()
