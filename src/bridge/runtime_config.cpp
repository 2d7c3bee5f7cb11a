// SPDX-License-Identifier: MIT
#include "bridge/runtime_config.hpp"

#include "bridge/text.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <cstddef>
#include <cstdint>
#include <elf.h>

namespace memreeve::bridge {

namespace {

constexpr std::size_t path_size = 4096;
constexpr std::uint64_t to_the_end = ~std::uint64_t{0};
constexpr std::uint64_t nowhere = ~std::uint64_t{0};

// Every apphost carries these bytes in its data; the 8 bytes before them say where in the file a
// bundle begins, 0 in an apphost whose program lies beside it (.NET, bundle design document).
constexpr unsigned char bundle_mark[] = {
    0x8b, 0x12, 0x02, 0xb9, 0x6a, 0x61, 0x20, 0x38, 0x72, 0x7b, 0x93, 0x02, 0x14, 0xd7, 0xa0, 0x32,
    0x13, 0xf5, 0xb9, 0xe6, 0xef, 0xae, 0x33, 0x18, 0xee, 0x3b, 0x2d, 0xce, 0x24, 0xb3, 0x6a, 0xae};
// An apphost's data are a few KiB; a program with more than this of its own is none.
constexpr std::uint64_t most_data = std::uint64_t{1} << 20;

constexpr char heap_limit_property[] = "System.GC.HeapHardLimit";

class file {
public:
    explicit file(const char* path) noexcept : fd_(prim::open_program(path)) {}
    ~file() {
        if (is_open()) {
            static_cast<void>(prim::close(static_cast<int>(fd_)));
        }
    }
    file(const file&) = delete;
    file& operator=(const file&) = delete;
    bool is_open() const noexcept { return fd_ >= 0; }
    long read(void* to, std::size_t size, std::uint64_t at) const noexcept {
        return prim::read_at(static_cast<int>(fd_), to, size, at);
    }
    bool read_exactly(void* to, std::size_t size, std::uint64_t at) const noexcept {
        return read(to, size, at) == static_cast<long>(size);
    }
    // Where `wanted` stands in [begin, end), or nowhere.
    std::uint64_t find(const void* wanted, std::size_t size, std::uint64_t begin,
                       std::uint64_t end) const noexcept {
        char part[4096];
        std::size_t held = 0; // of the part before, which may hold the beginning
        for (std::uint64_t at = begin; at < end;) {
            const std::size_t room = sizeof part - held;
            const long got = read(part + held, room < end - at ? room : end - at, at);
            if (got <= 0) {
                break;
            }
            const std::size_t here = held + static_cast<std::size_t>(got);
            for (std::size_t i = 0; i + size <= here; ++i) {
                if (part[i] == *static_cast<const char*>(wanted) &&
                    __builtin_memcmp(part + i, wanted, size) == 0) {
                    return at - held + i;
                }
            }
            at += static_cast<std::uint64_t>(got);
            held = here < size ? here : size - 1;
            __builtin_memmove(part, part + here - held, held);
        }
        return nowhere;
    }

private:
    long fd_;
};

struct mark {
    bool is_there = false;
    std::uint64_t bundle = 0; // where the bundle's header stands in the file; 0: there is none
};

mark find_mark(const file& f) noexcept {
    Elf64_Ehdr head;
    if (!f.read_exactly(&head, sizeof head, 0) ||
        __builtin_memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64) {
        return {};
    }
    for (unsigned i = 0; i < head.e_phnum; ++i) {
        Elf64_Phdr part;
        if (!f.read_exactly(&part, sizeof part,
                            head.e_phoff + std::uint64_t{i} * head.e_phentsize)) {
            return {};
        }
        if (part.p_type != PT_LOAD || (part.p_flags & PF_W) == 0 || part.p_filesz > most_data) {
            continue;
        }
        const std::uint64_t at =
            f.find(bundle_mark, sizeof bundle_mark, part.p_offset, part.p_offset + part.p_filesz);
        mark m;
        if (at != nowhere && at >= sizeof m.bundle &&
            f.read_exactly(&m.bundle, sizeof m.bundle, at - sizeof m.bundle)) {
            m.is_there = true;
            return m;
        }
    }
    return {};
}

// The bundle's header: version (two words), files (a word), its name (length, text), then offset and
// size of the .deps.json and of the .runtimeconfig.json, eight bytes each.
range config_in_bundle(const file& f, std::uint64_t bundle) noexcept {
    unsigned char name_size = 0;
    std::uint64_t place[4]{};
    if (!f.read_exactly(&name_size, 1, bundle + 12) || name_size > 127 ||
        !f.read_exactly(place, sizeof place, bundle + 13 + name_size)) {
        return {};
    }
    return {place[2], place[2] + place[3]};
}

// `name` is a property's, or what several begin with.
configured value_in(const file& f, const char* name, std::uint64_t begin,
                    std::uint64_t end) noexcept {
    char quoted[64] = "\"";
    const std::size_t size = length(name) + 1;
    if (size > sizeof quoted) {
        return {};
    }
    __builtin_memcpy(quoted + 1, name, size - 1);
    const std::uint64_t at = f.find(quoted, size, begin, end);
    if (at == nowhere) {
        return {};
    }
    configured c{true, 0};
    char text[64]{};
    const long n = f.read(text, sizeof text - 1, at + size);
    const char* p = text;
    if (n <= 0 || *p++ != '"') {
        return c; // Percent, SOH, ...
    }
    while (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n' || *p == ':' || *p == '"') {
        ++p;
    }
    // A text may be hexadecimal.
    const bool is_hexadecimal = p[0] == '0' && (p[1] | 32) == 'x';
    for (p += is_hexadecimal ? 2 : 0;; ++p) {
        const char letter = static_cast<char>(*p | 32);
        if (*p >= '0' && *p <= '9') {
            c.bytes = c.bytes * (is_hexadecimal ? 16 : 10) + static_cast<byte_count>(*p - '0');
        } else if (is_hexadecimal && letter >= 'a' && letter <= 'f') {
            c.bytes = c.bytes * 16 + static_cast<byte_count>(letter - 'a' + 10);
        } else {
            return c;
        }
    }
}

configured value_in_file(const char* path, const char* name) noexcept {
    const file f(path);
    return f.is_open() ? value_in(f, name, 0, to_the_end) : configured{};
}

// `stem` and `ending` put together; false when that is longer than a path.
bool join(char (&out)[path_size], const char* stem, std::size_t stem_size,
          const char* ending) noexcept {
    const std::size_t ending_size = length(ending) + 1;
    if (stem_size + ending_size > path_size) {
        return false;
    }
    __builtin_memcpy(out, stem, stem_size);
    __builtin_memcpy(out + stem_size, ending, ending_size);
    return true;
}

configured value_beside(const char* stem, std::size_t stem_size, const char* name) noexcept {
    constexpr const char* endings[] = {".runtimeconfig.json", ".runtimeconfig.dev.json"};
    for (const char* ending : endings) {
        char path[path_size];
        if (join(path, stem, stem_size, ending)) {
            if (const configured c = value_in_file(path, name); c.is_there) {
                return c;
            }
        }
    }
    return {};
}

// The length without a file's ending, which the name must have.
std::size_t stem_of(const char* path) noexcept {
    std::size_t dot = 0;
    for (std::size_t i = 0; path[i] != '\0'; ++i) {
        dot = path[i] == '.' ? i : path[i] == '/' ? 0 : dot;
    }
    return dot;
}

// Is there a `name` beside the program?
bool lies_beside(const char* program, const char* name) noexcept {
    char path[path_size];
    return join(path, program, static_cast<std::size_t>(base_name(program) - program), name) &&
           prim::file_exists(path);
}

bool contains(const char* path, const char* text) noexcept {
    const file f(path);
    return f.is_open() && f.find(text, length(text), 0, most_data) != nowhere;
}

// The muxer and corerun take the program's name as an argument; whether it is one is told by what
// lies beside and by the function of the runtime that its code asks for.
bool is_muxer(const char* path) noexcept {
    return (lies_beside(path, "host/fxr") && contains(path, "hostfxr_main")) ||
           (lies_beside(path, "libcoreclr.so") && contains(path, "coreclr_initialize"));
}

// Every option of the muxer takes a value; what is left first is the program, or a command of the SDK.
configured value_of_muxers_program(const char* name, int argument_count,
                                   char* const* arguments) noexcept {
    int i = 1;
    if (i < argument_count && same_text(arguments[i], "exec")) {
        ++i;
    }
    for (; i + 1 < argument_count && starts_with(arguments[i], "--"); i += 2) {
        if (same_text(arguments[i], "--runtimeconfig")) {
            return value_in_file(arguments[i + 1], name);
        }
    }
    if (i >= argument_count) {
        return {};
    }
    const std::size_t stem = stem_of(arguments[i]);
    return stem != 0 ? value_beside(arguments[i], stem, name) : configured{};
}

} // namespace

bool is_coreclr_host(const char* path) noexcept {
    if (is_muxer(path)) {
        return true;
    }
    char beside[path_size];
    if (join(beside, path, length(path), ".runtimeconfig.json") && file(beside).is_open()) {
        return true;
    }
    const file program(path);
    return program.is_open() && find_mark(program).is_there;
}

configured configured_heap_limit(const char* program, int argument_count,
                                 char* const* arguments) noexcept {
    return configured_property(heap_limit_property, program, argument_count, arguments);
}

configured configured_property(const char* name, const char* program, int argument_count,
                               char* const* arguments) noexcept {
    if (is_muxer(program)) {
        return value_of_muxers_program(name, argument_count, arguments);
    }
    if (const configured c = value_beside(program, length(program), name); c.is_there) {
        return c;
    }
    const file f(program);
    const mark m = f.is_open() ? find_mark(f) : mark{};
    if (m.bundle == 0) {
        return {};
    }
    const range inside = config_in_bundle(f, m.bundle);
    return inside.end > inside.begin ? value_in(f, name, inside.begin, inside.end) : configured{};
}

} // namespace memreeve::bridge
