# SPDX-License-Identifier: MIT
"""The bound that programs without memreeve get in ./matrix: memory.max of a control group of their own
where rights allow it, else a limit of the address space (ulimit -v)."""
import contextlib
import os
import resource


def _content(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


def _write(path, text):
    with open(path, "w") as f:
        f.write(text)


def _mount():
    for line in _content("/proc/self/mounts").splitlines():
        words = line.split()
        if len(words) > 2 and words[2] == "cgroup2":
            return words[1]
    return None


def _parent_group():
    """A folder in which a group with a memory controller can be made, and whether the controller has
    to be switched on there; None where there is none. Groups of version 1 are not used: there a
    program would leave, or share, the group that whoever started this had it put into."""
    mount = _mount()
    if mount is None:
        return None
    own = next((line[3:] for line in _content("/proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    folder = os.path.normpath(mount + "/" + own)
    # Processes and controllers exclude each other below the root, so a delegated parent serves too.
    for candidate in (folder, os.path.dirname(folder)) if folder != os.path.normpath(mount) else (folder,):
        on = "memory" in _content(os.path.join(candidate, "cgroup.subtree_control")).split()
        could = candidate == os.path.normpath(mount) and "memory" in _content(os.path.join(candidate, "cgroup.controllers")).split()
        if (on or could) and os.access(candidate, os.W_OK):
            return candidate, not on
    return None


class Bound:
    """A context; in it `enter` is the preexec_fn of what shall be bounded, `name` says what the bound is."""

    def __init__(self, limit):
        self.limit = limit
        self.group = None
        self.switched = None
        self.name = "ulimit -v"

    def __enter__(self):
        found = _parent_group()
        if found:
            parent, to_switch = found
            with contextlib.suppress(OSError):
                if to_switch:
                    _write(os.path.join(parent, "cgroup.subtree_control"), "+memory")
                    self.switched = parent
                group = os.path.join(parent, f"memreeve-matrix-{os.getpid()}")
                os.mkdir(group)
                self.group = group
                _write(os.path.join(group, "memory.max"), str(self.limit))
                with contextlib.suppress(OSError):  # no swap on the machine: no such file
                    _write(os.path.join(group, "memory.swap.max"), "0")
                self.name = "memory.max"
        if self.name != "memory.max":
            self.__exit__()
        return self

    def __exit__(self, *_):
        if self.group:
            with contextlib.suppress(OSError):
                os.rmdir(self.group)
        if self.switched:
            with contextlib.suppress(OSError):
                _write(os.path.join(self.switched, "cgroup.subtree_control"), "-memory")
        self.group = self.switched = None

    def enter(self):
        if self.group:
            _write(os.path.join(self.group, "cgroup.procs"), "0")
        else:
            resource.setrlimit(resource.RLIMIT_AS, (self.limit, self.limit))
