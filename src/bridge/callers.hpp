// SPDX-License-Identifier: MIT
// Who calls: the library that a return address lies in, and whether what it asks for can be refused.
//
// The loader keeps a table of what is mapped for its unwinder, which is read without a lock and holds
// through dlopen and dlclose (_dl_find_object, glibc 2.35). Before that nothing is known of callers,
// and everybody counts as the runtime. No dladdr, no allocation; async-signal-safe.
#pragma once

#include "bridge/state.hpp"

#include <cstddef>

namespace memreeve::bridge {

enum class caller_kind : unsigned char {
    runtime,     // the runtime's own code, the program, or not known: a refusal may end it
    between,     // libc, C++ library: calls for somebody
    application, // any other library, generated code
};

caller_kind kind_of_caller(state& s, const void* caller) noexcept;

// "libfoo.so.1+0x12af", the program's name, or "generated code"; empty: not known.
void name_caller(state& s, const void* caller, char* out, std::size_t size) noexcept;

} // namespace memreeve::bridge
