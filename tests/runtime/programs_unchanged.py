# SPDX-License-Identifier: MIT
# Real programs, whatever is installed: output, status and products are as without memreeve, with no
# limit and under one of 256 MiB.
import hashlib
import os
import shutil
import subprocess
import sys

import _support  # noqa: F401
from _run import SOURCE, Folder, expect, expect_equal, finish, run, sums_hold

C_PROGRAM = """#include <stdio.h>
#include <string.h>
static int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
int main(void) { char text[64]; snprintf(text, sizeof text, "%d", fibonacci(20)); puts(text); return (int)strlen(text) - 4; }
"""
CPP_PROGRAM = """#include <iostream>
#include <map>
#include <string>
#include <vector>
int main() {
    std::map<std::string, std::vector<int>> m;
    for (int i = 0; i < 1000; ++i) m[std::to_string(i % 37)].push_back(i);
    for (const auto& [key, values] : m) std::cout << key << ' ' << values.size() << '\\n';
    try { throw std::runtime_error("thrown"); } catch (const std::exception& e) { std::cout << e.what() << '\\n'; }
}
"""
SQL = """create table t(i integer primary key, x text); with recursive n(i) as (select 1 union all select i + 1 from n
where i < 20000) insert into t select i, hex(i * 7919 % 10007) from n; create index x on t(x);
select count(*), min(x), max(x) from t; select x, count(*) from t group by x order by 2 desc, 1 limit 5;"""
PERL = """my %h; $h{$_ % 997} .= "x$_" for 1..50000; print length(join "", map { $h{$_} } sort keys %h), "\\n"; my @c = map { my $n = $_;
my $pid = open(my $f, "-|"); if (!$pid) { print $n * 2; exit 0 } my $l = <$f>; close $f; $l } 1..5; print "@c\\n";"""
NODE = """const { Worker } = require("worker_threads"); const zlib = require("zlib"); const crypto = require("crypto");
const b = Buffer.alloc(3 << 20, "memory "); const z = zlib.gzipSync(b);
console.log(zlib.gunzipSync(z).equals(b), crypto.createHash("sha256").update(b).digest("hex"));
let left = 3; for (let i = 0; i < 3; ++i) new Worker("const p = require('worker_threads').parentPort; const a = []; for (let i = 0; i < 1e5; ++i) a.push({i}); p.postMessage(a.length)",
{ eval: true }).on("message", n => { console.log(n); if (--left === 0) console.log("done"); });"""
PYTHON = """import json, threading, zlib, subprocess, sys, concurrent.futures as f
with f.ThreadPoolExecutor(4) as p: print(sum(p.map(lambda n: len(zlib.compress(b"ab" * n)), range(0, 60000, 3000))))
print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout.strip())
print(len(json.dumps([{"k": list(range(50))}] * 2000)))"""
JAVA = """public class Main { public static void main(String[] a) throws Exception { var t = new Thread[4]; var s = new long[4];
for (int i = 0; i < 4; ++i) { int n = i; t[i] = new Thread(() -> { var m = new java.util.TreeMap<Integer, String>();
for (int k = 0; k < 20000; ++k) m.put(k * 7919 % 10007, "v" + k); s[n] = m.size(); }); t[i].start(); }
for (var x : t) x.join(); System.out.println(java.util.Arrays.stream(s).sum()); System.exit(5); } }"""


def programs(folder):
    """name, what it needs, command, files it makes; run in the folder."""
    folder.file("p.c", C_PROGRAM)
    folder.file("p.cpp", CPP_PROGRAM)
    folder.file("script.sql", SQL)
    folder.file("Main.java", JAVA)
    folder.file("data.json", '{"b": [1, 2, {"c": null}], "a": "\\u00e9"}')
    tree = os.path.join(SOURCE, "src", "bridge")
    yield "gcc", ["gcc"], ["sh", "-c", "gcc -O2 -o made p.c && ./made"], ["made"]
    yield "g++", ["g++"], ["sh", "-c", "g++ -O1 -pipe -o made p.cpp && ./made"], ["made"]
    yield "make", ["make", "gcc"], ["sh", "-c", "printf 'made: p.c\\n\\tgcc -c -o made p.c\\n' > Makefile; make -s -j2 && make"], ["made"]
    yield "git", ["git"], ["sh", "-c", "rm -rf r; git -c init.defaultBranch=m init -q r && cd r && cp ../p.c . && git add p.c && GIT_COMMITTER_DATE=1700000000+0000 "
                           "GIT_AUTHOR_DATE=1700000000+0000 git -c user.name=a -c user.email=a@b commit -qm m && git log --oneline && git fsck && git gc -q && git show --stat"], []
    yield "perl", ["perl"], ["perl", "-e", PERL], []
    yield "sqlite3", ["sqlite3"], ["sh", "-c", "rm -f made; sqlite3 made < script.sql"], []
    yield "tar and xz", ["tar", "xz"], ["sh", "-c", f"tar -C {tree} --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner -c . | xz -T2 > made && xz -dc made | tar -t | sort"], ["made"]
    yield "gzip", ["gzip"], ["sh", "-c", f"cat {tree}/*.cpp | gzip -9n > made; gzip -dc made | wc"], ["made"]
    yield "find", ["find", "sort"], ["sh", "-c", f"find {tree} -name '*.cpp' -exec wc -c {{}} + | sort"], []
    yield "sort", ["sort"], ["sh", "-c", "seq 60000 | sort -R --random-source=p.c | sort -n --parallel=2 | tail -2"], []
    yield "awk and sed", ["awk", "sed"], ["sh", "-c", "seq 20000 | awk '{ a[$1 % 100] += $1 } END { for (i in a) s += a[i]; print s }' | sed 's/0/o/'"], []
    yield "grep", ["grep"], ["sh", "-c", f"grep -rc include {tree} | sort; grep nothing p.c"], []
    yield "bash", ["bash"], ["bash", "-c", "a=(); for i in {1..3000}; do a+=($i); done; echo ${#a[@]} $(echo ${a[@]} | wc -c); exit 7"], []
    yield "json.tool", [], [sys.executable, "-m", "json.tool", "data.json"], []
    yield "python", [], [sys.executable, "-c", PYTHON], []
    yield "node", ["node"], ["node", "-e", NODE], []
    yield "javac", ["javac"], ["sh", "-c", "javac -J-Xmx96m -d . Main.java && java -Xmx96m -cp . Main"], []
    yield "mcs", ["mono", "mcs"], ["sh", "-c", f"mcs -out:made.exe {SOURCE}/tests/runtime/programs/arrays.cs; ls made.exe"], []
    yield "openssl", ["openssl"], ["sh", "-c", "openssl dgst -sha256 p.c; openssl enc -aes-256-cbc -pbkdf2 -S 0011223344556677 -k x -in p.c -out made"], ["made"]
    yield "gdb", ["gdb", "gcc"], ["sh", "-c", "gcc -g -o made p.c && gdb -q -batch -ex 'info line main' ./made"], []


with Folder() as folder:
    for name, needs, command, products in programs(folder):
        missing = [n for n in needs if shutil.which(n) is None]
        if missing:
            print(f"not tried: {name} ({', '.join(missing)} is not installed)")
            continue

        def outcome(r):
            made = {}
            for product in products:
                path = folder.file(product)
                made[product] = hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.exists(path) else None
                if made[product]:
                    os.remove(path)
            status, out = (r.returncode, r.stdout) if hasattr(r, "returncode") else (r.status, r.out)
            return status, out, made

        environment = {**os.environ, "HOME": folder.path, "LC_ALL": "C.UTF-8"}
        naked = outcome(subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder.path, env=environment))
        expect(naked[0] in (0, 1, 5, 7), f"{name}, naked: {naked}")
        for options in ([], ["--limit", "256M"]):
            r = run(command, *options, cwd=folder.path, env=environment)
            expect_equal(outcome(r), naked, f"{name} {options}: {r.err[-600:]}")
            expect(r.summary is not None and all(p["governed"] for p in r.summary["processes"]), f"{name} {options}: {r.err}")
            for p in r.summary["processes"] if r.summary else []:
                if p["end"] == "exited":
                    expect(sums_hold(p), f"{name} {options}: the sums of {p['image']}")
                    expect_equal(p["kernel"]["unclassified_resident_bytes"], 0, f"{name} {options}: unclassified in {p['image']}")
finish()
