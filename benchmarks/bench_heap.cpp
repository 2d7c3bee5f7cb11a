// SPDX-License-Identifier: MIT
// Cost of IHostMalloc::Alloc and Free through the COM interface, accounting and budget on, against
// the malloc of this process (glibc unless another is preloaded: the reference names it).
#include "measure.hpp"

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <dlfcn.h>

#include <cmath>
#include <random>

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
    for (const char* metric : {"heap_two", "heap_larson", "heap_xmt", "heap_large",
                               "heap_accounting", "heap_pair_instructions"}) {
        out.skipped(metric, "not measured yet");
    }

    heap->Release();
    memory->Release();
    mrv_owner_destroy(owner);
    mrv_host_destroy(host);
    return 0;
}
