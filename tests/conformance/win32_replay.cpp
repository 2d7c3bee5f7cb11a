// SPDX-License-Identifier: MIT
// win32_replay: replays recorded Win32 sequences (oracle/README.md) through IHostMemoryManager and
// compares every result and, after every operation, the whole map.
#include "replay/machine.hpp"

#include <zlib.h>

#include <stdexcept>

namespace {

using memreeve::replay::fnv1a;
using memreeve::replay::machine;
using memreeve::replay::malformed;
using memreeve::replay::parse_hex;
using memreeve::replay::words_of;

constexpr const char* usage =
    "usage: win32_replay [--skip watch] FILE[.gz]...\n"
    "\n"
    "Replays recorded sequences of Win32 memory calls through IHostMemoryManager. The last line "
    "is\n"
    "\"N operations, M mismatches\"; every mismatch is shown with file, line, expected and got.\n"
    "After a mismatch of the whole map the rest of that sequence is left out.\n"
    "\n"
    "  --skip watch   drop MEM_WRITE_WATCH where MEM_RESERVE is present and leave out G and T "
    "lines\n"
    "  --help         this text\n"
    "\n"
    "exit status: 0 no mismatch and at least one operation; 1 mismatches or no operation;\n"
    "             2 wrong arguments, or a file that cannot be read or is not of the format\n";

// Lines of a plain or gzipped file, of any length, without their line ends.
class line_reader {
public:
    explicit line_reader(const char* path) : file_(gzopen(path, "rb")) {
        if (file_ == nullptr) {
            throw std::runtime_error(std::strerror(errno));
        }
    }
    line_reader(const line_reader&) = delete;
    line_reader& operator=(const line_reader&) = delete;
    ~line_reader() { gzclose(file_); }

    bool next(std::string& line) {
        line.clear();
        char part[8192];
        while (gzgets(file_, part, sizeof part) != nullptr) {
            line += part;
            if (line.back() == '\n') {
                line.pop_back();
                if (!line.empty() && line.back() == '\r') {
                    line.pop_back();
                }
                return true;
            }
        }
        int code = Z_OK;
        const char* text = gzerror(file_, &code);
        if (code != Z_OK && code != Z_STREAM_END) {
            throw std::runtime_error(code == Z_ERRNO ? std::strerror(errno) : text);
        }
        return !line.empty();
    }

private:
    gzFile file_;
};

// " = result[ !w...][ h=hash]" taken apart.
struct expectation {
    std::string operation;
    std::string result;
    bool has_hash = false;
    std::uint32_t hash = 0;
};

expectation parse(const std::string& line) {
    expectation e;
    const std::size_t equals = line.find(" = ");
    if (equals == std::string::npos) {
        throw malformed("no ' = ' in an operation");
    }
    e.operation = line.substr(0, equals);
    e.result = line.substr(equals + 3);
    if (const std::size_t h = e.result.rfind(" h="); h != std::string::npos) {
        e.has_hash = true;
        e.hash = memreeve::replay::parse_dword(e.result.substr(h + 3));
        e.result.resize(h);
    }
    if (const std::size_t tag = e.result.find(" !w"); tag != std::string::npos) {
        e.result.resize(tag);
    }
    return e;
}

class replayer {
public:
    replayer(mrv_host* host, IHostMemoryManager* manager, bool skip_watch)
        : machine_(host, manager), skip_watch_(skip_watch) {
        machine_.drop_write_watch = skip_watch;
    }

    unsigned long operations = 0;
    unsigned long mismatches = 0;
    unsigned long errors = 0;

    void run(const char* path) {
        file_ = path;
        line_ = 0;
        in_sequence_ = false;
        try {
            line_reader lines(path);
            std::string line;
            while (lines.next(line)) {
                ++line_;
                try {
                    take(line);
                } catch (const malformed& bad) {
                    ++errors;
                    std::printf("%s:%lu: error: %s: %s\n", path, line_, bad.what(),
                                shortened(line).c_str());
                }
            }
            if (in_sequence_) {
                ++errors;
                std::printf("%s:%lu: error: the file ends inside a sequence\n", path, line_);
            }
        } catch (const std::runtime_error& bad) {
            ++errors;
            if (line_ == 0) {
                std::printf("%s: error: %s\n", path, bad.what());
            } else {
                std::printf("%s:%lu: error: %s\n", path, line_, bad.what());
            }
        }
        machine_.clear();
    }

private:
    void take(const std::string& line) {
        if (line.empty() || line[0] == '#') {
            return;
        }
        if (line.rfind("SEQ ", 0) == 0) {
            machine_.clear();
            const auto words = words_of(line);
            if (words.size() != 3 || words[2].rfind("h=", 0) != 0) {
                throw malformed("expected 'SEQ <n> h=<hash>'");
            }
            in_sequence_ = true;
            skipping_ = false;
            hash_ = memreeve::replay::parse_dword(words[2].substr(2));
            check_map("the empty map");
            return;
        }
        if (!in_sequence_) {
            throw malformed("before the first SEQ");
        }
        if (line == "END") {
            machine_.clear();
            in_sequence_ = false;
            return;
        }
        const expectation e = parse(line);
        if (skipping_) {
            return;
        }
        const auto words = words_of(e.operation);
        if (words.empty()) {
            throw malformed("no operation before ' = '");
        }
        if (e.has_hash) {
            hash_ = e.hash;
        }
        if (skip_watch_ && (words[0] == "G" || words[0] == "T")) {
            return;
        }
        const std::string got = machine_.execute(words);
        ++operations;
        const bool any_value = e.result == "v?" && got.size() == 3 && got[0] == 'v';
        if (got != e.result && !any_value) {
            mismatch(e.operation, e.result, got);
        }
        check_map(e.operation);
    }

    void check_map(const std::string& after) {
        const std::string map = machine_.map();
        if (fnv1a(map) == hash_) {
            return;
        }
        char wanted[24];
        std::snprintf(wanted, sizeof wanted, "h=%08x", hash_);
        mismatch("map after " + after, wanted, map);
        std::printf("%s:%lu: the rest of this sequence is left out\n", file_, line_);
        skipping_ = true;
    }

    void mismatch(const std::string& what, const std::string& expected, const std::string& got) {
        ++mismatches;
        std::printf("%s:%lu: %s: expected %s, got %s\n", file_, line_, what.c_str(),
                    expected.c_str(), got.c_str());
    }

    static std::string shortened(const std::string& line) {
        return line.size() <= 100 ? line : line.substr(0, 100) + "...";
    }

    machine machine_;
    bool skip_watch_;
    const char* file_ = "";
    unsigned long line_ = 0;
    bool in_sequence_ = false;
    bool skipping_ = false;
    std::uint32_t hash_ = 0;
};

int wrong_arguments(const char* what, const char* which) {
    std::fprintf(stderr, "win32_replay: %s%s\n%s", what, which, usage);
    return 2;
}

} // namespace

int main(int argc, char** argv) {
    bool skip_watch = false;
    std::vector<const char*> files;
    bool options_end = false;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (options_end || argument.empty() || argument[0] != '-') {
            files.push_back(argv[i]);
        } else if (argument == "--") {
            options_end = true;
        } else if (argument == "--help" || argument == "-h") {
            std::fputs(usage, stdout);
            return 0;
        } else if (argument == "--skip") {
            if (++i == argc || std::string(argv[i]) != "watch") {
                return wrong_arguments("--skip takes the word watch", "");
            }
            skip_watch = true;
        } else {
            return wrong_arguments("unknown option ", argv[i]);
        }
    }
    if (files.empty()) {
        return wrong_arguments("no file", "");
    }

    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* manager = nullptr;
    mrv_host_options options{};
    options.size = sizeof options;
    options.flags = MRV_HOST_WATCH_BY_FAULTS; // the machine's handler asks
    mrv_status status = mrv_host_create(&options, &host);
    if (status == MRV_OK) {
        status = mrv_owner_create(host, nullptr, nullptr, &owner);
    }
    if (status == MRV_OK) {
        status = mrv_owner_memory_manager(owner, &manager);
    }
    if (status != MRV_OK) {
        std::fprintf(stderr, "win32_replay: no host: %s\n", mrv_status_text(status));
        return 2;
    }

    memreeve::replay::install_fault_handler();
    unsigned long operations = 0;
    unsigned long mismatches = 0;
    unsigned long errors = 0;
    try {
        replayer r(host, manager, skip_watch);
        for (const char* file : files) {
            r.run(file);
        }
        operations = r.operations;
        mismatches = r.mismatches;
        errors = r.errors;
    } catch (const std::runtime_error& bad) {
        std::fprintf(stderr, "win32_replay: %s\n", bad.what());
        return 2;
    }
    manager->Release();
    mrv_owner_destroy(owner);
    mrv_host_destroy(host);
    std::printf("%lu operations, %lu mismatches\n", operations, mismatches);
    if (errors != 0) {
        return 2;
    }
    return mismatches == 0 && operations != 0 ? 0 : 1;
}
