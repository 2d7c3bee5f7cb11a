# SPDX-License-Identifier: MIT
# How much of what programs commit does the bridge see? strace sees all of it; every call is attributed
# by its instruction pointer (_strace.py). Seen is
#   bridge      what the bridge issued: the program's requests, and the heap behind malloc
#   reconciled  what the loader mapped, recorded afterwards: only as far as a picture taken while the
#               program stands still finds no memory that nobody owns
#   stacks      what libc mapped for threads, where the ledger has the stack noted
# and at least 99.5 % of the committed bytes must be. The checker itself is tested with a library that
# keeps the malloc names, or pthread_create, from the bridge.
import collections
import os
import shutil
import struct
import subprocess
import sys
import time

import _strace
import _support  # noqa: F401
from _dotnet import dotnet_app, mono_app
from _run import BIN, MEMREEVE, MIB, SOURCE, Folder, expect, expect_equal, finish, probe, skip

BOUND = 0.995
LIB = os.path.abspath(os.environ.get("MEMREEVE_LIB", os.path.join(BIN, "..", "lib")))
LIBRARY = "libmemreeve_preload.so"
PROGRAMS = os.path.join(SOURCE, "tests", "runtime", "programs")


def mib(n):
    return f"{n / MIB:9.1f}"


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(w) for w in f.read().split()]
    except OSError:
        return []


class Figures:
    def __init__(self, images, noted, unclassified):
        self.own = sum(i.own_bytes for i in images)
        self.bridge = self.loader = self.stacks = self.unseen_stacks = 0
        self.missed = collections.Counter()
        for image in images:
            for f in image.flows:
                if f.issuer == LIBRARY:
                    self.bridge += f.size
                elif f.issuer == "loader":
                    self.loader += f.size
                elif f.is_stack and any(low < f.begin + f.size and f.begin < high for low, high in noted):
                    self.stacks += f.size
                else:
                    self.missed[f"{f.issuer}: {f.what}" + (" of a thread stack" if f.is_stack else "")] += f.size
        unclassified = min(unclassified, self.loader)
        if unclassified:
            self.loader -= unclassified
            self.missed["mapped by the loader, owned by nobody"] += unclassified
        self.total = self.bridge + self.loader + self.stacks + sum(self.missed.values())
        self.late = all(what.endswith(" of a thread stack") for what in self.missed)
        self.share = 1 - sum(self.missed.values()) / self.total if self.total else 0.0

    def row(self, name):
        worst = ", ".join(f"{what} {n / MIB:.2f}" for what, n in self.missed.most_common(3))
        return (f"{name:10} {mib(self.total)} {mib(self.bridge)} {mib(self.loader)} {mib(self.stacks)} "
                f"{mib(sum(self.missed.values()))} {100 * self.share:8.3f} % {mib(self.own)}  {worst}")


def blinded(folder, what, names):
    """A copy of the preload library in which these names are local, so that the loader passes them over."""
    with open(os.path.join(LIB, LIBRARY), "rb") as file:
        content = bytearray(file.read())
    table, = struct.unpack_from("<Q", content, 40)  # ELF64: section headers, their number
    number, = struct.unpack_from("<H", content, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", content, table + 64 * i) for i in range(number)]
    symbols = next(s for s in sections if s[1] == 11)  # SHT_DYNSYM
    strings = sections[symbols[6]][4]
    hidden = set()
    for at in range(symbols[4], symbols[4] + symbols[5], 24):
        begin, info, _, section = struct.unpack_from("<IBBH", content, at)
        name = content[strings + begin:content.index(b"\0", strings + begin)].decode()
        if section != 0 and name in names:
            content[at + 4] = info & 15  # STB_LOCAL
            hidden.add(name)
    expect_equal(hidden, set(names), "names found in the library")
    path = os.path.join(folder.path, what, LIBRARY)
    os.mkdir(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, 0o755)
    return path


def measure(name, command, folder, library=None):
    """Runs the program traced until it stands still, looks, lets it end; its figures, None when that failed."""
    trace = folder.file(name + ".trace")
    governed = [MEMREEVE, "run", "-q", "--", *command]
    if library:
        governed = ["env", "MEMREEVE_PRELOAD=" + library, *governed]
    p = subprocess.Popen(_strace.command(trace, *governed), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if not expect_equal(p.stdout.readline(), "standing\n", f"{name}: its line"):
        p.kill()
        p.communicate()
        return None
    launcher = children_of(p.pid)[0]
    noted, unclassified = [], 0
    for image in probe(launcher, "images") or []:
        noted += (probe(launcher, "stacks", image["pid"]) or [[]])[0]
        picture = (probe(launcher, "picture", image["pid"]) or [None])[0]
        if expect(picture, f"{name}: no picture of {image}"):
            unclassified += picture["kernel"]["unclassified"]
    # A runtime starts threads of its own until it ends: their stacks are noted, if one looks in time.
    p.stdin.write("\n")
    p.stdin.flush()
    deadline = time.monotonic() + 300
    while p.poll() is None and time.monotonic() < deadline:
        for image in probe(launcher, "images") or []:
            noted += (probe(launcher, "stacks", image["pid"]) or [[]])[0]
        time.sleep(0.01)
    expect(p.communicate(timeout=60)[0] == "" and p.returncode == 0, f"{name}: status {p.returncode}")
    figures = Figures(_strace.read(trace, LIBRARY, MEMREEVE), noted, unclassified)
    print(figures.row(name), flush=True)
    return figures


def runtimes():
    python = os.path.join(PROGRAMS, "mixed.py")
    yield "python", lambda: [os.path.realpath(sys.executable), python]
    if shutil.which("mono") and shutil.which("mcs"):
        yield "mono", lambda: ["mono", mono_app(), "mixed"]
    if shutil.which("dotnet"):
        yield "dotnet", lambda: ["dotnet", os.path.join(dotnet_app(), "app.dll"), "mixed"]
    if shutil.which("java"):
        yield "java", lambda: ["java", os.path.join(PROGRAMS, "Mixed.java")]
    if shutil.which("node"):
        yield "node", lambda: ["node", os.path.join(PROGRAMS, "mixed.js")]


if reason := _strace.why_not():
    skip(reason)
print(f"{'MiB':10} {'committed':>9} {'bridge':>9} {'loader':>9} {'stacks':>9} {'missed':>9} {'seen':>10} {'own':>9}  missed most")
wanted = sys.argv[1:]
with Folder() as folder:
    for name, command in runtimes():
        if wanted and name not in wanted:
            continue
        figures = measure(name, command(), folder)
        for _ in range(3):
            if figures is None or figures.share >= BOUND or not figures.late:
                break
            # A thread that ended before one could look: what is never noted is missed each time.
            figures = measure(name, command(), folder)
        if figures:
            expect(figures.total > 64 * MIB, f"{name}: commits too little to say anything")
            expect(figures.share >= BOUND, f"{name}: {100 * figures.share:.3f} % seen, {dict(figures.missed)}")
    # The checker: what the bridge does not see must show.
    python = dict(runtimes())["python"]()
    for what, names in (("malloc", ("malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign", "free")),
                        ("stacks", ("pthread_create",))):
        figures = measure("no " + what, python, folder, blinded(folder, what, names))
        if figures:
            expect(figures.share < BOUND, f"without {what} {100 * figures.share:.3f} % are still seen")
finish()
