# SPDX-License-Identifier: MIT
# Decision 30: the limit reaches a JVM as its own settings, however it is started, and gives way to
# whatever the user has set wherever the JVM reads it; a leak then ends in an OutOfMemoryError that
# the program catches, with every collector, and nothing is refused.
import os
import shutil
import subprocess

import _support  # noqa: F401
from _run import MIB, SOURCE, Folder, expect, expect_equal, finish, memreeve, run, skip

NAME = "JAVA_TOOL_OPTIONS"
OURS = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
CLEAN = {k: v for k, v in os.environ.items() if k not in OURS}
for tool in ("java", "javac"):
    if shutil.which(tool) is None:
        skip(tool + " is not installed")


def jvms(result):
    return [p for p in result.summary["processes"] if p["runtime"] == "jvm"]


def told(result):
    """The lines of the verb told as a dictionary."""
    return dict(line.rsplit(" ", 1) for line in result.out.splitlines() if line.startswith(("max ", "collector ", "a ")))


def set_for(result):
    return [p["settings"].get(NAME) for p in jvms(result)]


with Folder() as folder:
    subprocess.run(["javac", "-d", folder.path, os.path.join(SOURCE, "tests", "runtime", "programs", "Knobs.java")],
                   check=True, timeout=300)
    java, main = ["java", "-XX:ErrorFile=" + folder.path + "/error%p.log"], ["-cp", folder.path, "Knobs"]
    program = [*java, *main]

    # However it is started; the collector is the one HotSpot takes in a container of that size.
    for command in ([*program, "told"], ["sh", "-c", " ".join([*program, "told"]) + "; true"],
                    [*program, "start", *program, "told"], ["env", *program, "told"]):
        r = run(command, "--limit", "256M", env=CLEAN)
        settings, name = set_for(r), " ".join(command[:2])
        expect(r.status == 0 and settings and all(settings), f"{name}: status {r.status}, settings {settings}: {r.err}")
        expect("collector Copy" in r.out and all("-XX:+UseSerialGC" in s for s in settings), f"{name}: {r.out}")
        largest = int(told(r).get("max", 0))
        expect(16 * MIB < largest < 200 * MIB, f"{name}: a heap of {largest}")
        for option in ("-Xms", "-Xmx", "-XX:MaxMetaspaceSize=", "-XX:ReservedCodeCacheSize=", "-XX:MaxDirectMemorySize="):
            expect(all(option in s for s in settings), f"{name}: {option} is missing in {settings}")
        expect("ExitOnOutOfMemoryError" not in r.out + str(settings), f"{name}: {settings}")

    # A second JVM beside one whose heap is committed gets a share of what is left, and no option twice.
    r = run([*program, "start", *program, "told"], "--limit", "512M", env=CLEAN)
    settings = set_for(r)
    expect_equal((r.status, len(settings)), (0, 2), f"a JVM in a JVM: {r.err}")
    seen = [x for x in r.out.splitlines() if x.startswith(NAME)]
    expect(len(seen) == 1 and seen[0].count("-Xmx") == 1, f"a JVM in a JVM: {seen}")

    # What the user has in the same variable stays behind ours.
    r = run([*program, "told"], "--limit", "256M", env={**CLEAN, NAME: "-Da.property=set"})
    expect_equal((r.status, told(r).get("a property")), (0, "set"), f"beside the user's: {r.out} {r.err}")
    expect(set_for(r)[0] is not None and "a.property" not in set_for(r)[0], f"settings {set_for(r)}")
    r = run(["sh", "-c", " ".join([*program, "start", *program, "told"]) + "; true"], "--limit", "512M",
            env={**CLEAN, NAME: "-Da.property=set"})
    seen = [x for x in r.out.splitlines() if x.startswith(NAME)]
    expect(len(seen) == 1 and seen[0].count("-Xmx") == 1 and seen[0].endswith(" -Da.property=set"), f"inherited: {seen}")

    # Off.
    for options in (("--limit", "2G", "--no-knobs"), ()):
        r = run([*program, "told"], *options, env=CLEAN)
        expect_equal((r.status, set_for(r)), (0, [None]), f"{options}: {r.err}")
        expect(NAME + " null" in r.out, f"{options}: {r.out}")

    # The user's word, wherever the JVM reads it.
    arguments = folder.file("arguments", "-Xmx50m\n")
    options = folder.file("options", "-Xmx50m\n")
    flags = folder.file("flags", "MaxHeapSize=50m\n")
    for name, added, environment in [("-Xmx", ["-Xmx50m"], {}), ("MaxHeapSize", ["-XX:MaxHeapSize=50m"], {}),
                                     ("@file", ["@" + arguments], {}), ("option file", ["-XX:VMOptionsFile=" + options], {}),
                                     ("flags", ["-XX:Flags=" + flags], {}), (NAME, [], {NAME: "-Xmx50m"}),
                                     ("JDK_JAVA_OPTIONS", [], {"JDK_JAVA_OPTIONS": "-Xmx50m"}),
                                     ("_JAVA_OPTIONS", [], {"_JAVA_OPTIONS": "-Xmx50m"})]:
        r = run([*java, "-XX:+UseSerialGC", *added, *main, "told"], "--limit", "256M", env={**CLEAN, **environment})
        expect_equal((r.status, set_for(r)), (0, [None]), f"{name}: {r.err}")
        expect(40 * MIB < int(told(r).get("max", 0)) <= 50 * MIB, f"{name}: {r.out}")
        users = jvms(r)[0]["users_settings"]
        expect(any("50m" in u for u in users), f"{name}: the summary lists {users}")
    r = run([*program, "told", "-Xmx50m"], "--limit", "256M", env=CLEAN)
    expect(set_for(r)[0] is not None, f"an argument of the program was taken for the JVM's: {r.err}")

    # Where not all of it is seen (a pipe, as of bash's <(...), can be read once), nothing is set that
    # could contradict it: no -Xms, no collector.
    for text, wanted in (("-Xmx50m", 50), ("-Xmx50m -XX:+UseParallelGC", 50), ("-Dx=y", 0)):
        reading, writing = os.pipe()
        os.write(writing, text.encode())
        os.close(writing)
        r = run([*java, f"@/dev/fd/{reading}", *main, "told"], "--limit", "256M", env=CLEAN, pass_fds=[reading])
        os.close(reading)
        setting = (set_for(r) or [None])[0] or ""
        expect(r.status == 0 and "-Xmx" in setting and "-Xms" not in setting and "GC" not in setting, f"{text}: {setting} {r.err}")
        largest = int(told(r).get("max", 0))
        expect(0.8 * wanted * MIB < largest <= wanted * MIB if wanted else largest < 100 * MIB, f"{text}: {r.out}")
    # Behind -jar too, as long as the file is not named; a heap that may not be smaller.
    with open(folder.path + "/manifest", "w") as f:
        f.write("Main-Class: Knobs\n")
    subprocess.run(["jar", "cfm", folder.path + "/knobs.jar", folder.path + "/manifest", "-C", folder.path, "."], check=True, timeout=300)
    for words, setting, largest in ((["-jar", "-Xmx50m", folder.path + "/knobs.jar"], None, 50),
                                    (["-XX:SoftMaxHeapSize=180m", *main], "-Xms180m -Xmx180m", 180),
                                    (["-Xms170m", *main], "-Xmx170m", 170), (["-Xms0", *main], "-Xmx120m", 120)):
        r = run([*java, "-XX:+UseSerialGC", *words, "told"], "--limit", "256M", env=CLEAN)
        got = (set_for(r) or [None])[0]
        expect(r.status == 0 and (got is None) == (setting is None) and (setting or "") in (got or ""), f"{words}: {got} {r.err}")
        expect(0.8 * largest * MIB < int(told(r).get("max", 0)) <= largest * MIB, f"{words}: {r.out}")
    r = run([*program, "told"], "--limit", "256M", env={**CLEAN, NAME: "-Xms300m"})
    expect("-Xms300m of 300 MiB is above the limit of 256 MiB" in r.err and set_for(r) == [None], f"-Xms above the limit: {r.err}")
    # By another name.
    home = os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("java"))))
    os.makedirs(folder.path + "/jdk/bin")
    os.symlink(home + "/lib", folder.path + "/jdk/lib")
    service = shutil.copy(home + "/bin/java", folder.path + "/jdk/bin/service")
    if subprocess.run([service, "-version"], capture_output=True).returncode == 0:
        r = run([service, *java[1:], "-XX:+UseSerialGC", "-Xmx50m", *main, "told"], "--limit", "256M", env=CLEAN)
        expect_equal((r.status, set_for(r)), (0, [None]), f"by another name: {r.err}")
    # A generous ceiling is no need: the heap does not shrink to nothing.
    r = run([*java, "-XX:+UseSerialGC", "-XX:MaxMetaspaceSize=512m", *main, "told"], "--limit", "512M", env=CLEAN)
    expect(r.status == 0 and int(told(r).get("max", 0)) > 128 * MIB, f"a generous metaspace: {r.out} {r.err}")

    # A share of the machine's memory becomes one of the limit.
    r = run([*java, "-XX:+UseSerialGC", "-XX:MaxRAMPercentage=50", "-XX:MinRAMPercentage=50", *main, "told"], "--limit",
            "512M", env=CLEAN)
    expect_equal((r.status, set_for(r)), (0, ["-XX:MaxRAM=512m"]), f"percentage: {r.err}")
    expect(200 * MIB < int(told(r).get("max", 0)) <= 256 * MIB, f"percentage: {r.out}")

    # Sizes beside the heap are the user's where the user gave them; so is the collector.
    r = run([*java, "-XX:+UseG1GC", "-XX:MaxMetaspaceSize=60m", *main, "told"], "--limit", "512M", env=CLEAN)
    setting = set_for(r)[0] or ""
    expect(r.status == 0 and "Metaspace" not in setting and "-Xmx" in setting and "UseSerialGC" not in setting, setting)
    expect("collector G1" in r.out, r.out)

    # What contradicts the limit stands, and is told of in one line; -v tells of all.
    r = run([*java, "-XX:+UseSerialGC", "-Xms16m", "-Xmx600m", *main, "told"], "--limit", "256M", env=CLEAN)
    expect_equal(sum("-Xmx600m of 600 MiB is above the limit of 256 MiB" in x for x in r.lines), 1, r.err)
    r = memreeve("run", "-v", "--limit", "256M", "--", *program, "told", env=CLEAN)
    expect(any(x.startswith("memreeve: set for java") and NAME + "=" in x and "-Xmx" in x for x in r.lines), f"-v: {r.err}")
    r = memreeve("run", "-v", "--limit", "256M", "--", *java, "-XX:+UseSerialGC", "-Xmx50m", *main, "told", env=CLEAN)
    expect(any(x.startswith("memreeve: left for java") and x.endswith(": -Xmx50m") for x in r.lines), f"-v: {r.err}")

    # Too small to start: one line, 125, and the limit it names works.
    for collector in ("Serial", "G1"):
        chosen = [*java, f"-XX:+Use{collector}GC", *main]
        r = run([*chosen, "told"], "--limit", "20M", env=CLEAN)
        line = [x for x in r.lines if "is too small for Java with " + collector in x]
        expect_equal((r.status, r.out, len(line)), (125, "", 1), f"{collector}, too small: {r.err}")
        named = line[0].rsplit("--limit ", 1)[1] if line else "?"
        r = run([*chosen, "arrays"], "--limit", named, env=CLEAN)
        expect_equal((r.status, r.out.count("caught")), (0, 3), f"{collector}, the limit named, {named}: {r.err}")
    r = run([*program, "told"], "--limit", "20M", "--best-effort", env=CLEAN)
    expect("; it tries" in r.err and r.status != 125, f"--best-effort: {r.status} {r.err}")

    # Leaks.
    for collector in ("G1", "Serial", "Parallel", "Z"):
        chosen = [*java, f"-XX:+Use{collector}GC", *main]  # classes take ten seconds each
        if subprocess.run([*chosen, "told"], capture_output=True, env=CLEAN).returncode != 0:
            print(f"skipped: this Java has no {collector}")
            continue
        for leak in ("objects", "arrays", "buffers", *(["classes"] if os.environ.get("MEMREEVE_LONG") else [])):
            r = run([*chosen, leak], "--limit", "256M", env=CLEAN, timeout=300)
            expect_equal((r.status, r.out), (0, "caught OutOfMemoryError\n" * 3), f"{collector}, {leak}: {r.err}")
            expect(r.summary["peak_charged_bytes"] <= 256 * MIB, f"{collector}, {leak}: peak above the limit")
            expect_equal(sum(jvms(r)[0]["refusals"].values()), 0, f"{collector}, {leak}: refusals")
finish()
