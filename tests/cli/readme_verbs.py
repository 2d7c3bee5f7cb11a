# SPDX-License-Identifier: MIT
# The README's examples of doctor and squeeze are run, and what it shows of their output is what they
# print, numbers aside; the examples of --help and of the manual page are accepted.
import os
import re
import shlex
import subprocess

from _run import MEMREEVE, SOURCE, Folder, expect, expect_equal, finish, memreeve


def masked(line):
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", line).split())


with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
    text = f.read()
examples = re.findall(r"^    \$ memreeve ((?:doctor|squeeze) .*)\n((?:(?:    .*)?\n)*?)(?=^\S)", text, re.M)
expect_equal([e[0].split()[0] for e in examples], ["doctor", "squeeze"], "examples in the README")
with Folder() as folder:
    folder.file("start.sh", "#!/bin/sh\nexit 0\n", 0o755)
    for command, shown in examples:
        words = shlex.split(command)
        if words[0] == "squeeze":
            words[1:1] = ["--timeout", "100000"]  # whatever else the machine does
        r = subprocess.run([os.path.abspath(MEMREEVE), *words], capture_output=True, text=True, timeout=300, cwd=folder.path)
        expect_equal(r.returncode, 0, f"{command}: {r.stderr}")
        printed = iter([masked(line) for line in r.stdout.splitlines()])
        for line in shown.splitlines():
            if line.strip() in ("", "..."):
                continue
            expect(any(masked(line) == other for other in printed), f"{command} does not print, in this order: {line}\n{r.stdout}")

# Help and manual: each example of the two verbs is taken as it is written.
with open(os.path.join(SOURCE, "docs", "man", "memreeve.1"), encoding="utf-8") as f:
    manual = f.read().replace("\\-", "-")
sources = [memreeve("doctor", "--help").out, memreeve("squeeze", "--help").out, memreeve("--help").out, manual]
lines = {line for s in sources for line in re.findall(r"^ *(memreeve (?:doctor|squeeze) .*-- .*)$", s, re.M)}
expect(len(lines) >= 7, f"examples: {lines}")
for line in lines:
    words = shlex.split(line.split("  ")[0] if line.startswith("memreeve") else line)[1:]
    options = words[:words.index("--")]
    r = memreeve(*options, "--", "/no/such")
    expect_equal(r.status, 1 if options[0] == "doctor" else 127, f"{line}: {r.err}")
for verb, options in (("doctor", ["--run", "--json"]),
                      ("squeeze", ["--from SIZE", "--to SIZE", "--tolerance N", "--repeat N", "--timeout N", "--expect STATUS", "--no-knobs",
                                   "--show", "--quiet", "--json"])):
    told = memreeve(verb, "--help")
    expect_equal((told.status, told.err), (0, ""), verb)
    for option in options:
        expect(option in told.out, f"{verb} --help does not tell {option}")
        expect(option.split()[0].replace("-", "\\-") in open(os.path.join(SOURCE, "docs", "man", "memreeve.1")).read(),
               f"the manual does not tell {option} of {verb}")
    expect(verb in memreeve("--help").out, f"--help does not tell {verb}")
finish()
