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

constexpr std::size_t longest_word = 4096;                     // a path
constexpr std::uint64_t largest_file = std::uint64_t{1} << 20; // of options

// A number with k, m, g or t; 0 where it is none, the largest there is where it is larger.
byte_count size_in(const char* text) noexcept {
    constexpr byte_count most = ~byte_count{0};
    byte_count n = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        const auto digit = static_cast<byte_count>(*text - '0');
        n = n > (most - digit) / 10 ? most : n * 10 + digit;
    }
    const char unit = static_cast<char>(*text | 32);
    const unsigned shift = unit == 'k'   ? 10
                           : unit == 'm' ? 20
                           : unit == 'g' ? 30
                           : unit == 't' ? 40
                                         : 0;
    return n > most >> shift ? most : n << shift;
}

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

// Where options stand decides how they are taken apart.
enum class origin {
    variable,  // JAVA_TOOL_OPTIONS, _JAVA_OPTIONS: the VM's alone
    launcher,  // JDK_JAVA_OPTIONS: options of `java`
    arguments, // @file of `java`: # begins a comment, in quotes \ takes what follows as it is
    options,   // -XX:VMOptionsFile
    flags,     // -XX:Flags: # begins a comment where a word may begin; -XX: is left out
};

class reader {
public:
    // A word of `java`'s command line. Options end before the program's name. Where an option's value is
    // due, too, @file stands for the words in it; in a file it is a word like any other.
    void note_argument(const char* word, bool may_be_file) noexcept {
        if (is_over_) {
            return;
        }
        if (word[0] == '@' && word[1] != '@' && word[1] != '\0' && reads_files_ && may_be_file) {
            note_file(word + 1, origin::arguments, word);
        } else if (is_value_) {
            is_value_ = false;
        } else if (same_text(word, "-m") || same_text(word, "--module") ||
                   starts_with(word, "--module=") || word[0] != '-') {
            is_over_ = true; // what follows is the program's name, or this is
        } else if (same_text(word, "--disable-@files")) {
            reads_files_ = false;
        } else if (takes_a_word(word)) {
            is_value_ = true;
        } else {
            note_launchers(word);
        }
    }

    // An option as a launcher takes it: some of the VM's under an older name too.
    void note_launchers(const char* word) noexcept {
        if (starts_with(word, "-mx")) {
            choose(found.heap, word, word + 3);
        } else if (starts_with(word, "-ms")) {
            choose(found.initial, word, word + 3);
        } else {
            note(word, true);
        }
    }

    // An option of the VM.
    void note(const char* word, bool may_name_files) noexcept {
        if (starts_with(word, "-XX:")) {
            note_flag(word, word + 4, may_name_files);
        } else if (starts_with(word, "-Xmx")) {
            choose(found.heap, word, word + 4);
        } else if (starts_with(word, "-Xms")) {
            choose(found.initial, word, word + 4);
        }
    }

    void note_text(const char* text, origin from) noexcept {
        word_in_progress w;
        for (; *text != '\0'; ++text) {
            take(w, *text, from);
        }
        take(w, '\n', from);
    }

    java_options found;

private:
    struct word_in_progress {
        char text[longest_word];
        std::size_t size = 0;
        char quote = '\0';
        bool is_escaped = false;
        bool is_comment = false;
    };

    void note_file(const char* path, origin from, const char* word) noexcept {
        if (!prim::is_regular_file(path)) {
            // A pipe (bash's <(...)) gives what it has once, and to the JVM.
            if (prim::file_exists(path)) {
                choose(found.unread, word, "");
            }
            return;
        }
        const long fd = prim::open_program(path);
        if (fd < 0) {
            return; // nor will the JVM read it
        }
        word_in_progress w;
        char part[1024];
        long n = 0;
        std::uint64_t at = 0;
        while (at < largest_file &&
               (n = prim::read_at(static_cast<int>(fd), part, sizeof part, at)) > 0) {
            for (long i = 0; i < n; ++i) {
                take(w, part[i], from);
            }
            at += static_cast<std::uint64_t>(n);
        }
        take(w, '\n', from);
        static_cast<void>(prim::close(static_cast<int>(fd)));
        if (n != 0) {
            choose(found.unread, word, "");
        }
    }

    void take(word_in_progress& w, char c, origin from) noexcept {
        const bool is_line_end = c == '\n' || c == '\r';
        if (w.is_comment) {
            w.is_comment = !is_line_end;
            return;
        }
        if (w.is_escaped) {
            w.is_escaped = false;
        } else if (w.quote != '\0') {
            if (c == w.quote) {
                w.quote = '\0';
                return;
            }
            if (c == '\\' && from == origin::arguments) {
                w.is_escaped = true;
                return;
            }
        } else if (c == '"' || c == '\'') {
            w.quote = c;
            return;
        } else if (c == '#' &&
                   (from == origin::arguments || (from == origin::flags && w.size == 0))) {
            w.is_comment = true; // `java` forgets the word before it
            w.size = 0;
            return;
        } else if (c == ' ' || c == '\t' || c == '\f' || is_line_end) {
            finish(w, from);
            return;
        }
        if (w.size + 1 < sizeof w.text) {
            w.text[w.size++] = c;
        }
    }

    void finish(word_in_progress& w, origin from) noexcept {
        w.text[w.size] = '\0';
        const char* const word = w.text;
        if (w.size != 0) {
            switch (from) {
            case origin::variable: note(word, true); break;
            case origin::launcher: note_argument(word, true); break;
            // `java` takes no file from a file: @NAME there is a word like any other.
            case origin::arguments: note_argument(word, false); break;
            case origin::options: note(word, false); break;
            case origin::flags: note_flag(word, word, false); break;
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
            {"SoftMaxHeapSize=", found.soft},
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
        struct named_file {
            const char* name;
            origin from;
        };
        constexpr named_file files[] = {{"Flags=", origin::flags},
                                        {"VMOptionsFile=", origin::options}};
        for (const named_file& f : files) {
            if (may_name_files && starts_with(flag, f.name)) {
                note_file(flag + length(f.name), f.from, word);
            }
        }
    }

    bool is_value_ = false; // the next word belongs to the option before it
    bool is_over_ = false;
    bool reads_files_ = true;
};

} // namespace

java_options read_java_options(const char* tool_options, bool is_launcher, const char* program,
                               int argument_count, char* const* arguments) noexcept {
    reader r;
    if (tool_options != nullptr) {
        r.note_text(tool_options, origin::variable);
    }
    if (is_launcher && !same_text(base_name(program), "java")) {
        for (int i = 1; i < argument_count; ++i) {
            if (starts_with(arguments[i], "-J")) {
                r.note_launchers(arguments[i] + 2);
            } else if (starts_with(arguments[i], "-X")) {
                r.note(arguments[i], true); // `java` by another name; no tool has one like it
            }
        }
    } else if (is_launcher) {
        if (const char* more = variable("JDK_JAVA_OPTIONS")) {
            r.note_text(more, origin::launcher);
        }
        for (int i = 1; i < argument_count; ++i) {
            r.note_argument(arguments[i], true);
        }
    }
    if (const char* last = variable("_JAVA_OPTIONS")) {
        r.note_text(last, origin::variable);
    }
    return r.found;
}

} // namespace memreeve::bridge
