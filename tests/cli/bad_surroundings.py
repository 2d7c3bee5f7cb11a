# SPDX-License-Identifier: MIT
# What a program may find itself in: a limit below what it needs to start, a runtime that forks, a
# static child, a read-only container, no shared memory, a root without /proc. One clear line each, the
# documented status; where memreeve can work, it does; ungoverned only with --best-effort. bad_inputs.py
# has the system calls and the resource limits, and other allocators.
import json
import os
import shutil
import subprocess
import sys

from _run import MEMREEVE, MIB, Folder, expect, expect_equal, finish, helper, memreeve, run

LIB = os.path.abspath(os.environ.get("MEMREEVE_LIB", os.path.join(os.path.dirname(MEMREEVE), "..", "lib")))
hold = os.path.abspath(helper("hold"))
launcher = os.path.abspath(MEMREEVE)


class Done:
    def __init__(self, command, **popen):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, errors="replace", **popen)
        self.status, self.out, self.err, self.lines = done.returncode, done.stdout, done.stderr, done.stderr.splitlines()


def ours(r):
    return [line for line in r.lines if line.startswith("memreeve: ")]


# A limit below what a runtime needs to start: it ends, soon, and the line says why and what to do.
def too_small(name, command, sizes):
    if shutil.which(command[0]) is None:
        print(f"not tried: {name} is not installed")
        return
    for size in sizes:
        r = run(command, "--limit", size, timeout=240)
        expect(r.status != 0, f"{name} under {size} started")
        why = [line for line in ours(r) if "the limit of " in line and ("was reached" in line or "too small" in line)]
        expect(why and any("--limit" in line for line in why), f"{name} under {size}: {r.status} {ours(r)}")
        if r.summary:
            expect(r.summary["peak_charged_bytes"] <= r.summary["limit_bytes"], f"{name} under {size}: the peak")


with Folder() as folder:
    too_small("Mono", ["mono", folder.file("none.exe", "no program")], ("512K", "2M", "8M"))
    too_small("Node", ["node", "-e", "0"], ("1M", "4M"))
    too_small("CPython", [sys.executable, "-c", "0"], ("256K", "1M"))
    too_small("a JVM", ["java", f"-XX:ErrorFile={folder.path}/hs.log", "-XX:+UseSerialGC", "-version"], ("1M", "4M"))
    dotnet = shutil.which("dotnet")
    if dotnet:
        r = run([dotnet, "--version"], "--limit", "8M", env={**os.environ, "DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1"})
        expect(r.status == 125 and any("too small for .NET to start; one that works is --limit" in line for line in ours(r)),
               f".NET under 8M: {r.status} {ours(r)}")
    else:
        print("not tried: .NET is not installed")

# Started without standard streams: what memreeve says goes nowhere, least of all into the ledger in their place.
with Folder() as folder:
    summary = folder.file("summary.json")
    command = [launcher, "run", "--limit", "64M", "--summary", summary, "--", "sh", "-c", f"{hold} 200; sleep 0.5; {hold} 8; exit 7"]
    for closed in ("2>&-", "<&- 2>&-"):
        r = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], stdout=subprocess.PIPE, text=True, timeout=120)
        expect_equal(r.returncode, 7, f"{closed}: status")
        expect(r.stdout.startswith("held ") and r.stdout.endswith("\nheld 8192 KiB\n"), f"{closed}: {r.stdout!r}")
        with open(summary) as f:
            told = json.load(f)
        expect(told["limit_bytes"] == 64 * MIB and all(p["governed"] for p in told["processes"]), f"{closed}: {told}")
    seen = [subprocess.run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *before, "sh", "-c", "echo /proc/self/fd/*"], stdout=subprocess.PIPE,
                           text=True, timeout=120).stdout for before in ([], [launcher, "run", "-q", "--"])]
    expect_equal(seen[1], seen[0], "without standard streams: the program's descriptors")

# A runtime that forks: the children share the limit, are governed, and the parent learns of their end.
script = """
import os, sys
read, write = os.pipe()
held = []
for _ in range(3):
    if os.fork() == 0:
        kept, n = [], 0
        try:
            while n < 64:
                kept.append(bytearray(1 << 20)); n += 1
        except MemoryError:
            pass
        os.write(write, b'%d\\n' % n)
        os._exit(0)
    os.wait()
os.close(write)
print(os.read(read, 1000).split())
"""
r = run([sys.executable, "-c", script], "--limit", "48M")
expect_equal(r.status, 0, f"a runtime that forks: {r.err}")
counts = [int(n) for n in r.out.replace("b'", "").replace("'", "").strip(" []\n").split(", ")] if r.status == 0 else []
expect(len(counts) == 3 and all(16 <= n < 48 for n in counts), f"a runtime that forks: {counts} MiB held")
expect(r.summary and len(r.summary["processes"]) == 4 and all(p["governed"] for p in r.summary["processes"]),
       f"a runtime that forks: {r.summary and [p['governed'] for p in r.summary['processes']]}")
expect(r.summary["peak_charged_bytes"] <= 48 * MIB, "a runtime that forks: the peak")

# A static child runs, ungoverned, and is named.
with Folder() as folder:
    source = folder.file("p.c", "#include <stdio.h>\nint main(void) { puts(\"static ran\"); return 0; }\n")
    static = folder.file("static")
    if subprocess.run(["gcc", "-static", "-o", static, source], capture_output=True).returncode == 0:
        for options in (("--limit", "64M"), ("--limit", "64M", "--best-effort"), ()):
            r = run(["sh", "-c", f"{static}; {hold} 4"], *options)
            expect(r.status == 0 and r.out == "static ran\nheld 4096 KiB\n", f"a static child: {r.status} {r.out} {r.err}")
            named = [line for line in ours(r) if line.startswith("memreeve: not governed: ")]
            expect(len(named) == 1 and static in named[0] and "statically linked" in named[0], f"a static child: {ours(r)}")
            listed = [p for p in r.summary["processes"] if not p["governed"]]
            expect(len(listed) == 1 and listed[0]["image"] == static, f"a static child: {listed}")
        r = memreeve("run", "--best-effort", "--", static)
        expect(r.status == 126 and "statically linked" in r.err and r.out == "", f"a static command: {r.status} {r.err}")
    else:
        print("not tried: gcc -static does not work here")

# Read-only, without shared memory, and a root of its own: in mount namespaces.
chroot = shutil.which("chroot", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
in_namespace = ["unshare", "-rm", "--propagation", "private", "sh", "-c"]
if shutil.which("unshare") is None or chroot is None or \
        subprocess.run([*in_namespace, "mount -t tmpfs none /mnt"], capture_output=True).returncode != 0:
    print("not tried: no mount namespace can be made here")
else:
    def inside(script, *words):
        return Done([*in_namespace, script, *words], env={**os.environ, "MEMREEVE_PRELOAD": os.path.join(LIB, "libmemreeve_preload.so")})

    # Everything read-only: nothing is written but what was asked for.
    everything = "mount --rbind / /mnt && mount -o remount,ro,bind /mnt && for m in /tmp /dev/shm /run /var/tmp; do " \
                 "test -d /mnt$m && mount -t tmpfs -o ro none /mnt$m; done; " \
                 "test -w /mnt/tmp && exit 99; mkdir /mnt/x 2>/dev/null && exit 99; "
    with Folder() as folder:
        # Its files are below /tmp, which is covered: they are brought along.
        os.chmod(folder.path, 0o755)
        for path in (launcher, os.path.join(LIB, "libmemreeve_preload.so"), hold):
            shutil.copy(path, folder.path)
        bring = f"mount --bind {folder.path} /mnt/mnt && mount -o remount,ro,bind /mnt/mnt && cd / && "
        enter = f"exec {chroot} /mnt env MEMREEVE_PRELOAD=/mnt/libmemreeve_preload.so /mnt/memreeve "
        r = inside(everything + bring + enter + "run --limit 32M -- /mnt/hold 64")
        if r.status == 99 or "chroot:" in r.err or "mount:" in r.err:
            print("not tried: a read-only root cannot be made here:", r.err.strip())
        else:
            got = int(r.out.split()[1]) if r.out.startswith("held ") else 0
            expect(r.status == 0 and 16 * 1024 < got < 32 * 1024, f"read-only: {r.status} {r.out} {r.err}")
            r = inside(everything + bring + enter + "run --summary /s.json -- /mnt/hold 1")
            expect(r.status == 125 and len(r.lines) == 1 and "Read-only file system; the program was not started" in r.err and r.out == "",
                   f"read-only, --summary: {r.status} {r.err}")
            r = inside(everything + bring + enter + "doctor --json -- /mnt/hold 1")
            told = json.loads(r.out) if r.out.startswith("{") else {"findings": [], "verdict": r.err}
            found = {f["name"]: f["state"] for f in told["findings"]}
            expect_equal((told["verdict"], found.get("root"), found.get("dev-shm")), ("yes", "note", "note"), f"read-only, doctor: {r.err}")
            r = inside(everything + bring + enter + "squeeze -q --repeat 1 --timeout 100000 -- /bin/true")
            expect(r.status == 0 and "Smallest limit that works" in r.out, f"read-only, squeeze: {r.status} {r.err}")

    # No /dev/shm to write to: the ledger needs none; the program's own shm_open fails as it would naked.
    shm = f"{sys.executable} -c 'from multiprocessing import shared_memory as s; s.SharedMemory(create=True, size=4096)'"
    hide = "mount -t tmpfs -o ro none /dev/shm && "
    naked = inside(hide + shm)
    r = inside(hide + f"{launcher} run --limit 64M -- {shm}")
    expect("Read-only file system" in naked.err and naked.status == r.status and "Read-only file system" in r.err,
           f"no shared memory: naked {naked.status}, {r.status} {r.err}")
    expect(any(line.startswith("memreeve: requests: ") for line in r.lines), f"no shared memory: not governed: {r.err}")

    # A root with the program alone, without /proc: said before it starts; with /proc it is governed.
    with Folder() as folder:
        needed = [launcher, hold, os.path.join(LIB, "libmemreeve_preload.so")]
        listed = subprocess.run(["ldd", *needed], capture_output=True, text=True).stdout
        libraries = {word for line in listed.splitlines() for word in line.split() if word.startswith("/") and not word.endswith(":")}
        for path in [*needed, *libraries]:
            to = folder.path + "/" + os.path.basename(path) if path in needed else folder.path + path
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(path, to)
        os.makedirs(folder.path + "/proc")
        os.makedirs(folder.path + "/dev")
        enter = f"exec {chroot} {folder.path} /memreeve "
        preload = {"MEMREEVE_PRELOAD": "/libmemreeve_preload.so"}
        for options in ("", "--best-effort "):
            r = Done([*in_namespace, enter + f"run {options}-- /hold 8"], env={**os.environ, **preload})
            expect(r.status == 125 and len(r.lines) == 1 and "/proc, so it must be mounted" in r.err and r.out == "",
                   f"a root without /proc {options}: {r.status} {r.err}")
        r = Done([*in_namespace, enter + "doctor -- /hold 8"], env={**os.environ, **preload})
        expect(r.status == 1 and r.out.startswith("NO: ") and "/proc" in r.out.splitlines()[1], f"a root without /proc, doctor: {r.out} {r.err}")
        r = Done([*in_namespace, enter + "squeeze -- /hold 8"], env={**os.environ, **preload})
        expect(r.status == 125 and len(r.lines) == 1 and "/proc" in r.err, f"a root without /proc, squeeze: {r.status} {r.err}")
        r = Done([*in_namespace, f"mount --rbind /proc {folder.path}/proc && " + enter + "run --limit 32M -- /hold 64"],
                 env={**os.environ, **preload})
        got = int(r.out.split()[1]) if r.out.startswith("held ") else 0
        expect(r.status == 0 and 16 * 1024 < got < 32 * 1024, f"a small root: {r.status} {r.out} {r.err}")
finish()
