// SPDX-License-Identifier: MIT
// Random operations through IHostMemoryManager against a naive model of the rules and against the
// kernel's own idea of every page touched, which is asked at each operation where PROCMAP_QUERY
// exists and at every 256th elsewhere (decision 33).
//
//   vm_differential [--seed N] [--operations N] [--processes N] [--shard N]
//
// The operations are split into lives of at most 131,072 on a host of their own, each with a seed of
// its own. A life that fails is repeated, made short, and printed as C++ for found_cases_test.cpp.
// Exit status 0: everything agreed, and the generator met what it must meet.
#include "expected_variety.hpp"
#include "play.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <time.h>

namespace memreeve::differential {
namespace {

constexpr std::uint64_t life = 131072;

// What a process tells, readable after its death.
struct report {
    std::uint64_t life_seed = 0;
    std::uint64_t in_life = 0; // operations begun
    std::uint64_t done = 0;
    bool finished = false;
    bool quick = false;
    bool watches = false;
    char what[1024] = {};
    variety seen;
    operation list[life];
};

std::uint64_t mix(std::uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

bool live(report& r, std::uint64_t operations) {
    test_host h;
    std::string what = h.good ? "" : "no host";
    twin t(h, 0, plant::none);
    random_numbers numbers(r.life_seed);
    decoder<random_numbers> draw(numbers, t.model(), t.slot_bases());
    r.quick = t.asks_kernel_always();
    r.watches = h.watches;
    for (r.in_life = 0; what.empty() && r.in_life < operations;) {
        r.list[r.in_life] = draw.next();
        what = t.run(r.list[r.in_life++]);
    }
    if (what.empty()) {
        what = t.finish();
    }
    r.done += r.in_life;
    r.seen.add(t.seen);
    std::snprintf(r.what, sizeof r.what, "%s", what.c_str());
    return what.empty();
}

void work(report& r, std::uint64_t seed, std::uint64_t operations) {
    for (std::uint64_t k = 0; r.done < operations; ++k) {
        // The first life's seed is the seed: a life that failed is repeated by its own.
        r.life_seed = k == 0 ? seed : mix(seed + k * 0x9e3779b97f4a7c15u);
        if (!live(r, std::min(life, operations - r.done))) {
            return;
        }
    }
    r.finished = true;
}

int explain(const report& r, int status) {
    std::printf("FAILED in the life of seed %llu, operation %llu: %s\n",
                static_cast<unsigned long long>(r.life_seed),
                static_cast<unsigned long long>(r.in_life == 0 ? 0 : r.in_life - 1),
                r.what[0] != '\0'
                    ? r.what
                    : ("the process ended with status " + std::to_string(status)).c_str());
    std::printf("repeat it: vm_differential --seed %llu --operations %llu\n",
                static_cast<unsigned long long>(r.life_seed),
                static_cast<unsigned long long>(r.in_life));
    std::fflush(stdout);
    std::vector<operation> list(r.list, r.list + r.in_life);
    std::string what = play_apart(list, plant::none, 120);
    if (what.empty()) {
        std::printf("the same operations did not fail again\n");
        return 1;
    }
    list = shrink(std::move(list));
    what = play_apart(list);
    if (what.empty() || list.size() > 400) {
        std::printf("%zu operations are left; they %s\n", list.size(),
                    what.empty() ? "do not fail every time" : ("end in: " + what).c_str());
        return 1;
    }
    std::printf("shortened to %zu operations:\n\n%s\n", list.size(), test_of(list, what).c_str());
    return 1;
}

int run(std::uint64_t seed, std::uint64_t operations, unsigned processes) {
    const std::size_t size = sizeof(report) * processes;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        std::perror("mmap");
        return 2;
    }
    auto* reports = static_cast<report*>(memory);
    std::vector<pid_t> children(processes);
    timespec begin{};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned p = 0; p < processes; ++p) {
        new (&reports[p]) report;
        std::fflush(stdout);
        children[p] = fork();
        if (children[p] == 0) {
            work(reports[p], seed + p * 1000003, operations / processes);
            _exit(reports[p].finished ? 0 : 1);
        }
    }
    int result = 0;
    variety seen;
    std::uint64_t done = 0;
    for (unsigned p = 0; p < processes; ++p) {
        int status = 0;
        waitpid(children[p], &status, 0);
        if (!reports[p].finished) {
            result = explain(reports[p], status);
        }
        done += reports[p].done;
        seen.add(reports[p].seen);
    }
    timespec end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double seconds = static_cast<double>(end.tv_sec - begin.tv_sec) +
                           static_cast<double>(end.tv_nsec - begin.tv_nsec) / 1e9;
    std::printf(
        "%llu operations in %.1f s by %u processes, %.2f us each; the kernel asked %s; %s\n",
        static_cast<unsigned long long>(done), seconds, processes,
        seconds * 1e6 * processes / static_cast<double>(done == 0 ? 1 : done),
        reports[0].quick ? "at every operation" : "at every 256th",
        reports[0].watches ? "with write watch" : "skipped: write watch is not offered here");
    if (result == 0 && done >= least_for_variety) {
        result = check_variety(seen, done, reports[0].watches);
    }
    if (std::getenv("MEMREEVE_SHOW_VARIETY") != nullptr) {
        show_variety(seen);
    }
    return result;
}

int start(int argc, char** argv) {
    std::uint64_t seed = std::random_device{}();
    std::uint64_t operations = default_operations;
    unsigned processes = 1;
    if (const char* text = std::getenv("MEMREEVE_SEED"); text != nullptr) {
        seed = std::strtoull(text, nullptr, 0);
    }
    if (std::getenv("MEMREEVE_LONG") != nullptr) {
        operations *= 50;
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        const auto number = static_cast<std::uint64_t>(std::strtod(argv[i + 1], nullptr));
        if (std::strcmp(argv[i], "--seed") == 0) {
            seed = std::strtoull(argv[i + 1], nullptr, 0);
        } else if (std::strcmp(argv[i], "--operations") == 0) {
            operations = number;
        } else if (std::strcmp(argv[i], "--processes") == 0 && number != 0) {
            processes = static_cast<unsigned>(number);
        } else if (std::strcmp(argv[i], "--shard") == 0) {
            seed = mix(seed + number);
        } else {
            std::printf(
                "usage: vm_differential [--seed N] [--operations N] [--processes N] [--shard N]\n");
            return 2;
        }
    }
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    return run(seed, operations, processes);
}

} // namespace
} // namespace memreeve::differential

int main(int argc, char** argv) { return memreeve::differential::start(argc, argv); }
