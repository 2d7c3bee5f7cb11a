# SPDX-License-Identifier: MIT
# squeeze: its answer against the smallest working limit found by stepping; what does not come out the
# same each time; commands that fail, hang, run on; Ctrl-C; JSON.
import json
import os
import signal
import subprocess
import sys
import time

from _run import MEMREEVE, MIB, Folder, content, expect, expect_equal, finish, helper, memreeve, wait_for

need = helper("need")
PATIENT = ["--timeout", "100000"]  # nothing here is late because the machine is busy


def squeeze(*words, options=(), **popen):
    r = memreeve("squeeze", "-q", "--json", *PATIENT, *options, "--", *words, timeout=600, **popen)
    expect_equal(r.status, 0, f"{words}: {r.err}")
    return json.loads(r.out)


def works(limit, *words):
    return memreeve("run", "-q", "--limit", str(limit), "--", *words).status == 0


def smallest_by_stepping(around, *words):
    """The smallest limit that works, in steps of half a percent."""
    limit = around
    while works(int(limit), *words):
        limit /= 1.005
    while not works(int(limit), *words):
        limit *= 1.005
    return limit


def compared(what, *words):
    found = squeeze(*words)
    answer = found["smallest_bytes"]
    true = smallest_by_stepping(answer, *words)
    print(f"{what}: squeeze {answer}, by stepping {true:.0f}: {answer / true:.4f}")
    expect(0.99 <= answer / true <= 1.056, f"{what}: {answer} is not within 5 % of {true}")
    expect(found["largest_failing_bytes"] < answer, what)
    expect(found["monotone"] and found["complete"], f"{what}: {found}")
    return found


found = compared("C, 64 MiB", need, "64")
expect(found["smallest_bytes"] >= 64 * MIB, f"less than it needs: {found['smallest_bytes']}")
expect(64 * MIB <= found["unlimited"]["peak_charged_bytes"] < 72 * MIB, "peak without a limit")
curve = {p["limit_bytes"]: p for p in found["curve"]}
at = curve[found["smallest_bytes"]]
expect_equal((at["worked"], at["failed"]), (3, 0), "the answer is confirmed")
expect(max(curve) >= 2 * found["smallest_bytes"], "larger ones are tried")
expect(all(p["failed"] > 0 and p["why"] == "status 1" for limit, p in curve.items() if limit < found["smallest_bytes"]),
       f"what failed: {found['curve']}")
recommended = found["recommended"]
expect(1.09 * found["smallest_bytes"] <= recommended["limit_bytes"] < recommended["container_bytes"], f"{recommended}")
expect(works(recommended["limit_bytes"], need, "64"), "the recommended limit")

compared("Python", sys.executable, "-c", "kept = [bytearray(1 << 20) for _ in range(40)]")

# A finer answer, other bounds.
found = squeeze(need, "24", options=("--tolerance", "1", "--repeat", "5", "--from", "20M", "--to", "40M"))
limits = [p["limit_bytes"] for p in found["curve"]]
expect(20 * MIB <= min(limits) and max(limits) <= 40 * MIB, f"bounds: {limits}")
expect(found["smallest_bytes"] <= found["largest_failing_bytes"] * 1.011 + 4096, f"tolerance: {found}")

# Between 24 and 48 MiB every other run fails: the answer is above, where all work.
with Folder() as folder:
    for begun in ("", "."):
        count = folder.file("count", begun)
        found = squeeze(need, "24", "48", count)
        expect(found["smallest_bytes"] >= 48 * MIB, f"fails now and then: {found}")
        expect(found["smallest_bytes"] <= 48 * MIB * 1.3, f"fails now and then: {found}")
        at = {p["limit_bytes"]: p for p in found["curve"]}[found["smallest_bytes"]]
        expect_equal((at["worked"], at["failed"]), (3, 0), "fails now and then: the answer")

# The status that counts as success.
found = squeeze("sh", "-c", f"{need} 16 && exit 7", options=("--expect", "7"))
expect(found["smallest_bytes"] >= 16 * MIB, "--expect")

# Too little allowed.
r = memreeve("squeeze", *PATIENT, "--to", "8M", "--", need, "16")
expect_equal(r.status, 1, "--to below what is needed")
expect("No limit that works was found up to 8 MiB" in r.out, r.out)
expect(any("failed, status 1" in line for line in r.lines), f"progress: {r.err}")

# Fails without a limit too; cannot be run; wrong arguments.
for words, status, wanted in (
        (["--", "false"], 1, "without a limit the command ends with status 1 already"),
        (["--", "sh", "-c", "echo no such table >&2; kill -9 $$"], 1, "signal SIGKILL: no such table"),
        (["--expect", "1", "--", "true"], 1, "not with status 1"),
        (["--", "/no/such"], 127, "no such file"), (["--", "/tmp"], 126, "is a directory"),
        (["--from", "12Q", "--", "true"], 125, "--from 12Q: ends in an unknown unit"),
        (["--from", "max", "--", "true"], 125, "--from max: is no size to try"),
        (["--from", "2M", "--to", "1M", "--", "true"], 125, "--to 1M: smaller than --from"),
        (["--repeat", "0", "--", "true"], 125, "--repeat"), (["--tolerance", "0", "--", "true"], 125, "--tolerance"),
        (["--expect", "256", "--", "true"], 125, "--expect"), (["true"], 125, "stands before --; write memreeve squeeze")):
    r = memreeve("squeeze", *words)
    expect_equal((r.status, r.out), (status, ""), f"{words}")
    expect(len(r.lines) == 1 and r.lines[0].startswith("memreeve: ") and wanted in r.lines[0], f"{words}: {r.err!r}")

# Its output is hidden, shown on standard error when asked for; it reads nothing.
r = memreeve("squeeze", "-q", *PATIENT, "--from", "16M", "--to", "16M", "--repeat", "1", "--", "sh", "-c", "cat; printf 'se%s\\n' en", input="in\n")
expect_equal((r.status, r.err), (0, ""), "output hidden")
expect("seen" not in r.out and "or less; --from tries less" in r.out, r.out)
r = memreeve("squeeze", "-q", "--show", *PATIENT, "--from", "16M", "--to", "16M", "--repeat", "1", "--", "sh", "-c",
             "cat; printf 'se%s\\n' en", input="in\n")
expect(r.err.count("seen") == 2 and "in" not in r.err.split() and "seen" not in r.out, f"--show: {r.out} {r.err}")

# Hangs where it is refused: late, ended, said; nothing of it lives on.
with Folder() as folder:
    mark = f"{folder.path}/hangs"
    os.symlink(sys.executable, mark)
    hang = f"{need} 16 || {mark} -c 'import time; time.sleep(600)'"
    r = memreeve("squeeze", "-q", "--timeout", "1", "--from", "12M", "--to", "200M", "--repeat", "1", "--tolerance", "100",
                 "--", "sh", "-c", hang, timeout=300)
    expect("took longer than" in r.out and (r.status == 1 or r.status == 0 and "only collects garbage" in r.out),
           f"hangs: {r.status} {r.out} {r.err}")
    left = subprocess.run(["pgrep", "-f", mark], capture_output=True, text=True).stdout.split()
    expect_equal(left, [], "processes left of a run that was late")

    # A background process that outlives each run is ended with it.
    there = f"{folder.path}/there"
    script = f"rm -f {there}; setsid {mark} -c 'import time; open(\"{there}\", \"w\"); time.sleep(600)' & " \
             f"until test -e {there}; do sleep 0.02; done"
    r = memreeve("squeeze", "-q", *PATIENT, "--from", "64M", "--to", "64M", "--repeat", "2", "--", "sh", "-c", script, timeout=300)
    expect(r.status == 0 and os.path.exists(there), f"leaves a process: {r.status} {r.err}")
    left = subprocess.run(["pgrep", "-f", mark], capture_output=True, text=True).stdout.split()
    expect_equal(left, [], "processes that the command left")

    # What a shell has started before it gave way to squeeze is not the command's.
    mine = folder.file("mine")
    script = f'{mark} -c "import time; time.sleep(600)" > {folder.path}/null 2>&1 & echo $! > {mine}; exec "$@"'
    r = subprocess.run(["sh", "-c", script, "sh", MEMREEVE, "squeeze", "-q", *PATIENT, "--from", "16M", "--to", "16M", "--repeat", "1",
                        "--", "true"], capture_output=True, text=True, timeout=300)
    expect_equal(r.returncode, 0, f"beside a shell's own child: {r.stderr}")
    left = subprocess.run(["pgrep", "-f", mark], capture_output=True, text=True).stdout.split()
    expect_equal(left, content(mine).split(), "a shell's own child")
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: not subprocess.run(["pgrep", "-f", mark], capture_output=True, text=True).stdout)

    # No descriptors any more in the middle of it: said, and no Ctrl-C.
    begun = folder.file("third")
    script = f"echo >> {begun}; test $(wc -l < {begun}) -lt 3 || prlimit --nofile=3:3 --pid $(ps -o ppid= -p $PPID)"
    r = memreeve("squeeze", "-q", *PATIENT, "--from", "16M", "--", "sh", "-c", script, timeout=300)
    expect_equal(r.status, 125, f"without descriptors: {r.out}")
    expect(r.lines == ["memreeve: squeeze: ended early: no descriptors are to be had; look at ulimit -n and seccomp profiles"],
           f"without descriptors: {r.err}")
    expect("Ended early; this is what is known so far" in r.out, f"without descriptors: {r.out}")

    # Ctrl-C while a run is under way: it is ended, and what is known is printed.
    begun = folder.file("begun")
    script = f"echo >> {begun}; test $(wc -l < {begun}) -lt 3 || {mark} -c 'import time; time.sleep(600)'"
    p = subprocess.Popen([MEMREEVE, "squeeze", *PATIENT, "--from", "16M", "--", "sh", "-c", script], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_for(lambda: os.path.exists(begun) and os.path.getsize(begun) >= 3)
    time.sleep(0.2)  # any moment of the third run will do
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    expect_equal(p.returncode, 130, f"Ctrl-C: {err}")
    expect("Ended early; this is what is known so far" in out and "Smallest limit that works" in out, f"Ctrl-C: {out}")
    left = subprocess.run(["pgrep", "-f", mark], capture_output=True, text=True).stdout.split()
    expect_equal(left, [], "processes left after Ctrl-C")
finish()
