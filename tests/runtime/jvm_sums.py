# SPDX-License-Identifier: MIT
# Contract section 5, decisions 1 to 4: the JVM at five moments of a run, stopped at each: the sums hold to
# the byte beside the test's own reading of smaps, and less than 1 % belongs to nobody. ZGC's heap is a file
# with three views: what is charged for it is what the file holds, once, and it is neither committed nor
# mapped writable.
import os
import shutil
import subprocess

import _support  # noqa: F401
from _run import MIB, SOURCE, Folder, expect, expect_equal, finish, skip
from _sums import PAGE, moments

for tool in ("java", "javac"):
    if shutil.which(tool) is None:
        skip(tool + " is not installed")


def heap_of(look):
    return look.memory_files.get("java_heap", 0)


def grown(collector):
    def look_at(moment, look, looks):
        if moment == "arrays" and collector != "Z":
            # The heap is committed from the start: arrays are what becomes resident of it.
            more = look.owner("gc", "resident") - looks["started"].owner("gc", "resident")
            expect(more >= 60 * MIB, f"{collector}: 64 MiB of arrays, gc's resident grew by {more}")
        if moment == "native":
            more = look.owner("malloc", "resident") - looks["arrays"].owner("malloc", "resident")
            expect(more >= 16 * MIB, f"{collector}: 16 MiB of buffers, malloc's resident grew by {more}")
        if collector != "Z":
            expect_equal(look.image["file_pages"], {}, f"{collector}, {moment}: pages of files charged")
            return
        heap = heap_of(look)
        expect_equal(look.image["file_pages"], {"gc": heap // PAGE}, f"{moment}: pages of the heap's file charged")
        views = sum(m.size for m in look.mappings if m.path.startswith("/memfd:java_heap"))
        expect(moment == "busy" or views >= 3 * heap > 0, f"{moment}: {views} bytes of views of {heap}")
        expect(moment != "arrays" or heap >= 64 * MIB, f"{moment}: the heap holds {heap}")
    return look_at


with Folder() as folder:
    subprocess.run(["javac", "-d", folder.path, os.path.join(SOURCE, "tests", "runtime", "programs", "Moments.java")],
                   check=True)
    for collector in ("G1", "Z") + (("Serial", "Parallel") if os.environ.get("MEMREEVE_LONG") else ()):
        java = ["java", f"-XX:+Use{collector}GC", "-cp", folder.path]
        if subprocess.run([*java, "-version"], capture_output=True).returncode != 0:
            print(f"skipped: this Java has no {collector}")
            continue
        print(collector)
        moments([*java, "Moments"], ("started", "arrays", "native", "busy", "collected"), "700M", "jvm", grown(collector),
                lambda look: look.image["file_pages"].get("gc", 0) * PAGE == heap_of(look), stderr=subprocess.DEVNULL)
finish()
