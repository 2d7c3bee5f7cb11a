# SPDX-License-Identifier: MIT
# The JVM is asked to collect before its limit.
import os
import shutil
import subprocess

from _ask import hold, hold_all_ways
from _run import SOURCE, Folder, expect_equal, finish, skip

if shutil.which("java") is None or shutil.which("javac") is None:
    skip("java and javac are not installed")
with Folder() as folder:
    subprocess.run(["javac", "-d", folder.path, os.path.join(SOURCE, "tests", "runtime", "programs", "Hold.java")], check=True)
    command = ["java", "-XX:+UseSerialGC", "-Xmx64m", "-XX:MaxDirectMemorySize=1g", "-cp", folder.path, "Hold", "120"]
    hold_all_ways("jvm", command, "240M")
    out = hold("jvm", [*command, "wait"], "--limit", "240M", "--ask", is_asked=True)
    expect_equal(out, "done True\n", "asked: is anything gone?")
finish()
