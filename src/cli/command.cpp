// SPDX-License-Identifier: MIT
#include "cli/command.hpp"

#include "cli/text.hpp"
#include "prim/linux/launch.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <fmt/format.h>
#include <string_view>

namespace memreeve::cli {

namespace {

constexpr int cannot_run = 126;
constexpr int not_found = 127;
constexpr int deepest_script = 5; // as the kernel's exec
constexpr const char* use_instead =
    "use a cgroup limit for it instead, e.g. systemd-run --scope -p MemoryMax=512M COMMAND";

command_verdict refused(int status, std::string reason) {
    command_verdict v;
    v.status = status;
    v.reason = std::move(reason);
    return v;
}

command_verdict ungovernable(const std::string& file, std::string_view why,
                             std::string_view remedy) {
    return refused(cannot_run,
                   fmt::format("{} cannot be governed: {}; {}", shell_word(file), why, remedy));
}

// Where execvp would find it. An errno value when it would not.
int find_in_path(const std::string& name, const std::string& search_path, std::string& out) {
    if (name.find('/') != std::string::npos) {
        out = name;
        return 0;
    }
    if (name.empty()) {
        return ENOENT;
    }
    int result = ENOENT;
    std::size_t begin = 0;
    while (begin <= search_path.size()) {
        const std::size_t end = std::min(search_path.find(':', begin), search_path.size());
        std::string file = search_path.substr(begin, end - begin);
        if (!file.empty() && file.back() != '/') {
            file += '/';
        }
        file += name;
        prim::file_facts facts;
        if (prim::examine_file(file, facts) == 0 && facts.is_regular) {
            if (facts.is_executable) {
                out = file;
                return 0;
            }
            result = EACCES;
            out = file;
        }
        begin = end + 1;
    }
    return result;
}

std::string base_name(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

// The interpreter line of a script: the kernel takes the first word, and the rest as one argument.
std::string interpreter_of(std::string_view head, std::string& argument) {
    constexpr std::string_view blanks = " \t\r";
    std::string_view line =
        head.substr(2, head.find('\n') == head.npos ? head.npos : head.find('\n') - 2);
    line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
    line = line.substr(0, line.find_last_not_of(blanks) + 1);
    const std::size_t end = std::min(line.find_first_of(blanks), line.size());
    const std::string_view rest = line.substr(end);
    argument = rest.substr(std::min(rest.find_first_not_of(blanks), rest.size()));
    return std::string(line.substr(0, end));
}

// "" when it will load glibc's loader and so the preload library; otherwise why not.
// `remedy` is set with it.
std::string why_not_preloadable(const std::string& file, const std::string& head,
                                std::string& remedy) {
    remedy = use_instead;
    Elf64_Ehdr header{};
    if (head.size() < EI_NIDENT + 4u) {
        return "it is no complete ELF file";
    }
    if (head[EI_CLASS] != ELFCLASS64) {
        remedy = "use its 64-bit build";
        return "it is a 32-bit program";
    }
    if (head.size() < sizeof header) {
        return "it is no complete ELF file";
    }
    std::memcpy(&header, head.data(), sizeof header);
    if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64) {
        remedy = "use its x86-64 build";
        return "it is not a program for x86-64";
    }
    if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
        return "it is an ELF file, but no program";
    }
    std::string table;
    const std::size_t table_size = std::size_t{header.e_phnum} * sizeof(Elf64_Phdr);
    if (header.e_phentsize != sizeof(Elf64_Phdr) ||
        prim::read_file_part(file, header.e_phoff, table_size, table) != 0 ||
        table.size() != table_size) {
        return "its program headers cannot be read";
    }
    for (std::size_t at = 0; at + sizeof(Elf64_Phdr) <= table.size(); at += sizeof(Elf64_Phdr)) {
        Elf64_Phdr segment{};
        std::memcpy(&segment, table.data() + at, sizeof segment);
        if (segment.p_type != PT_INTERP) {
            continue;
        }
        std::string loader;
        if (segment.p_filesz > 4096 ||
            prim::read_file_part(file, segment.p_offset, segment.p_filesz, loader) != 0) {
            return "the name of its loader cannot be read";
        }
        loader = loader.c_str(); // up to the terminator
        if (base_name(loader) != "ld-linux-x86-64.so.2") {
            remedy = "use a build for glibc, or a cgroup limit (systemd-run --scope -p "
                     "MemoryMax=512M COMMAND)";
            return fmt::format("its loader is {}, not glibc's", shell_word(loader));
        }
        if (prim::file_facts facts; prim::examine_file(loader, facts) != 0) {
            remedy = "install the C library it was built for";
            return fmt::format("its loader, {}, is not here, so it cannot run at all",
                               shell_word(loader));
        }
        return {};
    }
    remedy = "use a dynamically linked build, or a cgroup limit (systemd-run --scope -p "
             "MemoryMax=512M COMMAND)";
    return "it is statically linked, so no library can be put before it";
}

} // namespace

std::string search_path_of(const std::vector<std::string>& environment) {
    std::string found = "/bin:/usr/bin";
    for (const std::string& v : environment) {
        if (v.starts_with("PATH=")) {
            found = v.substr(5);
        }
    }
    return found;
}

command_verdict examine_command(const std::string& name, const std::string& search_path) {
    std::string file;
    const int found = find_in_path(name, search_path, file);
    prim::file_facts nearest;
    if (found == EACCES && !(prim::examine_file(file, nearest) == 0 && nearest.forbids_programs)) {
        return refused(
            cannot_run,
            fmt::format("{}: found as {}, but it is not executable for this user; chmod +x it, "
                        "or name the program that reads it",
                        shell_word(name), shell_word(file)));
    } else if (found != 0 && found != EACCES) {
        return refused(
            not_found,
            fmt::format("{}: command not found in PATH; check the spelling or give its path",
                        shell_word(name)));
    }

    command_verdict verdict;
    verdict.file = file;
    for (int depth = 0;; ++depth) {
        prim::file_facts facts;
        const std::string reader =
            depth == 0 ? "" : fmt::format(" (the interpreter of {})", shell_word(verdict.file));
        if (const int e = prim::examine_file(file, facts); e == ENOENT || e == ENOTDIR) {
            return refused(depth == 0 ? not_found : cannot_run,
                           fmt::format("{}{}: no such file", shell_word(file), reader));
        } else if (e != 0) {
            return refused(cannot_run,
                           fmt::format("{}{}: {}", shell_word(file), reader, std::strerror(e)));
        }
        if (facts.is_directory) {
            return refused(cannot_run, fmt::format("{}{}: is a directory, not a program",
                                                   shell_word(file), reader));
        }
        if (facts.is_regular && facts.forbids_programs) {
            return refused(cannot_run,
                           fmt::format("{}{}: lies on a file system that is mounted noexec; run a "
                                       "copy from another place",
                                       shell_word(file), reader));
        }
        if (!facts.is_regular || !facts.is_executable) {
            return refused(
                cannot_run,
                fmt::format("{}{}: is not executable for this user; chmod +x it, or name the "
                            "program that reads it",
                            shell_word(file), reader));
        }
        std::string head;
        if (const int e = prim::read_file_part(file, 0, 256, head); e != 0) {
            return ungovernable(file, fmt::format("it cannot be read ({})", std::strerror(e)),
                                "give this user the right to read it");
        }
        if (head.starts_with("#!")) {
            // The kernel ignores setuid on scripts.
            const std::string next = interpreter_of(head, verdict.program_argument);
            if (next.empty() || depth == deepest_script) {
                return refused(cannot_run,
                               fmt::format("{}: has no usable interpreter line", shell_word(file)));
            }
            file = next;
            continue;
        }
        if (!head.starts_with(ELFMAG)) {
            if (head.starts_with("MZ")) {
                return refused(cannot_run,
                               fmt::format("{}: is a .NET or Windows program; name its runtime: "
                                           "memreeve run -- mono {}",
                                           shell_word(file), shell_word(file)));
            }
            return refused(
                cannot_run,
                fmt::format("{}: is neither an ELF program nor a script with a #! line; name "
                            "the program that reads it: memreeve run -- sh {}",
                            shell_word(file), shell_word(file)));
        }
        if (facts.is_setuid || facts.is_setgid) {
            return ungovernable(
                file,
                fmt::format("it is {}, and the loader takes no libraries from outside there",
                            facts.is_setuid ? "setuid" : "setgid"),
                "run memreeve itself as the user it changes to, or use a cgroup limit");
        }
        if (facts.has_capabilities) {
            return ungovernable(file,
                                "it carries file capabilities, and the loader takes no libraries "
                                "from outside there",
                                "run a copy without them (setcap -r COPY), or use a cgroup limit");
        }
        std::string remedy;
        if (const std::string why = why_not_preloadable(file, head, remedy); !why.empty()) {
            return ungovernable(file, why, remedy);
        }
        verdict.program = file;
        return verdict;
    }
}

bool is_loadable(const std::string& library) {
    std::string head;
    Elf64_Ehdr header{};
    if (prim::read_file_part(library, 0, sizeof header, head) != 0 || head.size() < sizeof header) {
        return false;
    }
    std::memcpy(&header, head.data(), sizeof header);
    return head.starts_with(ELFMAG) && header.e_ident[EI_CLASS] == ELFCLASS64 &&
           header.e_type == ET_DYN && header.e_machine == EM_X86_64;
}

} // namespace memreeve::cli
