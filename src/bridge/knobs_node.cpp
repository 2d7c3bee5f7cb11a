// SPDX-License-Identifier: MIT
// Node reads NODE_OPTIONS before its command line, which wins.
#include "bridge/knobs_said.hpp"
#include "bridge/runtime_shares.hpp"
#include "bridge/settings.hpp"
#include "bridge/state.hpp"
#include "bridge/text.hpp"

#include <cstddef>

namespace memreeve::bridge {

namespace {

constexpr const char* variable_name = "NODE_OPTIONS";

struct node_options {
    bool has_heap = false; // --max-old-space-size, --max-heap-size
    bool has_semi_space = false;
    byte_count heap = 0;
    char heap_word[64]{};
    char semi_word[64]{};
};

// `_` counts as `-` in Node's options.
bool begins_option(const char* word, const char* name) noexcept {
    for (; *name != '\0'; ++word, ++name) {
        if (*word != *name && !(*word == '_' && *name == '-')) {
            return false;
        }
    }
    return *word == '=' || *word == '\0' || *word == ' ';
}

void copy_word(char (&to)[64], const char* word) noexcept {
    std::size_t n = 0;
    for (; word[n] != '\0' && word[n] != ' ' && n + 1 < sizeof to; ++n) {
        to[n] = word[n];
    }
    to[n] = '\0';
}

void note(node_options& o, const char* word) noexcept {
    if (begins_option(word, "--max-semi-space-size") || begins_option(word, "--semi-space-size")) {
        o.has_semi_space = true;
        copy_word(o.semi_word, word);
        return;
    }
    if (!begins_option(word, "--max-old-space-size") && !begins_option(word, "--max-heap-size")) {
        return;
    }
    o.has_heap = true;
    o.heap = 0;
    copy_word(o.heap_word, word);
    while (*word != '=' && *word != '\0' && *word != ' ') {
        ++word;
    }
    for (word += *word == '=' ? 1 : 0; *word >= '0' && *word <= '9'; ++word) {
        o.heap = o.heap * 10 + static_cast<byte_count>(*word - '0');
    }
    o.heap *= mib;
}

node_options read_node_options(int argument_count, char* const* arguments) noexcept {
    node_options o;
    if (const char* text = users_options(variable_name)) {
        for (bool at_beginning = true; *text != '\0'; ++text) {
            if (at_beginning) {
                note(o, text);
            }
            at_beginning = *text == ' ' || *text == '"';
        }
    }
    // The script's own arguments too: an option too many counts as the user's.
    for (int i = 1; i < argument_count && !same_text(arguments[i], "--"); ++i) {
        note(o, arguments[i]);
    }
    return o;
}

} // namespace

void turn_node(state& s, const room& r, int argument_count, char* const* arguments) noexcept {
    const node_options users = read_node_options(argument_count, arguments);
    if (users.has_semi_space) {
        said_by_user(s, users.semi_word, nullptr);
    }
    if (users.has_heap) {
        said_by_user(s, users.heap_word, nullptr);
        if (users.heap > r.limit) {
            above_the_limit(s, r, users.heap_word, users.heap);
        }
        put_options(s, variable_name, "");
        return;
    }
    if (r.limit < node_start.least) {
        put_options(s, variable_name, "");
        too_small(s, r, "Node", node_start.works);
        return;
    }
    const node_shares shares = shares_for_node(r.limit, r.reserve);
    line l;
    l.add("--max-old-space-size=").add_number(shares.old_space);
    if (shares.semi_space != 0 && !users.has_semi_space) {
        l.add(" --max-semi-space-size=").add_number(shares.semi_space);
    }
    put_options(s, variable_name, l.text());
}

} // namespace memreeve::bridge
