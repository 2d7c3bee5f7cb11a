#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions of a block's allocation and free: differences of two lengths under callgrind, so exact,
whatever else the machine does.

usage: heap_instructions.py HEAP_DRIVER LIBMEMREEVE MEMREEVE [--self-test]

--self-test: with the C library's malloc, which takes more, every case must be found too long."""
import re
import shutil
import subprocess
import sys

FEWER, MORE = 10_000, 60_000
# Fewer than the loop and two calls take: then nothing was measured.
LEAST = 15

# what, heap, row, bound, under memreeve. The bounds are what was reached and a little; the goal of the first
# is 60 (metric heap_pair_instructions).
CASES = [
    ("Alloc and Free, 32 bytes", "host", "pair", 72, False),
    ("Alloc and Free, 16-128 bytes in 1024 slots", "host", "small", 86, False),
    ("malloc and free of a governed program, 32 bytes", "malloc", "pair", 96, True),
]


def counted(command):
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"]
    at = command.index("--") + 1 if "--" in command else 0
    run = subprocess.run(command[:at] + valgrind + command[at:], capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", run.stdout)
    if run.returncode != 0 or not found:
        sys.exit(f"{' '.join(command)}: status {run.returncode}\n{run.stdout}{run.stderr}")
    return int(found[1])


def main():
    self_test = sys.argv[-1] == "--self-test"
    arguments = sys.argv[1:-1] if self_test else sys.argv[1:]
    if len(arguments) != 3:
        sys.exit(__doc__)
    driver, library, memreeve = arguments
    if not shutil.which("valgrind"):
        print("valgrind is not installed")
        sys.exit(77)
    too_long = 0
    for what, heap, row, bound, governed in CASES:
        command = [driver, f"host:{library}" if heap == "host" and not self_test else "malloc", row, "--exactly"]
        if governed and not self_test:
            command = [memreeve, "run", "-q", "--", *command]
        each = (counted([*command, str(MORE)]) - counted([*command, str(FEWER)])) / (MORE - FEWER)
        print(f"{what}: {each:.1f} instructions, at most {bound}")
        if each < LEAST:
            sys.exit("that is less than the loop takes")
        too_long += each > bound
    return 0 if too_long == (len(CASES) if self_test else 0) else 1


if __name__ == "__main__":
    sys.exit(main())
