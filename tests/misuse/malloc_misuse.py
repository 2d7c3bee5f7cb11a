# SPDX-License-Identifier: MIT
# Misuse of the malloc family by a governed program: it ends as under libc, by SIGABRT, with one line that
# names what was done; what was never ours is libc's to judge. Exact status, output and lines.
import re
import signal

import _support
from _run import expect, expect_equal, finish, helper, run

program = helper("malloc_misuse")
ABORTED = 128 + signal.SIGABRT
ENDS = "; the program ends as under libc (SIGABRT)"
NEVER = "was freed before, or never handed out"


def freed(n, call="free", sure=False):
    return [f"memreeve: {call}(): double free {{p}}: the block of {n} bytes there "
            f"{'was freed before' if sure else NEVER}{ENDS}"]


def wrong(what, call="free"):
    return [f"memreeve: {call}(): invalid pointer {{wrong}}: {what}{ENDS}"]


def into(offset, n, call="free"):
    return wrong(f"{offset} bytes into the live block of {n} bytes at {{p}}", call)


# case, exit status, the program's lines, the lines about it
cases = [
    ("innocent", 0, ["went on"], []),
    ("innocent 200000", 0, ["went on"], []),
    ("twice", ABORTED, [], freed(112)),
    ("twice 1", ABORTED, [], freed(16)),
    ("twice 4000", ABORTED, [], freed(4096)),
    ("twice 32768", ABORTED, [], freed(32768)),
    ("twice 200000", ABORTED, [], freed(200704, sure=True)),
    ("twice 5000000", ABORTED, [], freed(5001216, sure=True)),
    ("twice_zeroed", ABORTED, [], freed(112)),
    ("twice_aligned 200", ABORTED, [], freed(256)),
    ("interior", ABORTED, [], into(8, 112)),
    ("interior 100 16", ABORTED, [], into(16, 112)),
    ("interior 1000 512", ABORTED, [], into(512, 1024)),
    ("interior 200000 16", ABORTED, [], into(16, 200704)),
    ("interior 200000 4096", ABORTED, [], into(4096, 200704)),
    ("interior_of_free 100 8", ABORTED, [], wrong("inside the block of 112 bytes at {p}, which is not live")),
    ("realloc_of_free", ABORTED, [], freed(112, "realloc")),
    ("realloc_interior", ABORTED, [], into(8, 112, "realloc")),
    ("free_of_moved", ABORTED, [], freed(112)),
    ("realloc_to_nothing_then_free", ABORTED, [], freed(112)),
    ("by_two_threads", ABORTED, [], freed(112)),
    ("by_a_thread", ABORTED, [], freed(112)),
    ("in_a_child", 0, ["child: SIGABRT", "went on"], freed(112)),
    ("child_and_parent", 0, ["child: 0", "went on"], []),
    ("in_a_handler", ABORTED, [], ["free(): invalid pointer"]),
    ("stack", ABORTED, [], ["free(): invalid pointer"]),
    ("global", ABORTED, [], ["free(): invalid pointer"]),
    ("mapping", ABORTED, [], wrong("not memory of this heap")),
    ("usable_of_free", 0, ["usable: 0", "went on"], []),
    ("overrun", 0, ["went on"], []),
    ("overrun 16", 0, ["went on"], []),
    ("sizes_that_cannot_be", 0, ["1 1 1 1", "went on"], []),
    ("bad_alignment", 0, ["22 22 22 22", "went on"], []),
]

# What memreeve run says itself when a program has ended.
CLOSING = re.compile(r"memreeve: (\S+malloc_misuse (ended|was ended)|requests:|peak charged|charged |touched |refusals:|"
                     r"it ended before anybody)")


def lines_of(case):
    r = run([program, *case.split()])
    names = {}
    out = []
    for one in r.out.splitlines():
        m = re.fullmatch(r"(\w+) = (0x[0-9a-f]+)", one)
        if m:
            names[m.group(2)] = m.group(1)
        else:
            out.append(one)
    named = [re.sub(r"0x[0-9a-f]+", lambda m: "{" + names.get(m.group(0), "?") + "}", e) for e in r.lines]
    return r.status, out, [e for e in named if not CLOSING.match(e)]


for case, status, out, err in cases:
    expect_equal(lines_of(case), (status, out, err), case)

# The test of the test.
expect_equal(lines_of("planted"), (3, [], []), "the planted case")
expect_equal(lines_of("no_such_case"), (2, [], ["malloc_misuse: no such case"]), "a case that does not exist")
expect(lines_of("twice")[2] != freed(128), "another size was taken for the same")
print(len(cases), "cases")
finish()
