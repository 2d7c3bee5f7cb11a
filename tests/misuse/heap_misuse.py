# SPDX-License-Identifier: MIT
# Misuse of heaps through IHostMalloc and the C interface, a case each (the table: _heap_cases.py): the
# exit status, every line of what the program was answered and every line that memreeve reports, exactly.
# Addresses are compared by the names that the program gives them.
import re
import subprocess

import _support
from _heap_cases import cases, freed, refused
from _run import expect, expect_equal, finish, helper

program = helper("heap_misuse")

ENDS = ["goes on", "ends well"]


def named(text, names):
    return re.sub(r"0x[0-9a-f]+", lambda m: "{" + names.get(m.group(0), "?") + "}", text)


def run(case):
    done = subprocess.run([program, *case.split()], capture_output=True, text=True, timeout=120, errors="replace")
    names = {}
    out = []
    for one in done.stdout.splitlines():
        m = re.fullmatch(r"(\w+) = (0x[0-9a-f]+)", one)
        if m:
            if m.group(1) != "told":
                names[m.group(2)] = m.group(1)
        else:
            out.append(one if one.startswith("VirtualFree: ") else named(one, names))
    # The last name of an address holds; a line may come before the program has named it.
    return done.returncode, out, [named(e, names) for e in done.stderr.splitlines()]


def agrees(got, wanted):
    """Line by line; where two blocks may lie either way, "(DebugAlloc at a|b)" is one of the two."""
    def one(g, w):
        places = re.search(r"\(DebugAlloc at ([^)]*\|[^)]*)\)", w)
        if places is None:
            return g == w
        return any(g == w.replace(places.group(1), p) for p in places.group(1).split("|"))
    return len(got) == len(wanted) and all(one(g, w) for g, w in zip(got, wanted))


for case, out, err, *status in cases:
    got = run(case)
    wanted = (status[0] if status else 0, out + ENDS, err)
    expect(got[0] == wanted[0] and got[1] == wanted[1] and agrees(got[2], wanted[2]),
           f"{case}:\n  got      {got}\n  expected {wanted}")

# The test of the test: what does not agree is seen, each of the three by itself.
good = run("twice 100")
planted = run("planted")
expect_equal(planted, (3, ["Free(p): S_OK", "and says so"], []), "the planted case")
expect(not agrees(good[2], [refused("p", freed(200))]), "another size was taken for the same")
expect(not agrees(good[2], []) and not agrees([], good[2]), "a missing line was not seen")
expect(agrees(good[2], [refused("p", freed(100))]), "the right line was not recognised")
expect_equal(run("no_such_case")[0], 2, "a case that does not exist")
# Every case of the program has a row; a name that two of its cases share would run one of them.
listed = subprocess.run([program, "--cases"], capture_output=True, text=True, timeout=120).stdout.split()
rows = {c[0].split()[0] for c in cases} | {"planted"}
expect_equal((set(listed) ^ rows, len(listed)), (set(), len(rows)), "cases without rows, rows without cases; names")
expect(len({c[0] for c in cases}) == len(cases) and len(cases) >= 100, f"{len(cases)} cases")
print(len(cases), "cases")
finish()
