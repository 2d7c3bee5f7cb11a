#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What libmemreeve_embed.a defines for a program, and needs of it (decision 21).

usage: embed_symbols.py ARCHIVE

It defines mrv_* as libmemreeve.so does, the two functions of embed.h, and the libc names that the preload
library takes over, but for those of processes (exec, spawn, exit); nothing else is visible. It needs libc and
nothing of C++."""
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROCESSES = re.compile(r"^(v?fork|exec\w+|fexecve|posix_spawnp?|_exit|_Exit|quick_exit|daemon|system|popen)$")
CXX = re.compile(r"^(_Z|__gxx|_Unwind|__cxa_(?!finalize$)|_GLOBAL__)")


def names(archive, *options):
    rows = subprocess.run(["nm", "-P", *options, archive], capture_output=True, text=True, check=True).stdout
    return {line.split()[0].split("@")[0] for line in rows.splitlines() if line and not line.endswith(":")}


def listed(name):
    return set((HERE / name).read_text(encoding="utf-8").split())


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    archive = sys.argv[1]
    bad = []
    # GNU unique symbols of inline constants: hidden, but objcopy does not make them local.
    have = {n for n in names(archive, "-g", "--defined-only") if not n.startswith("_ZN8memreeve")}
    ours = listed("exported_memreeve.txt") | {"mrv_host_govern_process", "mrv_host_release_process"}
    libc = {n for n in listed("exported_preload.txt") if not PROCESSES.match(n)}
    bad += [f"defines {n}, which is neither of the C interface nor a libc name" for n in sorted(have - ours - libc)]
    bad += [f"does not define {n}" for n in sorted((ours | libc) - have)]
    needed = names(archive, "-u")
    bad += [f"needs {n}, which is not in libc" for n in sorted(needed) if CXX.match(n)]
    for line in bad:
        print(f"{archive}: {line}")
    print(f"{len(have)} defined, {len(needed)} needed, {len(bad)} violations")
    return 1 if bad or not needed else 0


if __name__ == "__main__":
    sys.exit(main())
