// SPDX-License-Identifier: MIT
// Decision 29: what is a .NET program, and what its files say of a heap limit of its own.
#include "bridge/runtime_config.hpp"

#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using namespace memreeve;
using namespace memreeve::bridge;

constexpr byte_count mib = byte_count{1} << 20;

const std::string mark = "\x8b\x12\x02\xb9\x6a\x61\x20\x38\x72\x7b\x93\x02\x14\xd7\xa0\x32"
                         "\x13\xf5\xb9\xe6\xef\xae\x33\x18\xee\x3b\x2d\xce\x24\xb3\x6a\xae";

template <class T>
std::string bytes(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

// A program of one writable segment with `data` at file offset 4000, so that what is searched for
// lies across a part read at a time; `rest` follows it in the file.
std::string program(const std::string& data, const std::string& rest = "") {
    Elf64_Ehdr head{};
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_phoff = sizeof head;
    head.e_phentsize = sizeof(Elf64_Phdr);
    head.e_phnum = 2;
    Elf64_Phdr text{};
    text.p_type = PT_LOAD;
    text.p_flags = PF_R;
    text.p_filesz = 64;
    Elf64_Phdr writable{};
    writable.p_type = PT_LOAD;
    writable.p_flags = PF_R | PF_W;
    writable.p_offset = 200;
    writable.p_filesz = 3800 + data.size();
    std::string file = bytes(head) + bytes(text) + bytes(writable);
    file.resize(4000);
    return file + data + rest;
}

class runtime_config : public testing::Test {
protected:
    void SetUp() override {
        char pattern[] = "/tmp/memreeve-unit-XXXXXX";
        folder = mkdtemp(pattern);
    }
    void TearDown() override { fs::remove_all(folder); }
    std::string file(const std::string& name, const std::string& text) {
        fs::create_directories((folder / name).parent_path());
        std::ofstream((folder / name).string(), std::ios::binary) << text;
        return (folder / name).string();
    }
    static configured asked(const std::string& program, std::vector<std::string> words) {
        std::vector<char*> arguments;
        for (std::string& w : words) {
            arguments.push_back(w.data());
        }
        return configured_heap_limit(program.c_str(), static_cast<int>(arguments.size()),
                                     arguments.data());
    }
    static std::string config(const std::string& property, const std::string& value) {
        return "{ \"runtimeOptions\": { \"configProperties\": { \"System.GC.Server\": true, \"" +
               property + "\": " + value + " } } }";
    }
    fs::path folder;
};

TEST_F(runtime_config, a_host_is_told_by_its_files_or_mark) {
    const std::string muxer = file("root/host-of-ours", program("hostfxr_main"));
    EXPECT_FALSE(is_coreclr_host(muxer.c_str())) << "nothing lies beside it";
    fs::create_directories(folder / "root/host/fxr");
    EXPECT_TRUE(is_coreclr_host(muxer.c_str()));
    EXPECT_FALSE(is_coreclr_host(file("root/dotnet", program("hostfxr_mai")).c_str())) << "by name";
    const std::string corerun = file("core/run", program("coreclr_initialize"));
    EXPECT_FALSE(is_coreclr_host(corerun.c_str()));
    file("core/libcoreclr.so", "");
    EXPECT_TRUE(is_coreclr_host(corerun.c_str()));
    EXPECT_FALSE(is_coreclr_host("dotnet"));
    EXPECT_FALSE(is_coreclr_host(""));
    EXPECT_FALSE(is_coreclr_host("/bin/sh"));
    const std::string other = file("other", program("no mark here"));
    EXPECT_FALSE(is_coreclr_host(other.c_str()));
    file("other.runtimeconfig.json", "{}");
    EXPECT_TRUE(is_coreclr_host(other.c_str()));
    for (const std::size_t before : {8u, 60u, 64u, 80u, 90u, 96u, 4096u}) {
        const std::string host = file("host", program(std::string(before, '\0') + mark));
        EXPECT_TRUE(is_coreclr_host(host.c_str())) << before;
    }
    EXPECT_FALSE(
        is_coreclr_host(file("cut", program(std::string(8, '\0') + mark.substr(0, 31))).c_str()));
    EXPECT_FALSE(is_coreclr_host(file("text", "#!/bin/sh\n" + mark).c_str()));
    EXPECT_FALSE(is_coreclr_host(file("outside", program("", mark)).c_str()))
        << "only a mark in the program's own data counts";
    EXPECT_FALSE(is_coreclr_host(file("short", program("").substr(0, 100)).c_str()));
}

TEST_F(runtime_config, the_muxers_program_is_the_first_that_is_no_option) {
    const std::string dll = file("a.b/app.dll", "");
    file("a.b/app.runtimeconfig.json", config("System.GC.HeapHardLimit", "209715200"));
    const std::string dotnet = file("root/dotnet", program("hostfxr_main"));
    fs::create_directories(folder / "root/host/fxr");
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"dotnet", dll},
          {"dotnet", dll, "--x", "y"},
          {"dotnet", "exec", dll},
          {"dotnet", "--roll-forward", "Major", dll},
          {"dotnet", "exec", "--fx-version", "10.0.1", "--depsfile", "d.json", dll}}) {
        const configured c = asked(dotnet, words);
        EXPECT_TRUE(c.is_there) << words.size();
        EXPECT_EQ(c.bytes, 200 * mib);
    }
    const std::string given =
        file("given.json", config("System.GC.HeapHardLimitPercent", "\"10\""));
    const configured c = asked(dotnet, {"dotnet", "exec", "--runtimeconfig", given, dll});
    EXPECT_TRUE(c.is_there) << "what --runtimeconfig names is read, not what lies beside";
    EXPECT_EQ(c.bytes, 0u);
    for (const std::vector<std::string>& words : {std::vector<std::string>{"dotnet"},
                                                  {"dotnet", "--info"},
                                                  {"dotnet", "build", dll},
                                                  {"dotnet", "exec"},
                                                  {"dotnet", "--roll-forward"},
                                                  {"dotnet", "other.dll", dll},
                                                  {"dotnet", std::string(5000, 'x') + ".dll"},
                                                  {"dotnet", (folder / "a.b/app").string()},
                                                  {}}) {
        EXPECT_FALSE(asked(dotnet, words).is_there) << words.size();
    }
}

TEST_F(runtime_config, an_apphosts_configuration_lies_beside_it) {
    const std::string app = file("app", program(std::string(8, '\0') + mark));
    EXPECT_FALSE(asked(app, {app}).is_there);
    const std::string path = "app.runtimeconfig.json";
    file(path, config("System.GC.ConserveMemory", "1"));
    EXPECT_FALSE(asked(app, {app}).is_there);
    for (const char* suffix : {"Percent", "SOH", "LOH", "POH", "SOHPercent"}) {
        file(path, config(std::string("System.GC.HeapHardLimit") + suffix, "10"));
        EXPECT_TRUE(asked(app, {app}).is_there) << suffix;
        EXPECT_EQ(asked(app, {app}).bytes, 0u) << suffix;
    }
    file(path, std::string(10000, ' ') + config("System.GC.HeapHardLimit", "\n \"100\""));
    EXPECT_EQ(asked(app, {app}).bytes, 100u);
    fs::remove(folder / path);
    file("app.runtimeconfig.dev.json", config("System.GC.HeapHardLimit", "7"));
    EXPECT_EQ(asked(app, {app}).bytes, 7u);
    file("app.runtimeconfig.dev.json", config("System.GC.HeapHardLimit", "\"0x1aF0\""));
    EXPECT_EQ(asked(app, {app}).bytes, 0x1af0u);
    file("app.runtimeconfig.dev.json", config("System.GC.RegionSize", "8388608"));
    EXPECT_FALSE(asked(app, {app}).is_there);
    EXPECT_EQ(configured_property("System.GC.RegionSize", app.c_str(), 0, nullptr).bytes, 8 * mib);
    EXPECT_FALSE(configured_property("System.GC.RegionRange", app.c_str(), 0, nullptr).is_there);
    const std::string too_long(100, 'x');
    EXPECT_FALSE(configured_property(too_long.c_str(), app.c_str(), 0, nullptr).is_there);
}

TEST_F(runtime_config, a_single_files_configuration_is_inside) {
    const std::string inside = config("System.GC.HeapHardLimit", "5");
    const auto single = [&](const std::string& text) {
        const std::string data = std::string(8, '\0') + mark;
        const std::uint64_t bundle = 4000 + data.size();
        const std::string name = "abcdefghijkl";
        // Version, files, name, then where the two configurations are, then they themselves.
        const std::uint64_t head_size = 12 + 1 + name.size() + 32;
        const std::uint64_t deps[] = {bundle + head_size, inside.size()};
        const std::uint64_t runtime[] = {bundle + head_size + inside.size(), text.size()};
        return program(bytes(bundle) + mark, bytes(std::uint32_t{6}) + bytes(std::uint32_t{0}) +
                                                 bytes(std::uint32_t{3}) +
                                                 static_cast<char>(name.size()) + name +
                                                 bytes(deps) + bytes(runtime) + inside + text);
    };
    const std::string set = file("set", single(inside));
    EXPECT_TRUE(is_coreclr_host(set.c_str()));
    EXPECT_EQ(asked(set, {set}).bytes, 5u);
    const std::string unset = file("unset", single("{}"));
    EXPECT_FALSE(asked(unset, {unset}).is_there) << "the .deps.json before it does not count";
    const std::string cut = file("cut", single(inside).substr(0, 4060));
    EXPECT_FALSE(asked(cut, {cut}).is_there);
}

} // namespace
