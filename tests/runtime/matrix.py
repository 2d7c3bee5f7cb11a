# SPDX-License-Identifier: MIT
# A sample of ./matrix: leaks of examples/leaks end in what a program can catch, or in the last words where the
# runtime's design ends it; nothing is charged above the limit and nothing resident above it; and a
# load stays near the limit without harm (30 s with MEMREEVE_LONG, else 5). No figure of time is asserted.
import os
import subprocess
import sys

import _support  # noqa: F401
from _run import BIN, MEMREEVE, SOURCE, expect, expect_equal, finish, skip

sys.path.insert(0, os.path.join(SOURCE, "tools"))
import matrix_bound  # noqa: E402
import matrix_cells  # noqa: E402
import matrix_judge  # noqa: E402
import matrix_run  # noqa: E402

LIMIT = 192 << 20
SECONDS = 30 if os.environ.get("MEMREEVE_LONG") else 5
PATIENCE = 300  # s: a hang, on any machine
CELLS = (("mono", "arrays"), ("mono", "objects"), ("dotnet", "arrays"), ("dotnet", "native"), ("node", "native"),
         ("python", "arrays"), ("python", "native"), ("python", "threads"))
STEADY = ("python",)

wanted = {name for name, _ in CELLS} | set(STEADY)
folder = os.path.join(os.path.abspath(BIN), "tests", "matrix")
found = {r.name: r for r in matrix_cells.runtimes(folder, lambda n: n in wanted, print)}
if not found:
    skip("no runtime of the matrix is installed")

for name, program in CELLS:
    if name not in found:
        continue
    cell = matrix_judge.run_leak(found[name], program, LIMIT, MEMREEVE, None, PATIENCE, bare=False)
    o = cell.outcome
    print("  ".join(matrix_judge.row_of(cell, LIMIT)), flush=True)
    told = f"{name}/{program}: {cell.notes}, status {o.status}, {o.err[-1500:]}"
    expect_equal(cell.verdict, "design" if found[name].design(program) else "ok", told)
    expect(o.summary and sum(sum(p["refusals"].values()) for p in o.summary["processes"]) > 0 or o.ended == "caught",
           f"{name}/{program}: ended, and nothing was refused")

for name in STEADY:
    cell = matrix_judge.run_steady(found[name], LIMIT, MEMREEVE, SECONDS, 0, PATIENCE, judge_ratio=False)
    print("  ".join(matrix_judge.row_of(cell, LIMIT)), flush=True)
    expect_equal(cell.verdict, "ok", f"{name}/steady: {cell.notes}, {cell.outcome.err[-1500:]}")

# The judge itself: what it must not let pass. A program without memreeve meets no limit, one that ends with an
# error has caught nothing, one that sleeps too long hangs, and what is resident above a limit is seen.
class Said:
    name, title, family, variables, programs = "sh", "sh", "sh", {}, ()

    def __init__(self, command):
        self.command = command

    def design(self, _):
        return None


def verdict(script, limit=LIMIT, timeout=PATIENCE):
    return matrix_judge.run_leak(Said(["sh", "-c", script]), "arrays", limit, MEMREEVE, None, timeout, bare=False)


LINE = '{"mode":"arrays","caught":%s,"count":1,"bytes":1,"worked":%s}'
for script, ended, judged in ((f"echo '{LINE % (chr(34) + 'E' + chr(34), 'true')}'", "caught", "ok"),
                              (f"echo '{LINE % ('null', 'true')}'", "unbounded", "MISS"),
                              (f"echo '{LINE % (chr(34) + 'E' + chr(34), 'false')}'", "caught", "MISS"),
                              (f"echo '{LINE % (chr(34) + 'E' + chr(34), 'true')}'; exit 3", "crash", "MISS"),
                              ("true", "done", "MISS"), ("kill -SEGV $$", "crash", "MISS"), ("kill -KILL $$", "killed", "MISS"),
                              ("echo Out of memory. >&2; exit 1", "own-words", "MISS")):
    cell = verdict(script)
    expect_equal((cell.outcome.ended, cell.verdict), (ended, judged), f"judged of {script}")
# The design of a runtime excuses what the runtime says itself, not a crash, even with last words.
WORDS = "echo 'memreeve: sh was refused memory for the first time' >&2; "
for script, judged in (("echo Out of memory. >&2; exit 1", "design"), ("kill -SEGV $$", "MISS"), ("exit 1", "MISS")):
    said = Said(["sh", "-c", WORDS + script])
    said.design = lambda _: "so it is"
    cell = matrix_judge.run_leak(said, "arrays", LIMIT, MEMREEVE, None, PATIENCE, bare=False)
    expect_equal(cell.verdict, judged, f"by design: judged of {script}")
# A ratio below its goal is a MISS, however its starts scatter; the note tells whether they do.
for ratios, judged, note in (([1.0, 0.96], "ok", []), ([0.90, 0.91] * 10, "MISS", ["throughput"]), ([], "MISS", ["no throughput to compare"]),
                             ([0.8, 1.1] * 10, "MISS", ["throughput, by less than two standard errors"])):
    cell = matrix_judge.Cell(Said([]), "steady")
    cell.outcome = matrix_run.Outcome()
    cell.outcome.said, cell.outcome.summary = {"caught": 0}, {"peak_charged_bytes": LIMIT}
    if ratios:
        cell.ratio, cell.ratio_error = matrix_judge.mean_of(ratios)
    matrix_judge.judge_steady(cell, LIMIT, judge_ratio=True)
    expect_equal((cell.verdict, cell.notes), (judged, note), f"judged of the ratios {ratios[:2]}")
for words in (["--seconds", "0"], ["--timeout", "-1"], ["--limit", "1K"], ["--only", "perl"]):
    done = subprocess.run([os.path.join(SOURCE, "matrix"), *words], capture_output=True, text=True, timeout=PATIENCE)
    expect(done.returncode == 2 and words[0] in done.stderr and done.stdout == "", f"./matrix {words}: {done.returncode} {done.stderr}")
cell = verdict("sleep 1000", timeout=2)
expect_equal((cell.outcome.ended, cell.verdict), ("hang", "MISS"), "judged of a hang")
hold = "import time; held = bytearray(64 << 20); time.sleep(%d)"
o = matrix_run.run([sys.executable, "-c", hold % 2], 32 << 20, None, None, PATIENCE)
expect(o.over > 0 and o.resident_peak > 64 << 20, f"64 MiB above a limit of 32 were not seen: {o.over} of {o.samples}, {o.resident_peak}")
o = matrix_run.run([sys.executable, "-c", "print('{\"a\": 1}')"], LIMIT, None, None, PATIENCE)
expect_equal((o.ended, o.said), ("unbounded", {"a": 1}), "a program without memreeve")
with matrix_bound.Bound(1 << 30) as bound:
    o = matrix_run.run([sys.executable, "-c", "held = b'x' * (2 << 30)"], 1 << 30, None, None, PATIENCE, bound.enter)
expect(o.ended in ("own-words", "killed"), f"2 GiB under {bound.name} of 1 GiB: {o.ended}, {o.err[-300:]}")
finish()
