// SPDX-License-Identifier: MIT
// Cost of IHostMalloc::Alloc and Free through the COM interface, accounting and budget on, against
// the malloc of this process (glibc unless another is preloaded: the reference names it).
//   pair    Alloc(32), Free               small  16-128 B, 1024 slots   mixed  16 B-8 KiB, 512 slots
//   large   64 KiB-2 MiB, 16 slots, every page touched
//   two     small on two threads          larson 10-500 B, slots exchanged between two threads
//   xmt     64-128 B, one thread allocates, the other frees
// The single-threaded rows come first: with the first thread the process takes locked instructions
// where it did not before, ours and glibc's.
#include "measure.hpp"

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <dlfcn.h>

#include <atomic>
#include <cmath>
#include <random>
#include <thread>

namespace {

using namespace memreeve::bench;

// Sizes and slots are drawn beforehand, the same for all.
struct pattern {
    std::vector<std::uint32_t> sizes;
    std::vector<std::uint32_t> slots;

    pattern(std::uint32_t slot_count, std::uint32_t least, std::uint32_t most, bool log_uniform) {
        std::mt19937 random(42);
        for (int i = 0; i < 1 << 14; ++i) {
            const double part = std::uniform_real_distribution<double>(0, 1)(random);
            const double size = log_uniform
                                    ? least * std::pow(static_cast<double>(most) / least, part)
                                    : least + part * (most - least);
            sizes.push_back(static_cast<std::uint32_t>(size));
            slots.push_back(static_cast<std::uint32_t>(random() % slot_count));
        }
        kept = slot_count;
    }
    std::uint32_t kept;
};

// Each operation frees what its slot holds and allocates anew; the first word is written.
template <class Alloc, class Free>
void churn(const pattern& p, std::vector<void*>& live, std::uint64_t operations, Alloc&& alloc,
           Free&& free) {
    live.assign(p.kept, nullptr);
    for (std::uint64_t i = 0; i < operations; ++i) {
        const std::size_t k = i & (p.sizes.size() - 1);
        void*& slot = live[p.slots[k]];
        free(slot);
        slot = alloc(p.sizes[k]);
        *static_cast<volatile std::uint64_t*>(slot) = i;
    }
    for (void* block : live) {
        free(block);
    }
}

template <class Alloc, class Free>
void pair(std::uint64_t operations, Alloc&& alloc, Free&& free) {
    while (operations-- != 0) {
        void* block = alloc(32);
        use(block);
        free(block);
    }
}

// As churn, with every page of a block written.
template <class Alloc, class Free>
void touch(const pattern& p, std::vector<void*>& live, std::uint64_t operations, Alloc&& alloc,
           Free&& free) {
    live.assign(p.kept, nullptr);
    for (std::uint64_t i = 0; i < operations; ++i) {
        const std::size_t k = i & (p.sizes.size() - 1);
        void*& slot = live[p.slots[k]];
        free(slot);
        slot = alloc(p.sizes[k]);
        for (std::uint32_t at = 0; at < p.sizes[k]; at += 4096) {
            static_cast<volatile char*>(slot)[at] = 1;
        }
    }
    for (void* block : live) {
        free(block);
    }
}

// body(thread number) on two threads at once.
template <class Body>
void on_two(Body&& body) {
    std::thread other([&] { body(1u); });
    body(0u);
    other.join();
}

// Each thread takes what a slot holds, whoever put it there, frees it and puts its own.
template <class Alloc, class Free>
void exchange(const pattern& p, std::uint64_t operations, Alloc&& alloc, Free&& free) {
    std::vector<std::atomic<void*>> slots(p.kept);
    on_two([&](unsigned thread) {
        for (std::uint64_t i = 0; i < operations; ++i) {
            const std::size_t k = (i + thread * 7919) & (p.sizes.size() - 1);
            void* const block = alloc(p.sizes[k]);
            *static_cast<volatile std::uint64_t*>(block) = i;
            free(slots[p.slots[k]].exchange(block, std::memory_order_acq_rel));
        }
    });
    for (auto& slot : slots) {
        free(slot.load());
    }
}

template <class Alloc, class Free>
void pass_on(const pattern& p, std::uint64_t operations, Alloc&& alloc, Free&& free) {
    std::vector<std::atomic<void*>> ring(256);
    on_two([&](unsigned thread) {
        for (std::uint64_t i = 0; i < operations; ++i) {
            std::atomic<void*>& slot = ring[i % ring.size()];
            if (thread == 0) {
                void* const block = alloc(p.sizes[i & (p.sizes.size() - 1)]);
                *static_cast<volatile std::uint64_t*>(block) = i;
                while (slot.load(std::memory_order_acquire) != nullptr) {
                    std::this_thread::yield();
                }
                slot.store(block, std::memory_order_release);
            } else {
                void* block = nullptr;
                while ((block = slot.load(std::memory_order_acquire)) == nullptr) {
                    std::this_thread::yield();
                }
                free(block);
                slot.store(nullptr, std::memory_order_release);
            }
        }
    });
}

const char* malloc_name() {
    Dl_info info{};
    static char name[256];
    if (dladdr(reinterpret_cast<void*>(&std::malloc), &info) == 0 || info.dli_fname == nullptr) {
        return "malloc";
    }
    const char* slash = std::strrchr(info.dli_fname, '/');
    std::snprintf(name, sizeof name, "malloc of %s", slash != nullptr ? slash + 1 : info.dli_fname);
    return name;
}

} // namespace

int main(int argc, char** argv) {
    const arguments a =
        arguments::parse(argc, argv, "Cost of IHostMalloc::Alloc and Free, one thread.");
    report out(a.json, a.only);
    if (!out.wants({"heap_"})) {
        return 0;
    }
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* memory = nullptr;
    IHostMalloc* heap = nullptr;
    if (mrv_host_create(nullptr, &host) != MRV_OK ||
        mrv_owner_create(host, nullptr, nullptr, &owner) != MRV_OK ||
        mrv_owner_memory_manager(owner, &memory) != MRV_OK ||
        memory->CreateMalloc(MALLOC_THREADSAFE, &heap) != S_OK) {
        std::fprintf(stderr, "bench_heap: making a host failed\n");
        return 2;
    }
    const auto alloc = [heap](std::uint32_t size) {
        void* block = nullptr;
        heap->Alloc(size, eTaskCritical, &block);
        return block;
    };
    const auto free = [heap](void* block) { heap->Free(block); };
    const auto debug_alloc = [heap](std::uint32_t size) {
        char file[] = "bench_heap.cpp";
        void* block = nullptr;
        heap->DebugAlloc(size, eTaskCritical, file, 1, &block);
        return block;
    };
    const auto libc_alloc = [](std::uint32_t size) { return std::malloc(size); };
    const auto libc_free = [](void* block) { std::free(block); };

    const pattern small(1024, 16, 128, false);
    const pattern mixed(512, 16, 8192, true);
    const pattern large(16, 64 << 10, 2 << 20, true);
    const pattern larson(1024, 10, 500, false);
    const pattern passed(1, 64, 128, false);
    std::vector<void*> live;
    race r;
    const auto our_pair = r.add("pair", [&](std::uint64_t n) { pair(n, alloc, free); });
    const auto libc_pair =
        r.add("pair, malloc", [&](std::uint64_t n) { pair(n, libc_alloc, libc_free); });
    const auto our_small =
        r.add("small", [&](std::uint64_t n) { churn(small, live, n, alloc, free); });
    const auto libc_small = r.add(
        "small, malloc", [&](std::uint64_t n) { churn(small, live, n, libc_alloc, libc_free); });
    const auto our_mixed =
        r.add("mixed", [&](std::uint64_t n) { churn(mixed, live, n, alloc, free); });
    const auto libc_mixed = r.add(
        "mixed, malloc", [&](std::uint64_t n) { churn(mixed, live, n, libc_alloc, libc_free); });
    const auto our_large =
        r.add("large", [&](std::uint64_t n) { touch(large, live, n, alloc, free); });
    const auto libc_large = r.add(
        "large, malloc", [&](std::uint64_t n) { touch(large, live, n, libc_alloc, libc_free); });
    const auto debug_pair =
        r.add("pair, DebugAlloc", [&](std::uint64_t n) { pair(n, debug_alloc, free); });
    r.run(a.rounds);
    r.print(stdout);

    const char* reference = malloc_name();
    const double ratios[] = {r.ratio(our_pair, libc_pair), r.ratio(our_small, libc_small),
                             r.ratio(our_mixed, libc_mixed)};
    constexpr const char* metrics[] = {"heap_pair", "heap_small", "heap_mixed"};
    for (int i = 0; i < 3; ++i) {
        out.value(metrics[i], ratios[i], "ratio", reference, a.rounds);
    }
    out.value("heap_1t_geomean", std::cbrt(ratios[0] * ratios[1] * ratios[2]), "ratio", reference,
              a.rounds);
    out.value("heap_debugalloc", r.ratio(debug_pair, our_pair), "ratio", "own Alloc", a.rounds,
              2.0);
    out.value("heap_large", r.ratio(our_large, libc_large), "ratio", reference, a.rounds);

    // Threads: operations of one thread, in CPU time of that thread; both do the same.
    race threads;
    std::vector<void*> of_other;
    const auto on_threads = [&](auto&& one, auto&& body) {
        on_two([&](unsigned thread) { body(thread == 0 ? live : of_other, one); });
    };
    const auto our_two = threads.add("two", [&](std::uint64_t n) {
        on_threads(n, [&](auto& l, std::uint64_t m) { churn(small, l, m, alloc, free); });
    });
    const auto libc_two = threads.add("two, malloc", [&](std::uint64_t n) {
        on_threads(n, [&](auto& l, std::uint64_t m) { churn(small, l, m, libc_alloc, libc_free); });
    });
    const auto our_larson =
        threads.add("larson", [&](std::uint64_t n) { exchange(larson, n, alloc, free); });
    const auto libc_larson = threads.add(
        "larson, malloc", [&](std::uint64_t n) { exchange(larson, n, libc_alloc, libc_free); });
    const auto our_xmt =
        threads.add("xmt", [&](std::uint64_t n) { pass_on(passed, n, alloc, free); });
    const auto libc_xmt = threads.add(
        "xmt, malloc", [&](std::uint64_t n) { pass_on(passed, n, libc_alloc, libc_free); });
    threads.run(a.rounds);
    threads.print(stdout);
    out.value("heap_two", threads.ratio(our_two, libc_two), "ratio", reference, a.rounds);
    out.value("heap_larson", threads.ratio(our_larson, libc_larson), "ratio", reference, a.rounds);
    out.value("heap_xmt", threads.ratio(our_xmt, libc_xmt), "ratio", reference, a.rounds);
    for (const char* metric : {"heap_accounting", "heap_pair_instructions"}) {
        out.skipped(metric, "not measured yet");
    }

    heap->Release();
    memory->Release();
    mrv_owner_destroy(owner);
    mrv_host_destroy(host);
    return 0;
}
