// SPDX-License-Identifier: MIT
#include "bridge/runtime_kind.hpp"

#include "bridge/runtime_config.hpp"
#include "bridge/text.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <dlfcn.h>
#include <link.h>

// glibc 2.35: without a lock, for code that may run anywhere.
#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern "C" __attribute__((weak)) int _dl_find_object(void* address, struct dl_find_object* result);
#endif

namespace memreeve::bridge {

using telemetry::runtime_kind;

namespace {

struct marker {
    const char* symbol;
    runtime_kind kind;
};

// Exported by every version that is in use. Mono comes first: .NET's Mono exports CoreCLR's hosting
// interface as well. Py_ and node_ symbols of extensions are references, not definitions.
constexpr marker markers[] = {
    {"mono_jit_init", runtime_kind::mono},         // mono, libmonosgen-2.0.so
    {"coreclr_initialize", runtime_kind::coreclr}, // libcoreclr.so
    {"JVM_StartThread", runtime_kind::jvm},        // libjvm.so
    {"JLI_Launch", runtime_kind::jvm},             // libjli.so, which loads libjvm.so
    {"node_module_register", runtime_kind::node},  // node, libnode.so
    {"PyGC_Collect", runtime_kind::cpython},       // python, libpython3.so
};
constexpr const char* java_launcher = "JLI_Launch";
// Node takes the option in NODE_OPTIONS since nodejs/node#44436 (2022) and exports this since #48339
// (2023); those between are told too little rather than too much.
constexpr const char* node_since = "node_api_create_external_string_latin1";

std::uint32_t gnu_hash_of(const char* name) noexcept {
    std::uint32_t h = 5381;
    for (; *name != '\0'; ++name) {
        h = h * 33 + static_cast<unsigned char>(*name);
    }
    return h;
}

// The dynamic symbols of an object that is mapped.
class exports {
public:
    exports(address base, const ElfW(Dyn) * dynamic) noexcept {
        for (const ElfW(Dyn)* d = dynamic; d != nullptr && d->d_tag != DT_NULL; ++d) {
            // glibc has added the base already, except in what it may not write to (the vdso).
            const address at = d->d_un.d_ptr < base ? d->d_un.d_ptr + base : d->d_un.d_ptr;
            switch (d->d_tag) {
            case DT_SYMTAB: table_ = reinterpret_cast<const ElfW(Sym)*>(at); break;
            case DT_STRTAB: names_ = reinterpret_cast<const char*>(at); break;
            case DT_GNU_HASH: gnu_ = reinterpret_cast<const std::uint32_t*>(at); break;
            case DT_HASH: old_ = reinterpret_cast<const std::uint32_t*>(at); break;
            default: break;
            }
        }
    }
    bool define(const char* name) const noexcept {
        if (table_ == nullptr || names_ == nullptr) {
            return false;
        }
        return gnu_ != nullptr ? in_gnu_hash(name) : old_ != nullptr && in_old_hash(name);
    }

private:
    bool is(std::uint32_t index, const char* name) const noexcept {
        const ElfW(Sym)& s = table_[index];
        return s.st_shndx != SHN_UNDEF && same_text(names_ + s.st_name, name);
    }
    // buckets, first symbol, bloom words, bloom shift; bloom, buckets, chains
    bool in_gnu_hash(const char* name) const noexcept {
        const std::uint32_t buckets = gnu_[0];
        if (buckets == 0) {
            return false;
        }
        const std::uint32_t first = gnu_[1];
        const std::uint32_t* bucket = gnu_ + 4 + gnu_[2] * (sizeof(ElfW(Addr)) / 4);
        const std::uint32_t hash = gnu_hash_of(name);
        for (std::uint32_t i = bucket[hash % buckets]; i >= first && i != 0; ++i) {
            const std::uint32_t chained = bucket[buckets + i - first];
            if ((chained | 1) == (hash | 1) && is(i, name)) {
                return true;
            }
            if ((chained & 1) != 0) {
                break;
            }
        }
        return false;
    }
    // buckets, symbols; buckets, chains. Objects without a GNU table are rare: no hash, every symbol.
    bool in_old_hash(const char* name) const noexcept {
        for (std::uint32_t i = 1; i < old_[1]; ++i) {
            if (is(i, name)) {
                return true;
            }
        }
        return false;
    }

    const ElfW(Sym) * table_ = nullptr;
    const char* names_ = nullptr;
    const std::uint32_t* gnu_ = nullptr;
    const std::uint32_t* old_ = nullptr;
};

runtime_kind kind_of(const exports& e) noexcept {
    for (const marker& m : markers) {
        if (e.define(m.symbol)) {
            return m.kind;
        }
    }
    return runtime_kind::other;
}

int examine(dl_phdr_info* object, std::size_t, void* out) noexcept {
    for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
        const ElfW(Phdr)& part = object->dlpi_phdr[i];
        if (part.p_type != PT_DYNAMIC) {
            continue;
        }
        const exports e(object->dlpi_addr,
                        reinterpret_cast<const ElfW(Dyn)*>(object->dlpi_addr + part.p_vaddr));
        auto& found = *static_cast<recognised*>(out);
        found.kind = kind_of(e);
        found.is_java_launcher = e.define(java_launcher);
        found.takes_semi_space = found.kind == runtime_kind::node && e.define(node_since);
        return found.kind != runtime_kind::other ? 1 : 0;
    }
    return 0;
}

} // namespace

recognised recognise_at_start(const char* path) noexcept {
    recognised found;
    static_cast<void>(dl_iterate_phdr(examine, &found));
    if (found.kind == runtime_kind::other && is_coreclr_host(path)) {
        found.kind = runtime_kind::coreclr;
    }
    return found;
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE
namespace {

// Libraries that were looked at: those that map memory themselves are few. One that comes to the
// place of another that went is taken for it.
constexpr unsigned room = 16;
constinit std::atomic<const link_map*> known[room]{};
constinit std::atomic<unsigned> next_place{0};

} // namespace

void recognise_caller(telemetry::image_record& image, const void* caller) noexcept {
    dl_find_object object;
    if (_dl_find_object == nullptr || _dl_find_object(const_cast<void*>(caller), &object) != 0) {
        return;
    }
    const link_map* library = object.dlfo_link_map;
    for (const auto& k : known) {
        if (k.load(std::memory_order_relaxed) == library) {
            return;
        }
    }
    known[next_place.fetch_add(1, std::memory_order_relaxed) % room].store(
        library, std::memory_order_relaxed);
    const runtime_kind kind = kind_of(exports(library->l_addr, library->l_ld));
    if (kind != runtime_kind::other) {
        image.runtime.store(static_cast<std::uint32_t>(kind), std::memory_order_relaxed);
    }
}
#else
void recognise_caller(telemetry::image_record&, const void*) noexcept {}
#endif

} // namespace memreeve::bridge
