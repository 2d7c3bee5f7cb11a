# SPDX-License-Identifier: MIT
# What a program leaves when it is refused and when it is killed: five lines and an entry in the summary,
# complete also when SIGKILL follows at once; told once, not again for each refusal; nothing with -q.
import json
import os
import re
import signal
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, expect, expect_equal, finish, helper, probe, start

actor = helper("limit_actor")
FIVE = [r"limit_actor \(pid \d+\) was refused memory for the first time, \d+\.\d s after its start: \S+ MiB charged and .* touched of "
        r"64 MiB \(reserve 8 MiB\)", r"it holds: .*runtime 5\S* MiB.*; touched beside it: .*", r"grew last: runtime by 5\S* MiB.* within .* s",
        r"refused: 1 MiB for mapping \(owner runtime\), at task level, asked for by limit_actor\+0x[0-9a-f]+; what follows is counted",
        r"what to do: raise the limit \(memreeve limit \d+ SIZE, at once\), or look at runtime: runtime is what the program has mapped itself"]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def ends(p, folder):
    out, err = p.communicate(timeout=60)
    with open(folder.file("summary.json")) as f:
        return err, json.load(f)


def begin(folder, *options):
    return start([actor], "--summary", folder.file("summary.json"), *options, **PIPES)


def at_once(words):
    """Grown too soon for a sample that is a second old: all of it grew last. A busy machine may take its time."""
    return words["after_seconds"] < 1


def check_refusal(words, name):
    expect_equal(words["cause"], "refusal", f"{name}: cause")
    expect_equal(words["limit_bytes"], 64 * MIB, f"{name}: limit")
    refused = words["refused"]
    expect_equal((refused["bytes"], refused["level"], refused["what_for"], refused["owner"]), (MIB, "task", "mapping", "runtime"),
                 f"{name}: refused")
    expect(re.fullmatch(r"limit_actor\+0x[0-9a-f]+", refused["caller"] or ""), f"{name}: caller {refused['caller']}")
    owners = {o["name"]: o for o in words["owners"]}
    expect_equal(sum(o["charged_bytes"] for o in owners.values()), words["charged_bytes"], f"{name}: owners and all")
    expect(55 * MIB < words["charged_bytes"] <= 56 * MIB, f"{name}: charged {words['charged_bytes']}")
    grew = words["grew_last"]
    expect(grew["owner"] == "runtime" and (grew["bytes"] > 50 * MIB or not at_once(words)), f"{name}: grew {grew}")


with Folder() as folder:
    # Refused, then killed by somebody else.
    for _ in range(10):
        p = begin(folder, "--limit", "64M")
        p.stdin.write("+ 100\n+ 100\n+ 5\n")
        p.stdin.flush()
        got = int(p.stdout.readline().split()[1])
        expect(50 <= got <= 56 and [p.stdout.readline() for _ in range(2)] == ["got 0\n"] * 2, f"got {got}")
        os.kill(probe(p.pid, "images")[0]["pid"], signal.SIGKILL)
        err, summary = ends(p, folder)
        entry = summary["processes"][0]
        if at_once(entry["last_words"][0]):
            break
    expect_equal((p.returncode, entry["end"]), (128 + signal.SIGKILL, "killed"), "the end")
    expect_equal([w["cause"] for w in entry["last_words"]], ["refusal", "death"], "entries")
    check_refusal(entry["last_words"][0], "killed later")
    last = entry["last_words"][1]
    expect_equal((last["refused"], last["limit_bytes"]), (None, 64 * MIB), "at death")
    expect_equal(sum(o["charged_bytes"] for o in last["owners"]), last["charged_bytes"], "at death: owners and all")
    expect(last["charged_bytes"] >= got * MIB, f"at death: {last['charged_bytes']}")
    lines = [line.removeprefix("memreeve: ") for line in err.splitlines()]
    for n, wanted in enumerate(FIVE):
        expect(re.fullmatch(wanted, lines[n]), f"line {n}: {lines[n]!r}")
    expect_equal(sum("was refused memory" in line for line in lines), 1, "told once")
    expect_equal(len(lines), len(set(lines)), f"a line stands there twice: {err}")
    expect_equal(sum("grew last: " in line for line in lines), 2, f"at the refusal and at the end: {err}")
    expect(any("refusals: task 3, " in line for line in lines), f"all are counted: {err}")

    # Killed in the very next moment, many times.
    grown_at_once = 0
    for n in range(20):
        p = begin(folder, "-q", "--limit", "64M")
        p.stdin.write("k 100\n")
        p.stdin.close()
        p.stdin = None
        err, summary = ends(p, folder)
        entry = summary["processes"][0]
        expect_equal((p.returncode, err), (128 + signal.SIGKILL, ""), f"killed at once, {n}: -q says nothing")
        causes = [w["cause"] for w in entry["last_words"]]
        if expect_equal((causes[:1], causes[-1:]), (["refusal"], ["death"]), f"killed at once, {n}: entries {causes}"):
            check_refusal(entry["last_words"][0], f"killed at once, {n}")
            grown_at_once += at_once(entry["last_words"][0])
    expect(grown_at_once >= 5, f"killed at once: only {grown_at_once} of 20 grew within a second")

    # Neither refused nor near a limit: nothing is told; who was killed has an entry all the same.
    p = begin(folder)
    p.stdin.write("+ 20\n")
    p.stdin.flush()
    p.stdout.readline()
    os.kill(probe(p.pid, "images")[0]["pid"], signal.SIGKILL)
    err, summary = ends(p, folder)
    words = summary["processes"][0]["last_words"]
    expect_equal([(w["cause"], w["limit_bytes"], w["refused"]) for w in words], [("death", None, None)], "without a limit")
    expect("grew last" not in err and "what to do" not in err, f"without a limit: {err}")
    p = begin(folder, "--limit", "64M")
    p.stdin.write("+ 5\n")
    p.stdin.close()
    p.stdin = None
    err, summary = ends(p, folder)
    expect_equal((p.returncode, summary["processes"][0]["last_words"]), (0, []), "nothing happened")
    expect("refused memory" not in err, err)

    # Into the reserve, by small blocks: told that the reserve is used up, if there was time to see it.
    p = begin(folder, "--limit", "64M")
    p.stdin.write("m 980\n")
    p.stdin.flush()
    expect_equal(p.stdout.readline(), "got 980\n", "small blocks in the reserve")
    line = p.stderr.readline() # five come by themselves
    expect("holds the most while the reserve is being used up" in line, f"critical pressure: {line!r}")
    p.stdin.close()
    p.stdin = None
    err, summary = ends(p, folder)
    expect_equal([w["cause"] for w in summary["processes"][0]["last_words"]], ["pressure"], "critical pressure")

    # A tree that is refused all over: eight are told, all have their entry.
    command = ["sh", "-c", f"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo '+ 100' | {actor}; done"]
    p = start(command, "--summary", folder.file("summary.json"), "--limit", "64M", **PIPES)
    err, summary = ends(p, folder)
    entries = [e["last_words"] for e in summary["processes"] if e["image"].endswith("limit_actor")]
    expect_equal([[w["cause"] for w in e] for e in entries], [["refusal"]] * 12, "a tree")
    expect_equal(err.count("was refused memory for the first time"), 8, "a tree: told")
finish()
