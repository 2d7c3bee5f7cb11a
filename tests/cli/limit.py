# SPDX-License-Identifier: MIT
# memreeve limit: what cannot be done is said in one sentence, status 125, and changes nothing; the
# process may be the launcher or any of its tree.
import json
import os
import re
import signal
import subprocess
import sys

from _run import MEMREEVE, MIB, Folder, expect, expect_equal, finish, helper, memreeve, probe, start, wait_for

ACCEPTED = r"accepted are bytes \(268435456\), .*or max"
hold = helper("hold")


def limit_in_force(pid):
    return json.loads(memreeve("limit", str(pid), "--json").out)["limit_bytes"]


def refused(words, wanted, **popen):
    r = memreeve("limit", *words, **popen)
    name = "memreeve limit " + " ".join(words)
    expect_equal((r.status, r.out), (125, ""), name)
    if expect_equal(len(r.lines), 1, f"{name}: lines {r.err}"):
        expect(re.fullmatch("memreeve: " + wanted, r.lines[0]), f"{name}: said {r.lines[0]!r}")


with Folder() as folder:
    stop = folder.file("stop")

    def begin(*options, command=(hold, "8", "64", stop), **popen):
        p = start(list(command), "-q", *options, stdout=subprocess.PIPE, **popen)
        expect_equal(p.stdout.readline(), "held 8192 KiB\n", "the program")
        return p

    def end(p):
        with open(stop, "w"):
            pass
        expect_equal(p.wait(timeout=60), 0, "status")
        p.stdout.close()
        os.unlink(stop)

    # No process, no program of ours, no size.
    gone = subprocess.Popen(["true"])
    gone.wait()
    me = str(os.getpid())
    refused([], "PID is required; memreeve limit --help tells what there is")
    refused(["abc"], r"limit abc: is no process id; write memreeve limit PID \[SIZE\]")
    refused(["0"], "limit 0: is no process id; .*")
    refused(["-5"], "limit -5: is no process id; .*")
    refused(["99999999999"], "limit 99999999999: is no process id; .*")
    refused([str(gone.pid), "64M"], f"limit {gone.pid}: there is no such process")
    refused([me, "64M"], f"limit {me}: is not governed; only what `memreeve run` has started has a limit .*")
    refused([me, "64M", "64M"], "64M is too much; .*memreeve limit --help tells what there is")
    with subprocess.Popen(["sh", "-c", "exit 0 & exec sleep 60"]) as parent:
        zombie = wait_for(lambda: [c for c in subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent.pid)], capture_output=True,
                                                             text=True).stdout.split()
                                   if "State:\tZ" in open(f"/proc/{c}/status").read()])
        expect(zombie is not None, "no zombie was made")
        refused([zombie[0], "64M"], f"limit {zombie[0]}: has ended already")
        parent.kill()

    # A file that has the ledger's name and is none, from empty to large enough.
    for length in (0, 4096, 64 * MIB):
        false = os.memfd_create("memreeve-ledger")
        os.ftruncate(false, length)
        refused([me], f"limit {me}: is governed by another version of memreeve, .*")
        refused([me, "64M"], f"limit {me}: is governed by another version of memreeve, .*")
        os.close(false)

    p = begin("--limit", "64M")
    pid = str(p.pid)
    for size, wanted in [("12Q", "12Q: ends in an unknown unit, 'Q'; " + ACCEPTED), ("", "'': does not begin with a number; " + ACCEPTED),
                         ("101%", "101%: is more than all memory there is; " + ACCEPTED), ("0", "0: less than one page of 4096 bytes; .*"),
                         ("99999999T", "99999999T: is larger than 64 bits can hold; " + ACCEPTED)]:
        refused([pid, size], f"limit {pid}: {wanted}")
    expect_equal(limit_in_force(pid), 64 * MIB, "nothing of this changed it")
    r = memreeve("limit", pid)
    expect(re.fullmatch(r"limit 64 MiB \(reserve 8 MiB\), held 8\S* MiB and \S+ \S+ touched, peak \S+ MiB; memreeve run is pid " + pid + "\n",
                        r.out), f"the present: {r.out!r} {r.err}")
    r = memreeve("limit", pid, "32M", "--json")
    expect_equal({k: json.loads(r.out)[k] for k in ("schema_version", "pid", "launcher_pid", "limit_bytes", "previous_limit_bytes",
                                                    "reserve_bytes")},
                 {"schema_version": 1, "pid": p.pid, "launcher_pid": p.pid, "limit_bytes": 32 * MIB, "previous_limit_bytes": 64 * MIB,
                  "reserve_bytes": 8 * MIB}, "a change as JSON")
    expect(0 < (half := json.loads(memreeve("limit", pid, "50%", "--json").out)["limit_bytes"]) and half % 4096 == 0, "a percentage")
    # Another user: may not look, may not change.
    if os.geteuid() == 0:
        for which in (pid, str(probe(p.pid, "images")[0]["pid"])):
            refused([which, "20M"], f"limit {which}: belongs to another user \\(uid 0\\); that user or root may look at its limit .*",
                    preexec_fn=lambda: os.setresuid(65534, 65534, 65534))
        expect_equal(limit_in_force(pid), half, "another user changed it")
    else:
        print("not tried: another user, without root")
    end(p)

    # A reserve of the run's own stays; without one it follows.
    p = begin("--limit", "64M", "--reserve", "16M")
    refused([str(p.pid), "15M"], f"limit {p.pid}: 15M: below the reserve of 16 MiB that --reserve has set, .*; give at least as much")
    r = json.loads(memreeve("limit", str(p.pid), "40M", "--json").out)
    expect_equal((r["limit_bytes"], r["reserve_bytes"]), (40 * MIB, 16 * MIB), "with a reserve of its own")
    end(p)
    p = begin()
    r = memreeve("limit", str(p.pid), "40M")
    expect(r.out.startswith("limit 40 MiB, was none (reserve 8 MiB); held "), f"from no limit: {r.out!r}")
    end(p)

    # By any process of the tree, also one that has lost its environment.
    wrapper = ["sh", "-c", f"{hold} 8 64 {stop}; exit $?"]
    p = begin("--limit", "64M", command=wrapper)
    pids = [i["pid"] for i in probe(p.pid, "images")]
    expect(len(pids) >= 2, f"images: {pids}")
    for i, pid in enumerate(pids):
        r = memreeve("limit", str(pid), f"{60 - i}M")
        expect_equal(r.status, 0, f"by pid {pid}: {r.err}")
        expect_equal(limit_in_force(p.pid), (60 - i) * MIB, f"by pid {pid}")
    end(p)
    p = begin("--limit", "64M", "--best-effort", command=["sh", "-c", f"env -i {hold} 8 64 {stop}; exit $?"])
    alone = wait_for(lambda: subprocess.run(["pgrep", "-f", f"^{hold} 8 64 {stop}"], capture_output=True, text=True).stdout.split())
    expect_equal(memreeve("limit", alone[0], "48M").status, 0, "without an environment")
    expect_equal(limit_in_force(p.pid), 48 * MIB, "by a process without an environment")
    end(p)

    # A child that is left alone has no limit; the command itself has.
    p = begin("--limit", "64M", "--no-children", command=["sh", "-c", f"{hold} 8 64 {stop}; exit $?"])
    shell = probe(p.pid, "images")[0]["pid"]
    child = subprocess.run(["pgrep", "-P", str(shell)], capture_output=True, text=True).stdout.split()[0]
    refused([child, "32M"], f"limit {child}: is left alone by its memreeve run \\(--no-children\\); .* changed by pid {p.pid}")
    expect_equal((limit_in_force(p.pid), limit_in_force(shell)), (64 * MIB, 64 * MIB), "by a child that is left alone")
    end(p)

    # The launcher is gone: what it started lives on with the limit there was.
    p = begin("--limit", "64M")
    child = probe(p.pid, "images")[0]["pid"]
    p.send_signal(signal.SIGKILL)
    p.wait()
    refused([str(child), "32M"], f"limit {child}: was started by a memreeve run \\(pid {p.pid}\\) that has ended; the limit that was in "
            "force stays and cannot be changed any more")
    with open(stop, "w"):
        pass
    expect(wait_for(lambda: not os.path.exists(f"/proc/{child}") or "State:\tZ" in open(f"/proc/{child}/status").read()),
           "the child lives for ever")
    p.stdout.close()

# Nor is a later run meant that got the pid of the one that is gone: in a pid namespace, where pids can be chosen.
REUSED = """
import os, subprocess, sys, time
memreeve, hold, stop = sys.argv[1:]
def begin():
    p = subprocess.Popen([memreeve, "run", "-q", "--limit", "64M", "--", hold, "8", "64", stop], stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    return p
def limit(pid, *size):
    done = subprocess.run([memreeve, "limit", str(pid), *size], capture_output=True, text=True)
    print(done.returncode, (done.stdout + done.stderr).strip())
first = begin()
with open(f"/proc/{first.pid}/task/{first.pid}/children") as f:
    child = int(f.read().split()[0])
first.kill()
first.wait()
time.sleep(0.1) # start times are told in hundredths of a second
with open("/proc/sys/kernel/ns_last_pid", "w") as f:
    f.write(str(first.pid - 1))
second = begin()
print("same" if second.pid == first.pid else "another")
limit(child, "32M")
limit(second.pid)
"""
with Folder() as folder:
    # What is left in the namespace ends with its first process.
    done = subprocess.run(["unshare", "-rpf", "--mount-proc", sys.executable, "-c", REUSED, os.path.abspath(MEMREEVE), os.path.abspath(hold), folder.file("stop")],
                          capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or lines[:1] != ["same"]:
        print("not tried: a pid that is used again:", done.stdout, done.stderr.strip()[-200:])
    else:
        expect(lines[1].startswith("125 ") and "that has ended; the limit that was in force stays" in lines[1], f"a pid used again: {lines[1]}")
        expect(lines[2].startswith("0 limit 64 MiB (reserve 8 MiB)"), f"a pid used again: the other run: {lines[2]}")

r = memreeve("limit", "--help")
expect(r.status == 0 and "Usage: memreeve limit [OPTIONS] PID [SIZE]" in r.out and "memreeve limit 4711 512M" in r.out, "help")
finish()
