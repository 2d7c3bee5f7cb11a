// SPDX-License-Identifier: MIT
#include "bridge/node_options.hpp"

#include "bridge/text.hpp"

#include <cstddef>
#include <initializer_list>

namespace memreeve::bridge {

namespace {

// What stands behind `name`, or null where the word is another option. V8 takes one dash as well.
const char* value_of(const char* word, const char* name) noexcept {
    if (word[0] == '-' && word[1] != '-') {
        ++name;
    }
    for (; *name != '\0'; ++word, ++name) {
        if (*word != *name && !(*word == '_' && *name == '-')) {
            return nullptr;
        }
    }
    return *word == '=' ? word + 1 : *word == '\0' ? word : nullptr;
}

// MiB, as V8 counts; no more than there can be bytes.
byte_count mebibytes(const char* text) noexcept {
    constexpr byte_count most = ~byte_count{0} >> 20;
    byte_count n = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        const auto digit = static_cast<byte_count>(*text - '0');
        n = n > (most - digit) / 10 ? most : n * 10 + digit;
    }
    return n << 20;
}

void choose(node_size& size, const char* word, byte_count bytes) noexcept {
    size.is_there = true;
    size.bytes = bytes;
    std::size_t n = 0;
    for (; word[n] != '\0' && n + 1 < sizeof size.word; ++n) {
        size.word[n] = word[n];
    }
    size.word[n] = '\0';
}

void note(node_options& o, const char* word) noexcept {
    for (const char* name : {"--max-old-space-size", "--max-heap-size"}) {
        if (const char* value = value_of(word, name)) {
            choose(o.heap, word, mebibytes(value));
        }
    }
    if (value_of(word, "--max-old-space-size-percentage") != nullptr) {
        choose(o.heap, word, 0);
    }
    for (const char* name : {"--max-semi-space-size", "--semi-space-size"}) {
        if (const char* value = value_of(word, name)) {
            choose(o.semi_space, word, mebibytes(value));
        }
    }
}

// Words between blanks; in double quotes a blank is part of the word and \ takes what follows as it is.
void note_text(node_options& o, const char* text) noexcept {
    char word[256];
    std::size_t size = 0;
    bool is_quoted = false;
    for (;; ++text) {
        const bool is_end = *text == '\0' || (*text == ' ' && !is_quoted);
        if (is_end) {
            word[size] = '\0';
            note(o, word);
            size = 0;
            if (*text == '\0') {
                return;
            }
        } else if (*text == '"') {
            is_quoted = !is_quoted;
        } else {
            text += *text == '\\' && is_quoted && text[1] != '\0' ? 1 : 0;
            if (size + 1 < sizeof word) {
                word[size++] = *text;
            }
        }
    }
}

bool has_value(const char* word) noexcept {
    for (; *word != '\0'; ++word) {
        if (*word == '=') {
            return true;
        }
    }
    return false;
}

} // namespace

node_options read_node_options(const char* variable, int argument_count,
                               char* const* arguments) noexcept {
    node_options o;
    if (variable != nullptr) {
        note_text(o, variable);
    }
    bool may_be_value = false;
    for (int i = 1; i < argument_count && !same_text(arguments[i], "--"); ++i) {
        const char* word = arguments[i];
        const bool is_option = word[0] == '-' && word[1] != '\0';
        if (!is_option && !may_be_value) {
            break; // the script
        }
        note(o, word);
        may_be_value = is_option && !has_value(word);
    }
    return o;
}

} // namespace memreeve::bridge
