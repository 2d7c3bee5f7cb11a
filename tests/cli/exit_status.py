# SPDX-License-Identifier: MIT
# Contract section 4: the program's own status, 128+n, 126, 127; its streams are its own.
import os
import signal

from _run import Folder, expect, expect_equal, finish, helper, memreeve, run

for code in (0, 1, 3, 77, 124, 125, 126, 127, 255):
    expect_equal(memreeve("run", "-q", "--", "sh", "-c", f"exit {code}").status, code, f"exit {code}")

for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGHUP):
    r = run(["sh", "-c", f"kill -{int(s)} $$"])
    expect_equal(r.status, 128 + s, f"signal {s.name}")
    expect_equal(r.summary["exit"], {"code": None, "signal": int(s)}, f"summary after {s.name}")
    expect(any(f"was ended by signal {int(s)} ({s.name})" in line for line in r.lines), f"{s.name} not told: {r.err}")

r = run(["sh", "-c", "exit 9"])
expect_equal(r.summary["exit"], {"code": 9, "signal": None}, "summary after exit 9")
expect_equal(r.summary["command"], ["sh", "-c", "exit 9"], "command in the summary")
expect_equal(r.summary["limit_bytes"], None, "limit in the summary of a run without one")

# Streams: bytes go through untouched, and memreeve's lines only to standard error.
r = memreeve("run", "--", "sh", "-c", "cat; echo to-err >&2", input="a line\nand another")
expect_equal(r.out, "a line\nand another", "standard input to standard output")
expect(all(line == "to-err" or line.startswith("memreeve: ") for line in r.lines), f"a line without prefix: {r.err}")
expect("to-err" in r.lines, "the program's own standard error")
r = memreeve("run", "--quiet", "--", "sh", "-c", "echo to-err >&2")
expect_equal(r.err, "to-err\n", "--quiet")

# Everything behind the first -- is the program's.
r = memreeve("run", "-q", "--", "echo", "--limit", "12Q", "--", "--help", "")
expect_equal(r.out, "--limit 12Q -- --help \n", "arguments behind --")

with Folder() as folder:
    text = folder.file("text", "echo hello\n", 0o755)
    plain = folder.file("plain", "#!/bin/sh\n", 0o644)
    lost = folder.file("lost", "#!/no/such/interpreter\n", 0o755)
    script = folder.file("script", "#!/bin/sh\nexit 5\n", 0o755)
    windows = folder.file("app.exe", b"MZ\0\0" + b"\0" * 300, 0o755)
    for command, status, part in [
            ("no-such-command", 127, "not found in PATH"),
            (folder.path + "/nothing", 127, "no such file"),
            (lost, 126, "/no/such/interpreter (the interpreter of"),
            (folder.path, 126, "is a directory"),
            (plain, 126, "is not executable"),
            (text, 126, "neither an ELF program nor a script"),
            (windows, 126, "memreeve run -- mono ")]:
        r = memreeve("run", "--", command)
        expect_equal(r.status, status, command)
        expect(len(r.lines) == 1 and r.lines[0].startswith("memreeve: ") and part in r.lines[0], f"{command}: {r.err!r}")
    expect_equal(memreeve("run", "-q", "--", script).status, 5, "a script")
    expect_equal(memreeve("run", "-q", "--", "env", "sh", "-c", "exit 6").status, 6, "through env")

# A limit that is met: the program's own status, unless --exit-code-on-limit says another.
hold = [helper("hold"), "64", "4096"]
r = run(hold, "--limit", "32M")
expect_equal(r.status, 0, "refused and survived")
expect_equal(r.summary["limit_bytes"], 32 << 20, "limit in the summary")
expect_equal(r.summary["reserve_bytes"], 8 << 20, "decision 3: the default reserve, a quarter at most")
expect(sum(r.summary["processes"][0]["refusals"].values()) > 0, "nothing was refused")
expect(r.summary["peak_charged_bytes"] <= 32 << 20, f"peak {r.summary['peak_charged_bytes']} above the limit")
expect_equal(run(hold, "--limit", "32M", "--exit-code-on-limit", "99").status, 99, "--exit-code-on-limit when refused")
expect_equal(run(hold, "--limit", "1G", "--exit-code-on-limit", "99").status, 0, "--exit-code-on-limit when not")
r = run(hold, "--limit", "32M", "--reserve", "1M")
expect_equal(r.summary["reserve_bytes"], 1 << 20, "--reserve")
r = run(hold, "--limit", "max")
expect_equal((r.summary["limit_bytes"], r.status), (None, 0), "--limit max")

# A full disk: the program's status stands, one line tells.
r = memreeve("run", "-q", "--summary", "/dev/full", "--", "sh", "-c", "exit 4")
expect_equal(r.status, 4, "summary to a full disk")
expect(len(r.lines) == 1 and "could not be written completely: No space left" in r.lines[0], f"full disk: {r.err!r}")
finish()
