// SPDX-License-Identifier: MIT
// What a program file tells of itself without being run: libraries, symbols, marks of runtimes and
// allocators. Guesses from what is in the file, never from its name alone; a running program is
// recognised by what it maps.
#pragma once

#include "telemetry/image_record.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace memreeve::cli {

struct program_facts {
    std::string loader;              // "" : none, it is static
    std::vector<std::string> needed; // libraries it names
    telemetry::runtime_kind runtime = telemetry::runtime_kind::other;
    bool is_go = false;           // makes its system calls itself
    std::string allocator;        // linked into it: "jemalloc", "mimalloc", "tcmalloc" or none
    bool supplies_malloc = false; // exports malloc, which the loader takes before any library's
};

// `file` is an ELF program for x86-64; what cannot be read stays unknown.
program_facts facts_of(const std::string& file);

// "jemalloc" for /usr/lib/libjemalloc.so.2 and the like, else empty.
std::string allocator_in(std::string_view library);

} // namespace memreeve::cli
