# SPDX-License-Identifier: MIT
"""What ./matrix runs: runtimes, the programs of examples/leaks, how they are built, and what each
runtime's design allows at its limit. A cell is one program on one runtime."""
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEAKS = os.path.join(ROOT, "examples", "leaks")
PROGRAMS = ("arrays", "objects", "native", "threads", "code", "steady")

# Cells whose end in a catchable exception the runtime's design does not allow, and why (decisions 28
# and 31). Each of them must end with the last words, without a hang.
DESIGN = {
    ("mono", "objects"): "SGen ends the process inside a collection whatever is set (decision 28)",
    ("node", "arrays"): "V8 ends the process when its heap is full (decision 31)",
    ("node", "objects"): "V8 ends the process when its heap is full (decision 31)",
    ("node", "code"): "scripts live in V8's heap (decision 31)",
}


class Runtime:
    """name: as --only takes it. family: the key of DESIGN. command: in front of a program's words.
    variables: what the environment gets beside what it has."""

    def __init__(self, name, title, family, command, variables=None, extra=()):
        self.name = name
        self.title = title
        self.family = family
        self.command = command
        self.variables = variables or {}
        self.programs = PROGRAMS + tuple(extra)

    def steady(self, seconds, live, more):
        """The command of a load with `live` MiB in a table and `more` MiB besides: blocks outside the
        collector's heap; with Java the heap itself, as a user would set it, for the share of a limit that
        the JVM is given for direct buffers is small."""
        if self.family == "java":
            heap = 2 * live + more
            return [self.command[0], f"-Xms{heap}m", f"-Xmx{heap}m", *self.command[1:], "steady", str(seconds), str(live), "4"]
        return [*self.command, "steady", str(seconds), str(live), str(more)]

    def design(self, program):
        return DESIGN.get((self.family, program))


def _once(stamp, sources, make):
    """make() when a source is newer than the stamp."""
    newest = max(os.path.getmtime(s) for s in sources)
    if os.path.exists(stamp) and os.path.getmtime(stamp) >= newest:
        return
    os.makedirs(os.path.dirname(stamp), exist_ok=True)
    make()
    with open(stamp, "w"):
        pass


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}: {(done.stdout + done.stderr).strip()[-800:]}")


def _mono(folder):
    if not (shutil.which("mono") and shutil.which("mcs")):
        return "mono and mcs are not installed"
    source, made = os.path.join(LEAKS, "leaks.cs"), os.path.join(folder, "mono", "leaks.exe")
    _once(os.path.join(folder, "mono", "made"), [source], lambda: _run(["mcs", "-unsafe", "-nowarn:618", "-out:" + made, source]))
    return [Runtime("mono", "Mono", "mono", ["mono", made])]


def _dotnet(folder):
    muxer = shutil.which("dotnet")
    if muxer is None:
        return "dotnet is not installed"
    made = os.path.join(folder, "dotnet")
    sources = [os.path.join(LEAKS, n) for n in ("leaks.cs", "leaks.csproj")]
    _once(os.path.join(made, "made"), sources,
          lambda: _run([os.path.join(ROOT, "tools", "dotnet_build.sh"), "build", sources[1], made]))
    command = [muxer, os.path.join(made, "leaks.dll")]
    return [Runtime("dotnet", ".NET, workstation", "dotnet", command),
            Runtime("dotnet-server", ".NET, server", "dotnet", command, {"DOTNET_gcServer": "1"})]


def _java(folder):
    if not (shutil.which("java") and shutil.which("javac")):
        return "java and javac are not installed"
    source, made = os.path.join(LEAKS, "Leaks.java"), os.path.join(folder, "java")
    _once(os.path.join(made, "made"), [source], lambda: _run(["javac", "-d", made, source]))
    return [Runtime("java-" + name.lower(), "Java, " + name, "java", ["java", f"-XX:+Use{name}GC", "-cp", made, "Leaks"])
            for name in ("G1", "Serial", "Parallel", "Z")]


def _node(_):
    if not shutil.which("node"):
        return "node is not installed"
    return [Runtime("node", "Node", "node", ["node", os.path.join(LEAKS, "leaks.js")], extra=("typed", "worker"))]


def _python(_):
    # Not sys.executable's link nor a shell's shim: the interpreter itself.
    return [Runtime("python", "CPython", "python", [os.path.realpath(sys.executable), os.path.join(LEAKS, "leaks.py")])]


def runtimes(folder, wanted, say):
    """The runtimes that are there, programs built; those absent are said with the reason.
    wanted: a predicate over names, so that nothing is built that is not run."""
    found = []
    for names, make in ((("mono",), _mono), (("dotnet", "dotnet-server"), _dotnet),
                        (("java-g1", "java-serial", "java-parallel", "java-z"), _java), (("node",), _node),
                        (("python",), _python)):
        if not any(wanted(n) for n in names):
            continue
        try:
            made = make(folder)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as e:
            made = f"its program cannot be built: {e}"
        if isinstance(made, str):
            say(f"skipped: {', '.join(n for n in names if wanted(n))}: {made}")
        else:
            found += [r for r in made if wanted(r.name)]
    return found


def versions(found):
    """What each runtime says of itself, a line each."""
    ask = {"mono": ["mono", "--version"], "dotnet": ["dotnet", "--list-runtimes"], "java": ["java", "-version"],
           "node": ["node", "--version"], "python": [os.path.realpath(sys.executable), "--version"]}
    said = {}
    for family in dict.fromkeys(r.family for r in found):
        done = subprocess.run(ask[family], capture_output=True, text=True, timeout=60)
        lines = (done.stdout + done.stderr).strip().splitlines()
        if family == "dotnet":
            lines = [line for line in lines if line.startswith("Microsoft.NETCore.App")]
        said[family] = lines[-1 if family == "dotnet" else 0].split(" [")[0] if lines else "?"
    return said
