# SPDX-License-Identifier: MIT
# Contract section 4: what is wrong is said in one line (what, why, what to do), status 125, and the
# program is not started. Help and version end with 0 on standard output.
import os
import re
import subprocess

from _run import MEMREEVE, Folder, expect, expect_equal, finish, memreeve

ACCEPTED = r"accepted are bytes \(268435456\), a number with K, M, G, T or KiB, MiB, GiB, TiB .*%.*or max"

with Folder() as folder:
    mark = folder.file("started")
    touch = ["--", "touch", mark]
    WRONG = [
        (["run", "--limit", "12Q", *touch], r"--limit 12Q: ends in an unknown unit, 'Q'; " + ACCEPTED),
        (["run", "--limit", "512MB", *touch], r"--limit 512MB: .*" + ACCEPTED),
        (["run", "--limit", "", *touch], r"--limit '': does not begin with a number; " + ACCEPTED),
        (["run", "--limit=-1", *touch], r"--limit -1: does not begin with a number; " + ACCEPTED),
        (["run", "--limit", "1m", *touch], r"--limit 1m: .*" + ACCEPTED),
        (["run", "--limit", "101%", *touch], r"--limit 101%: is more than all memory there is; " + ACCEPTED),
        (["run", "--limit", "99999999T", *touch], r"--limit 99999999T: is larger than 64 bits can hold; " + ACCEPTED),
        (["run", "--limit", "0", *touch], r"--limit 0: less than one page"),
        (["run", "--limit", *touch], r"--limit: .*missing.*--help"),
        (["run", "--limit", "1G", "--limit", "2G", *touch], r"--limit.*--help"),
        (["run", "--limit", "64M", "--reserve", "65M", *touch], r"--reserve 65M: larger than the limit of 64 MiB"),
        (["run", "--limit", "64M", "--reserve", "1Q", *touch], r"--reserve 1Q: .*" + ACCEPTED),
        (["run", "--reserve", "8M", *touch], r"--reserve: is a part of the limit, and there is none; give --limit"),
        (["run", "--bogus", *touch], r"unknown option --bogus; memreeve run --help"),
        (["run", "--exit-code-on-limit", "256", *touch], r"--exit-code-on-limit: .*256.*1 to 255"),
        (["run", "--exit-code-on-limit", "x", *touch], r"--exit-code-on-limit.*x"),
        (["squeeze", "--tolerance", "nan", *touch], r"--tolerance: Value nan not in range 0.1 to 100; memreeve squeeze --help"),
        (["squeeze", "--timeout", "nan", *touch], r"--timeout: Value nan not in range 1 to 1000000; memreeve squeeze --help"),
        (["run", "touch", mark], r"touch stands before --; write memreeve run \[OPTIONS\] -- COMMAND"),
        (["run", "--limit", "64M"], r"no command given; write memreeve run"),
        (["run", "--"], r"no command given; write memreeve run"),
        (["frob", *touch], r"unknown verb frob; memreeve --help"),
        ([], r"no verb given; memreeve --help"),
        (touch, r"no verb given; memreeve --help"),
        (["run", "--summary", folder.path + "/no/where", *touch],
         r"--summary .*/no/where: cannot be written: No such file or directory; the program was not started"),
        (["run", "--summary", folder.path, *touch], r"--summary .*: cannot be written: Is a directory"),
        (["run", "--summary", "", *touch], r"--summary '': cannot be written"),
    ]
    for arguments, wanted in WRONG:
        r = memreeve(*arguments)
        name = "memreeve " + " ".join(arguments)
        expect_equal(r.status, 125, name)
        expect_equal(r.out, "", name + ", standard output")
        if expect_equal(len(r.lines), 1, name + ", lines: " + r.err):
            expect(re.fullmatch("memreeve: " + wanted + ".*", r.lines[0]), f"{name}: said {r.lines[0]!r}")
        expect(not os.path.exists(mark), name + " started the program")

    # A summary that could be written, but the program never ran: no empty file is left.
    path = folder.file("summary.json")
    expect_equal(memreeve("run", "--summary", path, "--", "/no/such").status, 127, "missing command")
    expect(not os.path.exists(path), "a summary file was left by a program that never started")
    folder.file("kept.json", "mine")
    memreeve("run", "--summary", folder.file("kept.json"), "--", "/no/such")
    with open(folder.file("kept.json")) as f:
        expect_equal(f.read(), "mine", "an older summary was emptied by a program that never started")

# What cannot be written is not passed over: an answer nobody has is none.
for arguments in (["--help"], ["run", "--help"], ["--version"], ["doctor", "--", "true"], ["doctor", "--json", "--", "true"]):
    with open("/dev/full", "w") as full:
        done = subprocess.run([MEMREEVE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    expect_equal((done.returncode, done.stderr), (125, "memreeve: what was found could not be written to standard output completely\n"),
                 f"{arguments} on a full device")

for arguments, wanted in [(["--help"], r"memreeve run --limit 256M -- mono app.exe"), (["run", "--help"], r"Exit status: "), (["run", "--help"], r"DOTNET_GCHeapHardLimit, JAVA_TOOL_OPTIONS, NODE_OPTIONS, MONO_GC_PARAMS"),
                          (["run", "-h", "--", "false"], r"SIZE: bytes"), (["--version"], r"memreeve \d+\.\d+\.\d+")]:
    r = memreeve(*arguments)
    expect_equal(r.status, 0, " ".join(arguments))
    expect(re.search(wanted, r.out), f"{arguments}: {r.out!r}")
    expect_equal(r.err, "", " ".join(arguments) + ", standard error")

r = memreeve("run", "--help")
for option in ["--limit SIZE", "--reserve SIZE", "--summary FILE", "--quiet", "--no-knobs", "--no-children",
               "--best-effort", "--exit-code-on-limit N"]:
    expect(option in r.out, f"run --help does not tell {option}")
finish()
