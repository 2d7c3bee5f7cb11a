# SPDX-License-Identifier: MIT
"""What a program makes accessible of one memfd, told from a strace log of it: the test's own count."""
import re

PAGE = 4096
NUMBER = r"(0x[0-9a-f]+|\d+)"
UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\w+)")
TRACED = "memfd_create,mmap,mprotect,munmap,ftruncate,fallocate"


def calls(path):
    """(name, arguments, result) of every call that succeeded, in the order in which they returned."""
    begun = {}
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            line = line.rstrip("\n")
            if m := UNFINISHED.match(line):
                begun[m[1]] = m[3]
                continue
            if m := RESUMED.match(line):
                line = f"{m[1]} {m[2]}({begun.pop(m[1], '')}{m[3]}"
            m = CALL.match(line)
            if m and not m[4].startswith("-"):
                yield m[2], [a.strip() for a in m[3].split(",")], int(m[4], 0)


class File:
    """Pages of the memfd of that name, which is never closed: accessible (ever), given by fallocate."""

    def __init__(self, path, name):
        self.accessible = set()
        self.given = set()
        self.writable_views = 0
        self.size = 0
        fd = None
        views = []  # (begin, end, page)

        def pages_of(begin, end):
            for b, e, page in views:
                first, last = max(b, begin), min(e, end)
                if first < last:
                    yield range(page + (first - b) // PAGE, page + (last - b + PAGE - 1) // PAGE)

        def forget(begin, end):
            for v in [v for v in views if v[0] < end and begin < v[1]]:
                views.remove(v)
                if v[0] < begin:
                    views.append((v[0], begin, v[2]))
                if end < v[1]:
                    views.append((end, v[1], v[2] + (end - v[0]) // PAGE))

        for call, a, result in calls(path):
            if call == "memfd_create" and a[0] == f'"{name}"':
                fd = str(result)
            elif call == "ftruncate" and a[0] == fd:
                self.size = int(a[1], 0)
            elif call == "fallocate" and a[0] == fd:
                offset, size = int(a[2], 0), int(a[3], 0)
                pages = range(offset // PAGE, (offset + size + PAGE - 1) // PAGE)
                (self.given.difference_update if "PUNCH_HOLE" in a[1] else self.given.update)(pages)
            elif call in ("mmap", "munmap"):
                begin = result if call == "mmap" else int(a[0], 0)
                size = (int(a[1], 0) + PAGE - 1) // PAGE * PAGE
                forget(begin, begin + size)
                if call == "mmap" and a[4] == fd and "MAP_SHARED" in a[3]:
                    views.append((begin, begin + size, int(a[5], 0) // PAGE))
                    if a[2] != "PROT_NONE":
                        self.writable_views += size if "PROT_WRITE" in a[2] else 0
                        for pages in pages_of(begin, begin + size):
                            self.accessible.update(pages)
            elif call == "mprotect" and a[2] != "PROT_NONE":
                begin = int(a[0], 0)
                for pages in pages_of(begin, begin + int(a[1], 0)):
                    self.accessible.update(pages)
                    self.writable_views += len(pages) * PAGE if "PROT_WRITE" in a[2] else 0
