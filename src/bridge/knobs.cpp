// SPDX-License-Identifier: MIT
#include "bridge/knobs.hpp"

#include "bridge/environment.hpp"
#include "bridge/knobs_said.hpp"
#include "bridge/runtime_config.hpp"
#include "bridge/runtime_shares.hpp"
#include "bridge/settings.hpp"
#include "bridge/state.hpp"
#include "bridge/text.hpp"
#include "prim/process_view.hpp"

namespace memreeve::bridge {

using telemetry::runtime_kind;

namespace {

// Mono lives longer with a small nursery below this (decision 28).
constexpr byte_count tight_limit = 128 * mib;

constexpr const char* mono_variable = "MONO_GC_PARAMS";
constexpr const char* coreclr_variable = "DOTNET_GCHeapHardLimit";
constexpr const char* region_range_variable = "DOTNET_GCRegionRange";
// What stands after the prefix; GCHeapHardLimitPercent, SOH, LOH and POH begin likewise.
constexpr const char* coreclr_prefixes[] = {"DOTNET_GCHeapHardLimit", "COMPlus_GCHeapHardLimit"};

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

void turn_mono(state& s, const room& r) noexcept {
    constexpr const char* value = "nursery-size=1m";
    const char* users = variable(mono_variable);
    if (users != nullptr && !same_text(users, value) && !is_earlier_setting(mono_variable)) {
        said_by_user(s, mono_variable, users);
        return;
    }
    if (r.limit < mono_start.least) {
        too_small(s, r, "Mono", mono_start.works);
    }
    if (r.limit <= tight_limit) {
        put_setting(s, mono_variable, value);
    } else {
        drop_setting(mono_variable); // the limit was lower
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

// What CoreCLR is told of `name` ("RegionSize"): in the environment, hexadecimal, else in the program's
// configuration. 0: nothing, or no number.
byte_count users_number(const char* name, const char* program, int argument_count,
                        char* const* arguments) noexcept {
    for (const char* prefix : {"DOTNET_GC", "COMPlus_GC"}) {
        line whole;
        if (const char* value = variable(whole.add(prefix).add(name).text())) {
            return hexadecimal(value);
        }
    }
    line whole;
    return configured_property(whole.add("System.GC.").add(name).text(), program, argument_count,
                               arguments)
        .bytes;
}

// The user's size of regions is not what our limit was chosen for: CoreCLR would not start.
void make_room_for_regions(state& s, byte_count heap_limit, int argument_count,
                           char* const* arguments) noexcept {
    const char* program = s.image().path;
    const byte_count region = users_number("RegionSize", program, argument_count, arguments);
    const byte_count range = coreclr_region_range(heap_limit, region, prim::usable_processors());
    if (range != 0 && users_number("RegionRange", program, argument_count, arguments) == 0) {
        line number;
        put_setting(s, region_range_variable, number.add_hexadecimal(range).text());
    }
}

void turn_coreclr(state& s, const room& r, int argument_count, char* const* arguments) noexcept {
    drop_setting(region_range_variable); // of an earlier image, whose regions were others
    const byte_count ours = coreclr_heap_limit(r.limit);
    line number;
    const char* value = number.add_hexadecimal(ours).text();
    const char* inherited = variable(coreclr_variable);
    const bool is_ours = ours != 0 && inherited != nullptr &&
                         (same_text(inherited, value) || is_earlier_setting(coreclr_variable));
    const users_limit users =
        is_ours ? users_limit{} : find_users_limit(s.image().path, argument_count, arguments);
    if (users.where != nullptr) {
        said_by_user(s, users.where, nullptr);
        if (users.bytes > r.limit) {
            above_the_limit(s, r, users.where, users.bytes);
        }
    } else if (ours != 0) {
        put_setting(s, coreclr_variable, value);
        make_room_for_regions(s, ours, argument_count, arguments);
    } else {
        too_small(s, r, ".NET", coreclr_start.works);
    }
}

void turn_cpython(state& s, const room& r) noexcept {
    if (r.limit < cpython_start.least) {
        too_small(s, r, "Python", cpython_start.works);
    }
}

} // namespace

void turn_knobs(state& s, int argument_count, char* const* arguments) noexcept {
    if (s.is_embedded() || s.shares_memory()) {
        return;
    }
    room r;
    r.limit = s.books().header().runtime_limit.load(std::memory_order_relaxed);
    const auto runtime =
        static_cast<runtime_kind>(s.image().runtime.load(std::memory_order_relaxed));
    if (r.limit == 0 || runtime != runtime_kind::jvm) {
        // What an earlier image put there for a JVM, its -Xms above all, contradicts what a host gives
        // to one that it loads later.
        put_options(s, java_variable, "");
    }
    if (r.limit == 0) {
        put_options(s, node_variable, "");
        drop_setting(mono_variable);
        drop_setting(coreclr_variable);
        drop_setting(region_range_variable);
        return;
    }
    r.reserve =
        bytes_of(s.books().tree().at(owner_id::root).reserve.load(std::memory_order_relaxed));
    switch (runtime) {
    case runtime_kind::mono: turn_mono(s, r); break;
    case runtime_kind::coreclr: turn_coreclr(s, r, argument_count, arguments); break;
    case runtime_kind::jvm: turn_java(s, r, argument_count, arguments); break;
    case runtime_kind::node: turn_node(s, r, argument_count, arguments); break;
    case runtime_kind::cpython: turn_cpython(s, r); break;
    case runtime_kind::other: break;
    }
}

} // namespace memreeve::bridge
