# SPDX-License-Identifier: MIT
# doctor and run never disagree: what doctor says cannot be governed run does not start, and what it
# says can be governed run governs. Doctor itself starts nothing of the command.
import glob
import json
import os
import shutil
import signal
import subprocess
import sys

from _run import MEMREEVE, Folder, expect, expect_equal, finish, helper, memreeve, wait_for

LIB = os.path.abspath(os.environ.get("MEMREEVE_LIB", os.path.join(os.path.dirname(MEMREEVE), "..", "lib")))
OURS = os.path.join(LIB, "libmemreeve_preload.so")
UNTIL_STARTED = (125, 126, 127)


def doctor(*words, prefix=(), **popen):
    done = subprocess.run([*prefix, MEMREEVE, "doctor", "--json", "--", *words], capture_output=True, text=True, timeout=120, **popen)
    if not expect(done.returncode in (0, 1) and done.stderr == "", f"doctor {words}: {done.returncode} {done.stderr}"):
        return {"verdict": "", "findings": [], "reason": ""}
    told = json.loads(done.stdout)
    expect_equal(done.returncode, 1 if told["verdict"] == "no" else 0, f"doctor {words}: status")
    return told


def states(told):
    return {f["name"]: f["state"] for f in told["findings"]}


def compare(what, words, verdict, part="", mark=None, prefix=(), **popen):
    """Doctor's verdict, and that run does accordingly."""
    told = doctor(*words, prefix=prefix, **popen)
    expect_equal(told["verdict"], verdict, f"{what}: {told['reason']}")
    if mark:
        expect(not os.path.exists(mark), f"{what}: doctor started it")
    with Folder() as folder:
        path = folder.file("s.json")
        done = subprocess.run([*prefix, MEMREEVE, "run", "--summary", path, "--", *words], capture_output=True, text=True,
                              timeout=120, errors="replace", **popen)
        summary = json.load(open(path)) if os.path.exists(path) and os.path.getsize(path) else None
    governed = summary is not None and any(p["governed"] for p in summary["processes"])
    if verdict == "no":
        expect(done.returncode in UNTIL_STARTED and not governed, f"{what}: doctor says no, run {done.returncode} {done.stderr}")
        if told["run_status"]:
            # The same sentence.
            expect_equal(done.stderr, f"memreeve: {told['reason']}\n", f"{what}: the sentences")
            expect_equal(done.returncode, told["run_status"], f"{what}: run's status")
        expect(part in told["reason"], f"{what}: {part!r} is not in {told['reason']!r}")
    else:
        expect(governed, f"{what}: doctor says {verdict}, run {done.returncode} {done.stderr}")
        expect(part in json.dumps(told["findings"]), f"{what}: {part!r} is not told: {told['findings']}")
    return told


with Folder() as folder:
    def copied(name, change=None, mode=0o755):
        with open(shutil.which("true"), "rb") as f:
            image = bytearray(f.read())
        return folder.file(name, bytes(change(image) if change else image), mode)

    def patched(at, value):
        def change(image):
            image[at] = value
            return image
        return change

    def loader(name):
        old = b"/lib64/ld-linux-x86-64.so.2\0"
        return lambda image: bytes(image).replace(old, name.encode().ljust(len(old), b"\0"), 1)

    mark = folder.file("mark")
    # Programs that can be governed.
    told = compare("ordinary", ["touch", mark], "yes", mark=mark)
    expect(set(states(told).values()) == {"ok"} or "note" in states(told).values(), f"{states(told)}")
    expect_equal((told["program"], told["run_status"]), (shutil.which("touch"), 0), "ordinary")
    os.symlink(shutil.which("true"), folder.path + "/link")
    compare("a link", [folder.path + "/link"], "yes")
    script = folder.file("script", f"#!/bin/sh\ntouch {mark}.2\n", 0o755)
    told = compare("a script", [script], "yes", "is a script", mark=mark + ".2")
    expect_equal(states(told)["script"], "note", "a script")
    told = compare("a script by env", [folder.file("by_env", "#!/usr/bin/env true\n", 0o755)], "yes", "env starts")
    told = compare("by env", ["env", "-u", "HOME", "A=1", "true"], "yes", "env starts " + shutil.which("true"))
    for option in ("--unset", "--chdir"):
        compare(f"env {option}", ["env", option, "/", "true"], "yes", "env starts " + shutil.which("true"))
    compare("env -S", ["env", "-S", "true x"], "yes", "env starts " + shutil.which("true"))
    told = compare("env and a script", ["env", script], "yes", "env starts " + script)
    expect_equal(states(told).get("script"), "note", "env and a script")

    # Programs that cannot.
    compare("not there", ["/no/such"], "no", "no such file")
    compare("not in PATH", ["no-such-command"], "no", "command not found")
    compare("a directory", [folder.path], "no", "is a directory")
    compare("not executable", [copied("plain", mode=0o644)], "no", "not executable")
    compare("no program", [folder.file("text", "hello\n", 0o755)], "no", "neither an ELF program nor a script")
    compare("a .NET file", [folder.file("app.exe", b"MZ" + bytes(300), 0o755)], "no", "name its runtime")
    os.symlink("/no/such", folder.path + "/dangling")
    compare("a link to nothing", [folder.path + "/dangling"], "no")
    compare("a missing interpreter", [folder.file("lost", "#!/no/such/interpreter\n", 0o755)], "no", "(the interpreter of ")
    compare("a missing loader", [copied("unloadable", loader("/no/ld-linux-x86-64.so.2"))], "no", "is not here")
    compare("musl", [copied("musl", loader("/lib/ld-musl-x86_64.so.1"))], "no", "not glibc's")
    compare("32-bit", [copied("narrow", patched(4, 1))], "no", "32-bit")
    compare("ARM", [copied("arm", patched(18, 183))], "no", "not a program for x86-64")
    compare("setuid", [copied("setuid", mode=0o4755)], "no", "setuid")
    compare("a script that setuid reads", [folder.file("through", f"#!{folder.path}/setuid\n", 0o755)], "no", "setuid")

    source = folder.file("p.c", "int main(void) { return 0; }\n")

    def built(name, *options):
        path = folder.file(name)
        return path if subprocess.run(["gcc", "-o", path, source, *options], capture_output=True).returncode == 0 else None

    static = built("static", "-static")
    if static:
        compare("static", [static], "no", "statically linked")
        told = compare("static behind env", ["env", static], "restricted", "would run ungoverned")
        expect_equal(states(told)["successor"], "limits", "static behind env")
    else:
        print("not tried: gcc -static does not work here")
    # Only allocators' own libraries are left out, whatever folder they lie in.
    os.mkdir(folder.path + "/jemalloc")
    other = built("jemalloc/libother.so", "-shared", "-fPIC")
    if other:
        told = compare("a library in a folder of that name", ["true"], "yes",
                       env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"LD_PRELOAD": other})
        expect("preload" not in states(told), f"a library in a folder of that name: {told['findings']}")
    # A loader from elsewhere would be executed by looking for libraries, however it is named.
    if static:
        with open(folder.file("mark.c"), "w") as f:
            f.write(f'#include <fcntl.h>\nint main(void) {{ return open("{mark}.3", O_CREAT, 0600) < 0; }}\n')
        os.mkdir(folder.path + "/l")
        subprocess.run(["gcc", "-static", "-o", folder.path + "/l/ld-linux-x86-64.so.2", folder.path + "/mark.c"], check=True)
        hidden = built("hidden", "-Wl,--dynamic-linker=/lib64/../.." + folder.path + "/l/ld-linux-x86-64.so.2")
        told = doctor(hidden)
        expect(not os.path.exists(mark + ".3"), "doctor executed a loader from elsewhere")
        expect("is no system's loader" in json.dumps(told["findings"]), f"a loader from elsewhere: {told['findings']}")
    real = built("real32", "-m32")
    if real:
        compare("32-bit, real", [real], "no", "32-bit")
    else:
        print("not tried: gcc -m32 does not work here")

    # A library that is missing: the loader ends it before it begins.
    folder.file("e.c", "int e(void) { return 0; }\n")
    library = folder.file("libmissing.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, folder.file("e.c")], check=True)
    needy = built("needy", "-Wl,--no-as-needed", library)
    os.remove(library)
    told = compare("a missing library", [needy], "no", "libmissing.so")
    expect_equal((told["run_status"], states(told)["libraries"]), (0, "no"), "a missing library")

    # What is linked in or marks a language.
    folder.file("own.c", "#include <stddef.h>\nvoid* mi_malloc(size_t n) { (void)n; return NULL; }\nint main(void) { return 0; }\n")
    own = folder.file("own")
    subprocess.run(["gcc", "-o", own, folder.file("own.c")], check=True)
    expect("mimalloc is linked into it" in json.dumps(compare("mimalloc inside", [own], "yes")), "mimalloc inside is not told")
    folder.file("go.c", 'const char table[] __attribute__((section(".gopclntab"))) = "x";\nint main(void) { return 0; }\n')
    go = folder.file("go")
    subprocess.run(["gcc", "-o", go, folder.file("go.c")], check=True)
    told = compare("Go", [go], "restricted", "GOMEMLIMIT")

    # Runtimes, by what is in their files.
    for name, runtime in (("mono", "mono"), ("dotnet", "coreclr"), ("java", "jvm"), ("node", "node")):
        if shutil.which(name) is None:
            print(f"not tried: {name} is not installed")
            continue
        told = doctor(name)
        expect_equal((told["verdict"], told["runtime"]), ("yes", runtime), name)
    for path in ("/usr/bin/python3", os.path.realpath(sys.executable)):
        if os.path.exists(path):
            expect_equal(doctor(path)["runtime"], "cpython", path)

    # Other allocators in LD_PRELOAD; one that is not there.
    for name in ("libjemalloc.so.2", "libmimalloc.so.2"):
        found = glob.glob("/usr/lib/*/" + name) + glob.glob("/usr/lib64/" + name)
        if not found:
            print(f"not tried: {name} is not installed")
            continue
        linked = built("with_" + name, "-Wl,--no-as-needed", found[0])
        if linked:
            compare(name + " linked", [linked], "yes", name + " is a library of it")
        told = compare(name, ["true"], "yes", "run leaves it out", env={**os.environ, "LD_PRELOAD": found[0]})
        expect_equal(states(told)["preload"], "note", name)
        compare(name + " before ours", ["true"], "yes", "run leaves it out", env={**os.environ, "LD_PRELOAD": found[0] + ":" + OURS})

    # The library that governs is not there, or is none.
    compare("no library", ["true"], "no", "/no/such.so", env={**os.environ, "MEMREEVE_PRELOAD": "/no/such.so"})
    broken = folder.file("broken.so", "no library\n")
    compare("a broken library", ["true"], "no", "is not memreeve's preload library", env={**os.environ, "MEMREEVE_PRELOAD": broken})
    # One that loads and governs nothing: what ran without the limit did not succeed.
    folder.file("idle.c", "const char memreeve_idle[] = \"MEMREEVE_LEDGER\";\n")
    idle = folder.file("idle.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", idle, folder.file("idle.c")], check=True)
    strange = {**os.environ, "MEMREEVE_PRELOAD": idle}
    told = compare("another library", ["true"], "no", env=strange)
    expect_equal(states(told)["start"], "no", "another library")
    for options, status in (((), 125), (("--best-effort",), 0)):
        r = memreeve("run", *options, "--", "true", env=strange)
        expect(r.status == status and any("true was never governed" in line for line in r.lines), f"another library {options}: {r.status} {r.err}")
    # Inside a run.
    compare("inside a run", ["true"], "no", "already inside a `memreeve run`", env={**os.environ, "MEMREEVE_LEDGER": "/proc/1/fd/3"})

    # Surroundings: each refused call that run cannot do without, in doctor's and run's words.
    if subprocess.run([helper("denied"), "kcmp", "1", "true"]).returncode == 77:
        print("not tried: no seccomp filter can be set here")
    else:
        for call, name in (("memfd_create", "shared-memory"), ("pidfd_open", "pidfd")):
            told = compare(call, ["true"], "no", call, prefix=[helper("denied"), call, "1"])
            expect_equal(states(told)[name], "no", call)
        told = doctor("true", prefix=[helper("denied"), "madvise:18", "1"])
        expect_equal((told["verdict"], states(told)["start"]), ("no", "no"), "MADV_WIPEONFORK")
        expect("MADV_WIPEONFORK" in told["reason"], told["reason"])
        for call, name in (("userfaultfd", "write-watch"), ("madvise:102", "guard-markers"), ("ioctl:0xc0686611", "mapping-query"),
                           ("process_vm_readv", "process-memory")):
            told = compare(call, ["true"], "yes", prefix=[helper("denied"), call, "1"])
            expect_equal((states(told)[name], states(told)["seccomp"]), ("note", "note"), call)
    in_namespace = ["unshare", "-rm", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*in_namespace, "mount -t tmpfs none /proc"], capture_output=True).returncode != 0:
        print("not tried: no mount namespace can be made here")
    else:
        told = compare("no /proc", ["true"], "no", "/proc", prefix=[*in_namespace, 'mount -t tmpfs none /proc && exec "$0" "$@"'])
        expect_equal(states(told)["proc"], "no", "no /proc")
        os.chmod(folder.path, 0o755)
        forbidding = f'mount -t tmpfs -o noexec none {folder.path} && cp /bin/true {folder.path}/here && exec "$0" "$@"'
        compare("noexec", [folder.path + "/here"], "no", "noexec", prefix=[*in_namespace, forbidding])
        compare("noexec, in PATH", ["here"], "no", "noexec", prefix=[*in_namespace, forbidding],
                env={**os.environ, "PATH": os.environ["PATH"] + ":" + folder.path})

    # On one screen, and as people read it.
    r = memreeve("doctor", "--", "true")
    expect(r.status == 0 and r.out.startswith("YES: true can be governed\n") and r.out.count("\n") <= 24, r.out)
    r = memreeve("doctor", "--", "/tmp")
    expect(r.status == 1 and r.out.startswith("NO: /tmp cannot be run here\n") and r.out.count("\n") <= 24, r.out)

    # --run starts it, once.
    count = folder.file("count")
    told = json.loads(memreeve("doctor", "--json", "--run", "--", "sh", "-c", f"echo >> {count}; exit 3").out)
    expect(os.path.getsize(count) == 1 and any(f["name"] == "run" and f["found"].startswith("ended with 3 ") for f in told["findings"]),
           f"--run: {told['findings']}")
    if static:
        told = json.loads(memreeve("doctor", "--json", "--run", "--", "sh", "-c", static + "; true").out)
        expect(told["verdict"] == "restricted" and static in json.dumps(told), f"--run with a static child: {told}")

    # Ctrl-C while the command runs.
    begun = folder.file("begun")
    p = subprocess.Popen([MEMREEVE, "doctor", "--run", "--", "sh", "-c", f"echo > {begun}; exec sleep 600"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    expect(wait_for(lambda: os.path.exists(begun)), "--run: the command did not start")
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    expect_equal((p.returncode, out, err), (130, "", "memreeve: doctor: ended early; ask again\n"), "Ctrl-C")

    # Wrong arguments.
    for words, wanted in ((["doctor"], "no command given; write memreeve doctor"), (["doctor", "true"], "stands before --; write memreeve doctor"),
                          (["doctor", "--bogus", "--", "true"], "unknown option --bogus; memreeve doctor --help")):
        r = memreeve(*words)
        expect(r.status == 125 and len(r.lines) == 1 and wanted in r.lines[0], f"{words}: {r.status} {r.err}")
finish()
