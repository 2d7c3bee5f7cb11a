// SPDX-License-Identifier: MIT
#include "bridge/successor.hpp"

#include "bridge/environment.hpp"
#include "bridge/pictures.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <elf.h>

namespace memreeve::bridge {

namespace {

bool read_exactly(int fd, void* to, std::size_t size, std::uint64_t offset) noexcept {
    return prim::read_at(fd, to, size, offset) == static_cast<long>(size);
}

const char* why_not(int fd) noexcept {
    Elf64_Ehdr head;
    if (!read_exactly(fd, &head, sizeof head, 0) || head.e_ident[EI_MAG0] != ELFMAG0 ||
        head.e_ident[EI_MAG1] != ELFMAG1 || head.e_ident[EI_MAG2] != ELFMAG2 ||
        head.e_ident[EI_MAG3] != ELFMAG3) {
        return nullptr; // a script or nothing at all: its interpreter will tell
    }
    if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != EM_X86_64) {
        return "not a 64-bit x86-64 program";
    }
    for (unsigned i = 0; i < head.e_phnum; ++i) {
        Elf64_Phdr part;
        if (!read_exactly(fd, &part, sizeof part,
                          head.e_phoff + std::uint64_t{i} * head.e_phentsize)) {
            return nullptr;
        }
        if (part.p_type != PT_INTERP) {
            continue;
        }
        // Its end tells; the folders before it may be long (/nix/store/...).
        char loader[64]{};
        const std::size_t size = part.p_filesz < sizeof loader ? part.p_filesz : sizeof loader - 1;
        if (!read_exactly(fd, loader, size, part.p_offset + (part.p_filesz - size))) {
            return nullptr;
        }
        return same_text(base_name(loader), "ld-linux-x86-64.so.2") ? nullptr
                                                                    : "not linked against glibc";
    }
    return "statically linked";
}

// The first name in this process's LD_PRELOAD: the library this is (cli/preparation.hpp).
// Copied: programs write over their first environment (to show a title in ps).
constinit char own_library[512]{};
constinit std::size_t own_library_size = 0; // 0: not known

std::size_t name_size(const char* list) noexcept {
    std::size_t n = 0;
    while (list[n] != '\0' && list[n] != ':' && list[n] != ' ') {
        ++n;
    }
    return n;
}

bool names_own_library(const char* list) noexcept {
    if (own_library_size == 0) {
        return true; // cannot be told
    }
    while (*list != '\0') {
        const std::size_t n = name_size(list);
        if (n == own_library_size && __builtin_memcmp(list, own_library, n) == 0) {
            return true;
        }
        list += n;
        list += *list != '\0' ? 1 : 0;
    }
    return false;
}

} // namespace

void remember_own_library() noexcept {
    const char* list = variable("LD_PRELOAD");
    const std::size_t size = list != nullptr ? name_size(list) : 0;
    if (size < sizeof own_library) {
        __builtin_memcpy(own_library, list != nullptr ? list : "", size);
        own_library_size = size;
    }
}

const char* why_ungovernable(const char* path, char* const* environment) noexcept {
    const char* preload = variable_in(environment, "LD_PRELOAD");
    if (preload == nullptr || variable_in(environment, "MEMREEVE_LEDGER") == nullptr) {
        return "its environment lacks LD_PRELOAD or MEMREEVE_LEDGER";
    }
    if (!names_own_library(preload)) {
        return "its LD_PRELOAD names other libraries, not memreeve's";
    }
    const long fd = prim::open_program(path);
    if (fd < 0) {
        return nullptr;
    }
    const char* reason = prim::changes_identity(static_cast<int>(fd))
                             ? "setuid or setgid"
                             : why_not(static_cast<int>(fd));
    static_cast<void>(prim::close(static_cast<int>(fd)));
    return reason;
}

namespace {

bool follows_children(state& s) noexcept {
    return (s.books().header().flags.load(std::memory_order_relaxed) & manager::flag_no_children) ==
           0;
}

} // namespace

void before_exec(state& s, const char* path, char* const* environment) noexcept {
    if (!prim::may_execute(path)) {
        return; // a step of a search through PATH, most likely: the image goes on
    }
    if (const char* reason = why_ungovernable(path, environment);
        reason != nullptr && follows_children(s)) {
        const int pid = prim::process_id();
        s.books().note_ungoverned(pid, prim::process_start_time(pid), path, reason);
    }
    publish_picture(s);
}

void after_spawn(state& s, int pid, const char* path, char* const* environment) noexcept {
    if (const char* reason = why_ungovernable(path, environment);
        reason != nullptr && follows_children(s)) {
        s.books().note_ungoverned(pid, prim::process_start_time(pid), path, reason);
    }
}

} // namespace memreeve::bridge
