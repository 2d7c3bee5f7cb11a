# SPDX-License-Identifier: MIT
# What memreeve has set for one image is not handed on to where it does harm: to an image that starts
# under another limit, or under none, and, of a JVM's options, to a host that gives its own to a JVM it
# loads later. The user's part stays everywhere.
import os
import shutil
import subprocess

import _support  # noqa: F401
from _run import MEMREEVE, Folder, expect, expect_equal, finish, skip, start

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef MARK
__attribute__((visibility("default"))) void MARK(void) {}
#endif
int main(int count, char** words) { /* VARIABLE [PROGRAM ...]: says it, waits for a line, becomes PROGRAM */
    const char* value = getenv(words[1]);
    printf("%s\\n", value != NULL ? value : "unset");
    fflush(stdout);
    char c = 0;
    while (c != '\\n' && read(0, &c, 1) == 1) {
    }
    return count > 2 ? execv(words[2], words + 2) : 0;
}
"""
# Kind, what it exports, its variable, a part of it that is the user's.
KINDS = (("jvm", "JLI_Launch", "JAVA_TOOL_OPTIONS", "-Dx=y"), ("node", "node_module_register", "NODE_OPTIONS", "--no-warnings"),
         ("mono", "mono_jit_init", "MONO_GC_PARAMS", None), ("coreclr", "coreclr_initialize", "DOTNET_GCHeapHardLimit", None))

if shutil.which("gcc") is None:
    skip("gcc is not installed")
with Folder() as folder:
    source = folder.file("p.c", SOURCE)

    def built(name, *options):
        subprocess.run(["gcc", "-rdynamic", "-o", folder.path + "/" + name, source, *options], check=True)
        return folder.path + "/" + name

    other = built("other")

    def seen(first, second, variable, limit, value=None):
        """What two images find in the variable, the limit changed between them."""
        environment = {k: v for k, v in os.environ.items() if k not in [row[2] for row in KINDS]}
        if value:
            environment[variable] = value
        p = start([first, variable, second, variable], "-q", "--limit", "100M", stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        before = p.stdout.readline().strip()
        if limit:
            done = subprocess.run([MEMREEVE, "limit", str(p.pid), limit], capture_output=True, text=True, timeout=60)
            expect_equal(done.returncode, 0, f"limit {limit}: {done.stderr}")
        out, _ = p.communicate("\n\n", timeout=60)
        expect_equal(p.returncode, 0, f"{first}, {second}: status")
        return before, out.strip()

    for kind, mark, variable, users in KINDS:
        program = built(kind, "-DMARK=" + mark)
        for value in {None, users}:
            name = f"{kind} with {value}"
            before, after = seen(program, program, variable, None, value)
            expect(before not in ("unset", value) and before == after, f"{name}, the same limit: {before!r}, {after!r}")
            expect(value is None or before.endswith(" " + value), f"{name}: {before!r}")
            before, after = seen(program, program, variable, "max", value)
            expect_equal(after, value or "unset", f"{name}, no limit any more: {before!r}")
            before, after = seen(program, program, variable, "1G", value)
            expect(after == "unset" if kind == "mono" else after not in ("unset", value, before), f"{name}, a higher limit: {before!r}, {after!r}")
            expect(value is None or after.endswith(" " + value), f"{name}, a higher limit: {after!r}")
            before, after = seen(program, other, variable, None, value)
            expect_equal(after, (value or "unset") if kind == "jvm" else before, f"{name}, another program: {before!r}")
    # What the user has set is no earlier image's, whatever the limit.
    for kind, value in (("mono", "nursery-size=1m"), ("coreclr", "0x3000000"), ("jvm", "-Xmx40m"), ("node", "--max-heap-size=40")):
        variable = next(row[2] for row in KINDS if row[0] == kind)
        expect_equal(seen(folder.path + "/" + kind, folder.path + "/" + kind, variable, "max", value), (value, value), f"{kind}: the user's")
finish()
