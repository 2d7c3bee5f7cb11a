// SPDX-License-Identifier: MIT
// What the benchmark programs share: thread CPU time, interleaved rounds, ratios as the median of
// per-round ratios, JSON lines. Wall time is not used where CPU time will do: it doubles on a busy
// machine, the ratio of CPU times hardly moves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

namespace memreeve::bench {

// Nanoseconds of CPU time of this thread.
inline double cpu_ns() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

inline double median(std::vector<double> v) {
    if (v.empty()) {
        return 0;
    }
    std::sort(v.begin(), v.end());
    const std::size_t half = v.size() / 2;
    return v.size() % 2 != 0 ? v[half] : (v[half - 1] + v[half]) / 2;
}

struct quartiles {
    double low, middle, high;
};

inline quartiles quartiles_of(std::vector<double> v) {
    if (v.empty()) {
        return {};
    }
    std::sort(v.begin(), v.end());
    return {v[v.size() / 4], median(v), v[v.size() - 1 - v.size() / 4]};
}

// "<reference>; middle half <low> to <high>"
inline std::string with_spread(const std::string& reference, const quartiles& q, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "; middle half %.*f to %.*f", digits, q.low, digits, q.high);
    return reference + text;
}

// Keeps the compiler from dropping a result.
template <class T>
void use(const T& value) {
    asm volatile("" : : "g"(&value) : "memory");
}

// Variants that are all run in every round, in turn.
class race {
public:
    // `body(n)` does n operations. `slice_ns`: about how long one round of it takes.
    std::size_t add(std::string name, std::function<void(std::uint64_t)> body,
                    double slice_ns = 6e6) {
        variants_.push_back({std::move(name), std::move(body), slice_ns, 1, {}});
        return variants_.size() - 1;
    }
    void run(unsigned rounds) {
        for (variant& v : variants_) { // warm up and choose how many operations make a slice
            for (;;) {
                const double took = once(v);
                if (took > v.slice_ns / 4) {
                    v.operations = std::max<std::uint64_t>(
                        1, static_cast<std::uint64_t>(static_cast<double>(v.operations) *
                                                      v.slice_ns / took));
                    break;
                }
                v.operations *= 2;
            }
        }
        for (unsigned r = 0; r < rounds; ++r) {
            for (variant& v : variants_) {
                v.ns.push_back(once(v) / static_cast<double>(v.operations));
            }
        }
        rounds_ = rounds;
    }
    double ns(std::size_t i) const { return median(variants_[i].ns); }
    double ratio(std::size_t of, std::size_t to) const {
        std::vector<double> ratios;
        for (std::size_t r = 0; r < variants_[of].ns.size(); ++r) {
            ratios.push_back(variants_[of].ns[r] / variants_[to].ns[r]);
        }
        return median(ratios);
    }
    unsigned rounds() const { return rounds_; }
    void print(FILE* out) const {
        for (const variant& v : variants_) {
            std::fprintf(out, "# %-28s %12.1f ns\n", v.name.c_str(), median(v.ns));
        }
    }

private:
    struct variant {
        std::string name;
        std::function<void(std::uint64_t)> body;
        double slice_ns;
        std::uint64_t operations;
        std::vector<double> ns;
    };
    static double once(variant& v) {
        const double begin = cpu_ns();
        v.body(v.operations);
        return cpu_ns() - begin;
    }
    std::vector<variant> variants_;
    unsigned rounds_ = 0;
};

// JSON lines, to a file and readable to standard output.
class report {
public:
    // Metrics whose name does not begin with `only` are left out.
    explicit report(const char* path, const char* only = "")
        : file_(path != nullptr ? std::fopen(path, "w") : nullptr), only_(only) {
        if (path != nullptr && file_ == nullptr) {
            std::perror(path);
            std::exit(2);
        }
    }
    report(const report&) = delete;
    report& operator=(const report&) = delete;
    ~report() {
        if (file_ != nullptr) {
            std::fclose(file_);
        }
    }
    void value(const char* metric, double v, const char* unit, const char* reference,
               unsigned rounds, double goal = -1) {
        char number[32];
        std::snprintf(number, sizeof number, "%.4g", v);
        line(metric, number, unit, reference, rounds, goal);
    }
    // Whether one of these metrics, or of those that begin so, is asked for.
    bool wants(const std::vector<std::string>& names) const {
        return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
            return name.compare(0, std::min(name.size(), only_.size()), only_, 0,
                                std::min(name.size(), only_.size())) == 0;
        });
    }
    bool wants_metric(const std::string& metric) const {
        return metric.compare(0, only_.size(), only_) == 0;
    }
    // Not measured here; `why` says the reason.
    void skipped(const char* metric, const char* why) {
        line(metric, "\"skipped\"", "", why, 0, -1);
    }

private:
    void line(const char* metric, const char* v, const char* unit, const char* reference,
              unsigned rounds, double goal) {
        if (!wants_metric(metric)) {
            return;
        }
        std::string text = std::string("{\"metric\":\"") + metric + "\",\"value\":" + v +
                           ",\"unit\":\"" + unit + "\",\"reference\":\"" + reference +
                           "\",\"rounds\":" + std::to_string(rounds);
        if (goal >= 0) {
            char number[32];
            std::snprintf(number, sizeof number, "%g", goal);
            text += std::string(",\"goal\":") + number;
        }
        text += "}\n";
        if (file_ != nullptr) {
            std::fputs(text.c_str(), file_);
            std::fflush(file_);
        } else {
            std::fputs(text.c_str(), stdout);
        }
    }
    FILE* file_;
    std::string only_;
};

// Arguments of all benchmark programs: --json FILE, --rounds N, --only PREFIX, --help.
struct arguments {
    const char* json = nullptr;
    const char* only = "";
    unsigned rounds = 15;

    static arguments parse(int argc, char** argv, const char* what) {
        arguments a;
        for (int i = 1; i < argc; ++i) {
            if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
                a.json = argv[++i];
            } else if (std::strcmp(argv[i], "--rounds") == 0 && i + 1 < argc &&
                       std::atoi(argv[i + 1]) > 0) {
                a.rounds = static_cast<unsigned>(std::atoi(argv[++i]));
            } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
                a.only = argv[++i];
            } else {
                const bool help = std::strcmp(argv[i], "--help") == 0;
                std::fprintf(
                    help ? stdout : stderr,
                    "usage: %s [--json FILE] [--rounds N] [--only PREFIX]\n%s\n"
                    "One JSON object a line, to FILE or standard output; with --only those "
                    "whose metric\nbegins so.\n",
                    argv[0], what);
                std::exit(help ? 0 : 2);
            }
        }
        return a;
    }
};

} // namespace memreeve::bench
