// SPDX-License-Identifier: MIT
#include "bridge/knobs_said.hpp"

#include "bridge/environment.hpp"
#include "bridge/pictures.hpp"
#include "bridge/runtime_shares.hpp"
#include "bridge/settings.hpp"
#include "bridge/state.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"

namespace memreeve::bridge {

namespace {

constexpr int refused_status = 125;

line& add_size(line& l, byte_count bytes) noexcept {
    constexpr byte_count kib = 1024;
    return bytes % mib == 0 || bytes >= 16 * mib ? l.add_number(bytes / mib).add(" MiB")
                                                 : l.add_number(bytes / kib).add(" KiB");
}

} // namespace

void said_by_user(state& s, const char* name, const char* value) noexcept {
    line l;
    l.add(name);
    if (value != nullptr) {
        l.add("=").add(value);
    }
    append_line(s.image().users_settings, l.text());
}

void above_the_limit(state& s, const room& r, const char* name, byte_count bytes) noexcept {
    line l;
    l.add(name).add(" of ");
    add_size(l, bytes).add(" is above the limit of ");
    add_size(l, r.limit).add("; it was left as it is, and the limit refuses before it");
    append_line(s.image().note, l.text());
}

void too_small(state& s, const room& r, const char* runtime, byte_count smallest) noexcept {
    line l;
    l.add("memreeve: the limit of ");
    add_size(l, r.limit)
        .add(" is too small for ")
        .add(runtime)
        .add(" to start; one that works is --limit ");
    l.add_number(smallest / mib).add("M");
    const bool best_effort = variable("MEMREEVE_BEST_EFFORT") != nullptr;
    prim::say(l.add(best_effort ? "; it tries" : "").text());
    if (!best_effort) {
        publish_picture(s);
        prim::exit_now(refused_status);
    }
}

} // namespace memreeve::bridge
