#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the exported symbols of a shared library with a checked-in list.

usage: check_exports.py LIBRARY LIST            exit 1 when they differ
       check_exports.py --update LIBRARY LIST   writes the list
"""
import subprocess
import sys
from pathlib import Path


def exported(library):
    out = subprocess.run(["nm", "-D", "--defined-only", "-P", library], capture_output=True, text=True,
                         check=True).stdout
    rows = (line.split() for line in out.splitlines())
    return {row[0].split("@")[0] for row in rows if row[1] != "A"}


def main():
    arguments = sys.argv[1:]
    update = arguments[:1] == ["--update"]
    if len(arguments) - update != 2:
        sys.exit(__doc__)
    library, list_file = arguments[update:]
    have = exported(library)
    if update:
        Path(list_file).write_text("".join(f"{name}\n" for name in sorted(have)), encoding="utf-8")
        return 0
    want = set(Path(list_file).read_text(encoding="utf-8").split())
    for name in sorted(have - want):
        print(f"{library} exports {name}, which {list_file} does not list")
    for name in sorted(want - have):
        print(f"{library} does not export {name}, which {list_file} lists")
    print(f"{len(have)} exported, {len(have ^ want)} differences")
    return 1 if have != want else 0


if __name__ == "__main__":
    sys.exit(main())
