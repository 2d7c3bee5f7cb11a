// SPDX-License-Identifier: MIT
#include "bridge/knobs.hpp"

#include "bridge/environment.hpp"
#include "bridge/pictures.hpp"
#include "bridge/runtime_config.hpp"
#include "bridge/state.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"

namespace memreeve::bridge {

using telemetry::image_record;
using telemetry::runtime_kind;

namespace {

constexpr byte_count mib = byte_count{1} << 20;
constexpr int refused_status = 125;

// Mono lives longer with a small nursery below this (decision 28).
constexpr byte_count tight_limit = 128 * mib;

constexpr const char* mono_variable = "MONO_GC_PARAMS";
constexpr const char* coreclr_variable = "DOTNET_GCHeapHardLimit";
// What stands after the prefix; GCHeapHardLimitPercent, SOH, LOH and POH begin likewise.
constexpr const char* coreclr_prefixes[] = {"DOTNET_GCHeapHardLimit", "COMPlus_GCHeapHardLimit"};

constexpr std::size_t setting_size = 64;
constinit char setting[setting_size]{}; // NAME=value, in environ from then on

void append(char (&field)[256], const char* text) noexcept {
    std::size_t n = length(field);
    if (n != 0 && n + 1 < sizeof field) {
        field[n++] = '\n';
    }
    for (; *text != '\0' && n + 1 < sizeof field; ++text) {
        field[n++] = *text;
    }
    field[n] = '\0';
}

// CoreCLR reads the variable as hexadecimal, with or without 0x; 0 where it is no number.
byte_count hexadecimal(const char* text) noexcept {
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        text += 2;
    }
    byte_count value = 0;
    for (;; ++text) {
        const char c = *text;
        if (c >= '0' && c <= '9') {
            value = value << 4 | static_cast<byte_count>(c - '0');
        } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
            value = value << 4 | static_cast<byte_count>((c | 32) - 'a' + 10);
        } else {
            return value;
        }
    }
}

line& add_size(line& l, byte_count bytes) noexcept { return l.add_number(bytes / mib).add(" MiB"); }

// The variable of that name becomes part of the environment; false where there is no memory.
bool put_into_environment(state& s, const char* name, const char* value) noexcept {
    std::size_t n = 0;
    const char* const parts[] = {name, "=", value};
    for (const char* part : parts) {
        for (; *part != '\0' && n + 1 < setting_size; ++part) {
            setting[n++] = *part;
        }
    }
    setting[n] = '\0';
    return add_to_environment(s.memory(), setting);
}

// What an earlier image of this run set for its children counts as set by us.
void set(state& s, const char* name, const char* value) noexcept {
    const char* inherited = variable(name);
    if (inherited != nullptr ? same_text(inherited, value) : put_into_environment(s, name, value)) {
        line l;
        append(s.image().settings, l.add(name).add("=").add(value).text());
    }
}

void turn_mono(state& s, byte_count limit) noexcept {
    constexpr const char* value = "nursery-size=1m";
    const char* users = variable(mono_variable);
    if (limit <= tight_limit && (users == nullptr || same_text(users, value))) {
        set(s, mono_variable, value);
    }
}

// The user's own heap limit: in the environment or in the program's configuration.
struct users_limit {
    const char* where = nullptr; // null: there is none
    byte_count bytes = 0;        // 0: not known
};

users_limit find_users_limit(const char* program, int argument_count,
                             char* const* arguments) noexcept {
    for (const char* prefix : coreclr_prefixes) {
        if (const char* found = variable_with_prefix(prefix)) {
            const bool is_total = found[length(prefix)] == '=';
            return {prefix, is_total ? hexadecimal(found + length(prefix) + 1) : 0};
        }
    }
    const configured c = configured_heap_limit(program, argument_count, arguments);
    return {c.is_there ? "System.GC.HeapHardLimit" : nullptr, c.bytes};
}

void turn_coreclr(state& s, byte_count limit, int argument_count, char* const* arguments) noexcept {
    image_record& image = s.image();
    const byte_count ours = coreclr_heap_limit(limit);
    line number;
    const char* value = number.add_hexadecimal(ours).text();
    const char* inherited = variable(coreclr_variable);
    const bool is_ours = ours != 0 && inherited != nullptr && same_text(inherited, value);
    const users_limit users =
        is_ours ? users_limit{} : find_users_limit(image.path, argument_count, arguments);
    if (users.where != nullptr) {
        if (users.bytes > limit) {
            line l;
            l.add(users.where).add(" of ");
            add_size(l, users.bytes).add(" is above the limit of ");
            add_size(l, limit).add("; it was left as it is, and the limit refuses before it");
            append(image.note, l.text());
        }
        return;
    }
    if (ours != 0) {
        set(s, coreclr_variable, value);
        return;
    }
    line l;
    l.add("memreeve: the limit of ");
    add_size(l, limit).add(" is too small for .NET to start; one that works is --limit ");
    l.add_number(smallest_coreclr_limit / mib).add("M");
    const bool best_effort = variable("MEMREEVE_BEST_EFFORT") != nullptr;
    prim::say(l.add(best_effort ? "; it tries" : "").text());
    if (!best_effort) {
        publish_picture(s);
        prim::exit_now(refused_status);
    }
}

} // namespace

byte_count coreclr_heap_limit(byte_count limit) noexcept {
    constexpr byte_count fixed = 16 * mib;
    const byte_count beside = limit / 4 > fixed ? limit / 4 : fixed;
    return limit < smallest_coreclr_limit ? 0 : round_down(limit - beside, page_size);
}

bool is_setting(const char* definition) noexcept {
    return setting[0] != '\0' && same_text(definition, setting);
}

void turn_knobs(state& s, int argument_count, char* const* arguments) noexcept {
    if (s.is_embedded() || s.shares_memory()) {
        return;
    }
    const byte_count limit = s.books().header().runtime_limit.load(std::memory_order_relaxed);
    if (limit == 0) {
        return;
    }
    switch (static_cast<runtime_kind>(s.image().runtime.load(std::memory_order_relaxed))) {
    case runtime_kind::mono: turn_mono(s, limit); break;
    case runtime_kind::coreclr: turn_coreclr(s, limit, argument_count, arguments); break;
    default: break;
    }
}

} // namespace memreeve::bridge
