# SPDX-License-Identifier: MIT
# Who is refused first: large blocks and what libraries and generated code take, before what a runtime needs
# for itself, which alone may use the reserve. And a thread that is refused again and again is slowed.
import os
import shutil
import subprocess

import _support  # noqa: F401
from _run import MIB, Folder, expect, expect_equal, finish, helper, run

LIMIT, RESERVE = 192, 48 # MiB: task level ends at 144, domain level at 168


def governed(what, command, *options, status=0, **popen):
    r = run(command, "--limit", f"{LIMIT}M", "--reserve", f"{RESERVE}M", *options, timeout=180, **popen)
    expect_equal(r.status, status, f"{what}: {r.out[-500:]} {r.err[-2500:]}")
    expect(r.summary["peak_charged_bytes"] <= LIMIT * MIB, f"{what}: peak {r.summary['peak_charged_bytes']}")
    entry = r.summary["processes"][-1]
    words = [w["refused"] for w in entry["last_words"] if w["refused"]]
    print(what, entry["refusals"], words[:1], f"peak {r.summary['peak_charged_bytes'] / MIB:.1f}", r.out.split("\n")[0])
    return r, entry, words[0] if words else {}


def between(what, r, low, high):
    peak = r.summary["peak_charged_bytes"]
    expect(low * MIB < peak <= high * MIB, f"{what}: peak {peak / MIB:.2f} MiB, expected {low} to {high}")


# CPython survives every refusal: large blocks first, small ones at half of the reserve, none of process level.
LEAK = """
import sys
size = int(sys.argv[1]); kept = []; caught = 0
for i in range(3):
    try:
        while True: kept.append(bytes(size))
    except MemoryError:
        caught += 1
n = len(kept); del kept
print("caught", caught, n * size >> 20)
"""
python = shutil.which("python3")
for size, low, high, level in [(4 << 20, 130, 144, "task"), (20000, 160, 168, "appdomain")]:
    r, entry, words = governed(f"CPython, {size}", [python, "-c", LEAK, str(size)])
    expect(r.out.startswith("caught 3 "), f"CPython, {size}: {r.out} {r.err}")
    between(f"CPython, {size}", r, low, high)
    expect(entry["refusals"][level] >= 3 and entry["refusals"]["process"] == 0, f"CPython, {size}: {entry['refusals']}")
    expect_equal((words.get("level"), words.get("what_for")), (level, "malloc"), f"CPython, {size}: {words}")
    expect("ython" in (words.get("caller") or ""), f"CPython, {size}: caller {words}")

# Mono: what a library takes is an application's, what the runtime takes is not.
if shutil.which("mcs") and shutil.which("mono"):
    SOURCE = """
using System; using System.Runtime.InteropServices;
class Native {
    [DllImport("GUEST")] static extern IntPtr guest_work(UIntPtr size);
    static void Main(string[] args) {
        long held = 0; var size = uint.Parse(args[0]); int refused = 0;
        for (int i = 0; i < 100000 && refused < 3; ++i) {
            if (guest_work((UIntPtr)size) == IntPtr.Zero) ++refused; else held += size;
        }
        // The runtime goes on: code, metadata, small objects.
        var text = 0; for (int i = 0; i < 20000; ++i) text += ("" + i + (i * 7)).Length;
        var rest = new object[900]; for (int i = 0; i < 900; ++i) rest[i] = new byte[4000];
        Console.WriteLine("refused {0}, held {1}, text {2}", refused, held >> 20, text);
    }
}"""
    with Folder() as folder:
        guest = os.path.join(os.path.abspath(os.path.dirname(helper("guest.so"))), "guest.so")
        source, exe = folder.file("native.cs", SOURCE.replace("GUEST", guest)), folder.file("native.exe")
        subprocess.run(["mcs", "-out:" + exe, source], check=True)
        for size, low, high, level in [(2 << 20, 130, 146, "task"), (5000, 160, 170, "appdomain")]:
            r, entry, words = governed(f"Mono, native {size}", ["mono", exe, str(size)])
            expect(r.out.startswith("refused 3, "), f"Mono, native {size}: {r.out} {r.err}")
            expect(entry["refusals"][level] >= 3, f"Mono, native {size}: {entry['refusals']}")
            expect_equal(words.get("level"), level, f"Mono, native {size}: {words}")
            expect((words.get("caller") or "").startswith("guest.so+0x"), f"Mono, native {size}: caller {words}")
else:
    print("not tried: Mono, which is not installed")

# Node: buffers go first; then V8's own heap may grow into the reserve.
if shutil.which("node"):
    SCRIPT = """
const size = Number(process.argv[1]); const kept = []; let caught = 0;
while (caught < 3) { try { kept.push(Buffer.alloc(size, 1)); } catch (e) { caught++; } }
const objects = []; for (let i = 0; i < 200000; ++i) objects.push({a: i, b: [i]});
console.log("caught", caught, "objects", objects.length, "held", kept.length * size >> 20);
"""
    for size, level in [(4 << 20, "task"), (1 << 20, "task")]:
        r, entry, words = governed(f"Node, buffers of {size}", ["node", "-e", SCRIPT, str(size)])
        expect(r.out.startswith("caught 3 objects 200000 "), f"Node, {size}: {r.out} {r.err[-600:]}")
        expect_equal((words.get("level"), words.get("what_for")), (level, "malloc"), f"Node, {size}: {words}")
else:
    print("not tried: Node, which is not installed")

# Java: direct buffers are refused as long as the VM itself still has the reserve.
if shutil.which("java") and shutil.which("javac"):
    SOURCE = """
public class Direct {
    public static void main(String[] args) {
        java.util.ArrayList<java.nio.ByteBuffer> kept = new java.util.ArrayList<>();
        int size = Integer.parseInt(args[0]); int caught = 0;
        while (caught < 3) {
            try { kept.add(java.nio.ByteBuffer.allocateDirect(size)); } catch (OutOfMemoryError e) { caught++; }
        }
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 100000; ++i) text.append(i);
        System.out.println("caught " + caught + " text " + text.length());
    }
}"""
    with Folder() as folder:
        subprocess.run(["javac", "-d", folder.path, folder.file("Direct.java", SOURCE)], check=True)
        for size, level in [(2 << 20, "task"), (1 << 20, "task")]:
            r, entry, words = governed(f"Java, direct buffers of {size}",
                                       ["java", "-XX:+UseSerialGC", "-Xmx24m", "-XX:MaxDirectMemorySize=1g", "-cp", folder.path, "Direct",
                                        str(size)], "--no-knobs", cwd=folder.path)
            expect(r.out.startswith("caught 3 text "), f"Java, {size}: {r.out[-500:]} {r.err[-500:]}")
            expect_equal((words.get("level"), words.get("what_for")), (level, "malloc"), f"Java, {size}: {words}")
            expect((words.get("caller") or "").startswith("libjvm.so+0x"), f"Java, {size}: caller {words}")
else:
    print("not tried: Java, which is not installed")

# A collection or compilation of HotSpot's asks libjvm for large blocks too, and is told by its thread's name.
OWN = ["VM Thread", "GC Thread#1", "G1 Conc#0", "ZWorker#0", "C2 CompilerThre"]
OTHERS = ["java", "main", "Thread-7", "Zoo", "GC"]
r = run([helper("hotspot_threads"), *OWN, *OTHERS], "--limit", f"{LIMIT}M", "--reserve", f"{RESERVE}M", "--best-effort")
expect_equal(r.summary["processes"][0]["runtime"], "jvm", "hotspot_threads: runtime")
expect_equal(r.out.splitlines(), [f"{n} granted" for n in OWN] + [f"{n} refused" for n in OTHERS], f"hotspot_threads: {r.err}")

# A storm of refusals is slowed; not at process level, and never in a signal handler.
COUNT = 100000
for where, kib, slowed in [("thread", 1024, True), ("thread", 64, False), ("handler", 1024, False), ("stack", 1024, False)]:
    r = run([helper("refusal_storm"), where, str(kib), str(COUNT)], "--limit", "64M", timeout=180)
    words = r.out.split()
    name = f"a storm, {where}, {kib} KiB"
    if expect_equal((r.status, words[:2], words[4:]), (0, ["refused", str(COUNT)], ["errno", "1"]), f"{name}: {r.out} {r.err}"):
        pauses = int(words[3])
        print(name, "pauses", pauses)
        expect(3 <= pauses <= COUNT // 16 if slowed else pauses < 3, f"{name}: {pauses} pauses")
    refusals = r.summary["processes"][0]["refusals"]
    expect(sum(refusals.values()) >= COUNT, f"{name}: {refusals} are counted")
finish()
