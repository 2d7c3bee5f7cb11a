// SPDX-License-Identifier: MIT
#include "bridge/callers.hpp"

#include "bridge/text.hpp"

#include <atomic>
#include <dlfcn.h>
#include <link.h>

#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern "C" __attribute__((weak)) int _dl_find_object(void* address, struct dl_find_object* result);
#endif

namespace memreeve::bridge {

namespace {

struct place {
    const char* path = nullptr; // empty: the program itself
    const void* key = nullptr;
    address base = 0;
};

// 1: found, 0: in no object, -1: cannot be told.
int find_place(const void* caller, place& out) noexcept {
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    dl_find_object object;
    if (_dl_find_object == nullptr || caller == nullptr) {
        return -1;
    }
    if (_dl_find_object(const_cast<void*>(caller), &object) != 0) {
        return 0;
    }
    out.key = object.dlfo_link_map;
    out.path = object.dlfo_link_map->l_name;
    out.base = reinterpret_cast<address>(object.dlfo_map_start);
    return 1;
#else
    static_cast<void>(caller);
    static_cast<void>(out);
    return -1;
#endif
}

struct row {
    const char* prefix;
    caller_kind kind;
};
// By the beginning of the file's name; what is not here is an application's.
constexpr row table[] = {
    {"libjvm.", caller_kind::runtime},      {"libjli.", caller_kind::runtime},
    {"libcoreclr", caller_kind::runtime},   {"libclr", caller_kind::runtime},
    {"libhostfxr", caller_kind::runtime},   {"libhostpolicy", caller_kind::runtime},
    {"libmscor", caller_kind::runtime},     {"libmonosgen", caller_kind::runtime},
    {"libmonoboehm", caller_kind::runtime}, {"libnode", caller_kind::runtime},
    {"libv8", caller_kind::runtime},        {"libpython", caller_kind::runtime},
    {"libc.so", caller_kind::between},      {"libc-", caller_kind::between},
    {"ld-linux", caller_kind::between},     {"ld-2", caller_kind::between},
    {"libstdc++", caller_kind::between},    {"libc++", caller_kind::between},
    {"libgcc_s", caller_kind::between},     {"libpthread", caller_kind::between},
    {"libmemreeve", caller_kind::between},  {"libdl", caller_kind::between},
};

caller_kind kind_of(const place& p) noexcept {
    if (p.path[0] == '\0') {
        return caller_kind::runtime;
    }
    const char* const name = base_name(p.path);
    for (const row& r : table) {
        if (starts_with(name, r.prefix)) {
            return r.kind;
        }
    }
    return caller_kind::application;
}

// Libraries that were looked at: address of the loader's entry, and kind + 1 in its lowest bits. One
// that comes to the place of another that went is taken for it until the place is needed.
constexpr unsigned room = 64; // a power of two
constinit std::atomic<std::uintptr_t> known[room]{};
constexpr std::uintptr_t kind_bits = 3;

} // namespace

caller_kind kind_of_caller(state&, const void* caller) noexcept {
    place p;
    const int found = find_place(caller, p);
    if (found <= 0) {
        return found == 0 ? caller_kind::application : caller_kind::runtime;
    }
    const auto key = reinterpret_cast<std::uintptr_t>(p.key);
    std::atomic<std::uintptr_t>& slot =
        known[(key >> 5) * 0x9e3779b97f4a7c15ULL >> 58 & (room - 1)];
    const std::uintptr_t word = slot.load(std::memory_order_relaxed);
    if ((word & ~kind_bits) == key) {
        return static_cast<caller_kind>((word & kind_bits) - 1);
    }
    const caller_kind kind = kind_of(p);
    slot.store(key | (static_cast<std::uintptr_t>(kind) + 1), std::memory_order_relaxed);
    return kind;
}

void name_caller(state& s, const void* caller, char* out, std::size_t size) noexcept {
    place p;
    const int found = find_place(caller, p);
    line l;
    if (found == 0) {
        l.add("generated code");
    } else if (found > 0) {
        l.add(base_name(p.path[0] != '\0' ? p.path : s.image().path)).add("+");
        l.add_hexadecimal(reinterpret_cast<address>(caller) - p.base);
    }
    const char* const text = l.text();
    std::size_t i = 0;
    for (; text[i] != '\0' && i + 1 < size; ++i) {
        out[i] = text[i];
    }
    out[i] = '\0';
}

} // namespace memreeve::bridge
