#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plants one mistake at a time in a copy of the tree and checks that the named test goes red.

A test that stays green is worth nothing: exit 1 and the name of the mistake. Builds in a temporary
directory; the tree itself is not touched. A test that skips (no such runtime here) is neither.
The mistakes are the rows of tools/planted/."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from planted import ROOT, faults


def programs_of_scripts():
    """What the scripts of tests/cli and tests/runtime start."""
    made = ["memreeve_cli", "memreeve_preload", "ledger_probe", "runtime_ballast", "runtime_guest", "runtime_passes"]
    for label in ("cli", "runtime"):
        folder = ROOT / "tests" / label
        made += [f"{label}_{p.stem}" for p in sorted([*folder.glob("*.c"), *folder.glob("programs/*.c")])]
    return made


def ends_red(tree, build, target, arguments):
    """Whether the test fails; None when it skips."""
    try:
        if target.endswith(".py"):
            places = {"MEMREEVE_BIN": str(build / "bin"), "MEMREEVE_LIB": str(build / "lib"), "MEMREEVE_SOURCE": str(tree)}
            status = run([sys.executable, str(tree / target), *arguments], timeout=900, cwd=build, env={**os.environ, **places}).returncode
            return None if status == 77 else status != 0
        program = next(p for p in build.rglob(target) if p.is_file())
        return run([str(program), *arguments], timeout=300).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def run(command, **kw):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--jobs", default="2", help="parallel compilations (2)")
    ap.add_argument("--texts", action="store_true",
                    help="build nothing: are the texts to change still there?")
    ap.add_argument("--only", default="", help="the mistakes in files, or noticed by tests, whose name contains this (all)")
    args = ap.parse_args()
    chosen = [f for f in faults() if args.only in f.file or args.only in f.noticed_by]
    if not chosen:
        print(f"no planted mistake is in a file, or noticed by a test, whose name contains {args.only!r}")
        return 2
    if args.texts:
        gone = [f for f in chosen if (ROOT / f.file).read_text().count(f.text) < 1]
        for f in gone:
            print(f"STALE  {f.what}: the text to change is not in {f.file}")
        return 1 if gone else 0
    failed = []
    with tempfile.TemporaryDirectory(prefix="memreeve-planted-") as where:
        tree = pathlib.Path(where) / "tree"
        build = pathlib.Path(where) / "build"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git"))
        made = run(["cmake", "-S", str(tree), "-B", str(build), "-G", "Ninja",
                    "-DCMAKE_BUILD_TYPE=Release"])
        if made.returncode != 0:
            print(made.stdout[-2000:])
            return 2
        for what, name, old, new, target, arguments in chosen:
            path = tree / name
            text = path.read_text()
            if text.count(old) < 1:
                print(f"STALE  {what}: the text to change is not in {name}")
                failed.append(what)
                continue
            path.write_text(text.replace(old, new, 1))
            targets = programs_of_scripts() if target.endswith(".py") else [target]
            built = run(["cmake", "--build", str(build), "--target", *targets, "-j", args.jobs])
            if built.returncode != 0:
                print(f"STALE  {what}: does not compile\n{built.stdout[-1500:]}")
                failed.append(what)
            else:
                red = ends_red(tree, build, target, arguments)
                print(f"{'red   ' if red else 'skips ' if red is None else 'GREEN '} {what}  ({target})", flush=True)
                if red is False:
                    failed.append(what)
            path.write_text(text)
    print(f"{len(failed)} of the planted mistakes went unnoticed" if failed
          else "every planted mistake was noticed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
