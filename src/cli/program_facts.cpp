// SPDX-License-Identifier: MIT
#include "cli/program_facts.hpp"

#include "prim/linux/launch.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <fmt/format.h>
#include <optional>

namespace memreeve::cli {

namespace {

using telemetry::runtime_kind;

// Larger tables are not read: a browser's symbols say nothing about its memory.
constexpr std::uint64_t largest_table = std::uint64_t{256} << 20;
constexpr std::uint64_t largest_host = std::uint64_t{4} << 20;

struct runtime_mark {
    std::string_view symbol; // defined or asked for
    runtime_kind kind;
};
constexpr std::array<runtime_mark, 9> runtime_marks = {{
    {"mono_jit_init", runtime_kind::mono},
    {"mono_main", runtime_kind::mono},
    {"DotNetRuntimeInfo", runtime_kind::coreclr},
    {"JLI_Launch", runtime_kind::jvm},
    {"JNI_CreateJavaVM", runtime_kind::jvm},
    {"node_module_register", runtime_kind::node},
    {"Py_BytesMain", runtime_kind::cpython},
    {"Py_Initialize", runtime_kind::cpython},
    {"Py_RunMain", runtime_kind::cpython},
}};

struct allocator_mark {
    std::string_view symbol; // defined here
    const char* name;
};
constexpr std::array<allocator_mark, 9> allocator_marks = {{
    {"je_malloc", "jemalloc"},
    {"mallctl", "jemalloc"},
    {"je_mallctl", "jemalloc"},
    {"_rjem_malloc", "jemalloc"},
    {"_rjem_je_malloc", "jemalloc"},
    {"mi_malloc", "mimalloc"},
    {"_mi_malloc_generic", "mimalloc"},
    {"tc_malloc", "tcmalloc"},
    {"TCMallocInternalMalloc", "tcmalloc"},
}};

template <class T>
std::optional<std::vector<T>> table_of(const std::string& file, std::uint64_t offset,
                                       std::uint64_t size) {
    std::string bytes;
    if (size > largest_table || prim::read_file_part(file, offset, size, bytes) != 0 ||
        bytes.size() != size) {
        return std::nullopt;
    }
    std::vector<T> out(size / sizeof(T));
    std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
    return out;
}

std::string_view name_at(const std::string& names, std::uint64_t at) {
    return at < names.size() ? std::string_view(names.c_str() + at) : std::string_view();
}

// Where the file keeps what is loaded at `at`.
std::optional<std::uint64_t> offset_of(const std::vector<Elf64_Phdr>& segments, std::uint64_t at) {
    for (const Elf64_Phdr& s : segments) {
        if (s.p_type == PT_LOAD && at >= s.p_vaddr && at - s.p_vaddr < s.p_filesz) {
            return s.p_offset + (at - s.p_vaddr);
        }
    }
    return std::nullopt;
}

void read_needed(const std::string& file, const std::vector<Elf64_Phdr>& segments,
                 program_facts& out) {
    for (const Elf64_Phdr& s : segments) {
        if (s.p_type != PT_DYNAMIC) {
            continue;
        }
        const auto entries = table_of<Elf64_Dyn>(file, s.p_offset, s.p_filesz);
        if (!entries) {
            return;
        }
        std::uint64_t names_at = 0;
        std::uint64_t names_size = 0;
        for (const Elf64_Dyn& e : *entries) {
            names_at = e.d_tag == DT_STRTAB ? e.d_un.d_ptr : names_at;
            names_size = e.d_tag == DT_STRSZ ? e.d_un.d_val : names_size;
        }
        const auto offset = offset_of(segments, names_at);
        std::string names;
        if (!offset || names_size > largest_table ||
            prim::read_file_part(file, *offset, names_size, names) != 0) {
            return;
        }
        for (const Elf64_Dyn& e : *entries) {
            if (e.d_tag == DT_NULL) {
                break;
            }
            if (e.d_tag == DT_NEEDED) {
                out.needed.emplace_back(name_at(names, e.d_un.d_val));
            }
        }
    }
}

void read_symbols(const std::string& file, const Elf64_Shdr& symbols, const Elf64_Shdr& strings,
                  program_facts& out) {
    const auto table = table_of<Elf64_Sym>(file, symbols.sh_offset, symbols.sh_size);
    std::string names;
    if (!table || strings.sh_size > largest_table ||
        prim::read_file_part(file, strings.sh_offset, strings.sh_size, names) != 0) {
        return;
    }
    for (const Elf64_Sym& s : *table) {
        const std::string_view name = name_at(names, s.st_name);
        if (name.empty()) {
            continue;
        }
        for (const runtime_mark& m : runtime_marks) {
            if (out.runtime == runtime_kind::other && name == m.symbol) {
                out.runtime = m.kind;
            }
        }
        if (s.st_shndx == SHN_UNDEF) {
            continue;
        }
        for (const allocator_mark& m : allocator_marks) {
            if (out.allocator.empty() && name == m.symbol) {
                out.allocator = m.name;
            }
        }
        out.supplies_malloc =
            out.supplies_malloc || (symbols.sh_type == SHT_DYNSYM && name == "malloc");
    }
}

void read_sections(const std::string& file, const Elf64_Ehdr& header, program_facts& out) {
    if (header.e_shoff == 0 || header.e_shentsize != sizeof(Elf64_Shdr)) {
        return;
    }
    const auto sections = table_of<Elf64_Shdr>(file, header.e_shoff,
                                               std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr));
    if (!sections) {
        return;
    }
    std::string names;
    if (header.e_shstrndx < sections->size()) {
        const Elf64_Shdr& s = (*sections)[header.e_shstrndx];
        if (s.sh_size <= largest_table) {
            (void)prim::read_file_part(file, s.sh_offset, s.sh_size, names);
        }
    }
    for (const Elf64_Shdr& s : *sections) {
        const std::string_view name = name_at(names, s.sh_name);
        out.is_go = out.is_go || name == ".gopclntab" || name == ".note.go.buildid";
        if ((s.sh_type == SHT_SYMTAB || s.sh_type == SHT_DYNSYM) && s.sh_link < sections->size()) {
            read_symbols(file, s, (*sections)[s.sh_link], out);
        }
    }
}

// The hosts that load .NET carry the name of what they load, and no symbol that would tell.
bool names_hostfxr(const std::string& file) {
    prim::file_facts facts;
    std::string bytes;
    return prim::examine_file(file, facts) == 0 && facts.size <= largest_host &&
           prim::read_file_part(file, 0, facts.size, bytes) == 0 &&
           bytes.find(fmt::format("hostfxr{}main", '_')) != bytes.npos; // not in this file
}

} // namespace

std::string allocator_in(std::string_view library) {
    for (const char* name : {"jemalloc", "mimalloc", "tcmalloc"}) {
        if (library.find(name) != library.npos) {
            return name;
        }
    }
    return {};
}

program_facts facts_of(const std::string& file) {
    program_facts out;
    const auto header = table_of<Elf64_Ehdr>(file, 0, sizeof(Elf64_Ehdr));
    if (!header || std::memcmp((*header)[0].e_ident, ELFMAG, SELFMAG) != 0 ||
        (*header)[0].e_ident[EI_CLASS] != ELFCLASS64 ||
        (*header)[0].e_phentsize != sizeof(Elf64_Phdr)) {
        return out;
    }
    const Elf64_Ehdr& h = (*header)[0];
    const auto segments =
        table_of<Elf64_Phdr>(file, h.e_phoff, std::uint64_t{h.e_phnum} * sizeof(Elf64_Phdr));
    if (segments) {
        for (const Elf64_Phdr& s : *segments) {
            std::string loader;
            if (s.p_type == PT_INTERP && s.p_filesz <= 4096 &&
                prim::read_file_part(file, s.p_offset, s.p_filesz, loader) == 0) {
                out.loader = loader.c_str();
            }
        }
        read_needed(file, *segments, out);
    }
    read_sections(file, h, out);
    if (out.runtime == runtime_kind::other && names_hostfxr(file)) {
        out.runtime = runtime_kind::coreclr;
    }
    return out;
}

} // namespace memreeve::cli
