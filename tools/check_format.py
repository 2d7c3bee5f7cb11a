#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPDX lines and layout.

usage: check_format.py [--fix] [ROOT]
Every source file begins with its SPDX line (scripts: after the interpreter's); C and C++ are laid out
as clang-format 14 does with .clang-format. --fix lays them out. Exit 1 when something is wrong, 77
when clang-format 14 is not there (the SPDX lines are checked all the same).
"""
import shutil
import subprocess
import sys
from pathlib import Path

FOLDERS = ("src", "include", "tests", "examples", "fuzz", "benchmarks", "tools", "cmake", ".ci")
CODE = (".cpp", ".hpp", ".inl", ".c", ".h")
WITH_SPDX = CODE + (".py", ".sh", ".cmake", ".map", ".inc", ".cs", ".S", ".java", ".js")
SCRIPTS = ("check", "try", "bench", "matrix", ".ci/run", "CMakeLists.txt", ".clang-format", ".clang-tidy")
SPDX = "SPDX-License-Identifier: MIT"


def sources(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and (path.suffix in WITH_SPDX or path.name == "CMakeLists.txt"):
                yield path
    for name in SCRIPTS:
        if (root / name).is_file():
            yield root / name


def main():
    arguments = sys.argv[1:]
    fix = "--fix" in arguments
    arguments = [a for a in arguments if a != "--fix"]
    root = Path(arguments[0] if arguments else Path(__file__).resolve().parent.parent).resolve()
    files = list(sources(root))
    bad = 0
    for path in files:
        lines = path.read_text(encoding="utf-8").split("\n", 2)
        if not any(SPDX in line for line in lines[:2]):
            print(f"{path.relative_to(root)}:1: no line '{SPDX}' on top")
            bad += 1
    code = [str(p) for p in files if p.suffix in CODE]
    formatter = shutil.which("clang-format-14") or shutil.which("clang-format")
    version = subprocess.run([formatter, "--version"], capture_output=True, text=True,
                             check=False).stdout if formatter else ""
    if "version 14" not in version:
        print("SKIPPED: layout is defined by clang-format 14 (Debian: apt-get install clang-format-14)")
        return 1 if bad else 77
    if fix:
        subprocess.run([formatter, "-i", *code], check=True)
    done = subprocess.run([formatter, "--dry-run", "--Werror", *code], capture_output=True, text=True, check=False)
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "error:" in line})
    for file in wrong:
        print(f"{Path(file).relative_to(root)}: layout differs from clang-format's (tools/check_format.py --fix)")
    if done.returncode != 0 and not wrong:
        print(done.stderr)
        bad += 1
    print(f"{len(files)} files, {bad + len(wrong)} wrong")
    return 1 if bad or wrong or not code else 0


if __name__ == "__main__":
    sys.exit(main())
