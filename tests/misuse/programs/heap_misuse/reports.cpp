// SPDX-License-Identifier: MIT
// How a wrong call is told: how often, to whom.
#include "misuse.hpp"

#include <cstdio>
#include <cstdlib>

namespace misuse {
namespace {

MISUSE(told_a_hundred_times) {
    char* const p = alloc("p", size());
    for (int i = 0; i < 150; ++i) {
        if (heap->Free(p + 1) == S_OK) {
            std::abort();
        }
    }
    free_it("p", p);
}

MISUSE(to_a_function) {
    mrv_host* second = nullptr;
    mrv_owner* someone = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_host_options o{};
    o.size = sizeof o;
    unsigned lines = 0;
    o.report = [](void* context, const char* line) {
        if (++*static_cast<unsigned*>(context) == 1) {
            std::printf("told: %s\n", line);
        }
    };
    o.report_context = &lines;
    mrv_host_create(&o, &second);
    mrv_owner_create(second, nullptr, nullptr, &someone);
    mrv_owner_memory_manager(someone, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    for (int i = 0; i < 150; ++i) {
        other->Free(p + 1);
    }
    std::printf("%u lines\n", lines);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
    status("destroy", mrv_host_destroy(second));
}

} // namespace
} // namespace misuse
