# SPDX-License-Identifier: MIT
"""Runs one program of ./matrix, with or without memreeve, looks at its memory ten times a second, and
says how it ended."""
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

PERIOD = 0.1  # s between two looks

# What runtimes themselves say before they end for want of memory.
OWN_WORDS = re.compile(
    r"Garbage collector could not allocate|Out of memory\.|OutOfMemory|MemoryError|heap out of memory|process out of memory"
    r"|FATAL ERROR: |Fatal process O|Fatal JavaScript|insufficient memory for the Java Runtime|Could not reserve enough space"
    r"|Could not create the Java Virtual Machine|Error occurred during initialization of (VM|boot layer)|Failed to create CoreCLR"
    r"|GC heap initialization failed|Cannot allocate memory|cannot allocate memory|could not allocate|Memory shouldn't run out"
    r"|failed to map segment|Failed to reserve|failed to reserve|No space left|unable to create native thread|bad_alloc"
    r"|can't start new thread|not enough memory", re.IGNORECASE)
# The last words, or the closing line that tells why: a refusal, or the heap's limit that follows from ours.
LAST_WORDS = re.compile(r"^memreeve: .*(\bwas refused memory for the first time|\bthe limit of .* was reached|\breached the limit of )",
                        re.MULTILINE)


def _stat(pid):
    """(parent, session) of a process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return int(fields[1]), int(fields[3])
    except (OSError, IndexError, ValueError):
        return None


def tree_of(root):
    """Descendants of root and members of its session, without root."""
    stats = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = _stat(name)
            if stat:
                stats[int(name)] = stat
    found, grew = {root}, True
    while grew:
        more = {p for p, (parent, session) in stats.items() if p not in found and (parent in found or session == root)}
        found |= more
        grew = bool(more)
    return found - {root}


def resident_of(pid):
    """What is resident of a process and no file's: anonymous pages and those of memory-backed files,
    each page shared with another process or mapped twice in its share; and all private pages."""
    own = private = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                name, _, rest = line.partition(":")
                if name in ("Pss_Anon", "Pss_Shmem"):
                    own += int(rest.split()[0])
                elif name in ("Private_Clean", "Private_Dirty"):
                    private += int(rest.split()[0])
    except (OSError, IndexError, ValueError):
        return 0, 0
    return own << 10, private << 10


class Watch(threading.Thread):
    """Samples the tree of a launcher (or of the program itself, `whole`) until stopped."""

    def __init__(self, root, limit, whole):
        super().__init__(daemon=True)
        self.root, self.limit, self.whole = root, limit, whole
        self.samples = self.over = self.peak = self.private_peak = 0
        self.ending = threading.Event()

    def run(self):
        due = time.monotonic()
        while not self.ending.is_set():
            pids = tree_of(self.root) | ({self.root} if self.whole else set())
            sizes = [resident_of(p) for p in pids]
            own = sum(s[0] for s in sizes)
            if own:
                self.samples += 1
                self.over += own > self.limit
                self.peak = max(self.peak, own)
                self.private_peak = max(self.private_peak, sum(s[1] for s in sizes))
            due += PERIOD
            now = time.monotonic()
            due = max(due, now)  # looks missed on a busy machine are not made up for
            self.ending.wait(due - now)

    def stop(self):
        self.ending.set()
        self.join()


class Outcome:
    """What one run gave. `ended` is one of caught, unbounded (ended well without having met a limit),
    own-words (the runtime said it and ended), crash (a signal or an error without a word of it),
    killed (SIGKILL not ours), hang, refused (memreeve did not start it), done (0, and no line of JSON)."""

    def __init__(self):
        self.ended = ""
        self.status = None
        self.signal = None
        self.said = None
        self.summary = None
        self.last_words = False
        self.wall = self.cpu = 0.0
        self.samples = self.over = self.resident_peak = self.private_peak = 0
        self.err = ""

    def as_json(self):
        s = self.summary or {}
        processes = s.get("processes", [])
        fields = {k: getattr(self, k) for k in ("ended", "status", "signal", "said", "last_words", "wall", "cpu", "samples",
                                                "over", "resident_peak", "private_peak")}
        fields["wall"], fields["cpu"] = round(self.wall, 3), round(self.cpu, 3)
        if self.summary:
            fields.update(peak_charged=s["peak_charged_bytes"], limit=s.get("limit_bytes"),
                          touched_overshoot=s.get("touched_overshoot_bytes", 0),
                          refusals={k: sum(p["refusals"][k] for p in processes) for k in ("task", "appdomain", "process")},
                          settings=settings_of(s))
        if self.ended != "caught":
            fields["stderr_end"] = self.err[-1500:]
        return fields


def settings_of(summary):
    """What memreeve set for the runtimes of a run, by variable."""
    merged = {}
    for p in (summary or {}).get("processes", []):
        merged.update(p.get("settings") or {})
    return merged


def _classify(o, governed):
    if o.ended:
        return
    if governed and o.status == 125 and o.said is None:
        o.ended = "refused"
    elif o.status == 0 and o.said is not None:
        steady = o.said.get("mode") == "steady"
        o.ended = "caught" if o.said.get("caught") or steady else "unbounded"
    elif o.status == 0:
        o.ended = "done"
    elif o.signal == signal.SIGKILL:
        o.ended = "killed"
    elif OWN_WORDS.search("\n".join(line for line in o.err.splitlines() if not line.startswith("memreeve:"))):
        o.ended = "own-words"
    else:
        o.ended = "crash"


def _ended_within(pid, seconds):
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def run(command, limit, memreeve=None, variables=None, timeout=120, enter=None, options=(), processors=None):
    """One run. memreeve: its path, None for the bare program, which `enter` bounds. limit: bytes.
    processors: the only ones it may use."""
    o = Outcome()
    folder = tempfile.mkdtemp(prefix="memreeve-matrix-")
    path = os.path.join(folder, "summary.json")
    def prepare():
        if processors:
            os.sched_setaffinity(0, processors)
        if enter:
            enter()

    if memreeve:
        command = [memreeve, "run", "--limit", str(limit), "--summary", path, *options, "--", *command]
    try:
        begun = time.monotonic()
        # Files for the streams: what a reader that lags would hold back is not the program's hang.
        with open(os.path.join(folder, "out"), "w+", errors="replace") as out, \
                open(os.path.join(folder, "err"), "w+", errors="replace") as err:
            p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, start_new_session=True,
                                 env={**os.environ, **(variables or {})}, preexec_fn=prepare)
            watch = Watch(p.pid, limit, whole=not memreeve)
            watch.start()
            if not _ended_within(p.pid, timeout):
                o.ended = "hang"
                for pid in tree_of(p.pid) | {p.pid}:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            _, status, used = os.wait4(p.pid, 0)  # of the program and all that it has waited for
            p.returncode = os.waitstatus_to_exitcode(status)
            watch.stop()
            out.seek(0)
            err.seek(0)
            written, o.err = out.read(), err.read()
        o.wall = time.monotonic() - begun
        o.cpu = used.ru_utime + used.ru_stime
        if os.path.exists(path) and os.path.getsize(path):
            with open(path) as f:
                o.summary = json.load(f)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    o.status = p.returncode
    ended_by = o.summary["exit"]["signal"] if o.summary else (-p.returncode if p.returncode < 0 else None)
    o.signal = ended_by or None
    for line in reversed(written.splitlines()):
        if line.startswith("{"):
            try:
                o.said = json.loads(line)
            except ValueError:
                pass
            break
    if o.said is None and written:
        o.err = written[-4000:] + o.err
    o.last_words = bool(LAST_WORDS.search(o.err))
    o.samples, o.over = watch.samples, watch.over
    o.resident_peak, o.private_peak = watch.peak, watch.private_peak
    _classify(o, memreeve is not None)
    return o
