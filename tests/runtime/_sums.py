# SPDX-License-Identifier: MIT
"""The sums of the contract (section 5) laid beside the test's own reading of /proc/PID/smaps, while the
program is stopped: nothing moves between the two, so they must agree to the byte."""
import contextlib
import os
import re
import signal
import subprocess
import time

import _support  # noqa: F401
from _run import expect, expect_equal, probe, start, wait_for

PAGE = 4096
HEADER = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$")


class Mapping:
    def __init__(self, m):
        self.begin, self.end, self.offset = int(m[1], 16), int(m[2], 16), int(m[4], 16)
        self.access, self.inode, self.path = m[3], int(m[6]), m[7]
        self.field = {}

    size = property(lambda self: self.end - self.begin)
    is_private = property(lambda self: self.access[3] == "p")
    is_writable = property(lambda self: self.access[1] == "w")


def smaps(pid):
    out = []
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            if m := HEADER.match(line):
                out.append(Mapping(m))
            elif line.endswith(" kB\n"):
                name, value, _ = line.split()
                out[-1].field[name[:-1]] = int(value) * 1024
    return out


def kernels_sums(mappings):
    """What the contract compares with; of private mappings what no file backs, and what is a file's."""
    private = [m for m in mappings if m.is_private]
    return {"rss": sum(m.field["Rss"] for m in mappings),
            "private_writable": sum(m.size for m in private if m.is_writable),
            "private_resident": sum(m.field["Rss"] for m in private),
            "anonymous": sum(m.field["Anonymous"] for m in private),
            "own_anonymous": sum(min(m.field["Anonymous"], m.field["Private_Clean"] + m.field["Private_Dirty"]) for m in private),
            "of_files": sum(m.field["Rss"] for m in private if m.inode)}


def memory_files(pid):
    """Bytes held by each memfd that the process has a descriptor of, by name."""
    held = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        with contextlib.suppress(OSError):
            name = os.readlink(path)
            if name.startswith("/memfd:"):
                held[name.removeprefix("/memfd:").removesuffix(" (deleted)")] = os.stat(path).st_blocks * 512
    return held


def _is_stopped(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/stat") as f:
            if f.read().rpartition(")")[2].split()[0] not in "Tt":
                return False
    return True


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        expect(wait_for(lambda: _is_stopped(pid)), f"process {pid} does not stop")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Look:
    """One moment of a stopped program: `picture` is memreeve's, `kernel` and `mappings` are the test's."""

    def __init__(self, launcher, pid, is_settled):
        for self.tries in range(1, 201):
            with stopped(pid):
                probe(launcher, "places")  # takes back the credit that its threads hold
                self.mappings = smaps(pid)
                self.kernel = kernels_sums(self.mappings)
                self.memory_files = memory_files(pid)
                self.picture = (probe(launcher, "picture", pid) or [None])[0]
                self.image = next(i for i in probe(launcher, "images") if i["pid"] == pid)
                self.root = probe(launcher, "root")[0]
            # A thread may have been stopped within an operation, or between what it charges and what it
            # then does: elsewhere the next time.
            if self.is_quiet() and is_settled(self):
                break
            time.sleep(0.01)

    def is_quiet(self):
        return self.picture and self.picture["in_flight"] == 0

    def charge_adds_up(self):
        """What is charged is what is committed and what was taken otherwise; the owners' is the root's."""
        return self.total("charged") == self.root["charged"] == self.total("committed") + self.image["charged_elsewhere"]

    def total(self, what):
        return sum(o[what] for o in self.picture["owners"].values())

    def owner(self, name, what):
        return self.picture["owners"][name][what]


def check(look, at, alone=True):
    """True when everything holds. To the byte but for what nobody owns, which is below 1 %. `alone`: nothing
    is charged to another process, or was charged to it before."""
    if not expect(look.is_quiet(), f"{at}: no quiet picture in {look.tries} tries"):
        return False
    ours, kernel, image = look.picture["kernel"], look.kernel, look.image
    charged, touched = look.total("charged"), look.total("touched")
    held = kernel["anonymous" if alone else "own_anonymous"] + sum(look.memory_files.values())
    print(f"{at}: tries {look.tries}, mappings {len(look.mappings)}, {kernel}, charged {charged}, touched {touched}, "
          f"memory files {look.memory_files}, charged for files {image['file_pages']}, unclassified "
          f"{ours['unclassified']}, resident {ours['unclassified_resident']}", flush=True)
    return all((
        expect_equal(image["extents_lost"], 0, f"{at}: extents without a slot"),
        *(expect_equal(ours[what], kernel[what], f"{at}: {what}") for what in ("rss", "private_writable", "private_resident")),
        expect_equal(look.total("mapped_writable") + ours["unclassified"], kernel["private_writable"],
                     f"{at}: mapped writable, {look.picture['owners']}"),
        expect_equal(look.total("resident") + ours["unclassified_resident"], kernel["private_resident"],
                     f"{at}: resident, {look.picture['owners']}"),
        expect(ours["unclassified_resident"] * 100 < kernel["private_resident"], f"{at}: nobody owns {ours}"),
        expect(ours["unclassified"] * 100 < kernel["private_writable"], f"{at}: nobody owns {ours}"),
        expect(not alone or look.charge_adds_up(), f"{at}: root {look.root}, elsewhere {image['charged_elsewhere']}, {look.picture['owners']}"),
        # Nothing that takes memory is neither charged nor touched.
        expect(held <= charged + touched + ours["unclassified_resident"], f"{at}: {held} held, {charged} charged, {touched} touched"),
    ))


def moments(command, names, limit, runtime, look_at=None, is_settled=lambda look: True, **options):
    """Runs the program under a limit through its moments, each checked; look_at(moment, look, looks before) adds
    what only this program tells, is_settled(look) says whether a look may be judged."""
    p = start(command, "-q", "--limit", limit, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
    looks = {}
    try:
        for moment in names:
            if not expect_equal(p.stdout.readline().strip(), moment, f"{command}: moment"):
                break
            pids = [i["pid"] for i in probe(p.pid, "images") or [] if i["runtime"] == runtime]
            if not expect_equal(len(pids), 1, f"images of {runtime} at {moment}"):
                break
            for _ in range(3 if moment == "busy" else 1):
                look = Look(p.pid, pids[0], lambda look: look.charge_adds_up() and is_settled(look))
                if check(look, f"{runtime}, {moment}") and look_at:
                    look_at(moment, look, looks)
            looks[moment] = look
            p.stdin.write("\n")
            p.stdin.flush()
        p.stdin.close()
        expect_equal(p.wait(timeout=300), 0, f"{command}: status")
    finally:
        if p.poll() is None:
            p.terminate()
            p.wait()
    return looks
