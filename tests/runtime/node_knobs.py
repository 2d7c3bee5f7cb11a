# SPDX-License-Identifier: MIT
# Decision 31: the limit reaches Node as the size of V8's heap, however it is started, and gives way
# to the user's. A leak of the heap then ends with V8's own message, one of buffers in RangeErrors
# that the program catches; a Worker with limits of its own ends alone.
import os
import shutil
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, expect, expect_equal, finish, memreeve, run, skip

NAME, SIZE = "NODE_OPTIONS", "--max-old-space-size="
CLEAN = {k: v for k, v in os.environ.items() if k != NAME}
if shutil.which("node") is None:
    skip("node is not installed")

PROGRAM = """
const v8 = require('v8'), { spawnSync } = require('child_process');
const leak = { buffers: (l) => l.push(Buffer.alloc(1 << 20, 1)), heap: (l) => l.push({ a: [l.length], b: 'x' + l.length }) };
const verb = process.argv[2];
if (verb === 'told') {
  console.log('heap ' + v8.getHeapStatistics().heap_size_limit);
  console.log('NODE_OPTIONS ' + process.env.NODE_OPTIONS);
} else if (verb === 'start') {
  process.exit(spawnSync(process.argv[3], process.argv.slice(4), { stdio: 'inherit' }).status);
} else if (verb === 'worker') {
  const { Worker } = require('worker_threads');
  new Worker('const l = []; for (;;) l.push([l.length]);', { eval: true, resourceLimits: { maxOldGenerationSizeMb: 32 } })
    .on('error', (e) => console.log('caught ' + e.code));
} else {
  for (let round = 0; round < 3; ++round) {
    let l = [];
    try { for (;;) leak[verb](l); } catch (e) { l = null; console.log('caught ' + e.name); }
  }
}
"""


def nodes(result):
    return [p for p in result.summary["processes"] if p["runtime"] == "node"]


def set_for(result):
    return [p["settings"].get(NAME) for p in nodes(result)]


def heap_of(result):
    return max([int(x.split()[1]) for x in result.out.splitlines() if x.startswith("heap ")], default=0)


with Folder() as folder:
    script = folder.file("p.js", PROGRAM)
    program = ["node", script]

    for command in ([*program, "told"], ["sh", "-c", f"node {script} told; true"], [*program, "start", *program, "told"]):
        for limit in (128, 256, 1024):
            r = run(command, "--limit", f"{limit}M", env=CLEAN)
            settings, name = set_for(r), f"{command[:2]} {limit}M"
            expect(r.status == 0 and settings and all(settings), f"{name}: status {r.status}, settings {settings}: {r.err}")
            expect(limit * MIB / 3 < heap_of(r) < limit * MIB, f"{name}: a heap of {heap_of(r)}")
            expect(r.out.count(SIZE) == 1, f"{name}: {r.out}")

    # What the user has in the same variable stays behind ours.
    r = run([*program, "start", *program, "told"], "--limit", "256M", env={**CLEAN, NAME: "--no-deprecation"})
    seen = [x for x in r.out.splitlines() if x.startswith(NAME)]
    expect(len(seen) == 1 and seen[0].count(SIZE) == 1 and seen[0].endswith(" --no-deprecation"), f"the user's: {seen}")

    for options in (("--limit", "2G", "--no-knobs"), ()):
        r = run([*program, "told"], *options, env=CLEAN)
        expect_equal((r.status, set_for(r)), (0, [None]), f"{options}: {r.err}")
        expect(NAME + " undefined" in r.out, f"{options}: {r.out}")

    for name, command, environment in [("command line", ["node", "--max-old-space-size=50", script, "told"], {}),
                                       ("with _", ["node", "--max_old_space_size=50", script, "told"], {}),
                                       (NAME, [*program, "told"], {NAME: "--no-deprecation --max-old-space-size=50"})]:
        r = run(command, "--limit", "512M", env={**CLEAN, **environment})
        expect_equal((r.status, set_for(r)), (0, [None]), f"{name}: {r.err}")
        expect(50 * MIB <= heap_of(r) <= 110 * MIB, f"{name}: {r.out}")
        expect(any("=50" in u for u in nodes(r)[0]["users_settings"]), f"{name}: {nodes(r)[0]['users_settings']}")
    r = run(["node", "--max-semi-space-size=2", script, "told"], "--limit", "256M", env=CLEAN)
    expect("semi" not in (set_for(r)[0] or "semi") and SIZE in set_for(r)[0], f"a young generation of the user's: {set_for(r)}")
    r = run(["node", "--max-semi-space-size=32", script, "told"], "--limit", "256M", env=CLEAN)
    expect(r.status == 0 and heap_of(r) < 200 * MIB, f"a large young generation leaves the old one too much: {heap_of(r) / MIB} {r.err}")
    r = run([*program, "told", "--max-old-space-size=50"], "--limit", "256M", env=CLEAN)
    expect(SIZE in (set_for(r)[0] or ""), f"an argument of the script was taken for Node's: {r.err}")
    # An older Node refuses NODE_OPTIONS that name the young generation.
    with open(folder.path + "/old.c", "w") as f:
        f.write('#include <stdio.h>\n#include <stdlib.h>\nvoid node_module_register(void* m) { (void)m; }\n'
                'int main(void) { puts(getenv("NODE_OPTIONS")); return 0; }\n')
    if shutil.which("gcc") and subprocess.run(["gcc", "-rdynamic", "-o", folder.path + "/old", folder.path + "/old.c"]).returncode == 0:
        r = run([folder.path + "/old"], "--limit", "128M", env=CLEAN)
        expect(r.status == 0 and r.out.startswith(SIZE) and "semi" not in r.out, f"an old Node is told {r.out!r} {r.err}")
    else:
        print("not tried: an old Node, without gcc")
    r = run(["node", "--max-old-space-size=600", script, "told"], "--limit", "256M", env=CLEAN)
    expect_equal(sum("=600 of 600 MiB is above the limit of 256 MiB" in x for x in r.lines), 1, r.err)

    r = memreeve("run", "-v", "--limit", "256M", "--", *program, "told", env=CLEAN)
    expect(any(x.startswith("memreeve: set for node") and NAME + "=" + SIZE in x for x in r.lines), f"-v: {r.err}")
    r = memreeve("run", "-v", "--limit", "256M", "--", "node", "--max-old-space-size=50", script, "told", env=CLEAN)
    expect(any(x.startswith("memreeve: left for node") and x.endswith("--max-old-space-size=50") for x in r.lines), r.err)

    r = run([*program, "told"], "--limit", "6M", env=CLEAN)
    line = [x for x in r.lines if "is too small for Node to start" in x]
    expect_equal((r.status, r.out, len(line)), (125, "", 1), f"too small: {r.err}")
    named = line[0].rsplit("--limit ", 1)[1] if line else "?"
    r = run([*program, "told"], "--limit", named, env=CLEAN)
    expect_equal(r.status, 0, f"the limit named, {named}: {r.err}")

    # Leaks.
    for limit in (128, 256):
        r = run([*program, "buffers"], "--limit", f"{limit}M", env=CLEAN)
        expect_equal((r.status, r.out), (0, "caught RangeError\n" * 3), f"buffers, {limit}M: {r.err}")
        expect(sum(nodes(r)[0]["refusals"].values()) > 0, f"buffers, {limit}M: nothing was refused")
        r = run([*program, "heap"], "--limit", f"{limit}M", env=CLEAN, timeout=300)
        expect("heap out of memory" in r.err and r.status in (133, 134), f"heap, {limit}M: {r.status} {r.err}")
        expect_equal(sum(nodes(r)[0]["refusals"].values()), 0, f"heap, {limit}M: refusals")
        expect(r.summary["peak_charged_bytes"] <= limit * MIB, f"heap, {limit}M: peak above the limit")
    r = run([*program, "worker"], "--limit", "256M", env=CLEAN)
    expect_equal((r.status, r.out), (0, "caught ERR_WORKER_OUT_OF_MEMORY\n"), f"a Worker: {r.err}")
finish()
