# SPDX-License-Identifier: MIT
# Decisions 1, 2, 19: memory that a program gets through files is charged once per file page. Each
# scenario runs naked first, which tests what it expects of the kernel, then governed, where after
# every step the pages charged must be exactly those named; then some at a limit.
import os
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, expect, expect_equal, finish, helper, probe, run, start

PAGE = 4096
KIB = 1024
TIB = 1 << 40
actor = helper("file_actor")
NOTHING = {}


def runtime(pages):
    return {"runtime": pages} if pages else {}


class Actor:
    def __init__(self, *options, governed=True):
        self.governed = governed
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        if governed:
            self.process = start([actor], "-q", *options, **pipes)
        else:
            self.process = subprocess.Popen([actor], text=True, **pipes)

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def images(self):
        return probe(self.process.pid, "images") or []

    def charged(self, pid=None):
        images = [i for i in self.images() if pid is None or i["pid"] == pid]
        return images[0]["file_pages"] if images else None

    def end(self):
        self.process.stdin.close()
        return self.process.wait(timeout=120)


def play(name, steps, *options, governed_only=False):
    """steps: (command, answer) or (command, answer, pages charged afterwards by owner)."""
    for governed in ([True] if governed_only else [False, True]):
        a = Actor(*options, governed=governed)
        for n, step in enumerate(steps):
            command, wanted = step[0], step[1]
            got = a.do(command)
            good = got == wanted or (wanted == "ok" and got.startswith("ok"))
            where = f"{name}, {'governed' if governed else 'naked'}, step {n} ({command})"
            if not expect(good, f"{where}: {got}, expected {wanted}"):
                break
            if governed and len(step) > 2:
                expect_equal(a.charged(), step[2], f"{where}: pages charged")
        if governed:
            picture = probe(a.process.pid, "picture", a.images()[0]["pid"])
            if expect(picture, f"{name}: no picture"):
                expect(picture[0]["adds_up"], f"{name}: the sums")
                wanted = [s[2] for s in steps if len(s) > 2]
                for owner, pages in (wanted[-1] if wanted else {}).items():
                    charged = picture[0]["owners"][owner]["charged"]
                    expect(charged >= pages * PAGE, f"{name}: {owner} is charged {charged}, files alone {pages} pages")
        expect_equal(a.end(), 0, f"{name}: status")


# ---- views (CoreCLR's way) ----------------------------------------------------------------------------
play("two views of one file", [
    ("memfd 0 data", "ok", NOTHING),
    (f"truncate 0 {2 * TIB}", "ok", NOTHING),
    (f"map 0 0 0 {1 * TIB} -", "ok", NOTHING),
    (f"protect 0 0 {64 * KIB} rw", "ok", runtime(16)),
    (f"map 1 0 0 {64 * KIB} rw", "ok", runtime(16)),
    (f"touch 1 0 {64 * KIB}", "ok", runtime(16)),
    ("read 0 100", "ok 90"),
    (f"map 2 0 {32 * KIB} {64 * KIB} r", "ok", runtime(24)),
    (f"unmap 1 0 {64 * KIB}", "ok", runtime(24)),
    (f"protect 0 0 {64 * KIB} -", "ok", runtime(24)),  # the contents stay
    (f"protect 0 0 {64 * KIB} r", "ok", runtime(24)),
    (f"unmap 0 0 {1 * TIB}", "ok", runtime(24)),
    (f"unmap 2 0 {64 * KIB}", "ok", runtime(24)),  # the descriptor holds it
    ("close 0", "ok"),
    ("memfd 1 other", "ok", NOTHING),
])
play("generated code", [
    ("memfd 0 doublemapper", "ok"),
    (f"truncate 0 {2 * TIB}", "ok", NOTHING),
    (f"reserve 0 {16 * MIB}", "ok", NOTHING),
    (f"map_over 0 0 0 {1 * MIB} -", "ok", NOTHING),
    (f"protect 0 0 {128 * KIB} rx", "ok", {"code": 32}),
    (f"map 1 0 0 {128 * KIB} rw", "ok", {"code": 32}),
    (f"touch 1 0 {128 * KIB}", "ok", {"code": 32}),
    (f"protect 0 {128 * KIB} {64 * KIB} rw", "ok", {"code": 48}),
    (f"unmap 1 0 {128 * KIB}", "ok", {"code": 48}),
    (f"unmap 0 0 {16 * MIB}", "ok", {"code": 48}),
    ("close 0", "ok"),
    (f"anonymous 2 {1 * MIB}", "ok"),
    ("memfd 0 again", "ok", NOTHING),
])
RELEASED = [
    ("memfd 0 doublemapper", "ok"),
    (f"truncate 0 {1 * TIB}", "ok"),
    (f"reserve 0 {16 * MIB}", "ok"),
    (f"map_over 0 0 0 {64 * KIB} -", "ok"),
    (f"protect 0 0 {16 * KIB} rx", "ok"),
    (f"map 1 0 0 {16 * KIB} rw", "ok"),
    (f"touch 1 0 {16 * KIB}", "ok"),
    (f"unmap 1 0 {16 * KIB}", "ok"),
    ("blocks 0", "ok 4"),
]
# Without a limit the books follow the kernel: clearing a block makes memory of it, which stays.
play("generated code is given back", [
    *RELEASED,
    (f"map_over 0 0 0 {64 * KIB} rw", "ok", {"code": 16}),
    (f"clear 0 0 {64 * KIB}", "ok"),
    (f"unmap 0 0 {64 * KIB}", "ok", {"code": 16}),
    ("blocks 0", "ok 16"),
])
play("code by its access", [
    ("memfd 0 jit", "ok"),
    (f"truncate 0 {1 * MIB}", "ok"),
    (f"map 0 0 0 {64 * KIB} rw", "ok", runtime(16)),
    (f"map 1 0 0 {128 * KIB} rx", "ok", {"runtime": 16, "code": 16}),
])
play("the last view goes after the descriptor", [
    ("memfd 0 data", "ok"),
    (f"truncate 0 {1 * MIB}", "ok"),
    (f"map 0 0 0 {1 * MIB} rw", "ok", runtime(256)),
    (f"map 1 0 0 {512 * KIB} rw", "ok", runtime(256)),
    ("close 0", "ok", runtime(256)),
    (f"unmap 0 0 {1 * MIB}", "ok", runtime(256)),
    (f"unmap 1 0 {4 * KIB}", "ok", runtime(256)),
    (f"unmap 1 {8 * KIB} {504 * KIB}", "ok", runtime(256)),
    (f"unmap 1 {4 * KIB} {4 * KIB}", "ok", NOTHING),
])
play("a second descriptor", [
    ("memfd 0 data", "ok"),
    (f"truncate 0 {1 * MIB}", "ok"),
    (f"map 0 0 0 {1 * MIB} rw", "ok", runtime(256)),
    ("dup 0 1", "ok"),
    ("close 0", "ok"),
    (f"unmap 0 0 {1 * MIB}", "ok", runtime(256)),
    (f"map 1 1 0 {1 * MIB} rw", "ok", runtime(256)),
    (f"unmap 1 0 {1 * MIB}", "ok", runtime(256)),
    ("send 1 2", "ok"),
    ("close 1", "ok"),
    (f"map 1 2 0 {1 * MIB} rw", "ok", runtime(256)),
    (f"unmap 1 0 {1 * MIB}", "ok", runtime(256)),
    ("close 2", "ok"),
    ("memfd 5 other", "ok", NOTHING),
])
play("what the kernel refuses is not charged", [
    ("memfd 0 data", "ok"),
    (f"truncate 0 {1 * MIB}", "ok"),
    ("read_only 0 1", "ok"),
    (f"map 0 1 0 {64 * KIB} rw", "EACCES", NOTHING),
    (f"map 0 1 0 {64 * KIB} -", "ok", NOTHING),
    (f"protect 0 0 {64 * KIB} rw", "EACCES", NOTHING),
    (f"protect 0 0 {32 * KIB} r", "ok", runtime(8)),
    (f"protect 0 0 {64 * KIB} rw", "EACCES", runtime(8)),
    (f"reserve 1 {1 * MIB}", "ok"),
    (f"map_over 1 1 0 {64 * KIB} -", "ok", runtime(8)),
    (f"protect 1 0 {64 * KIB} rw", "EACCES", runtime(8)),
    (f"map_over 1 1 0 {64 * KIB} rw", "EACCES", runtime(8)),
    (f"protect 1 0 {64 * KIB} r", "ok", runtime(16)),
    ("seal 0", "ok"),
    (f"fallocate 0 0 0 {1 * MIB}", "ok", runtime(256)),
    (f"fallocate 0 0 0 {2 * MIB}", "EPERM", runtime(256)),
    (f"posix_fallocate 0 0 {2 * MIB}", "EPERM", runtime(256)),
    (f"truncate 0 {2 * MIB}", "EPERM", runtime(256)),
    ("truncate 0 0", "EPERM", runtime(256)),
    (f"fallocate 1 0 0 {1 * MIB}", "EBADF", runtime(256)),
    (f"fallocate 0 3 0 {1 * MIB}", "ok", NOTHING),
    (f"fallocate 0 0 {1 * MIB} {1 * MIB}", "EPERM", NOTHING),
])
play("moved and made longer", [
    ("memfd 0 data", "ok"),
    (f"truncate 0 {1 * MIB}", "ok"),
    (f"map 0 0 0 {64 * KIB} rw", "ok", runtime(16)),
    (f"remap 0 {64 * KIB} {256 * KIB}", "ok", runtime(64)),
    (f"touch 0 0 {256 * KIB}", "ok", runtime(64)),
    (f"remap 0 {256 * KIB} {4 * KIB}", "ok", runtime(64)),
    ("close 0", "ok"),
    (f"unmap 0 0 {4 * KIB}", "ok", NOTHING),
])
play("anonymous memory over a view", [
    ("memfd 0 data", "ok"),
    (f"truncate 0 {1 * MIB}", "ok"),
    (f"reserve 0 {1 * MIB}", "ok"),
    (f"map_over 0 0 0 {1 * MIB} rw", "ok", runtime(256)),
    ("memfd 1 data", "ok"),
    (f"truncate 1 {1 * MIB}", "ok"),
    ("close 0", "ok", runtime(256)),
    (f"map_over 0 1 0 {1 * MIB} rw", "ok", runtime(256)),
    (f"unmap 0 0 {1 * MIB}", "ok", runtime(256)),
    ("close 1", "ok"),
    ("memfd 1 data", "ok", NOTHING),
])
play("private views and plain files", [
    ("memfd 0 data", "ok"),
    (f"truncate 0 {1 * MIB}", "ok"),
    (f"map_private 0 0 0 {1 * MIB} rw", "ok", NOTHING),
    (f"touch 0 0 {1 * MIB}", "ok", NOTHING),
])
with Folder() as folder:
    play("a file on disk", [
        (f"open 0 {folder.file('plain')}", "ok"),
        (f"truncate 0 {1 * MIB}", "ok", NOTHING),
        (f"map 0 0 0 {1 * MIB} rw", "ok", NOTHING),
        (f"posix_fallocate 0 0 {2 * MIB}", "ok", NOTHING),
        (f"touch 0 0 {1 * MIB}", "ok", NOTHING),
    ])

# ---- contents (ZGC's way) -------------------------------------------------------------------------------
play("given and taken", [
    ("memfd 0 java_heap", "ok"),
    (f"truncate 0 {64 * MIB}", "ok", NOTHING),
    (f"fallocate 0 0 0 {2 * MIB}", "ok", runtime(512)),
    (f"fallocate 0 0 {1 * MIB} {2 * MIB}", "ok", runtime(768)),
    (f"reserve 0 {64 * MIB}", "ok"),
    (f"map_over 0 0 0 {3 * MIB} rw", "ok", runtime(768)),
    (f"map 1 0 0 {3 * MIB} rw", "ok", runtime(768)),
    (f"touch 1 0 {3 * MIB}", "ok"),
    (f"fallocate 0 3 {1 * MIB} {1 * MIB}", "ok", runtime(512)),
    (f"fallocate 0 3 100 {4096 - 100}", "ok", runtime(512)),  # not a whole page
    (f"fallocate 0 3 100 {2 * 4096}", "ok", runtime(511)),
    (f"remove 1 0 {8 * KIB}", "ok", runtime(510)),
    (f"fallocate 0 3 0 {64 * MIB}", "ok", NOTHING),
    (f"posix_fallocate 0 {10 * MIB} {1 * MIB}", "ok", runtime(256)),
    (f"fallocate 0 1 {80 * MIB} {1 * MIB}", "ok", runtime(512)),  # beyond the end
    ("fallocate 0 0 -1 10", "EINVAL", runtime(512)),
    ("fallocate 0 0 0 0", "EINVAL", runtime(512)),
    ("posix_fallocate 0 0 0", "EINVAL", runtime(512)),
    ("posix_fallocate 0 0 -1", "EINVAL", runtime(512)),
    ("truncate 0 -1", "EINVAL", runtime(512)),
    (f"truncate 0 {10 * MIB + 100 * PAGE}", "ok", runtime(100)),
    (f"truncate 0 {10 * MIB + 99 * PAGE + 1}", "ok", runtime(100)),
    ("truncate 0 0", "ok", NOTHING),
])
play("the end of the file moves under a view", [
    ("memfd 0 data", "ok"),
    (f"map 0 0 0 {1 * MIB} rw", "ok", NOTHING),
    (f"truncate 0 {100 * PAGE}", "ok", runtime(100)),
    (f"truncate 0 {300 * PAGE}", "ok", runtime(256)),
    (f"touch 0 0 {1 * MIB}", "ok"),
    (f"protect 0 0 {128 * PAGE} -", "ok", runtime(256)),
    (f"truncate 0 {50 * PAGE}", "ok", runtime(50)),
    (f"truncate 0 {300 * PAGE}", "ok", runtime(50 + 128)),  # 50 to 128 cannot be touched
    (f"protect 0 0 {1 * MIB} rw", "ok", runtime(256)),
])

# ---- POSIX objects and SysV segments ------------------------------------------------------------------------
name = f"/memreeve-test-{os.getpid()}"
play("a POSIX object", [
    (f"shm_open 0 {name}", "ok"),
    (f"truncate 0 {1 * MIB}", "ok", NOTHING),
    (f"map 0 0 0 {1 * MIB} rw", "ok", runtime(256)),
    ("close 0", "ok"),
    (f"unmap 0 0 {1 * MIB}", "ok", runtime(256)),  # the name holds it
    (f"shm_open 1 {name}", "ok", runtime(256)),
    (f"map 0 1 0 {1 * MIB} r", "ok", runtime(256)),
    ("read 0 0", "ok 0"),
    (f"shm_unlink {name}", "ok", runtime(256)),
    ("close 1", "ok"),
    (f"unmap 0 0 {1 * MIB}", "ok", NOTHING),
    ("shm_open 1 a/b", "EINVAL"),
    ("shm_open 1 /", "EINVAL"),
    (f"shm_open 1 /{'n' * 300}", "EINVAL"),
    (f"shm_unlink {name}", "ENOENT"),
    ("shm_unlink a/b", "ENOENT"),
])
play("a segment", [
    (f"segment 0 {1 * MIB}", "ok", NOTHING),
    ("attach 0 0 rw", "ok", runtime(256)),
    (f"touch 0 0 {1 * MIB}", "ok"),
    ("attach 1 0 r", "ok", runtime(256)),
    ("read 1 5", "ok 90"),
    ("detach 0", "ok", runtime(256)),
    ("detach 1", "ok", runtime(256)),  # it exists on
    ("detach 1", "EINVAL", runtime(256)),
    ("attach 1 0 rw", "ok", runtime(256)),
    ("remove_segment 0", "ok", runtime(256)),
    ("detach 1", "ok", NOTHING),
    (f"segment 0 {1 * MIB}", "ok"),
    ("attach 1 0 rw", "ok", runtime(256)),
    ("detach 1", "ok", runtime(256)),
    ("remove_segment 0", "ok", NOTHING),
])

# ---- fork and exec --------------------------------------------------------------------------------------------
for governed in (False, True):
    a = Actor(governed=governed)
    for command in ("memfd 0 data", f"truncate 0 {4 * MIB}", f"map 0 0 0 {1 * MIB} rw"):
        expect(a.do(command).startswith("ok"), command)
    parent = a.images()[0]["pid"] if governed else 0
    child = int(a.do("fork").split()[1])

    def both(command, in_child, in_parent):
        expect(a.do(command).startswith("ok"), command)
        if governed:
            expect_equal(a.charged(child), in_child, f"the child after {command}")
            expect_equal(a.charged(parent), in_parent, f"the parent after {command}")

    both(f"protect 0 0 {1 * MIB} rw", NOTHING, runtime(256))
    both(f"map 1 0 0 {2 * MIB} rw", runtime(256), runtime(256))  # the second half is new
    both(f"touch 1 0 {2 * MIB}", runtime(256), runtime(256))
    both(f"fallocate 0 3 0 {1 * MIB}", runtime(256), runtime(256))
    both(f"map 2 0 0 {1 * MIB} rw", runtime(512), runtime(256))
    both("exec", NOTHING, runtime(256)) if governed else a.do("exec")
    child_gone = a.do("exit")
    expect(child_gone.startswith("ok"), "the parent goes on")
    if governed:
        expect_equal(a.charged(parent), runtime(256), "the parent at the end")
    expect_equal(a.end(), 0, "fork: status")

# ---- at a limit --------------------------------------------------------------------------------------------------
LIMIT = ("--limit", "64M", "--reserve", "0")
play("a view is refused", [
    ("memfd 0 data", "ok"),
    (f"truncate 0 {2 * TIB}", "ok", NOTHING),
    (f"map 0 0 0 {1 * TIB} rw", "ENOMEM", NOTHING),
    (f"map 0 0 0 {1 * TIB} -", "ok", NOTHING),
    (f"protect 0 0 {100 * MIB} rw", "ENOMEM", NOTHING),
    (f"protect 0 0 {40 * MIB} rw", "ok", runtime(10240)),
    (f"map 1 0 {20 * MIB} {60 * MIB} rw", "ENOMEM", runtime(10240)),
    (f"map 1 0 {20 * MIB} {30 * MIB} rw", "ok", runtime(12800)),
    (f"anonymous 2 {32 * MIB}", "ENOMEM"),
    (f"remap 1 {30 * MIB} {60 * MIB}", "ENOMEM", runtime(12800)),
    (f"truncate 0 {10 * MIB}", "ok", runtime(2560)),
    (f"anonymous 2 {32 * MIB}", "ok", runtime(2560)),
], *LIMIT, governed_only=True)
play("what a file holds is refused", [
    ("memfd 0 java_heap", "ok"),
    (f"truncate 0 {1 * TIB}", "ok", NOTHING),
    (f"fallocate 0 0 0 {100 * MIB}", "ENOSPC", NOTHING),
    (f"posix_fallocate 0 0 {100 * MIB}", "ENOSPC", NOTHING),
    (f"fallocate 0 0 0 {40 * MIB}", "ok", runtime(10240)),
    (f"anonymous 2 {32 * MIB}", "ENOMEM"),
    (f"fallocate 0 3 0 {40 * MIB}", "ok", NOTHING),
    (f"anonymous 2 {32 * MIB}", "ok", NOTHING),
    (f"fallocate 0 0 0 {40 * MIB}", "ENOSPC", NOTHING),
    (f"unmap 2 0 {32 * MIB}", "ok"),
    (f"fallocate 0 0 0 {40 * MIB}", "ok", runtime(10240)),
    ("close 0", "ok"),
    (f"anonymous 2 {32 * MIB}", "ok", NOTHING),  # the file is gone, which is found out before the refusal
    (f"segment 0 {60 * MIB}", "ok"),
    ("attach 3 0 rw", "ENOMEM", NOTHING),
    ("remove_segment 0", "ok"),
    ("memfd 0 data", "ok"),
    (f"map 4 0 0 {60 * MIB} rw", "ok", NOTHING),
    (f"truncate 0 {60 * MIB}", "ENOSPC", NOTHING),
    (f"truncate 0 {10 * MIB}", "ok", runtime(2560)),
], *LIMIT, governed_only=True)

# ---- release is never refused ------------------------------------------------------------------------------------
# CoreCLR's way: a block of which a quarter was committed is cleared as a whole. 16 pages at the end of
# the file serve for that, paid for with the first view; the block's own are free at once.
BLOCK = 64 * KIB
SMALL = ("--limit", "24M", "--reserve", "6M")  # what is only touched does not matter here (decision 2)
play("generated code is given back at the limit", [
    *RELEASED,
    ("fill", "ok", {"code": 16 + 4}),
    (f"protect 0 0 {BLOCK} rx", "ENOMEM", {"code": 16 + 4}),
    (f"map_over 0 0 {4 * BLOCK} {BLOCK} rw", "ENOMEM", {"code": 16 + 4}),  # another block's place: not a release
    (f"map_over 0 0 0 {BLOCK} rw", "ok", {"code": 16}),
    ("blocks 0", "ok 0"),
    (f"clear 0 0 {BLOCK}", "ok"),
    ("blocks 0", "ok 16"),
    (f"unmap 0 0 {BLOCK}", "ok", {"code": 16}),
    (f"map 2 0 0 {4 * PAGE} rx", "ok", {"code": 16 + 4}),  # what came back can be used, and is clear
    ("read 2 0", "ok 0"),
    (f"map 3 0 {4 * PAGE} {PAGE} rx", "ENOMEM", {"code": 16 + 4}),
], *SMALL, governed_only=True)
# A longer one takes several mappings, of which the kernel may refuse some (at its mapping limit): either all of the block
# can be cleared then, or the program finds it as it was.
LONGER = [
    *RELEASED[:3],
    (f"map_over 0 0 0 {4 * BLOCK} -", "ok"),
    *RELEASED[4:],
]
play("a longer block", [
    *LONGER,
    ("fill", "ok", {"code": 16 + 4}),
    (f"map_over 0 0 0 {4 * BLOCK} rw", "ok", {"code": 16}),
    (f"clear 0 0 {4 * BLOCK}", "ok"),
    ("blocks 0", "ok 16"),
    (f"unmap 0 0 {4 * BLOCK}", "ok", {"code": 16}),
], *SMALL, governed_only=True)
for at in (1, 3):
    play(f"a longer block, whose mapping {at} is refused", [
        *LONGER,
        ("anonymous 2 1048576", "ok"),
        ("fill", "ok", {"code": 16 + 4}),
        (f"refuse 0 {at * BLOCK}", "ok"),
        (f"map_over 0 0 0 {4 * BLOCK} rw", "ENOMEM", {"code": 16 + 4}),  # nor is there anything left to clear it with
        ("read 0 0", "ok 90"),
        (f"read 0 {4 * PAGE - 1}", "ok 90"),
        ("blocks 0", "ok 4"),
        ("unmap 2 0 1048576", "ok"),
        (f"map_over 0 0 0 {4 * BLOCK} rw", "ok", {"code": 16 + 16 * (4 - at)}),
        ("blocks 0", "ok 0"),
        (f"clear 0 0 {4 * BLOCK}", "ok"),
        ("blocks 0", f"ok {16 + 16 * (4 - at)}"),
        (f"unmap 0 0 {4 * BLOCK}", "ok", {"code": 16 + 16 * (4 - at)}),
    ], *SMALL, governed_only=True)
play("a longer block that cannot be mapped at all", [
    *LONGER,
    ("refuse 0 0", "ok"),
    (f"map_over 0 0 0 {4 * BLOCK} rw", "ENOMEM", {"code": 16 + 4}),
    ("read 0 0", "ok 90"),
], *SMALL, governed_only=True)
play("a block of which nothing was committed", [
    *RELEASED[:4],
    ("fill", "ok", {"code": 16}),
    (f"map_over 0 0 0 {BLOCK} rw", "ok", {"code": 16}),
    (f"clear 0 0 {BLOCK}", "ok"),
    (f"unmap 0 0 {BLOCK}", "ok", {"code": 16}),
], *SMALL, governed_only=True)
play("another program's file is no such block", [
    ("memfd 0 data", "ok"),
    *RELEASED[1:],
    ("fill", "ok"),
    (f"map_over 0 0 0 {BLOCK} rw", "ENOMEM"),
    ("blocks 0", "ok 4"),
    ("read 0 0", "ok 90"),
], *SMALL, governed_only=True)

# The summary counts the refusals and never shows more than the limit.
r = run([actor], *LIMIT, input="\n".join([
    "memfd 0 data", f"truncate 0 {1 * TIB}", f"map 0 0 0 {100 * MIB} rw", f"fallocate 0 0 0 {100 * MIB}",
    f"fallocate 0 0 0 {50 * MIB}", f"map 0 0 0 {50 * MIB} rw", ""]))
expect_equal([line.split()[0] for line in r.out.splitlines()], ["ok", "ok", "ENOMEM", "ENOSPC", "ok", "ok"], "answers")
p = r.summary["processes"][0]
expect_equal(p["refusals"], {"task": 2, "appdomain": 0, "process": 0}, "refusals")
charged = {o["name"]: o["charged_bytes"] for o in p["owners"]}
expect(50 * MIB <= charged["runtime"] < 51 * MIB, f"charged {charged}")
committed = {o["name"]: o["committed_bytes"] for o in p["owners"]}
expect(committed["runtime"] < MIB, f"a file page is not committed: {committed}")
expect(r.summary["peak_charged_bytes"] <= 64 * MIB, "peak above the limit")
finish()
