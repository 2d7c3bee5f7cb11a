# SPDX-License-Identifier: MIT
"""Shared by the tests of the example hosts: runs one, reads its table."""
import os
import re
import subprocess
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
for _folder in ("cli", "runtime"):
    sys.path.insert(0, os.path.join(_HERE, "..", _folder))
from _run import BIN, SOURCE, expect, expect_equal, skip  # noqa: E402

ROUNDS = 20 if os.environ.get("MEMREEVE_LONG") else 1


def source(*parts):
    return os.path.abspath(os.path.join(SOURCE, "examples", *parts))


def program(name, why):
    """The path of an example; skips with `why` where it was not built."""
    path = os.path.join(BIN, "examples", "example_" + name)
    if not os.path.exists(path):
        skip(why)
    return path


def run_host(*command, **environment):
    """Runs it; what it printed, and its table as {name: {column: number}} with sizes in KiB."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, errors="replace",
                          env={**os.environ, **environment})
    print(done.stdout + done.stderr, end="")
    expect_equal(done.returncode, 0, "status")
    lines = done.stdout.splitlines()
    head = [i for i, line in enumerate(lines) if line.startswith("KiB ")]
    table = {}
    if expect(len(head) == 1, "no table"):
        columns = lines[head[0]].split()[1:]
        for line in lines[head[0] + 1:]:
            name, *numbers = line.split()
            if name.startswith("("):
                break
            table[name] = dict(zip(columns, map(int, numbers)))
    return done.stdout, table


def expect_news(out, table, owner):
    """Told low before the first refusal or together with it, and something was collected because of it."""
    news = re.search(r"told low (\d+) times, first after (\d+) refusals; collected (\d+) times", out)
    if expect(news, "no line about notifications"):
        told, refusals_before, collected = map(int, news.groups())
        expect(told >= 1, "never told low")
        expect(refusals_before <= 2, f"{refusals_before} refusals before the first notification")
        expect(collected >= 1, "nothing was collected")
        expect(table[owner]["told"] >= told, f"told {table[owner]['told']} in the table, {told} by the callback")


def numbers_after(pattern, out):
    found = re.search(pattern, out)
    return list(map(int, found.groups())) if expect(found, f"no line like {pattern!r}") else None
