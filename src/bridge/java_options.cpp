// SPDX-License-Identifier: MIT
#include "bridge/java_options.hpp"

#include "bridge/environment.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <cstddef>
#include <cstdint>

namespace memreeve::bridge {

namespace {

constexpr std::size_t longest_word = 512;

// A number with k, m, g or t; 0 where it is none.
byte_count size_in(const char* text) noexcept {
    byte_count n = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        n = n * 10 + static_cast<byte_count>(*text - '0');
    }
    switch (*text | 32) {
    case 'k': return n << 10;
    case 'm': return n << 20;
    case 'g': return n << 30;
    case 't': return n << 40;
    default: return n;
    }
}

class reader {
public:
    // One option. `is_bare`: out of a file of flags, which leaves out -XX:.
    void note(const char* word, bool is_bare, bool may_name_files) noexcept {
        const bool is_flag = starts_with(word, "-XX:");
        if (is_flag || is_bare) {
            note_flag(word, is_flag ? word + 4 : word, may_name_files);
        } else if (starts_with(word, "-Xmx")) {
            choose(found.heap, word, word + 4);
        } else if (starts_with(word, "-Xms")) {
            choose(found.initial, word, word + 4);
        }
    }

    // Words between blanks; quotes are left out (an option about memory needs none).
    void note_text(const char* text, bool may_name_files) noexcept {
        word_in_progress w;
        for (; *text != '\0'; ++text) {
            take(w, *text, false, may_name_files);
        }
        take(w, ' ', false, may_name_files);
    }

    void note_file(const char* path, bool is_bare) noexcept {
        const long fd = prim::open_program(path);
        if (fd < 0) {
            return; // nor will the JVM read it
        }
        word_in_progress w;
        char part[1024];
        for (std::uint64_t at = 0;;) {
            const long n = prim::read_at(static_cast<int>(fd), part, sizeof part, at);
            if (n <= 0) {
                break;
            }
            for (long i = 0; i < n; ++i) {
                take(w, part[i], is_bare, false);
            }
            at += static_cast<std::uint64_t>(n);
        }
        take(w, ' ', is_bare, false);
        static_cast<void>(prim::close(static_cast<int>(fd)));
    }

    java_options found;

private:
    struct word_in_progress {
        char text[longest_word];
        std::size_t size = 0;
    };

    void take(word_in_progress& w, char c, bool is_bare, bool may_name_files) noexcept {
        if (c == '"' || c == '\'') {
            return;
        }
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f') {
            if (w.size + 1 < sizeof w.text) {
                w.text[w.size++] = c;
            }
            return;
        }
        w.text[w.size] = '\0';
        if (w.size != 0) {
            if (may_name_files && w.text[0] == '@') {
                note_file(w.text + 1, false);
            } else {
                note(w.text, is_bare, may_name_files);
            }
        }
        w.size = 0;
    }

    static void choose(chosen_size& size, const char* word, const char* value) noexcept {
        size.is_there = true;
        size.bytes = size_in(value);
        std::size_t n = 0;
        for (; word[n] != '\0' && n + 1 < sizeof size.word; ++n) {
            size.word[n] = word[n];
        }
        size.word[n] = '\0';
    }

    void note_flag(const char* word, const char* flag, bool may_name_files) noexcept {
        struct sized {
            const char* name;
            chosen_size& size;
        };
        const sized table[] = {
            {"MaxHeapSize=", found.heap},
            {"InitialHeapSize=", found.initial},
            {"MinHeapSize=", found.initial},
            {"MaxRAM=", found.machine},
            {"MaxMetaspaceSize=", found.metaspace},
            {"ReservedCodeCacheSize=", found.code_cache},
            {"InitialCodeCacheSize=", found.code_cache},
            {"MaxDirectMemorySize=", found.direct},
            {"MaxRAMPercentage=", found.share},
            {"MinRAMPercentage=", found.share},
            {"InitialRAMPercentage=", found.share},
            {"MaxRAMFraction=", found.share},
            {"MinRAMFraction=", found.share},
            {"InitialRAMFraction=", found.share},
        };
        for (const sized& s : table) {
            if (starts_with(flag, s.name)) {
                choose(s.size, word, flag + length(s.name));
                return;
            }
        }
        if (same_text(flag, "+AggressiveHeap")) {
            choose(found.heap, word, "");
            return;
        }
        struct chooser {
            const char* name;
            java_collector collector;
        };
        constexpr chooser choosers[] = {
            {"UseSerialGC", java_collector::serial},
            {"UseParallelGC", java_collector::parallel},
            {"UseParallelOldGC", java_collector::parallel},
            {"UseZGC", java_collector::z},
            {"UseShenandoahGC", java_collector::shenandoah},
            {"UseG1GC", java_collector::g1},
            {"UseEpsilonGC", java_collector::serial},
            {"UseConcMarkSweepGC", java_collector::g1},
        };
        for (const chooser& c : choosers) {
            if ((flag[0] == '+' || flag[0] == '-') && same_text(flag + 1, c.name)) {
                found.has_collector = true;
                found.collector = flag[0] == '+' ? c.collector : found.collector;
                return;
            }
        }
        constexpr const char* files[] = {"Flags=", "VMOptionsFile="};
        for (const char* f : files) {
            if (may_name_files && starts_with(flag, f)) {
                note_file(flag + length(f), f == files[0]);
            }
        }
    }
};

// Options of `java` whose value is a word of its own.
bool takes_a_word(const char* option) noexcept {
    constexpr const char* table[] = {
        "-cp",           "-classpath",        "--class-path",           "-p",
        "--module-path", "--add-modules",     "--upgrade-module-path",  "--limit-modules",
        "--add-exports", "--add-opens",       "--enable-native-access", "--add-reads",
        "--source",      "--describe-module", "--patch-module",         "-d",
    };
    for (const char* name : table) {
        if (same_text(option, name)) {
            return true;
        }
    }
    return false;
}

} // namespace

java_options read_java_options(const char* tool_options, bool is_launcher, const char* program,
                               int argument_count, char* const* arguments) noexcept {
    reader r;
    const auto note_variable = [&r](const char* value) {
        if (value != nullptr) {
            r.note_text(value, true);
        }
    };
    note_variable(tool_options);
    if (is_launcher && !same_text(base_name(program), "java")) {
        for (int i = 1; i < argument_count; ++i) {
            if (starts_with(arguments[i], "-J")) {
                r.note(arguments[i] + 2, false, true);
            }
        }
    } else if (is_launcher) {
        note_variable(variable("JDK_JAVA_OPTIONS"));
        for (int i = 1; i < argument_count; ++i) {
            const char* word = arguments[i];
            if (word[0] == '@' && word[1] != '@') {
                r.note_file(word + 1, false);
            } else if (word[0] != '-' || same_text(word, "-jar") || same_text(word, "-m") ||
                       same_text(word, "--module")) {
                break; // the program's name
            } else if (takes_a_word(word)) {
                ++i;
            } else {
                r.note(word, false, true);
            }
        }
    }
    note_variable(variable("_JAVA_OPTIONS"));
    return r.found;
}

} // namespace memreeve::bridge
