# SPDX-License-Identifier: MIT
"""What strace saw reach the kernel, and who issued it: the flow of committed bytes by issuer.

Committed is what a program may write to without another call: private writable mmap, mprotect to
writable, growth of the break, growth by mremap. A flow: what is committed twice counts twice.

Every call is attributed by its instruction pointer to the file mapped there; where files are mapped
is taken from the trace itself. The loader, which the kernel maps, is known by the first call of a
new image.
"""
import os
import re
import subprocess

CALLS = "mmap,mprotect,munmap,mremap,brk,execve,execveat,clone,clone3,fork,vfork,shmat,pkey_mprotect"
PAGE = 4096
NEAR = 1 << 18  # the loader's text is smaller

_LINE = re.compile(r"^(\d+) +\[([0-9a-f?]+)\] (.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (.+)$", re.DOTALL)
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>")


def why_not():
    """None where strace works, otherwise why it does not."""
    try:
        done = subprocess.run(["strace", "-f", "-i", "-yy", "-o", os.devnull, "-e", "trace=" + CALLS, "true"],
                              capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return "strace is not installed"
    lines = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else "strace does not work here: " + (lines[0] if lines else str(done.returncode))


def command(trace, *what):
    """The same command, traced into a file."""
    return ["strace", "-f", "-i", "-yy", "-s", "300", "--seccomp-bpf", "-o", trace, "-e", "trace=" + CALLS, *what]


def calls(lines):
    """(thread, instruction pointer, name, arguments, result) in the order of their beginnings; calls that another
    thread's line cut in two are joined."""
    begun = {}
    ordered = []
    for line in lines:
        m = _LINE.match(line.rstrip("\n"))
        if m is None:
            continue
        thread, at, text = int(m[1]), m[2], m[3]
        if text.endswith("<unfinished ...>"):
            entry = [thread, at, text[:-len("<unfinished ...>")].rstrip()]
            begun[thread] = entry
            ordered.append(entry)
            continue
        resumed = _RESUMED.match(text)
        if resumed:
            if thread in begun:
                begun.pop(thread)[2] += " " + text[resumed.end():]
            continue
        ordered.append([thread, at, text])
    for thread, at, text in ordered:
        m = _CALL.match(text)
        if m is None or at.startswith("?"):
            continue
        yield thread, int(at, 16), m[1], m[2], m[3]


def _split(arguments):
    """At the commas outside of brackets, quotes and <...>."""
    out, depth, quoted, word = [], 0, False, ""
    for i, c in enumerate(arguments):
        if c == '"' and arguments[i - 1:i] != "\\":
            quoted = not quoted
        elif not quoted and c in "([{<":
            depth += 1
        elif not quoted and c in ")]}>":
            depth -= 1
        if c == "," and depth == 0 and not quoted:
            out.append(word.strip())
            word = ""
        else:
            word += c
    return out + [word.strip()]


def _number(text):
    return 0 if text == "NULL" else int(text.split("<")[0], 0)


def _pages(size):
    return (size + PAGE - 1) // PAGE * PAGE


class Flow:
    """Bytes one call committed, and by whom."""

    def __init__(self, issuer, what, begin, size, is_stack):
        self.issuer, self.what, self.begin, self.size, self.is_stack = issuer, what, begin, size, is_stack


class Image:
    """One program in one process, from its exec or fork on."""

    def __init__(self, process, path):
        self.process, self.path = process, path
        self.files = []  # (begin, end, path), the newest last
        self.stacks = []  # what libc mapped for thread stacks
        self.loader = None
        self.brk = 0
        self.own = None  # the bridge's first reservation: its records
        self.flows = []
        self.own_bytes = 0

    def fork(self, process):
        child = Image(process, self.path)
        child.files, child.stacks = list(self.files), list(self.stacks)
        child.loader, child.brk, child.own = self.loader, self.brk, self.own
        return child

    def issuer(self, at):
        for begin, end, path in reversed(self.files):
            if begin <= at < end:
                return os.path.basename(path)
        if self.loader is not None and abs(at - self.loader) < NEAR:
            return "loader"
        return os.path.basename(self.path)

    def commit(self, at, what, begin, size, library):
        issuer = self.issuer(at)
        if issuer == library and self.own and self.own[0] <= begin < self.own[1]:
            self.own_bytes += size
            return
        stack = any(low <= begin < high for low, high in self.stacks)
        self.flows.append(Flow(issuer, what, begin, size, stack and issuer.startswith("libc.")))

    def take(self, at, name, arguments, result, library):
        if self.loader is None:
            self.loader = at
        words = _split(arguments)
        if name == "mmap" and result.startswith("0x"):
            begin, size = int(result.split()[0], 16), _pages(int(words[1], 0))
            path = words[4].partition("<")[2].rpartition(">")[0]
            if path.startswith("/"):
                self.files.append((begin, begin + size, path))
            if "MAP_STACK" in words[3]:
                self.stacks.append((begin, begin + size))
            if self.own is None and words[2] == "PROT_NONE" and self.issuer(at) == library:
                self.own = (begin, begin + size)
            if "PROT_WRITE" in words[2] and "MAP_PRIVATE" in words[3]:
                self.commit(at, "mmap of " + (path or "anonymous memory"), begin, size, library)
        elif name in ("mprotect", "pkey_mprotect") and result.startswith("0"):
            if "PROT_WRITE" in words[2]:
                self.commit(at, "mprotect", _number(words[0]), _pages(int(words[1], 0)), library)
        elif name == "munmap" and result.startswith("0"):
            begin = _number(words[0])
            end = begin + _pages(int(words[1], 0))
            self.stacks = [s for s in self.stacks if not (begin <= s[0] and s[1] <= end)]
            self.files = [f for f in self.files if not (begin <= f[0] and f[1] <= end)]
        elif name == "mremap" and result.startswith("0x"):
            grown = _pages(int(words[2], 0)) - _pages(int(words[1], 0))
            if grown > 0:
                self.commit(at, "mremap", int(result.split()[0], 16), grown, library)
        elif name == "brk" and result.startswith("0x"):
            now = int(result.split()[0], 16)
            if self.brk and now > self.brk:
                self.commit(at, "brk", self.brk, now - self.brk, library)
            self.brk = now


def read(path, library, launcher):
    """The images in a trace, in the order of their beginnings, without those of the launcher's process."""
    with open(path, errors="replace") as f:
        found = list(calls(f))
    first = found[0][0] if found else 0
    process_of = {first: first}  # of a thread
    images = {first: Image(first, launcher)}
    out = []
    for thread, at, name, arguments, result in found:
        process = process_of.setdefault(thread, thread)
        image = images.setdefault(process, Image(process, "?"))
        if name in ("clone", "clone3", "fork", "vfork"):
            if result.split()[0].isdigit():
                child = int(result.split()[0])
                if "CLONE_THREAD" in arguments:
                    process_of[child] = process
                elif child not in images or images[child].path == "?":
                    # It may have been at work before its parent's call returned.
                    early = images.get(child)
                    images[child] = image.fork(child)
                    process_of[child] = child
                    if early is not None:
                        images[child].flows = early.flows
                        out[out.index(early)] = images[child]
                    elif process != first:
                        out.append(images[child])
        elif name in ("execve", "execveat"):
            if result.startswith("0"):
                path_word = _split(arguments)[0].strip('"')
                images[process] = Image(process, path_word)
                if process != first:
                    out.append(images[process])
        else:
            if image.path == "?" and image not in out:
                out.append(image)
            image.take(at, name, arguments, result, library)
    return out
