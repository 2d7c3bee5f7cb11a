# SPDX-License-Identifier: MIT
# Surroundings that memreeve cannot work in, or that fight it: one clear line that says what, why and
# what to do, the documented status, and the program ungoverned only with --best-effort. Where it can
# work, the program runs as it would naked.
import glob
import os
import resource
import shutil
import signal
import subprocess

from _run import MEMREEVE, MIB, Folder, expect, expect_equal, finish, helper, memreeve, run, start

hold, denied = helper("hold"), helper("denied")
LIB = os.path.abspath(os.environ.get("MEMREEVE_LIB", os.path.join(os.path.dirname(MEMREEVE), "..", "lib")))
OURS = os.path.join(LIB, "libmemreeve_preload.so")
EPERM, ENOSYS = 1, 38


def said(r):
    """Its lines but those that end every run."""
    usual = ("requests: ", "peak charged ", "charged at the end", "touched beside it", "refusals: ",
             "charged and touched memory passed")
    return [line for line in r.lines if not any(line.startswith("memreeve: " + u) for u in usual) and
            " process image" not in line]


def refused(r, status, word, what, most=1):
    """Not started, or ended at once: that status and one line that says why."""
    expect_equal(r.status, status, f"{what}: status; {r.err}")
    expect("held" not in r.out, f"{what}: it ran: {r.out}")
    lines = said(r)
    expect(0 < len(lines) <= most and all(line.startswith("memreeve: ") for line in lines), f"{what}: lines {lines}")
    expect(any(word in line for line in lines), f"{what}: {word!r} is not in {lines}")


def held(r, what, least=8192):
    expect_equal(r.status, 0, f"{what}: status; {r.err}")
    got = int(r.out.split()[1]) if r.out.startswith("held ") else 0
    expect(got >= least, f"{what}: {r.out} {r.err}")


# System calls that a container forbids. Naked first: what the program itself does not survive says nothing.
if subprocess.run([denied, "kcmp", "1", "true"]).returncode == 77:
    print("not tried: no seccomp filter can be set here")
else:
    needed = {"memfd_create": "memfd_create", "pidfd_open": "pidfd_open", "madvise:18": "MADV_WIPEONFORK"}
    without = ["ioctl:0xc0686611", "process_vm_readv", "process_madvise", "mremap", "pidfd_send_signal", "userfaultfd", "eventfd2",
               "signalfd4", "clone3", "waitid", "readlinkat", "statx", "access", "fgetxattr", "getxattr", "sched_yield", "membarrier",
               "madvise:4", "madvise:8", "madvise:22", "madvise:23", "madvise:102", "madvise:103"]
    for call, word in needed.items():
        for e in (EPERM, ENOSYS):
            done = subprocess.run([denied, call, str(e), MEMREEVE, "run", "--", hold, "8"], capture_output=True, text=True, timeout=60)
            r = memreeve("run", "--", denied, call, str(e), hold, "8", timeout=60)
            outer = type(r)(done, None)
            # A started program says it, and the closing lines list it.
            refused(outer, 125, word, f"{call} errno {e}, everywhere", 2 if call.startswith("madvise") else 1)
            if call.startswith("madvise"):
                refused(r, 125, word, f"{call} errno {e}, in the program", 2)
                r = memreeve("run", "--best-effort", "--", denied, call, str(e), hold, "8", timeout=60)
                held(r, f"{call} errno {e}, --best-effort")
                expect(any("runs ungoverned" in line for line in r.lines), f"{call}: not said: {r.err}")
                expect(any(line.startswith("memreeve: not governed: ") for line in r.lines), f"{call}: not listed: {r.err}")
            else:
                held(r, f"{call} errno {e}, in the program")
    for call in without:
        for e in (EPERM, ENOSYS):
            naked = subprocess.run([denied, call, str(e), hold, "16", "64"], capture_output=True, text=True, timeout=60)
            expect_equal((naked.returncode, naked.stdout), (0, "held 16384 KiB\n"), f"{call} errno {e}, naked")
            # Quarter of the limit is the reserve: 24 of 32 MiB are for everybody.
            r = subprocess.run([denied, call, str(e), MEMREEVE, "run", "--limit", "32M", "--", hold, "40", "64"], capture_output=True,
                               text=True, timeout=60)
            got = int(r.stdout.split()[1]) if r.stdout.startswith("held ") else 0
            expect(r.returncode == 0 and 20 * 1024 <= got <= 32 * 1024, f"{call} errno {e}: {r.returncode} {r.stdout} {r.stderr}")
    # Without a signalfd signals are passed on all the same.
    with subprocess.Popen([denied, "signalfd4", str(EPERM), MEMREEVE, "run", "-q", "--", hold, "1", "1024", "90"],
                          stdout=subprocess.PIPE, text=True) as p:
        p.stdout.readline()
        p.send_signal(signal.SIGTERM)
        expect_equal(p.wait(timeout=60), 128 + signal.SIGTERM, "SIGTERM without signalfd4")

# No /proc, a read-only place for the summary: in a mount namespace of its own.
in_namespace = ["unshare", "-rm", "sh", "-c"]
if shutil.which("unshare") is None or subprocess.run([*in_namespace, "mount -t tmpfs none /proc"], capture_output=True).returncode != 0:
    print("not tried: no mount namespace can be made here")
else:
    def inside(script):
        done = subprocess.run([*in_namespace, script], capture_output=True, text=True, timeout=60)
        return type(memreeve("--version"))(done, None)

    refused(inside(f"mount -t tmpfs none /proc && {MEMREEVE} run -- {hold} 8"), 125, "/proc", "no /proc")
    refused(inside(f"mount -t tmpfs none /proc && MEMREEVE_PRELOAD={OURS} {MEMREEVE} run --best-effort -- {hold} 8"), 125, "/proc",
            "no /proc, library named")
    with Folder() as folder:
        os.chmod(folder.path, 0o755)
        r = inside(f"mount -t tmpfs -o ro none {folder.path} && {MEMREEVE} run --summary {folder.path}/s.json -- {hold} 8")
        refused(r, 125, "Read-only file system", "a read-only place for the summary")
    # The program takes /proc away from itself and what it starts.
    script = f"mount -t tmpfs none /proc && {hold} 8"
    r = memreeve("run", "--", "unshare", "-rm", "sh", "-c", script, timeout=60)
    refused(r, 125, "cannot be governed", "another user namespace")
    r = memreeve("run", "--best-effort", "--", "unshare", "-rm", "sh", "-c", script, timeout=60)
    held(r, "another user namespace, --best-effort")
    expect(any("it runs ungoverned" in line for line in r.lines), f"another user namespace: not said: {r.err}")

# Resource limits, of memreeve and of the program alone.
def limited(which, soft, *words):
    done = subprocess.run([MEMREEVE, *words], capture_output=True, text=True, timeout=60,
                          preexec_fn=lambda: resource.setrlimit(which, (soft, resource.getrlimit(which)[1])))
    return type(memreeve("--version"))(done, None)


for mib in (64, 128, 256, 512, 1024, 2048, 4096):
    r = limited(resource.RLIMIT_AS, mib * MIB, "run", "--limit", "200M", "--", hold, "8")
    if r.status == 125:
        refused(r, 125, "ulimit -v", f"RLIMIT_AS of {mib} MiB", 2)
        expect(mib <= 64, f"RLIMIT_AS of {mib} MiB is said to be too little")
    else:
        held(r, f"RLIMIT_AS of {mib} MiB")
r = limited(resource.RLIMIT_AS, 100 * MIB, "run", "--", hold, "90")
expect(r.status == 0 and 0 < int(r.out.split()[1]) < 60 * 1024, f"RLIMIT_AS of 100 MiB filled: {r.out} {r.err}")
for files in (4, 5, 6, 7, 8):
    r = limited(resource.RLIMIT_NOFILE, files, "run", "--", hold, "8")
    if files < 8 and r.status != 0:
        refused(r, 125, "ulimit -n", f"RLIMIT_NOFILE {files}")
    else:
        held(r, f"RLIMIT_NOFILE {files}")
refused(limited(resource.RLIMIT_FSIZE, 0, "run", "--", hold, "8"), 125, "ulimit -f", "RLIMIT_FSIZE 0")
held(limited(resource.RLIMIT_DATA, 64 * MIB, "run", "--", hold, "8"), "RLIMIT_DATA of 64 MiB")
r = limited(resource.RLIMIT_DATA, 4 * MIB, "run", "--", hold, "8")
expect_equal(r.status, 0, f"RLIMIT_DATA of 4 MiB: {r.err}")
held(limited(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK)[1], "run", "--", hold, "8"), "the largest RLIMIT_STACK")
held(limited(resource.RLIMIT_MEMLOCK, 0, "run", "--", hold, "8"), "RLIMIT_MEMLOCK 0")
if os.getuid() != 0:
    r = limited(resource.RLIMIT_NPROC, 1, "run", "--", hold, "8")
    refused(r, 126, "cannot be started", "RLIMIT_NPROC 1")

# Limits too small for anything.
for size in ("4096", "16K", "64K"):
    r = memreeve("run", "--limit", size, "--", hold, "8")
    if size == "4096" or r.status != 0:
        refused(r, 125, "limit", f"--limit {size}", 3)
    else:
        expect_equal(r.out, "held 0 KiB\n", f"--limit {size}")
r = run([hold, "8"], "--limit", "256K")
expect_equal((r.status, r.out), (0, "held 0 KiB\n"), f"--limit 256K: {r.err}")

# Another malloc in LD_PRELOAD, wherever it stands there: left out, which is said; the program runs, its
# blocks are ours and the limit holds.
for name in ("libjemalloc.so.2", "libmimalloc.so.2"):
    found = glob.glob("/usr/lib/*/" + name) + glob.glob("/usr/lib64/" + name)
    if not found:
        print(f"not tried: {name} is not installed")
        continue
    for order, preload in (("theirs alone", found[0]), ("theirs before", found[0] + ":" + OURS), ("theirs after", OURS + ":" + found[0])):
        environment = {**os.environ, "LD_PRELOAD": preload}
        r = run([hold, "200", "64"], "--limit", "64M", env=environment)
        expect_equal(r.status, 0, f"{name}, {order}: {r.err}")
        got = int(r.out.split()[1])
        expect(32 * 1024 < got < 64 * 1024, f"{name}, {order}: held {got} KiB of 64 MiB")
        entry = r.summary["processes"][0]
        expect_equal(entry["kernel"]["unclassified_bytes"], 0, f"{name}, {order}: unclassified")
        lines = [line for line in said(r) if name in line]
        expect(entry["requests"]["malloc"] > 0, f"{name}, {order}: {entry['requests']}")
        expect(len(lines) == 1 and "was left out" in lines[0], f"{name}, {order}: {r.err}")

# A program that crashes.
with Folder() as folder:
    for what, line, number in (("segv", "*(volatile int*)8 = 1;", signal.SIGSEGV), ("abort", "abort();", signal.SIGABRT),
                               ("stack", "return recurse(1);", signal.SIGSEGV)):
        source = folder.file(what + ".c", "#include <stdlib.h>\nvolatile int deep; static int recurse(int n) { char a[4096]; "
                             "a[n & 4095] = (char)n; return deep ? 0 : recurse(n + 1) + a[n & 4095]; }\n"
                             f"int main(void) {{ if (deep) recurse(0); {line} return 0; }}\n")
        program = folder.file(what)
        subprocess.run(["gcc", "-O0", "-w", "-o", program, source], check=True)
        r = run([program], "--limit", "64M")
        expect_equal(r.status, 128 + number, f"{what}: {r.err}")
        expect_equal(r.summary["exit"], {"code": None, "signal": number}, f"{what}: the summary")
        expect_equal(len([line for line in r.lines if "was ended by signal" in line]), 1, f"{what}: {r.err}")

# Killed launcher: the program lives on, governed; what it starts then ends with one line.
p = start(["sh", "-c", f"echo ready; read line; {hold} 8; echo status $?"], "-q", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
          stderr=subprocess.PIPE)
p.stdout.readline()
p.kill()
p.wait()
p.stdin.write("\n")
p.stdin.flush()
expect_equal(p.stdout.readline(), "status 125\n", "a child after the launcher's end")
line = p.stderr.readline()
expect("the launcher has ended" in line and "--best-effort" in line, f"a child after the launcher's end: {line}")
finish()
