// SPDX-License-Identifier: MIT
// Decision 27 and contract section 4: what cannot be governed is refused before it starts, 126;
// what is not there 127.
#include "cli/command.hpp"

#include <cstring>
#include <elf.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

namespace {

using memreeve::cli::command_verdict;
using memreeve::cli::examine_command;
namespace fs = std::filesystem;

class command : public testing::Test {
protected:
    command()
        : folder(fs::temp_directory_path() / ("memreeve-command-" + std::to_string(::getpid()))) {
        fs::create_directories(folder);
    }
    ~command() override { fs::remove_all(folder); }

    std::string file(const char* name, const std::string& contents, unsigned mode = 0755) {
        const fs::path path = folder / name;
        std::ofstream(path, std::ios::binary) << contents;
        fs::permissions(path, static_cast<fs::perms>(mode));
        return path.string();
    }
    // A program header table with a loader's name, or without.
    static std::string elf(const char* loader, unsigned char width = ELFCLASS64,
                           Elf64_Half machine = EM_X86_64, Elf64_Half type = ET_DYN) {
        Elf64_Ehdr h{};
        std::memcpy(h.e_ident, ELFMAG, SELFMAG);
        h.e_ident[EI_CLASS] = width;
        h.e_ident[EI_DATA] = ELFDATA2LSB;
        h.e_type = type;
        h.e_machine = machine;
        h.e_phoff = sizeof h;
        h.e_phentsize = sizeof(Elf64_Phdr);
        h.e_phnum = 2;
        Elf64_Phdr table[2]{};
        table[0].p_type = PT_LOAD;
        table[1].p_type = loader != nullptr ? static_cast<Elf64_Word>(PT_INTERP)
                                            : static_cast<Elf64_Word>(PT_NOTE);
        table[1].p_offset = sizeof h + sizeof table;
        table[1].p_filesz = loader != nullptr ? std::strlen(loader) + 1 : 0;
        std::string out(reinterpret_cast<const char*>(&h), sizeof h);
        out.append(reinterpret_cast<const char*>(table), sizeof table);
        if (loader != nullptr) {
            out.append(loader, std::strlen(loader) + 1);
        }
        out.resize(std::max<std::size_t>(out.size(), 256));
        return out;
    }
    static constexpr const char* glibc = "/lib64/ld-linux-x86-64.so.2";

    void expect_refused(const std::string& path, int status, const char* part) {
        const command_verdict v = examine_command(path, "/nowhere");
        EXPECT_EQ(v.status, status) << v.reason;
        EXPECT_NE(v.reason.find(part), std::string::npos) << v.reason;
        EXPECT_EQ(v.reason.find('\n'), std::string::npos);
    }
    fs::path folder;
};

TEST_F(command, a_dynamic_glibc_program_may_start) {
    const command_verdict v = examine_command(file("ok", elf(glibc)), "");
    EXPECT_EQ(v.status, 0) << v.reason;
    EXPECT_EQ(v.program, (folder / "ok").string());
}

TEST_F(command, is_searched_in_path_as_execvp_does) {
    file("tool", elf(glibc));
    file("notes", "text", 0644);
    const std::string path = "/nowhere:" + folder.string();
    EXPECT_EQ(examine_command("tool", path).file, (folder / "tool").string());
    EXPECT_EQ(examine_command("tool", "/nowhere").status, 127);
    EXPECT_EQ(examine_command("notes", path).status, 126);
    EXPECT_EQ(examine_command("", path).status, 127);
    EXPECT_EQ(examine_command("tool", "").status, 127);
}

TEST_F(command, what_is_not_there_or_cannot_run) {
    expect_refused((folder / "missing").string(), 127, "no such file");
    expect_refused(folder.string(), 126, "is a directory");
    expect_refused(file("plain", elf(glibc), 0644), 126, "not executable");
    expect_refused(file("text", "echo hello\n"), 126, "neither an ELF program nor a script");
    expect_refused(file("empty", ""), 126, "neither");
    expect_refused(file("app.exe", "MZ and so on"), 126, "mono ");
}

TEST_F(command, what_cannot_be_governed) {
    expect_refused(file("static", elf(nullptr, ELFCLASS64, EM_X86_64, ET_EXEC)), 126,
                   "statically linked");
    expect_refused(file("static-pie", elf(nullptr)), 126, "statically linked");
    expect_refused(file("musl", elf("/lib/ld-musl-x86_64.so.1")), 126, "not glibc's");
    expect_refused(file("narrow", elf("/lib/ld-linux.so.2", ELFCLASS32, EM_386)), 126, "32-bit");
    expect_refused(file("arm", elf("/lib/ld-linux-aarch64.so.1", ELFCLASS64, EM_AARCH64)), 126,
                   "not a program for x86-64");
    expect_refused(file("object", elf(nullptr, ELFCLASS64, EM_X86_64, ET_REL)), 126, "no program");
    expect_refused(file("setuid", elf(glibc), 04755), 126, "setuid");
    expect_refused(file("setgid", elf(glibc), 02755), 126, "setgid");
    expect_refused(file("cut", elf(glibc).substr(0, 30)), 126, "no complete ELF");
    expect_refused(file("short", elf(glibc).substr(0, 70)), 126, "cannot be read");
}

TEST_F(command, scripts_are_followed_to_their_interpreter) {
    const std::string mono = file("mono-sgen", elf(glibc));
    EXPECT_EQ(examine_command(file("app", "#! " + mono + " --debug\nrest"), "").program, mono);
    EXPECT_EQ(examine_command(file("outer", "#!" + (folder / "app").string() + "\n"), "").program,
              mono);
    expect_refused(file("lost", "#!/nowhere/sh\n"), 126, "the interpreter of");
    expect_refused(file("nothing", "#!\n"), 126, "interpreter line");
    const std::string fixed = file("static", elf(nullptr));
    expect_refused(file("script", "#!" + fixed + "\n"), 126, "statically linked");
    const std::string circle = (folder / "circle").string();
    expect_refused(file("circle", "#!" + circle + "\n"), 126, "interpreter line");
}

} // namespace
