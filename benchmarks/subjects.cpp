// SPDX-License-Identifier: MIT
#include "subjects.hpp"

#include "program_run.hpp"

#include <unistd.h>

#include <cstdio>
#include <filesystem>

namespace memreeve::bench {

namespace {

using words = std::vector<std::string>;

const std::string sources = MEMREEVE_BENCH_PROGRAMS;

subject absent(const std::string& why) { return {{}, why}; }

subject compiled(const words& compiler, const words& extra, const words& command) {
    const program_run made = run_program(compiler, extra, 180);
    return made.ok ? subject{command, {}} : absent(compiler.front() + " " + made.why);
}

subject mono(const std::string& folder) {
    if (find_program("mono").empty() || find_program("mcs").empty()) {
        return absent("mono and mcs are not installed");
    }
    const std::string exe = folder + "/mixed.exe";
    return compiled({"mcs", "-optimize", "-out:" + exe, sources + "/mixed.cs"}, {}, {"mono", exe});
}

// Offline and without traces: no source of packages, every folder it writes to is ours.
subject dotnet(const std::string& folder) {
    if (find_program("dotnet").empty()) {
        return absent("dotnet is not installed");
    }
    const std::string config = folder + "/nuget.config";
    if (std::FILE* f = std::fopen(config.c_str(), "w")) {
        std::fputs("<configuration><packageSources><clear/></packageSources></configuration>\n", f);
        std::fclose(f);
    }
    const words quiet = {"HOME=" + folder,
                         "DOTNET_CLI_HOME=" + folder,
                         "NUGET_PACKAGES=" + folder + "/packages",
                         "TMPDIR=" + folder,
                         "DOTNET_CLI_TELEMETRY_OPTOUT=1",
                         "DOTNET_NOLOGO=1",
                         "DOTNET_GENERATE_ASPNET_CERTIFICATE=false",
                         "DOTNET_CLI_WORKLOAD_UPDATE_NOTIFY_DISABLE=true",
                         "DOTNET_CLI_USE_MSBUILD_SERVER=0",
                         "MSBUILDDISABLENODEREUSE=1"};
    return compiled({"dotnet", "build", sources + "/mixed.csproj", "-c", "Release", "-o",
                     folder + "/dotnet", "--disable-build-servers", "-v", "quiet",
                     "-p:RestoreConfigFile=" + config,
                     "-p:BaseIntermediateOutputPath=" + folder + "/obj/", "-p:NuGetAudit=false"},
                    quiet, {"dotnet", folder + "/dotnet/mixed.dll"});
}

subject java(const std::string& folder) {
    if (find_program("java").empty() || find_program("javac").empty()) {
        return absent("java and javac are not installed");
    }
    return compiled({"javac", "-d", folder, sources + "/Mixed.java"}, {},
                    {"java", "-cp", folder, "Mixed"});
}

subject node(const std::string&) {
    return find_program("node").empty() ? absent("node is not installed")
                                        : subject{{"node", sources + "/mixed.js"}, {}};
}

// The interpreter itself: `python3` may be a script that finds it, which is another program's cost.
subject python3(const std::string&) {
    if (find_program("python3").empty()) {
        return absent("python3 is not installed");
    }
    const program_run asked = run_program(
        {"python3", "-c", "import os, sys; print(os.path.realpath(sys.executable), end='')"});
    return asked.ok ? subject{{asked.output, sources + "/mixed.py", "25"}, {}}
                    : absent("python3 " + asked.why);
}

struct runtime {
    const char* name;
    subject (*make)(const std::string& folder);
};
constexpr runtime runtimes[] = {
    {"mono", mono}, {"dotnet", dotnet}, {"java", java}, {"node", node}, {"python3", python3}};

} // namespace

subject runtime_subject(const std::string& name, const std::string& folder) {
    for (const runtime& r : runtimes) {
        if (name == r.name) {
            return folder.empty() ? absent("no temporary folder") : r.make(folder);
        }
    }
    return absent("no such runtime");
}

subject native_subject(const std::string& name, const words& arguments) {
    words command = {own_folder() + "/" + name};
    if (access(command.front().c_str(), X_OK) != 0) {
        return absent(name + " is not built");
    }
    command.insert(command.end(), arguments.begin(), arguments.end());
    return {command, {}};
}

std::string own_folder() {
    std::error_code ignored;
    return std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().string();
}

} // namespace memreeve::bench
