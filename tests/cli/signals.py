# SPDX-License-Identifier: MIT
# Contract section 4, issue's list of bad input: signals, kill -9 of the program and of the launcher;
# each has its documented code, and nothing is lost.
import json
import os
import shutil
import signal
import subprocess

from _run import MIB, Folder, content, expect, expect_equal, finish, helper, probe, start, wait_for

# Twenty processes whose parents end first; then those that process 1 has and that have ended, but for
# the shell's own.
ORPHANS = r'''
cd /proc
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (sleep 0.1 & echo $! >&3) 3>&1; done | wc -l | tr '\n' ' '
echo inherited
for i in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.5
    grep -l "^State:.Z" [0-9]*/status 2>/dev/null > /dev/null || { echo none left; exit 6; }
done
grep -h "^Name\|^State\|^PPid" [0-9]*/status
exit 1
'''

with Folder() as folder:
    # TERM, HUP, USR1, USR2 sent to the launcher reach the program; INT and QUIT are the terminal's.
    for name in ("TERM", "HUP", "USR1", "USR2"):
        ready = folder.file("ready-" + name)
        p = start(["sh", "-c", f"trap 'exit 42' {name}; echo > {ready}; while :; do sleep 0.05; done"], "-q")
        expect(wait_for(lambda: os.path.exists(ready)), "the program did not start")
        p.send_signal(getattr(signal, "SIG" + name))
        expect_equal(p.wait(timeout=60), 42, f"SIG{name} passed on")
    ready = folder.file("ready-INT")
    p = start(["sh", "-c", f"echo > {ready}; read line; exit 7"], "-q", stdin=subprocess.PIPE)
    expect(wait_for(lambda: os.path.exists(ready)), "the program did not start")
    p.send_signal(signal.SIGINT)
    p.send_signal(signal.SIGQUIT)
    p.stdin.write("\n")
    p.stdin.close()
    expect_equal(p.wait(timeout=60), 7, "the launcher does not end by SIGINT and SIGQUIT")

    # As a container's first process it inherits what daemons leave, and leaves no zombies.
    in_container = ["unshare", "-rpf", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*in_container, "true"], capture_output=True).returncode != 0:
        print("SKIP process 1: no user namespaces here")
    else:
        r = subprocess.run([*in_container, os.path.join(os.environ["MEMREEVE_BIN"], "memreeve"), "run", "-q", "--", "sh", "-c", ORPHANS],
                           capture_output=True, text=True, timeout=60)
        expect_equal((r.returncode, r.stdout), (6, "20 inherited\nnone left\n"), f"as process 1: {r.stderr}")
        for name in ("INT", "QUIT", "TERM"):
            ready = folder.file("ready-1-" + name)
            p = subprocess.Popen([*in_container, os.path.join(os.environ["MEMREEVE_BIN"], "memreeve"), "run", "-q", "--", "sh", "-c",
                                  f"trap 'exit 43' {name}; echo > {ready}; while :; do sleep 0.05; done"])
            expect(wait_for(lambda: os.path.exists(ready)), "the program in a container did not start")
            with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
                os.kill(int(f.read()), getattr(signal, "SIG" + name))
            expect_equal(p.wait(timeout=60), 43, f"SIG{name} passed on by process 1")

    # A signal that the launcher was started without is not given to the program either.
    p = subprocess.run(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", os.path.join(os.environ["MEMREEVE_BIN"], "memreeve"),
                        "run", "-q", "--", "sh", "-c", "kill -HUP $$; exit 8"])
    expect_equal(p.returncode, 8, "ignored signals stay ignored")
    done = subprocess.run([os.path.join(os.environ["MEMREEVE_BIN"], "memreeve"), "run", "-q", "--", "grep", "^SigBlk", "/proc/self/status"],
                          capture_output=True, text=True)
    plain = subprocess.run(["grep", "^SigBlk", "/proc/self/status"], capture_output=True, text=True)
    expect_equal(done.stdout, plain.stdout, "the program's signal mask is the one memreeve was started with")

    # Nobody reads what the launcher says any more: it waits all the same, and tells status and summary.
    summary = folder.file("unread.json")
    reading, writing = os.pipe()
    os.close(reading)
    p = start(["sh", "-c", f"{helper('hold')} 200; exit 7"], "--limit", "64M", "--summary", summary, stderr=writing)
    os.close(writing)
    expect_equal(p.wait(timeout=60), 7, "the program's status where standard error is a broken pipe")
    s = json.loads(content(summary) or "{}")
    expect_equal(s.get("exit"), {"code": 7, "signal": None}, "summary where standard error is a broken pipe")

    # kill -9 of the program: 137, and the summary tells the last that was seen of it.
    out = folder.file("out")
    summary = folder.file("killed.json")
    with open(out, "w") as f:
        p = start([helper("hold"), "32", "1024", "60"], "--summary", summary, "--limit", "100M", stdout=f,
                  stderr=subprocess.PIPE)
    expect(wait_for(lambda: "held 32768 KiB" in content(out)), "the program did not hold its memory")
    images = probe(p.pid, "images")
    expect(images and len(images) == 1, f"images in the ledger: {images}")

    def sampled():
        last = (probe(p.pid, "last", images[0]["pid"]) or [None])[0]
        return last and sum(o["charged"] for o in last["owners"].values()) >= 32 * MIB

    expect(wait_for(sampled), "no sample of what it holds")
    os.kill(images[0]["pid"], signal.SIGKILL)
    stderr = p.communicate(timeout=60)[1]
    expect_equal(p.returncode, 137, "kill -9 of the program")
    expect("was ended by signal 9 (SIGKILL)" in stderr, stderr)
    s = json.loads(content(summary))
    expect_equal(s["exit"], {"code": None, "signal": 9}, "summary of a killed program")
    entry = s["processes"][0]
    expect(entry["peak_charged_bytes"] >= 32 * MIB, f"peak of the killed program {entry['peak_charged_bytes']}")
    expect(sum(o["charged_bytes"] for o in entry["owners"]) >= 32 * MIB, "charge of the killed program is lost")
    expect(0 < entry["as_of_seconds"] <= s["wall_seconds"], f"as_of_seconds {entry.get('as_of_seconds')}")

    # kill -9 of the launcher: the program works on and ends as it would have.
    marker = folder.file("finished")
    out, go = folder.file("out2"), folder.file("go")
    with open(out, "w") as f:
        p = start(["sh", "-c", f"{helper('hold')} 16 1024 {go}; {helper('hold')} 16 1024 0; echo $? > {marker}"], "-q",
                  "--best-effort", "--limit", "100M", stdout=f)
    expect(wait_for(lambda: "held 16384 KiB" in content(out)), "the program did not hold its memory")
    p.kill()
    expect_equal(p.wait(timeout=60), -9, "the launcher was killed")
    folder.file("go", "")
    expect(wait_for(lambda: content(marker)), "the program did not end after its launcher was killed")
    expect_equal(content(marker), "0\n", "the program's own end after its launcher was killed")
    expect_equal(content(out).count("held 16384 KiB"), 2, "a child started after the launcher was killed runs")
finish()
