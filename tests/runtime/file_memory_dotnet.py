# SPDX-License-Identifier: MIT
# Decision 1: .NET's generated code lies in one memfd that is mapped twice (W^X). What is charged for
# it is every page of the file that became accessible, once: exactly the pages that a count from
# strace's log of the same run gives, fewer than the views have together, none of the terabytes that
# the file is long. With W^X off there is no such file.
import os
import shutil
import subprocess
import time

import _support  # noqa: F401
from _dotnet import dotnet, dotnet_app
from _run import MEMREEVE, Folder, expect, expect_equal, finish, probe, skip
from _views import PAGE, TRACED, File

if shutil.which("strace") is None:
    skip("strace is not installed")


def launcher_below(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return int(f.read().split()[0])


app = os.path.join(dotnet_app(), "app.dll")
for protects in ("1", "0"):
    with Folder() as folder:
        log = folder.file("log")
        p = subprocess.Popen(["strace", "-f", "-qq", "-o", log, "-e", "trace=" + TRACED, "-e", "signal=none", MEMREEVE,
                              "run", "-q", "--", dotnet(), app, "moments"], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env={**os.environ, "DOTNET_EnableWriteXorExecute": protects})
        for moment in ("started", "arrays", "native"):
            expect_equal(p.stdout.readline().strip(), moment, "moment")
            if moment == "native":
                launcher = launcher_below(p.pid)
                for _ in range(100):  # the JIT works on: a log of one moment
                    images = probe(launcher, "images")
                    charged = images[0]["file_pages"]
                    seen = File(log, "doublemapper")
                    if probe(launcher, "images")[0]["file_pages"] == charged and charged.get("code", 0) == len(seen.accessible):
                        break
                    time.sleep(0.05)
                owners = probe(launcher, "picture", images[0]["pid"])[0]["owners"]
                print(f"W^X {protects}: charged {charged}, accessible pages {len(seen.accessible)}, writable views "
                      f"{seen.writable_views} bytes, file {seen.size} bytes, code charged {owners['code']['charged']}")
            p.stdin.write("\n")
            p.stdin.flush()
        p.stdin.close()
        p.stdout.read()
        p.wait(timeout=120)
        if protects == "0":
            expect_equal(charged, {}, "W^X off: pages of files")
            expect_equal(seen.size, 0, "W^X off: the file")
            continue
        expect(seen.accessible, "no double mapping was seen")
        expect_equal(charged, {"code": len(seen.accessible)}, "pages charged")
        expect(0 < charged.get("code", 0) * PAGE < seen.writable_views, "the second views were charged again")
        expect(seen.size > 1 << 30, f"the file is only {seen.size} bytes long")
        expect(owners["code"]["charged"] >= charged.get("code", 0) * PAGE, f"code is charged {owners['code']}")
finish()
