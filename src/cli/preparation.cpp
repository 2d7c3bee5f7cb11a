// SPDX-License-Identifier: MIT
#include "cli/preparation.hpp"

#include "prim/linux/launch.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <iterator>
#include <string_view>

namespace memreeve::cli {

namespace {

constexpr const char* library_name = "libmemreeve_preload.so";

std::vector<std::string>::iterator find_variable(std::vector<std::string>& environment,
                                                 std::string_view name) {
    return std::find_if(environment.begin(), environment.end(), [&](const std::string& v) {
        return v.size() > name.size() && v.starts_with(name) && v[name.size()] == '=';
    });
}

void unset(std::vector<std::string>& environment, const std::string& name) {
    std::erase_if(environment, [&](const std::string& v) { return v.starts_with(name + "="); });
}

void set(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
    unset(environment, name);
    environment.push_back(name + "=" + value);
}

std::vector<std::string> names_in(std::string_view list) {
    std::vector<std::string> names;
    while (!list.empty()) {
        const std::size_t end = std::min(list.find_first_of(": "), list.size());
        if (end != 0) {
            names.emplace_back(list.substr(0, end));
        }
        list.remove_prefix(std::min(end + 1, list.size()));
    }
    return names;
}

// One that takes over C++'s operators too: blocks it gives out by new come to our free(), seen with
// Node under jemalloc.
bool is_allocator(const std::string& library) {
    const std::string file = library.substr(library.rfind('/') + 1);
    return file.starts_with("libjemalloc") || file.starts_with("libmimalloc") ||
           file.starts_with("libtcmalloc");
}

// Every build of the library carries the name of the variable it attaches by.
constexpr std::string_view mark_of_library = "MEMREEVE_LEDGER";
constexpr std::size_t largest_library = std::size_t{64} << 20;

} // namespace

std::optional<std::string> find_preload_library(std::string& tried) {
    std::vector<std::string> places;
    if (const char* given = prim::trusted_variable("MEMREEVE_PRELOAD");
        given != nullptr && *given != '\0') {
        places.emplace_back(given);
    } else {
        std::string self;
        if (prim::read_link("/proc/self/exe", self) == 0) {
            const std::string bin = self.substr(0, self.rfind('/'));
            const std::string prefix = bin.substr(0, bin.rfind('/'));
            for (const char* folder : {"/lib/", "/lib/memreeve/", "/lib/x86_64-linux-gnu/memreeve/",
                                       "/lib64/memreeve/"}) {
                places.push_back(prefix + folder + library_name);
            }
        }
    }
    tried.clear();
    for (const std::string& place : places) {
        prim::file_facts facts;
        if (prim::examine_file(place, facts) == 0 && facts.is_regular) {
            return place;
        }
        tried += tried.empty() ? place : ", " + place;
    }
    return std::nullopt;
}

std::string why_no_preload_library(const std::string& path) {
    std::string content;
    if (const int e = prim::read_file_part(path, 0, largest_library, content); e != 0) {
        return std::string("it cannot be read: ") + std::strerror(e);
    }
    Elf64_Ehdr header{};
    if (content.size() < sizeof header || !content.starts_with(ELFMAG)) {
        return "it is no library";
    }
    std::memcpy(&header, content.data(), sizeof header);
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
        header.e_type != ET_DYN) {
        return "it is no shared library for x86-64";
    }
    return content.find(mark_of_library) == std::string::npos ? "it is another library"
                                                              : std::string();
}

std::vector<std::string> foreign_allocators(const std::vector<std::string>& environment) {
    std::vector<std::string> found;
    for (const std::string& v : environment) {
        if (v.starts_with("LD_PRELOAD=")) {
            const std::vector<std::string> names =
                names_in(std::string_view(v).substr(v.find('=') + 1));
            std::copy_if(names.begin(), names.end(), std::back_inserter(found), is_allocator);
        }
    }
    return found;
}

std::vector<std::string> governed_environment(std::vector<std::string> environment,
                                              const std::string& library, const std::string& ledger,
                                              bool best_effort) {
    std::string preload = library;
    if (const auto at = find_variable(environment, "LD_PRELOAD"); at != environment.end()) {
        // First, wherever it stood: the first library to have a name answers for it.
        for (const std::string& name : names_in(std::string_view(*at).substr(at->find('=') + 1))) {
            preload += name == library || is_allocator(name) ? "" : ":" + name;
        }
    }
    set(environment, "LD_PRELOAD", preload);
    set(environment, "MEMREEVE_LEDGER", ledger);
    unset(environment, "MEMREEVE_BEST_EFFORT"); // an outer run's
    if (best_effort) {
        set(environment, "MEMREEVE_BEST_EFFORT", "1");
    }
    return environment;
}

} // namespace memreeve::cli
