#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds every #include in src/ and include/ to the layers (docs/architecture.md).

usage: check_layers.py [ROOT]       exit 1 when an edge points upward or sideways
       check_layers.py --self-test  plants each kind of violation and expects it to be found
"""
import re
import sys
import tempfile
from pathlib import Path

# What each folder of src/ may include besides itself.
PARTS = {"budget", "pressure", "heap", "telemetry"}
ALLOWED = {
    "base": set(),
    "prim": {"base"},
    "budget": {"base"},
    "pressure": {"base"},
    "heap": {"base"},
    "telemetry": {"base"},
    "vm": {"base"},
    "manager": {"base", "prim", "vm"} | PARTS,
    "com": {"base", "manager", "include"} | PARTS,
    "capi": {"base", "manager", "com", "include"} | PARTS,
    "bridge": {"base", "prim", "manager", "com", "include"} | PARTS,
    "embed": {"base", "prim", "manager", "com", "capi", "bridge", "include"} | PARTS,
    "cli": {"base", "prim", "budget", "telemetry", "manager", "com", "include"},
    "include": set(),
}
# Single files that may do more than their folder: in vm, the address space, what supplies it with
# memory and what it asks of the kernel carry plans out; the rest is pure. A signal handler is the process's, not a manager's.
EXTRA = [(re.compile(r"src/vm/(address_space|space_supply|saved_access|write_watch|placeholders|own_mapping|locking|fault_watch)[^/]*$"), {"prim"}),
         (re.compile(r"src/capi/fault_handler\.cpp$"), {"prim"})]
# The operating system's headers are for prim; the edges have C signatures of libc to repeat.
SYSTEM_FREE = {"base", "vm", "manager"} | PARTS
SYSTEM_HEADER = re.compile(
    r"^(sys/|linux/|asm/|asm-generic/|bits/|unistd\.h|fcntl\.h|pthread\.h|sched\.h|poll\.h|signal\.h|csignal|"
    r"spawn\.h|dlfcn\.h|link\.h|errno\.h|cerrno|stdio\.h|cstdio|stdlib\.h|cstdlib|windows\.h|mutex|thread|"
    r"condition_variable|shared_mutex|semaphore|iostream|fstream|ostream|memory|string|vector|map|"
    r"unordered_map|functional|stdexcept|malloc\.h|time\.h|ctime|chrono)")
EDGE_WORD = re.compile(r"\b(HRESULT|DWORD|GUID)\b")
# The bridge is a caller of the interface, so it reads HRESULTs.
EDGE_FOLDERS = {"com", "capi", "bridge", "embed", "include"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.S)


def without_comments(text):
    """Comments and strings blanked, lines kept; include lines survive."""
    def blank(match):
        piece = match.group(0)
        return re.sub(r"[^\n]", " ", piece) if piece[0] == "/" else piece
    return COMMENT_OR_STRING.sub(blank, text)


def without_strings(text):
    return COMMENT_OR_STRING.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def check(root):
    """Returns (number of includes read, list of violations)."""
    root = Path(root)
    bad, count = [], 0
    folders = {p.name for p in (root / "src").iterdir() if p.is_dir()}
    for folder in sorted(folders - set(ALLOWED)):
        if any((root / "src" / folder).rglob("*.[ch]pp")):
            bad.append(f"src/{folder}: a folder without a place among the layers (tools/check_layers.py)")
    files = sorted(p for top in ("src", "include") for p in (root / top).rglob("*")
                   if p.suffix in (".hpp", ".cpp", ".h", ".c", ".inc", ".inl"))
    for path in files:
        name = path.relative_to(root).as_posix()
        folder = name.split("/")[1] if name.startswith("src/") else "include"
        if folder not in ALLOWED:
            continue
        allowed = {folder} | ALLOWED[folder]
        for pattern, more in EXTRA:
            if pattern.match(name):
                allowed |= more
        text = path.read_text(encoding="utf-8")
        code = without_comments(text)
        for match in INCLUDE.finditer(code):
            count += 1
            kind, target = match.groups()
            where = f"{name}:{code.count(chr(10), 0, match.start()) + 1}"
            first = target.split("/")[0]
            if first == "memreeve":
                if "include" not in allowed:
                    bad.append(f"{where}: {folder} includes the public header {target}; only the edges do")
            elif first in folders and (root / "src" / target).exists():
                if first not in allowed:
                    bad.append(f"{where}: {folder} includes {target}; it may include only "
                               f"{', '.join(sorted(allowed))}")
            elif kind == '"':
                bad.append(f'{where}: "{target}" is not written from src/ (or does not exist)')
            elif folder in SYSTEM_FREE and SYSTEM_HEADER.match(target):
                bad.append(f"{where}: {folder} includes <{target}>; the system and what allocates or "
                           "locks stay out of it")
        if folder not in EDGE_FOLDERS:
            plain = without_strings(text)
            for match in EDGE_WORD.finditer(plain):
                bad.append(f"{name}:{plain.count(chr(10), 0, match.start()) + 1}: {match.group(0)} "
                           "appears away from the edge (include/, src/com, src/capi, src/bridge, src/embed)")
    return count, bad


PLANTED = {
    "upward": ("src/vm/a.cpp", '#include "manager/m.hpp"\n'),
    "sideways": ("src/heap/a.cpp", '#include "budget/b.hpp"\n'),
    "base looks up": ("src/base/a.hpp", '#include "vm/v.hpp"\n'),
    "vm sees prim outside address_space": ("src/vm/region_map.cpp", '#include "prim/p.hpp"\n'),
    "bridge sees vm": ("src/bridge/preload/a.cpp", '#include "vm/v.hpp"\n'),
    "cli sees vm": ("src/cli/commands/a.cpp", '#  include "vm/v.hpp"\n'),
    "angle brackets hide it": ("src/heap/a.cpp", "#include <budget/b.hpp>\n"),
    "relative path": ("src/vm/a.cpp", '#include "../base/u.hpp"\n'),
    "system header": ("src/vm/a.cpp", "#include <sys/mman.h>\n"),
    "lock": ("src/budget/a.cpp", "#include <mutex>\n"),
    "public header in the core": ("src/vm/a.cpp", "#include <memreeve/memreeve.h>\n"),
    "edge type": ("src/manager/a.hpp", "HRESULT f();\n"),
    "public header looks in": ("include/memreeve/a.h", '#include "base/u.hpp"\n'),
    "unplaced folder": ("src/extra/a.cpp", "int x;\n"),
}
INNOCENT = {
    "src/vm/address_space.cpp": '#include "prim/p.hpp"\n#include "vm/v.hpp"\n#include "base/u.hpp"\n',
    "src/manager/a.cpp": '#include "budget/b.hpp"\n// HRESULT, #include "com/c.hpp"\n/*\n#include "com/c.hpp"\n*/\n',
    "src/com/a.cpp": '#include <memreeve/x.h>\n#include "manager/m.hpp"\nHRESULT f();\n',
    "src/base/u.hpp": '#include <atomic>\nconst char* s = "DWORD";\n',
}


def self_test():
    failures = []
    for name, plant in [("nothing", None)] + list(PLANTED.items()):
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            files = dict(INNOCENT)
            for stub in ("manager/m", "budget/b", "vm/v", "prim/p", "com/c"):
                files[f"src/{stub}.hpp"] = "// nothing\n"
            files["include/memreeve/x.h"] = "/* nothing */\n"
            if plant:
                files[plant[0]] = plant[1]
            for file, text in files.items():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(text, encoding="utf-8")
            _, bad = check(root)
            if plant is None and bad:
                failures.append("clean tree reported: " + "; ".join(bad))
            if plant and not (len(bad) == 1 and plant[0].rsplit("/", 1)[0] in bad[0]):
                failures.append(f"{name}: expected one violation in {plant[0]}, got {bad}")
    for failure in failures:
        print(failure)
    print(f"self-test: {len(PLANTED)} planted violations, {len(failures)} failures")
    return 1 if failures else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    count, bad = check(root)
    for line in bad:
        print(line)
    print(f"{count} includes, {len(bad)} violations")
    return 1 if bad or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
