// SPDX-License-Identifier: MIT
// One row of bench_heap on one heap, in a process of its own:
//   heap_driver <heap> <row> [--slices N] [--slice-ms N]    nanoseconds per operation, best slice
//   heap_driver <heap> <row> --exactly N                     N operations and no clock: for callgrind
// <heap>: malloc, host:<libmemreeve.so> or debug:<libmemreeve.so>; <row>: workloads.hpp, or rss.
// It prints name=value words. Drift is how far the books are off when all is free again. Other mallocs
// are preloaded: `object` names the file whose it is.
#include "heaps.hpp"
#include "workloads.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>

namespace {

using namespace memreeve::bench;
using spread = pattern::spread;

struct task {
    std::string row;
    unsigned slices = 5;
    double slice_ns = 15e6;
    std::uint64_t exactly = 0; // 0: slices
};

// Operations of a row as nanoseconds that they took.
using timed = std::function<double(std::uint64_t operations)>;

double best_slice(const task& t, const timed& run) {
    std::uint64_t operations = 4096;
    for (;;) { // warms up and chooses how many operations make a slice
        const double took = run(operations);
        if (took > t.slice_ns / 4) {
            operations =
                static_cast<std::uint64_t>(static_cast<double>(operations) * t.slice_ns / took) + 1;
            break;
        }
        operations *= 2;
    }
    double best = 1e300;
    for (unsigned i = 0; i < t.slices; ++i) {
        best = std::min(best, run(operations) / static_cast<double>(operations));
    }
    return best;
}

void measure(const task& t, const timed& run) {
    if (t.exactly != 0) {
        run(t.exactly);
    } else {
        std::printf("ns=%.4f\n", best_slice(t, run));
    }
}

template <class Body>
timed on_one(Body body) {
    return [body](std::uint64_t operations) mutable {
        const double begin = thread_ns();
        body(operations);
        return thread_ns() - begin;
    };
}

std::uint64_t resident_bytes() {
    unsigned long pages = 0;
    if (std::FILE* f = std::fopen("/proc/self/statm", "r")) {
        if (std::fscanf(f, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
        std::fclose(f);
    }
    return std::uint64_t{pages} * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

// 96 MiB in about 131,000 blocks of 16-1520 bytes, each written whole: resident memory per byte asked
// for, then again after three quarters were freed at random and free pages asked back.
template <class Heap>
void fill_and_thin(Heap& heap) {
    constexpr std::uint64_t goal = std::uint64_t{96} << 20;
    std::mt19937 random(42);
    std::uniform_int_distribution<std::uint32_t> size_of(16, 1520);
    struct block {
        void* where;
        std::uint32_t size;
    };
    std::vector<block> blocks;
    blocks.reserve(goal / 16); // untouched pages are not resident
    auto calls = heap.use();
    void* first;
    calls.allocate(16, first);
    calls.free(first);
    std::memset(static_cast<void*>(blocks.data()), 0, 160000 * sizeof(block));
    const std::uint64_t before = resident_bytes();
    std::uint64_t live = 0;
    while (live < goal) {
        const std::uint32_t size = size_of(random);
        void* where;
        calls.allocate(size, where);
        std::memset(where, 1, size);
        blocks.push_back({where, size});
        live += size;
    }
    const auto per_live = [&] {
        return static_cast<double>(resident_bytes() - before) / static_cast<double>(live);
    };
    std::printf("blocks=%zu rss_per_live=%.4f", blocks.size(), per_live());
    std::shuffle(blocks.begin(), blocks.end(), random);
    for (std::size_t i = blocks.size() / 4; i < blocks.size(); ++i) {
        calls.free(blocks[i].where);
        live -= blocks[i].size;
    }
    blocks.resize(blocks.size() / 4);
    heap.trim();
    std::printf(" thinned_rss_per_live=%.4f\n", per_live());
    for (const block& b : blocks) {
        calls.free(b.where);
    }
    calls.settle();
}

template <class Heap>
void run_on_two(const task& t, Heap& heap) {
    two_threads threads;
    double work[2] = {};
    if (t.row == "two") {
        const pattern p(1024, 16, 128, spread::uniform);
        slots<Heap> of_each[] = {{heap, p}, {heap, p}};
        measure(t, [&](std::uint64_t operations) {
            threads.run([&](unsigned thread) {
                const double begin = thread_ns();
                of_each[thread].churn(operations);
                work[thread] = thread_ns() - begin;
            });
            return (work[0] + work[1]) / 2;
        });
    } else if (t.row == "larson") {
        const pattern p(1024, 10, 500, spread::uniform);
        swapped_slots<Heap> swapped(heap, p);
        measure(t, [&](std::uint64_t operations) {
            swapped.run(threads, operations, work);
            return (work[0] + work[1]) / 2;
        });
    } else {
        const pattern p(1024, 64, 128, spread::uniform);
        passed_on<Heap> passed(heap, p);
        measure(t, [&](std::uint64_t operations) {
            passed.run(threads, operations, work);
            return std::max(work[0], work[1]); // the slower one sets the pace
        });
    }
}

template <class Heap>
bool run(const task& t, Heap& heap) {
    const auto churned = [&](const pattern& p) {
        slots<Heap> kept(heap, p);
        measure(t, on_one([&](std::uint64_t n) { kept.churn(n); }));
    };
    if (t.row == "pair") {
        measure(t, on_one([&](std::uint64_t n) { pairs(heap, n); }));
    } else if (t.row == "small") {
        churned(pattern(1024, 16, 128, spread::uniform));
    } else if (t.row == "mixed") {
        churned(pattern(512, 16, 8192, spread::log_uniform));
    } else if (t.row == "large") {
        const pattern p(16, 64 << 10, 2 << 20, spread::log_uniform);
        slots<Heap> kept(heap, p);
        measure(t, on_one([&](std::uint64_t n) { kept.churn_touched(n); }));
    } else if (t.row == "two" || t.row == "larson" || t.row == "xmt") {
        run_on_two(t, heap);
    } else if (t.row == "rss") {
        fill_and_thin(heap);
    } else {
        return false;
    }
    return true;
}

template <class Heap>
bool run_hosted(const task& t, const char* library) {
    Heap heap(library);
    if (!run(t, heap)) {
        return false;
    }
    const host_heap::drift books = heap.close();
    std::printf("allocated=%llu drift_blocks=%lld drift_bytes=%lld\n",
                static_cast<unsigned long long>(books.allocated),
                static_cast<long long>(books.blocks), static_cast<long long>(books.bytes));
    return true;
}

bool run(const task& t, const std::string& kind) {
    if (kind == "malloc") {
        malloc_heap heap;
        std::printf("object=%s ", malloc_heap::object().c_str());
        return run(t, heap);
    }
    if (kind.rfind("host:", 0) == 0) {
        return run_hosted<host_heap>(t, kind.c_str() + 5);
    }
    return kind.rfind("debug:", 0) == 0 && run_hosted<debug_heap>(t, kind.c_str() + 6);
}

} // namespace

int main(int argc, char** argv) {
    task t;
    bool understood = argc >= 3 && argc % 2 == 1;
    for (int i = 3; understood && i + 1 < argc; i += 2) {
        const double value = std::atof(argv[i + 1]);
        if (!(value > 0)) {
            understood = false;
        } else if (std::strcmp(argv[i], "--slices") == 0) {
            t.slices = static_cast<unsigned>(value);
        } else if (std::strcmp(argv[i], "--slice-ms") == 0) {
            t.slice_ns = value * 1e6;
        } else if (std::strcmp(argv[i], "--exactly") == 0) {
            t.exactly = static_cast<std::uint64_t>(value);
        } else {
            understood = false;
        }
    }
    if (understood) {
        t.row = argv[2];
        understood = run(t, std::string(argv[1]));
    }
    if (!understood) {
        std::fputs("usage: heap_driver malloc|host:LIBRARY|debug:LIBRARY\n"
                   "       pair|small|mixed|large|two|larson|xmt|rss\n"
                   "       [--slices N] [--slice-ms N] [--exactly OPERATIONS]\n",
                   stderr);
        return 2;
    }
    return 0;
}
