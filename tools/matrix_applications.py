# SPDX-License-Identifier: MIT
"""Real applications under a limit, for ./matrix --applications: compilers and package tools that the
runtimes bring, on trees made in a temporary folder or copied there; no network."""
import os
import shutil
import sys
import sysconfig

import matrix_cells
import matrix_run

MIB = 1 << 20


def _file(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


def _c_sharp(space, i):
    methods = "".join(
        f"    public static int M{k}(List<int> l) {{ var q = from x in l where x % {k + 2} == 0 orderby x descending select x * {i}; "
        f"return q.Take({k + 3}).Sum() + new Dictionary<string, int> {{ {{ \"a{k}\", {i} }} }}.Count; }}\n" for k in range(20))
    return f"using System.Collections.Generic;\nusing System.Linq;\nnamespace {space} {{\npublic static class C{i}\n{{\n{methods}}}\n}}\n"


PROJECT = """<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><TargetFramework>net10.0</TargetFramework><OutputType>{kind}</OutputType></PropertyGroup>
  <ItemGroup>{references}</ItemGroup>
</Project>
"""


def _make_solution(folder):
    for p in range(3):
        for i in range(100):
            _file(f"{folder}/P{p}/C{i}.cs", _c_sharp(f"P{p}", i))
        references = "".join(f'<ProjectReference Include="../P{q}/P{q}.csproj"/>' for q in range(p))
        _file(f"{folder}/P{p}/P{p}.csproj", PROJECT.format(kind="Library", references=references))
    references = "".join(f'<ProjectReference Include="../P{q}/P{q}.csproj"/>' for q in range(3))
    _file(f"{folder}/App/App.csproj", PROJECT.format(kind="Exe", references=references))
    _file(f"{folder}/App/main.cs", "System.Console.WriteLine(P0.C1.M1(new(){2}) + P2.C99.M3(new(){5}));\n")


def _dotnet_build(folder):
    if not shutil.which("dotnet"):
        return "dotnet is not installed"
    _make_solution(folder)
    return [os.path.join(matrix_cells.ROOT, "tools", "dotnet_build.sh"), "build", f"{folder}/App/App.csproj", f"{folder}/out"]


def _mcs(folder):
    if not shutil.which("mcs"):
        return "mcs is not installed"
    for i in range(300):
        _file(f"{folder}/C{i}.cs", _c_sharp("P", i))
    return ["mcs", "-target:library", f"-out:{folder}/made.dll", f"-recurse:{folder}/*.cs"]


def _javac(folder):
    if not shutil.which("javac"):
        return "javac is not installed"
    for i in range(200):
        methods = "".join(
            f"  static int m{k}(List<Integer> l) {{ return l.stream().filter(x -> x % {k + 2} == 0).map(x -> x * {i}).limit({k + 3})"
            f".collect(Collectors.toMap(x -> \"a\" + x, x -> x, (a, b) -> a)).size(); }}\n" for k in range(20))
        _file(f"{folder}/src/C{i}.java", f"import java.util.List;\nimport java.util.stream.Collectors;\nclass C{i} {{\n{methods}}}\n")
    _file(f"{folder}/files", "\n".join(f"{folder}/src/C{i}.java" for i in range(200)))
    return ["javac", "-d", f"{folder}/out", f"@{folder}/files"]


def _npm(folder):
    npm = shutil.which("npm")
    tree = os.path.dirname(os.path.dirname(os.path.realpath(npm))) if npm else ""
    if not os.path.isdir(os.path.join(tree, "node_modules")):
        return "npm is not installed with its tree"
    shutil.copytree(tree, f"{folder}/npm", symlinks=True)
    return ["sh", "-c", f"cd {folder}/npm && npm ls --all --offline >{folder}/list; npm pack --offline --ignore-scripts --silent "
                        f"--cache {folder}/cache --pack-destination {folder}"]


def _compileall(folder):
    shutil.copytree(sysconfig.get_path("stdlib"), f"{folder}/lib", symlinks=True,
                    ignore=shutil.ignore_patterns("site-packages", "__pycache__", "*.so", "*.a", "bad*", "lib2to3"))
    return [os.path.realpath(sys.executable), "-m", "compileall", "-q", "-f", f"{folder}/lib"]


# Name, what makes its tree and gives the command, limits in MiB: roomy, tight, too small.
APPLICATIONS = (
    ("dotnet build, 4 projects, 300 files", "dotnet", _dotnet_build, (1024, 512, 256)),
    ("mcs, 300 files", "mono", _mcs, (512, 256, 128)),
    ("javac, 200 files", "java", _javac, (512, 256, 128)),
    ("npm ls and npm pack of npm's own tree", "node", _npm, (256, 128, 64)),
    ("python -m compileall of the standard library", "python", _compileall, (256, 64, 24)),
)
COLUMNS = ("application", "limit MiB", "ended", "peak MiB", "over", "words", "wall s", "bare s", "its last line")


def last_line(o):
    lines = [line.strip() for line in o.err.splitlines() if line.strip() and not line.startswith("memreeve:")]
    telling = [line for line in lines if matrix_run.OWN_WORDS.search(line)]
    return (telling or lines or [""])[-1][:90]


def run(memreeve, timeout, chosen, work, say):
    """Rows of a table, and the same as JSON."""
    rows, values = [], []
    for name, family, make, limits in APPLICATIONS:
        if not chosen(family):
            continue
        folder = os.path.join(work, family)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        try:
            command = make(folder)
            if isinstance(command, str):
                say(f"skipped: {name}: {command}")
                continue
            say(f"{name}: without memreeve")
            bare = matrix_run.run(command, 1 << 50, None, None, timeout)
            for limit in limits:
                say(f"{name}: {limit} MiB")
                o = matrix_run.run(command, limit * MIB, memreeve, None, timeout)
                ended = "0" if o.status == 0 else f"{o.ended} ({'signal ' + str(o.signal) if o.signal else o.status})"
                peak = o.summary["peak_charged_bytes"] / MIB if o.summary else 0
                rows.append((name, str(limit), ended, f"{peak:.1f}", f"{o.over}/{o.samples}", "yes" if o.last_words else "no",
                             f"{o.wall:.1f}", f"{bare.wall:.1f}", "" if o.status == 0 else last_line(o)))
                values.append({"application": name, "limit_bytes": limit * MIB, "bare": bare.as_json(), "governed": o.as_json()})
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return rows, values
