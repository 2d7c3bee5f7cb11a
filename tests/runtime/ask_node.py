# SPDX-License-Identifier: MIT
# V8 is told of memory pressure before its limit.
import os
import shutil
import subprocess

from _ask import hold, hold_all_ways
from _run import SOURCE, Folder, expect_equal, finish, memreeve, skip, start

if shutil.which("node") is None:
    skip("node is not installed")
script = os.path.join(SOURCE, "tests", "runtime", "programs", "hold.js")
hold_all_ways("node", ["node", script, "90"], "160M")
# V8 collects by itself some time after a collection, unless it is told not to.
out = hold("node", ["node", "--expose-gc", "--no-memory-reducer", script, "120", "wait"], "--limit", "160M", "--ask", is_asked=True)
expect_equal(out, "done True\n", "asked: is anything gone?")

# By process.exit() Node goes in steps, and between them nothing may be asked. They are made long here.
with Folder() as folder:
    slow = folder.file("slow.so")
    source = folder.file("slow.c", "#include <unistd.h>\n__attribute__((destructor)) static void end(void) { usleep(500000); }\n")
    if subprocess.run(["gcc", "-shared", "-fPIC", "-o", slow, source], capture_output=True).returncode == 0:
        script = "const kept = []; for (let i = 0; i < 60; i++) kept.push(Buffer.alloc(1 << 20, 1)); " \
                 "console.log('ready'); setTimeout(() => process.exit(kept.length), 300)"
        p = start(["node", "-e", script], "-q", "--limit", "400M", "--ask", stdout=subprocess.PIPE, env={**os.environ, "LD_PRELOAD": slow})
        expect_equal(p.stdout.readline(), "ready\n", "its first line")
        n = 0
        while p.poll() is None:  # each is asked for, as more is held
            n += 1
            memreeve("limit", str(p.pid), f"{40 + n % 2}M")
        expect_equal(p.wait(timeout=60), 60, "asked while it ends")
    else:
        print("not tried: gcc does not work here")
finish()
