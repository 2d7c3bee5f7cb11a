# SPDX-License-Identifier: MIT
"""Runs the cells of ./matrix and judges them."""
import math
import os
import statistics
import threading

import matrix_run

MIB = 1 << 20
RATIO_GOAL = 0.97  # of the throughput without memreeve
MARK = 0.9         # of the limit: where the steady load's charge shall be
LEAK_FACTOR = 4    # a leak that nobody stops ends at so many times the limit
# The same program beside itself differs by 14 % (.NET's server collector, 12 pairs) however long it runs: with its
# addresses and its physical pages each start draws its speed. Starts tell what minutes do not.
PART = 5           # s: a steady load is started anew so often

LEGEND = """\
ok      the leak ended in an exception that the program caught; it went on and ended with 0, nothing above the limit
design  the runtime itself ends at its limit whatever it is told (the note says why); the last words are there
MISS    anything else; the note says what
ended: caught; own-words (the runtime said why and ended), crash (a signal or an error without such words), killed, hang,
  refused (memreeve did not start it), unbounded (nothing stopped the leak). bare: the same program without memreeve
  under {bound} of the limit; the steady load runs bare without a bound, with what memreeve set for the runtime
charged: peak, percent of the limit. resident: peak of anonymous and memory-file pages of all processes, 10 Hz, percent
  of the limit; over: samples above it. ratio: operations per second with memreeve / without, at the same time, on
  half of the processors each, which are exchanged from start to start: geometric mean of all starts, standard error{judged}"""


class Cell:
    def __init__(self, runtime, program):
        self.runtime, self.program = runtime, program
        self.outcome = None   # under memreeve
        self.bare = None
        self.verdict, self.notes = "MISS", []
        self.ratio = self.ratio_error = self.ratio_cpu = None
        self.ratios = []
        self.native = None    # MiB beside the live table, steady

    def as_json(self):
        fields = {"runtime": self.runtime.name, "program": self.program, "verdict": self.verdict, "notes": self.notes,
                  "governed": self.outcome.as_json(), "bare": self.bare.as_json() if self.bare else None}
        if self.program == "steady":
            fields.update(ratio=self.ratio, ratio_error=self.ratio_error, ratio_cpu=self.ratio_cpu, ratios=self.ratios,
                          native_mib=self.native)
        return fields


def _common(cell, limit):
    """What holds for every cell, however it ends; the faults as notes."""
    o, faults = cell.outcome, []
    if o.summary is None:
        if o.ended != "refused":
            faults.append("no summary")
    elif o.summary["peak_charged_bytes"] > limit:
        faults.append(f"charged {o.summary['peak_charged_bytes'] - limit} bytes above the limit")
    if o.over:
        faults.append(f"{o.over} of {o.samples} samples resident above the limit")
    if o.ended in ("hang", "killed", "refused"):
        faults.append(o.ended)
    return faults


def judge_leak(cell, limit):
    o = cell.outcome
    faults = _common(cell, limit)
    if o.ended == "caught":
        if not o.said.get("worked"):
            faults.append("it did not work on")
        cell.notes = faults or [o.said["caught"][:60]]
        cell.verdict = "MISS" if faults else "ok"
        return
    why = cell.runtime.design(cell.program)
    if not o.last_words and o.ended != "unbounded":
        faults.append("no last words")
    if why and o.ended == "own-words" and not faults:
        cell.verdict, cell.notes = "design", [why]
        return
    if not faults:
        faults.append("nothing stopped the leak" if o.ended == "unbounded" else
                      f"ended by signal {o.signal}" if o.signal else f"ended with {o.status}")
    cell.notes = faults


def run_leak(runtime, program, limit, memreeve, bound, timeout, bare=True):
    cell = Cell(runtime, program)
    command = [*runtime.command, program, str(LEAK_FACTOR * limit // MIB)]
    cell.outcome = matrix_run.run(command, limit, memreeve, runtime.variables, timeout)
    if bare:
        # One that hangs needs not be waited for ten times as long as the other took.
        patience = min(timeout, max(30, 10 * cell.outcome.wall))
        cell.bare = matrix_run.run(command, limit, None, runtime.variables, patience, bound.enter)
    judge_leak(cell, limit)
    return cell


def _throughput(o):
    return o.said["per_second"]


def _per_cpu(o):
    return o.said["operations"] / o.cpu


def judge_steady(cell, limit, judge_ratio):
    o = cell.outcome
    faults = _common(cell, limit)
    if o.said is None:
        faults.append(f"ended by signal {o.signal}" if o.signal else f"ended with {o.status}")
        if not o.last_words:
            faults.append("no last words")
    elif o.said["caught"]:
        faults.append(f"{o.said['caught']} requests refused below the limit")
    if o.said is not None:
        if o.summary and o.summary["peak_charged_bytes"] < 0.8 * limit:
            faults.append("the load is not near the limit")
        if judge_ratio and cell.ratio is None:
            faults.append("no throughput to compare")
        elif judge_ratio and cell.ratio < RATIO_GOAL:
            near = cell.ratio_error is not None and cell.ratio * (1 + 2 * cell.ratio_error) >= RATIO_GOAL
            faults.append("throughput, by less than two standard errors" if near else "throughput")
    cell.verdict = "MISS" if faults else "ok"
    cell.notes = faults


def _halves():
    """Two sets of processors for two programs at one time; None where there is but one processor."""
    usable = sorted(os.sched_getaffinity(0))
    half = len(usable) // 2
    return (set(usable[:half]), set(usable[half:2 * half])) if half else None


def _at_once(*calls):
    results = [None] * len(calls)

    def work(i):
        results[i] = calls[i]()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def _all_of(outcomes):
    """The last one with what all of them met."""
    o = outcomes[-1]
    for before in outcomes[:-1]:
        o.samples += before.samples
        o.over += before.over
        o.wall += before.wall
        o.resident_peak = max(o.resident_peak, before.resident_peak)
        o.private_peak = max(o.private_peak, before.private_peak)
        if o.said and before.said:
            o.said["caught"] += before.said["caught"]
        if before.said is None:
            o.said, o.status, o.signal, o.err, o.last_words = None, before.status, before.signal, before.err, before.last_words
    return o


def parts_of(seconds):
    """How often a load of so many seconds is started: even, so that each has each half as often."""
    return max(2, seconds // PART // 2 * 2)


def mean_of(ratios):
    """Their geometric mean, and its relative standard error: None of fewer than two."""
    error = statistics.stdev(map(math.log, ratios)) / math.sqrt(len(ratios)) if len(ratios) > 1 else None
    return statistics.geometric_mean(ratios), error


def run_steady(runtime, limit, memreeve, seconds, pairs, timeout, judge_ratio):
    """A load at nine tenths of the limit for `seconds` in all. In `pairs` parts: each beside the same load
    without memreeve, on the other half of the processors, the halves exchanged from part to part, so that
    what disturbs the machine disturbs both. On one processor: in turn."""
    cell = Cell(runtime, "steady")
    live = max(limit // 8 // MIB, 1)
    halves = _halves() if pairs else None
    length = max(1, seconds // max(pairs, 1))
    variables = dict(runtime.variables)

    def governed(length, native, half=0):
        return matrix_run.run(runtime.steady(length, live, native), limit, memreeve, runtime.variables, length + timeout,
                              processors=halves and halves[half])

    def bare(length, native, half):
        return matrix_run.run(runtime.steady(length, live, native), limit, None, variables, length + timeout,
                              processors=halves and halves[half])

    # What the runtime takes beside the native blocks is found first: it differs by 100 MiB.
    native = 0
    for _ in range(2):
        cell.outcome = governed(3, native)
        if cell.outcome.said is None or cell.outcome.summary is None:
            break
        native = max(0, native + int(MARK * limit - cell.outcome.summary["peak_charged_bytes"]) // MIB)
        cell.native = native
    else:
        variables.update(matrix_run.settings_of(cell.outcome.summary))
        rounds = []
        for i in range(pairs):
            half = i % 2
            with_it, without = ((lambda: governed(length, native, half)), (lambda: bare(length, native, 1 - half)))
            rounds.append(_at_once(with_it, without) if halves else [with_it(), without()])
        cell.outcome = _all_of([w for w, _ in rounds] or [governed(length, native)])
        cell.bare = rounds[-1][1] if rounds else None
        told = [(w, b) for w, b in rounds if w.said and b.said]
        cell.ratios = [round(_throughput(w) / _throughput(b), 4) for w, b in told]
        if told:
            # The halves exchanged: the geometric mean leaves their difference out.
            cell.ratio, cell.ratio_error = mean_of(cell.ratios)
            cell.ratio_cpu = round(statistics.geometric_mean(_per_cpu(w) / _per_cpu(b) for w, b in told), 4)
    judge_steady(cell, limit, judge_ratio)
    return cell


COLUMNS = ("runtime", "program", "verdict", "ended", "bare", "charged", "resident", "over", "words", "wall s", "ratio", "note")


def row_of(cell, limit):
    o = cell.outcome

    def percent(n):
        return f"{100 * n / limit:.1f}" if n is not None else "-"

    steady = cell.program == "steady"
    ended = "at work" if steady and o.said else o.ended
    bare = "-" if cell.bare is None else "at work" if steady and cell.bare.said else cell.bare.ended
    error = "" if cell.ratio_error is None else f" \u00b1 {cell.ratio * cell.ratio_error:.3f}"
    ratio = "" if cell.ratio is None else f"{cell.ratio:.3f}{error} (CPU {cell.ratio_cpu:.3f})"
    return (cell.runtime.title, cell.program, cell.verdict, ended, bare,
            percent(o.summary["peak_charged_bytes"] if o.summary else None), percent(o.resident_peak), f"{o.over}/{o.samples}",
            "yes" if o.last_words else "no", f"{o.wall:.1f}", ratio, "; ".join(cell.notes))


def table(rows, markdown=False, columns=COLUMNS):
    rows = [columns, *rows]
    if markdown:
        lines = ["| " + " | ".join(str(w).replace("|", "/") for w in r) + " |" for r in rows]
        return [lines[0], "|" + "---|" * len(columns), *lines[1:]]
    widths = [max(len(r[i]) for r in rows) for i in range(len(columns) - 1)]
    return ["  ".join([*(c.ljust(w) for c, w in zip(r, widths)), r[-1]]).rstrip() for r in rows]
