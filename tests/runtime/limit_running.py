# SPDX-License-Identifier: MIT
# A limit that changes while the program runs (memreeve limit): raising works at once; lowering below
# what is held takes nothing back and ends nothing, refuses what comes, and says so; the books are exact
# at every step and after a storm of changes; the summary tells every change.
import json
import os
import subprocess

import _support  # noqa: F401
from _run import MEMREEVE, MIB, Folder, expect, expect_equal, finish, helper, probe, start, sums_hold

LONG = bool(os.environ.get("MEMREEVE_LONG"))


def change(pid, *words):
    done = subprocess.run([MEMREEVE, "limit", str(pid), *words], capture_output=True, text=True, timeout=60)
    expect_equal((done.returncode, done.stderr), (0, ""), f"limit {words}")
    return done.stdout


def ask(p, line):
    p.stdin.write(line + "\n")
    p.stdin.flush()
    words = p.stdout.readline().split()
    return int(words[1]) if len(words) == 2 else None


def present(pid):
    """Without the credit that threads hold: a refusal would drain it."""
    probe(pid, "places")
    return json.loads(change(pid, "--json"))


with Folder() as folder:
    # Down and up, looked at between the steps.
    path = folder.file("summary.json")
    p = start([helper("limit_actor")], "--limit", "128M", "--summary", path, stdin=subprocess.PIPE,
              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    expect_equal(ask(p, "+ 80"), 80, "under 128M")
    base = present(p.pid)
    expect_equal((base["limit_bytes"], base["reserve_bytes"]), (128 * MIB, 8 * MIB), "as it was started")
    expect_equal(base["charged_bytes"], probe(p.pid, "root")[0]["charged"], "held, to the byte")
    own = base["charged_bytes"] - 80 * MIB
    expect(0 < own < 4 * MIB, f"beside the pieces: {own}")

    line = change(p.pid, "50M")
    expect(line.startswith("limit 50 MiB, was 128 MiB (reserve 8 MiB); held ") and line.count("\n") == 1 and
           line.endswith(" too much: nothing is taken back; until it fits requests of task level are refused\n"),
           f"lowering: {line!r}")
    expect_equal(ask(p, "+ 1"), 0, "above the lowered limit")
    now = present(p.pid)
    expect_equal(now["charged_bytes"], base["charged_bytes"], "what was held stays, and nothing came")
    expect(now["too_much_bytes"] == now["charged_bytes"] + now["touched_bytes"] - 42 * MIB, f"too much: {now}")
    # Small requests of a program without a runtime are of process level: they go on, for a while.
    before = present(p.pid)["charged_bytes"]
    got = ask(p, "m 1000")
    after = present(p.pid)["charged_bytes"]
    expect(64 <= got < 1000, f"small blocks above a lowered limit: {got}")
    expect(before < after <= before + 8 * MIB, f"small blocks took {after - before}, the reserve is {8 * MIB}")
    small = after - before
    expect_equal(ask(p, "- 40"), 40, "given back")
    expect_equal(present(p.pid)["charged_bytes"], base["charged_bytes"] + small - 40 * MIB, "after giving back")
    room = 42 * MIB - own - small - 40 * MIB
    expect_equal(ask(p, "+ 1"), 0 if room < MIB + 2 * MIB else 1, f"room {room}")

    line = change(p.pid, "100M")
    expect(line.startswith("limit 100 MiB, was 50 MiB (reserve 8 MiB); held ") and line.endswith(": in force\n"), line)
    expect_equal(ask(p, "+ 30"), 30, "raised, at once")
    line = change(p.pid, "max")
    expect(line.startswith("limit none, was 100 MiB"), line)
    expect_equal(ask(p, "+ 60"), 60, "no limit any more")
    expect_equal(present(p.pid)["limit_bytes"], None, "no limit")
    child = [i["pid"] for i in probe(p.pid, "images")][0]
    expect(change(child, "256M").startswith("limit 256 MiB, was none"), "by the child's pid")
    expect_equal(present(child)["launcher_pid"], p.pid, "the child's launcher")
    expect(probe(p.pid, "picture", child)[0]["adds_up"], "sums with the program at rest")
    p.stdin.close()
    expect_equal(p.wait(timeout=60), 0, "status")
    err = p.stderr.read()
    summary = json.loads(open(path).read())
    changes = [(c["from_bytes"], c["to_bytes"]) for c in summary["limit_changes"]]
    expect_equal(changes, [(128 * MIB, 50 * MIB), (50 * MIB, 100 * MIB), (100 * MIB, None), (None, 256 * MIB)], "summary")
    expect_equal(summary["limit_changes_total"], 4, "summary's count")
    expect(all(a["at_seconds"] <= b["at_seconds"] for a, b in zip(summary["limit_changes"], summary["limit_changes"][1:])), "times")
    expect_equal(summary["limit_changes"][0]["charged_bytes"], base["charged_bytes"], "charged at the first change")
    expect_equal(summary["limit_bytes"], 128 * MIB, "as it was started")
    expect(sums_hold(summary["processes"][0]), "sums of the summary")
    expect("memreeve: limit changed 4 times while it ran: " in err and "none to 256 MiB after " in err, err)

    # A storm: a thousand changes while four threads map and give back.
    stop = folder.file("stop")
    path = folder.file("storm.json")
    p = start([helper("limit_actor"), "storm", "4", stop], "--limit", "96M", "--summary", path, stdin=subprocess.PIPE,
              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    expect_equal(p.stdout.readline(), "ready\n", "the storm")
    seen = probe(p.pid, "storm", 20000 if LONG else 1000, 16, 160)[0]
    print(seen)
    expect_equal(seen["over"], 0, "charged above what the limit allowed")
    expect(seen["lowered_below"] > 0 and seen["moved"] > 0, f"the storm was none: {seen}")
    for size in ("90M", "20M", "70M", "17M", "64M"):
        change(p.pid, size)
    with open(stop, "w"):
        pass
    words = p.stdout.readline().split()
    expect(words[0] == "done" and int(words[1]) > 0, f"refused: {words}")
    root, places = probe(p.pid, "root")[0], probe(p.pid, "places")[0]
    child = [i["pid"] for i in probe(p.pid, "images")][0]
    picture = probe(p.pid, "picture", child)[0]
    expect(picture["adds_up"], "sums after the storm")
    charged = sum(o["charged"] for o in picture["owners"].values())
    expect_equal((places["charged"], places["held"]), (charged, charged), "the root's books after the storm")
    expect(charged < 8 * MIB, f"left after the storm: {charged}")
    p.stdin.close()
    expect_equal(p.wait(timeout=60), 0, "status after the storm")
    summary = json.loads(open(path).read())
    expect_equal(summary["limit_changes_total"], (20000 if LONG else 1000) + 5, "changes told")
    expect_equal(len(summary["limit_changes"]), 64, "changes kept")
    expect_equal(summary["limit_changes"][-1]["to_bytes"], 64 * MIB, "the last one")
    expect(summary["peak_charged_bytes"] <= 160 * MIB, f"peak {summary['peak_charged_bytes']}")
    p.stderr.close()
    p.stdout.close()
finish()
