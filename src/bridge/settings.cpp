// SPDX-License-Identifier: MIT
#include "bridge/settings.hpp"

#include "bridge/environment.hpp"
#include "bridge/state.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"

#include <cstddef>

namespace memreeve::bridge {

namespace {

constexpr const char* mark_prefix = "MEMREEVE_SET_";

// What was put into the environment, and what stands for it where it is taken out again.
struct row {
    const char* ours = nullptr;
    const char* users = nullptr;
};
constexpr unsigned most_rows = 8;
constinit row rows[most_rows]{};
constinit unsigned row_count = 0;

template <std::size_t N>
std::size_t size_of(const char* const (&parts)[N]) noexcept {
    std::size_t n = 1;
    for (const char* part : parts) {
        n += length(part);
    }
    return n;
}

// The parts, one after another, in memory of their own that stays. Null: there is none.
template <std::size_t N>
char* joined(state& s, const char* const (&parts)[N]) noexcept {
    const byte_count size = round_up(size_of(parts), page_size);
    address text = 0;
    if (prim::map_records(size, &text) != 0) {
        return nullptr;
    }
    static_cast<void>(s.memory().known().add({text, text + size}, owner_id::none,
                                             telemetry::extent_kind::records, 0));
    auto* const first = reinterpret_cast<char*>(text);
    char* to = first;
    for (const char* part : parts) {
        const std::size_t n = length(part);
        __builtin_memcpy(to, part, n);
        to += n;
    }
    return first;
}

bool put(state& s, char* definition, const char* users) noexcept {
    if (definition == nullptr || !put_into_environment(s.memory(), definition)) {
        return false;
    }
    if (row_count < most_rows) {
        rows[row_count++] = {definition, users};
    }
    return true;
}

void put_mark(state& s, const char* name, const char* ours) noexcept {
    static_cast<void>(put(s, joined(s, {mark_prefix, name, "=", ours}), nullptr));
}

void record(state& s, const char* name, const char* value) noexcept {
    line l;
    append_line(s.image().settings, l.add(name).add("=").add(value).text());
}

// What an earlier image put before the user's options; null: nothing.
const char* earlier_options(const char* name) noexcept {
    line mark;
    const char* earlier = variable(mark.add(mark_prefix).add(name).text());
    const char* value = variable(name);
    if (earlier == nullptr || value == nullptr || !starts_with(value, earlier)) {
        return nullptr;
    }
    const char after = value[length(earlier)];
    return after == '\0' || after == ' ' ? earlier : nullptr;
}

} // namespace

void append_line(char (&field)[256], const char* text) noexcept {
    std::size_t n = length(field);
    if (n != 0 && n + 1 < sizeof field) {
        field[n++] = '\n';
    }
    for (; *text != '\0' && n + 1 < sizeof field; ++text) {
        field[n++] = *text;
    }
    field[n] = '\0';
}

bool is_earlier_setting(const char* name) noexcept {
    const char* earlier = earlier_options(name);
    return earlier != nullptr && same_text(earlier, variable(name));
}

void put_setting(state& s, const char* name, const char* value) noexcept {
    const char* inherited = variable(name);
    if (inherited != nullptr && same_text(inherited, value)) {
        record(s, name, value);
    } else if (put(s, joined(s, {name, "=", value}), nullptr)) {
        put_mark(s, name, value);
        record(s, name, value);
    }
}

void drop_setting(const char* name) noexcept {
    if (is_earlier_setting(name)) {
        line mark;
        take_out_of_environment(mark.add(mark_prefix).add(name).text());
        take_out_of_environment(name);
    }
}

const char* users_options(const char* name) noexcept {
    const char* value = variable(name);
    if (const char* earlier = earlier_options(name)) {
        value += length(earlier);
        value += *value == ' ' ? 1 : 0;
    }
    return value == nullptr || *value == '\0' ? nullptr : value;
}

void put_options(state& s, const char* name, const char* ours) noexcept {
    const char* users = users_options(name);
    const bool was_set = earlier_options(name) != nullptr;
    line marks_name;
    const char* mark = marks_name.add(mark_prefix).add(name).text();
    if (*ours == '\0') {
        if (was_set) {
            take_out_of_environment(mark);
            if (users == nullptr) {
                take_out_of_environment(name);
            } else if (char* theirs = joined(s, {name, "=", users})) {
                static_cast<void>(put_into_environment(s.memory(), theirs));
            }
        }
        return;
    }
    const char* theirs = users == nullptr ? nullptr : joined(s, {name, "=", users});
    if (put(s,
            joined(s,
                   {name, "=", ours, users != nullptr ? " " : "", users != nullptr ? users : ""}),
            theirs)) {
        put_mark(s, name, ours);
        record(s, name, ours);
    }
}

const char* without_settings(const char* definition) noexcept {
    for (unsigned i = 0; i < row_count; ++i) {
        if (same_text(definition, rows[i].ours)) {
            return rows[i].users;
        }
    }
    return definition;
}

} // namespace memreeve::bridge
