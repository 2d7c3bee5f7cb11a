# SPDX-License-Identifier: MIT
# Decision 27, attack A10: a program that cannot be governed is refused before it starts, with the
# reason and what to use instead; a privileged launcher takes nothing from its environment.
import os
import shutil
import subprocess

from _run import BIN, MEMREEVE, Folder, expect, expect_equal, finish, helper, memreeve

with Folder() as folder:
    def refused(path, part):
        r = memreeve("run", "--", path)
        expect_equal(r.status, 126, part)
        expect(len(r.lines) == 1 and "cannot be governed" in r.lines[0] and part in r.lines[0]
               and ("use " in r.lines[0] or "run " in r.lines[0]), f"{part}: {r.err!r}")

    source = folder.file("p.c", "int main(void) { return 0; }\n")
    static = folder.file("static")
    if subprocess.run(["gcc", "-static", "-o", static, source], capture_output=True).returncode == 0:
        refused(static, "statically linked")
    else:
        print("not tried: gcc -static does not work here")

    true = shutil.which("true")
    copy = folder.file("setuid")
    shutil.copy(true, copy)
    os.chmod(copy, 0o4755)
    refused(copy, "setuid")
    os.chmod(copy, 0o2755)
    refused(copy, "setgid")

    with open(true, "rb") as f:
        image = bytearray(f.read())
    glibc = b"/lib64/ld-linux-x86-64.so.2\0"
    musl = b"/lib/ld-musl-x86_64.so.1\0"
    refused(folder.file("musl", bytes(image.replace(glibc, musl.ljust(len(glibc), b"\0"), 1)), 0o755), "not glibc's")
    narrow = bytearray(image)
    narrow[4] = 1
    refused(folder.file("narrow", bytes(narrow), 0o755), "32-bit")
    foreign = bytearray(image)
    foreign[18] = 183  # EM_AARCH64
    refused(folder.file("arm", bytes(foreign), 0o755), "not a program for x86-64")
    script = folder.file("script", f"#!{folder.path}/musl\n", 0o755)
    refused(script, "not glibc's")

    capable = folder.file("capable")
    shutil.copy(true, capable)
    value = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep
    try:
        os.setxattr(capable, "security.capability", value)
        refused(capable, "file capabilities")
    except OSError as e:
        print("not tried: file capabilities cannot be set here:", e)

    # The library is found beside the program; named wrongly, it is told.
    r = memreeve("run", "--", "true", env={**os.environ, "MEMREEVE_PRELOAD": "/no/such.so"})
    expect_equal(r.status, 125, "MEMREEVE_PRELOAD that is not there")
    expect(len(r.lines) == 1 and "looked for /no/such.so" in r.lines[0] and "MEMREEVE_PRELOAD" in r.lines[0], r.err)
    with open(true, "rb") as f:
        program = f.read()
    for name, content, why in [("text", b"no library\n", "it is no library"), ("empty", b"", "it is no library"),
                               ("cut", program[:40], "it is no library"), ("other.so", program, "it is another library"),
                               ("narrow.so", program[:4] + b"\x01" + program[5:], "it is no shared library for x86-64")]:
        path = folder.file(name, content)
        marker = folder.file("started-with-" + name)
        r = memreeve("run", "--", "touch", marker, env={**os.environ, "MEMREEVE_PRELOAD": path})
        expect_equal((r.status, len(r.lines)), (125, 1), f"MEMREEVE_PRELOAD of {name}: {r.err}")
        expect(f"is not memreeve's preload library: {why}; " in r.err, f"MEMREEVE_PRELOAD of {name}: {r.err}")
        expect(not os.path.exists(marker), f"MEMREEVE_PRELOAD of {name}: the program was started")
    blank = os.path.join(folder.path, "a b")
    os.mkdir(blank)
    shutil.copy(true, os.path.join(blank, "x.so"))
    r = memreeve("run", "--", "true", env={**os.environ, "MEMREEVE_PRELOAD": os.path.join(blank, "x.so")})
    expect_equal(r.status, 125, "a library path with a blank")
    expect("separators" in r.err, r.err)

    # A10: AT_SECURE. As root, a setuid copy for another user makes the loader see two users.
    if os.geteuid() == 0:
        # In a folder that everybody may enter: /proc/self/exe and the search start there.
        os.chmod(folder.path, 0o755)
        os.mkdir(os.path.join(folder.path, "bin"), 0o755)
        private = os.path.join(folder.path, "bin", "memreeve")
        shutil.copy(MEMREEVE, private)
        os.chown(private, 65534, 65534)
        os.chmod(private, 0o4755)
        done = subprocess.run([private, "run", "--", "true"], capture_output=True, text=True,
                              env={**os.environ, "MEMREEVE_PRELOAD": "/no/such.so"})
        expect_equal(done.returncode, 125, "a privileged launcher without its library")
        expect("/no/such.so" not in done.stderr and "looked for" in done.stderr,
               f"A10: MEMREEVE_PRELOAD was used by a privileged launcher: {done.stderr!r}")
    else:
        print("not tried: AT_SECURE needs root")

    # memfd_create refused (a strict container).
    done = subprocess.run([helper("denied"), "memfd_create", "1", MEMREEVE, "run", "--", "touch", folder.file("started")],
                          capture_output=True, text=True)
    if done.returncode == 77:
        print("not tried: seccomp cannot be used here")
    else:
        expect_equal(done.returncode, 125, "memfd_create refused")
        expect(done.stderr.count("\n") == 1 and "memfd_create: Operation not permitted" in done.stderr
               and "seccomp" in done.stderr, f"memfd_create refused: {done.stderr!r}")
        expect(not os.path.exists(folder.file("started")), "the program was started without a ledger")
finish()
