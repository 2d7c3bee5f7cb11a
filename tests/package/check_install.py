#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Installs into a new prefix, compares the files with installed.txt, and builds the consumer in three
ways: find_package, pkg-config, add_subdirectory. Each result is run.

usage: check_install.py CMAKE SOURCE BUILD
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        print(done.stdout[-4000:])
        print(done.stderr[-4000:])
        sys.exit(f"check_install: failed with {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    cmake, source, build = sys.argv[1:]
    here = Path(__file__).resolve().parent
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        built = f"{scratch}/built"
        run(cmake, "--install", build, "--prefix", built)
        # An installed tree may be moved: everything below is done at another place.
        prefix = f"{scratch}/moved"
        shutil.move(built, prefix)
        have = {re.sub(r"memreeve-targets-\w+\.cmake", "memreeve-targets-CONFIG.cmake", p.relative_to(prefix).as_posix())
                for p in Path(prefix).rglob("*") if not p.is_dir()}
        want = set((here / "installed.txt").read_text(encoding="utf-8").split())
        for name in sorted(have - want):
            print(f"installed but not in tests/package/installed.txt: {name}")
        for name in sorted(want - have):
            print(f"in tests/package/installed.txt but not installed: {name}")
        bad += len(have ^ want)

        print(run(f"{prefix}/bin/memreeve", "--version").strip())

        consumer = here / "consumer"
        run(cmake, "-S", consumer, "-B", f"{scratch}/found", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}")
        run(cmake, "--build", f"{scratch}/found", "-j2")
        programs = ("consumer_c", "consumer_cpp", "consumer_host")
        print("find_package:", *(run(f"{scratch}/found/{name}").strip() for name in programs))

        run(cmake, "-S", consumer, "-B", f"{scratch}/embedded", "-G", "Ninja", f"-DMEMREEVE_EMBED={source}")
        run(cmake, "--build", f"{scratch}/embedded", "-j2")
        print("add_subdirectory:", *(run(f"{scratch}/embedded/{name}").strip() for name in programs))
        run(cmake, "--install", f"{scratch}/embedded", "--prefix", f"{scratch}/nothing")
        extra = [p for p in Path(f"{scratch}/nothing").rglob("*") if p.is_file()]
        if extra:
            print(f"embedded, memreeve installs {len(extra)} files; it must leave that to its host: {extra[0]}")
            bad += 1

        if shutil.which("pkg-config"):
            environment = {**os.environ, "PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"}
            for package, stem in (("memreeve", "consumer"), ("memreeve-embed", "host")):
                flags = run("pkg-config", "--cflags", "--libs", package, env=environment).split()
                run("cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", consumer / f"{stem}.c", "-o",
                    f"{scratch}/{stem}_pc", *flags)
                print(f"pkg-config {package}:", run(f"{scratch}/{stem}_pc", env={
                    **os.environ, "LD_LIBRARY_PATH": f"{prefix}/lib"}).strip())
        else:
            print("pkg-config: left out, it is not installed (Debian: apt-get install pkgconf)")
    print(f"{len(have)} files installed, {bad} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
