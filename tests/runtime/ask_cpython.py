# SPDX-License-Identifier: MIT
# CPython collects cycles when it is asked to before its limit, in a child of fork too.
import os
import subprocess
import sys

from _ask import hold, hold_all_ways
from _run import SOURCE, Folder, expect_equal, finish, run

command = [sys.executable, os.path.join(SOURCE, "tests", "runtime", "programs", "hold.py"), "64"]
expect_equal(hold_all_ways("cpython", command, "96M"), "done True\n", "asked: is the cycle gone?")
expect_equal(hold("cpython", command, "--limit", "96M", is_asked=False), "done False\n", "not asked: is it there?")
expect_equal(hold("cpython", [*command, "fork"], "--limit", "96M", "--ask", is_asked=True), "done True\n", "in a child: is it gone?")
# Children inherit what their parent was asked and has not come to; the thread that asked is not there any more, nor its stack.
LIBRARY = """
#include <pthread.h>
static void* fill(void* given) {
    volatile char stack[400 << 10];
    for (unsigned i = 0; i < sizeof stack; ++i) { stack[i] = 0x5a; }
    return given;
}
static void in_child(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 << 10);
    if (pthread_create(&thread, &attributes, fill, 0) == 0) { pthread_join(thread, 0); }
}
__attribute__((constructor)) static void begin(void) { pthread_atfork(0, 0, in_child); }
"""
with Folder() as folder:
    library = folder.file("handler.so")
    built = subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, folder.file("handler.c", LIBRARY)], capture_output=True)
    if built.returncode == 0:
        r = run([sys.executable, os.path.join(SOURCE, "tests", "runtime", "programs", "fork_asked.py"), "64", "4", library], "--limit", "96M",
                "--ask")
        expect_equal(r.out, f"{[7] * 4}\n", "children of a parent that was asked")
    else:
        print("not tried: gcc does not work here")
finish()
