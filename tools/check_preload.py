#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a library that lives in a foreign program may need (decision 21).

usage: check_preload.py preload FILE    needs libc only, nothing of C++, bound at load, never unloaded
       check_preload.py library FILE    loads by dlopen: initial-exec TLS of at most 256 bytes
"""
import re
import subprocess
import sys

TLS_LIMIT = 256
LIBC = re.compile(r"^(libc\.so\.6|ld-linux-x86-64\.so\.2)$")
CXX = re.compile(r"^(_Z|__gxx|_Unwind|__cxa_(?!finalize$))")
ALLOCATORS = {"malloc", "calloc", "realloc", "free", "memalign", "posix_memalign", "aligned_alloc", "printf",
              "fprintf", "snprintf", "vsnprintf", "fopen", "fwrite", "puts", "abort"}


def read(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check(kind, file):
    bad = []
    dynamic = read("readelf", "-dW", file)
    for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not LIBC.match(needed):
            bad.append(f"needs {needed}; only libc may be needed")
    for line in read("nm", "-D", "--undefined-only", file).splitlines():
        name = line.split()[-1].split("@")[0]
        if CXX.match(name):
            bad.append(f"refers to {name}, which is not in libc")
        if name in ALLOCATORS:
            bad.append(f"refers to {name}; it neither allocates nor prints")
    segments = read("readelf", "-lW", file)
    tls = re.search(r"^\s*TLS\s+(?:0x\w+\s+){4}(0x\w+)", segments, re.M)
    size = int(tls.group(1), 16) if tls else 0
    if size > TLS_LIMIT:
        bad.append(f"{size} bytes of thread-local storage; at most {TLS_LIMIT} fit a library that is dlopened")
    if re.search(r"__tls_get_addr", read("nm", "-D", "--undefined-only", file)):
        bad.append("thread-local storage through __tls_get_addr, which may allocate; initial-exec is wanted")
    if "GNU_RELRO" not in segments:
        bad.append("no RELRO segment")
    if not re.search(r"BIND_NOW|\bNOW\b", dynamic):
        bad.append("not bound at load (-z now)")
    if re.search(r"^\s*GNU_STACK\s+.*\bRWE\b", segments, re.M):
        bad.append("asks for an executable stack")
    if "TEXTREL" in dynamic:
        bad.append("has text relocations")
    if kind == "preload" and "NODELETE" not in dynamic:
        bad.append("may be unloaded (-z nodelete is missing)")
    if kind == "library" and "[libmemreeve.so.1]" not in dynamic:
        bad.append("its SONAME is not libmemreeve.so.1")
    return bad, size


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("preload", "library"):
        sys.exit(__doc__)
    bad, size = check(sys.argv[1], sys.argv[2])
    for line in bad:
        print(f"{sys.argv[2]}: {line}")
    print(f"{size} bytes of TLS, {len(bad)} violations")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
