// SPDX-License-Identifier: MIT
#include "bridge/environment.hpp"

#include "bridge/text.hpp"
#include "prim/prim.hpp"

extern "C" char** environ;

namespace memreeve::bridge {

const char* variable_in(char* const* environment, const char* name) noexcept {
    if (environment == nullptr) {
        return nullptr;
    }
    for (; *environment != nullptr; ++environment) {
        if (starts_with(*environment, name) && (*environment)[length(name)] == '=') {
            return *environment + length(name) + 1;
        }
    }
    return nullptr;
}

governing_variables take_out_governing_variables() noexcept {
    governing_variables taken;
    if (environ == nullptr) {
        return taken;
    }
    char** to = environ;
    for (char** from = environ; *from != nullptr; ++from) {
        if (starts_with(*from, "LD_PRELOAD=")) {
            taken.preload = *from;
        } else if (starts_with(*from, "MEMREEVE_LEDGER=")) {
            taken.ledger = *from;
        } else {
            *to++ = *from;
        }
    }
    *to = nullptr;
    return taken;
}

const char* variable_with_prefix(const char* prefix) noexcept {
    for (char** v = environ; v != nullptr && *v != nullptr; ++v) {
        if (starts_with(*v, prefix)) {
            return *v;
        }
    }
    return nullptr;
}

namespace {

// The place of the variable that `definition` defines, or of the terminating null.
char** place_of(const char* definition) noexcept {
    std::size_t name = 0;
    while (definition[name] != '=' && definition[name] != '\0') {
        ++name;
    }
    char** v = environ;
    for (; v != nullptr && *v != nullptr; ++v) {
        std::size_t same = 0;
        while (same < name && (*v)[same] == definition[same]) {
            ++same;
        }
        if (same == name && (*v)[name] == '=') {
            break;
        }
    }
    return v;
}

} // namespace

bool put_into_environment(manager::manager& memory, char* definition) noexcept {
    if (char** place = place_of(definition); place != nullptr && *place != nullptr) {
        *place = definition;
        return true;
    }
    std::size_t count = 0;
    while (environ != nullptr && environ[count] != nullptr) {
        ++count;
    }
    const byte_count size = round_up((count + 2) * sizeof(char*), page_size);
    address list = 0;
    if (prim::map_records(size, &list) != 0) {
        return false;
    }
    static_cast<void>(memory.known().add({list, list + size}, owner_id::none,
                                         telemetry::extent_kind::records, 0));
    auto** longer = reinterpret_cast<char**>(list);
    for (std::size_t i = 0; i < count; ++i) {
        longer[i] = environ[i];
    }
    longer[count] = definition; // a null follows: the memory is fresh
    environ = longer;
    return true;
}

void take_out_of_environment(const char* name) noexcept {
    char** place = place_of(name);
    for (; place != nullptr && *place != nullptr; ++place) {
        *place = place[1];
    }
}

char** own_environment() noexcept { return environ; }

const char* variable(const char* name) noexcept { return variable_in(environ, name); }

} // namespace memreeve::bridge
