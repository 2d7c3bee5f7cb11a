# SPDX-License-Identifier: MIT
# Decisions 1, 30: ZGC's heap is a memfd: fallocate commits, hole punching uncommits, three views look
# at the same pages. What is charged to gc is exactly what the heap holds by strace's log of the same
# run. At a limit a heap that may grow is made smaller, and OutOfMemoryError is caught.
import os
import shutil
import subprocess
import time

import _support  # noqa: F401
from _run import MEMREEVE, MIB, SOURCE, Folder, expect, expect_equal, finish, probe, run, skip
from _views import PAGE, TRACED, File

for tool in ("java", "javac", "strace"):
    if shutil.which(tool) is None:
        skip(tool + " is not installed")


def launcher_below(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return int(f.read().split()[0])


with Folder() as folder:
    subprocess.run(["javac", "-d", folder.path, os.path.join(SOURCE, "tests", "runtime", "programs", "Zgc.java")],
                   check=True)
    java = ["java", "-XX:+UseZGC", f"-XX:ErrorFile={folder.path}/error%p.log", "-cp", folder.path]
    if subprocess.run([*java, "-version"], capture_output=True).returncode != 0:
        skip("this Java has no ZGC")

    log = folder.file("log")
    p = subprocess.Popen(["strace", "-f", "-qq", "-o", log, "-e", "trace=" + TRACED, "-e", "signal=none", MEMREEVE,
                          "run", "-q", "--", *java, "-Xms64m", "-Xmx400m", "-XX:ZUncommitDelay=1", "Zgc", "moments"],
                         text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    held = {}
    for moment in ("held", "given back"):
        expect_equal(p.stdout.readline().strip(), moment, "moment")
        launcher = launcher_below(p.pid)
        for _ in range(100):  # the collector works on: a log of one moment
            images = probe(launcher, "images")
            heap = File(log, "java_heap")
            charged = images[0]["file_pages"]
            if probe(launcher, "images")[0]["file_pages"] == charged and charged == {"gc": len(heap.given)}:
                break
            time.sleep(0.05)
        owners = probe(launcher, "picture", images[0]["pid"])[0]["owners"]
        held[moment] = charged.get("gc", 0)
        print(f"{moment}: charged {charged} pages, the heap holds {len(heap.given)}, views "
              f"{heap.writable_views} bytes, gc charged {owners['gc']['charged']}")
        expect_equal(charged, {"gc": len(heap.given)}, f"{moment}: pages charged")
        expect(heap.writable_views >= 3 * len(heap.given) * PAGE, f"{moment}: three views were expected")
        expect(owners["gc"]["charged"] >= len(heap.given) * PAGE, f"{moment}: gc is charged {owners['gc']}")
        p.stdin.write("\n")
        p.stdin.flush()
    expect(held["held"] * PAGE >= 100 * MIB, "100 MiB are held")
    expect(held["given back"] < held["held"], "nothing came back")
    p.stdin.close()
    expect_equal(p.wait(timeout=60), 0, "status")

    # A heap that starts small grows as far as the limit goes.
    r = run([*java, "-Xms32m", "-Xmx600m", "Zgc", "fill"], "--limit", "300M")
    print(r.out, r.err)
    expect_equal(r.status, 0, "-Xms32m -Xmx600m at 300M")
    expect("caught OutOfMemoryError" in r.out and "worked on 200 MiB" in r.out, f"-Xms32m at 300M: {r.out}")
    expect(r.summary["peak_charged_bytes"] <= 300 * MIB, "peak above the limit")
    expect(sum(r.summary["processes"][0]["refusals"].values()) > 0, "nothing was refused")

    # One that wants more than the limit from the start on ends with its own words, soon.
    r = run([*java, "-Xms600m", "-Xmx600m", "Zgc", "fill"], "--limit", "200M", timeout=60)
    print(r.out, r.err)
    expect_equal(r.status, 1, "-Xms600m at 200M")
    expect("Failed to allocate initial Java heap" in r.out + r.err or "insufficient memory" in r.out + r.err,
           f"-Xms600m at 200M: {r.out} {r.err}")
    expect(r.summary["peak_charged_bytes"] <= 200 * MIB, "peak above the limit")
    expect(any("the limit of 200 MiB was reached" in line for line in r.lines), f"not said: {r.err}")
finish()
