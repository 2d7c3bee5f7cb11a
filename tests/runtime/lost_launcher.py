# SPDX-License-Identifier: MIT
# Decision 20: what outlives its launcher keeps its limit, and what it starts then is told that the launcher has ended; it never
# comes into the run of another launcher that got the pid.
import json
import os
import re
import subprocess
import sys

import _support  # noqa: F401
from _run import MEMREEVE, Folder, expect, expect_equal, finish, run

ENDED = "cannot be governed: the launcher has ended ("
NONE = "cannot be governed: what MEMREEVE_LEDGER names is no ledger of this version ("


def names(value, *options, **popen):
    """What becomes of a program in a run that finds `value`, a word of the shell, in MEMREEVE_LEDGER."""
    return run(["sh", "-c", f"MEMREEVE_LEDGER={value} /bin/echo started; echo $?"], *options, **popen)


# The value, as a child reads it.
r = run(["sh", "-c", "echo $MEMREEVE_LEDGER; cut -d' ' -f22 /proc/$PPID/stat; echo $PPID"])
value, start_time, launcher = r.out.split()
expect(re.fullmatch(rf"/proc/{launcher}/fd/\d+:{start_time}", value), f"the variable: {r.out}")

OF_ANOTHER = '"${MEMREEVE_LEDGER%:*}:1"'
r = names('"$MEMREEVE_LEDGER"')
expect_equal((r.status, r.out), (0, "started\n0\n"), f"its own: {r.err}")
r = names(OF_ANOTHER)
expect_equal((r.out, r.err.count(ENDED)), ("125\n", 1), f"another launcher's: {r.err}")
expect(all(os.path.basename(p["image"]) != "echo" for p in r.summary["processes"] if p["governed"]), "another launcher's: it attached")
r = names(OF_ANOTHER, "--best-effort")
expect_equal((r.out, r.err.count(ENDED)), ("started\n0\n", 1), f"another launcher's, --best-effort: {r.err}")
for wrong in ('"${MEMREEVE_LEDGER%:*}"', '"${MEMREEVE_LEDGER%:*}:"', "/nowhere:1", "/proc/x/fd/3:1", "::", "''"):
    r = names(wrong)
    expect_equal((r.out, r.err.count(NONE)), ("125\n", 1), f"{wrong}: {r.err}")
# Whoever has the pid may have any file under that number: nothing in it, nothing that can be mapped, another size.
with Folder() as folder:
    for name, content in (("empty", ""), ("short", "mrldger1"), ("long", "x" * 10000)):
        path = folder.file(name, content)
        for mode in ("r", "r+"):
            with open(path, mode) as f:
                r = names("/proc/$$/fd/0:1", stdin=f)
                expect_equal((r.out, r.err.count(ENDED)), ("125\n", 1), f"a file that is {name}, {mode}: {r.err}")
r = names("/proc/$$/fd/0:1", stdin=subprocess.PIPE)
expect_equal((r.out, r.err.count(ENDED)), ("125\n", 1), f"a pipe: {r.err}")

# The same with a pid that is used again: in a pid namespace, where pids can be chosen.
REUSED = """
import subprocess, sys, time
memreeve, folder = sys.argv[1:]
# What outlives its launcher starts another program when it is told to.
SURVIVOR = 'echo $$; read line; /bin/echo >"$0/echo"; echo $? >"$0/told"; read line'
def begin(*command):
    p = subprocess.Popen([memreeve, "run", "--summary", folder + "/summary", "--limit", "64M", "--", *command], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=open(folder + "/errors", "a"), text=True)
    p.stdout.readline()
    return p
first = begin("sh", "-c", SURVIVOR, folder)
first.kill()
first.wait()
time.sleep(0.1) # start times are told in hundredths of a second
with open("/proc/sys/kernel/ns_last_pid", "w") as f:
    f.write(str(first.pid - 1))
second = begin("sh", "-c", "echo $$; read line")
print("same" if second.pid == first.pid else "another")
first.stdin.write("go\\n")
first.stdin.flush()
for _ in range(600):
    time.sleep(0.05)
    try:
        with open(folder + "/told") as f:
            told = f.read().strip()
    except OSError:
        continue
    if told:
        print(told)
        break
second.communicate("x")
"""
with Folder() as folder:
    # What is left in the namespace ends with its first process.
    done = subprocess.run(["unshare", "-rpf", "--mount-proc", sys.executable, "-c", REUSED, os.path.abspath(MEMREEVE), folder.path],
                          capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or lines[:1] != ["same"]:
        print("not tried: a pid that is used again:", done.stdout, done.stderr.strip()[-200:])
    else:
        with open(folder.file("errors")) as f:
            errors = f.read()
        with open(folder.file("summary")) as f:
            listed = [os.path.basename(p["image"]) for p in json.load(f)["processes"]]
        expect_equal((lines[1:], errors.count(ENDED)), (["125"], 1), f"a pid used again: {errors}")
        expect(listed and "echo" not in listed, f"a pid used again: the other run lists {listed}")
finish()
