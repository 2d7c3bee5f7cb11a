# SPDX-License-Identifier: MIT
# V8 is told of memory pressure before its limit.
import os
import shutil
import subprocess

from _ask import hold, hold_all_ways
from _run import SOURCE, Folder, expect, expect_equal, finish, memreeve, skip, start, wait_for

LATE = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
int pthread_mutex_lock(pthread_mutex_t* m) {
    static int (*next)(pthread_mutex_t*);
    char name[16] = "";
    if (next == NULL) { *(void**)&next = dlsym(RTLD_NEXT, "pthread_mutex_lock"); }
    prctl(PR_GET_NAME, name);
    if (strcmp(name, "memreeve-ask") == 0) {
        close(open(getenv("LATE_IS_THERE"), O_CREAT | O_WRONLY, 0600));
        usleep(400000);
    }
    return next(m);
}
__attribute__((destructor)) static void end(void) { usleep(1500000); }
'''

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

        # Who asks gets no processor for a while, in the middle of it (at a lock of V8's, here): Node does not go on to its
        # end meanwhile, neither the one that comes by itself nor process.exit(), whose last step is made long again.
        late = folder.file("late.so")
        source = folder.file("late.c", LATE)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", late, source], check=True)
        for end in ("0", "process.exit(0)"):
            script = "const kept = []; for (let i = 0; i < 60; i++) kept.push(Buffer.alloc(1 << 20, 1)); " \
                     f"console.log('ready'); process.stdin.resume(); process.stdin.on('end', () => {end})"
            for _ in range(2):
                p = start(["node", "-e", script], "-q", "--limit", "400M", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**os.environ, "LD_PRELOAD": late, "LATE_IS_THERE": folder.file("asking")})
                expect_equal(p.stdout.readline(), "ready\n", "its first line")
                expect_equal(memreeve("limit", str(p.pid), "40M").status, 0, "limit")
                expect(wait_for(lambda: os.path.exists(folder.file("asking"))), f"{end}: nobody asks")
                os.unlink(folder.file("asking"))
                err = p.communicate(timeout=100)[1]
                expect_equal(p.returncode, 0, f"{end}, asked for long while it ends: {err}")
    else:
        print("not tried: gcc does not work here")
finish()
