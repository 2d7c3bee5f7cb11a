// SPDX-License-Identifier: MIT
// What is still live, listed by mrv_owner_leaks.
#include "misuse.hpp"

#include <cstddef>
#include <cstdio>
#include <thread>
#include <vector>

namespace misuse {
namespace {

MISUSE(leak) {
    char* const p = debug("p", size(), "leak.c", 99);
    list();
    free_it("p", p);
    list();
}

MISUSE(leak_of_alloc) {
    char* const p = alloc("p", size());
    list();
    free_it("p", p);
}

MISUSE(leaks_of_two_heaps) {
    IHostMalloc* const other = another();
    void* p = nullptr;
    other->DebugAlloc(size(), eTaskCritical, const_cast<char*>("b.c"), 2, &p);
    name("p", p);
    char* const q = debug("q", size(), "a.c", 1);
    std::printf("%u live\n", live());
    other->Release();
    std::printf("%u live\n", live());
    free_it("q", q);
}

MISUSE(leaks_of_another_owner) {
    mrv_owner* second = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_owner_create(host, nullptr, nullptr, &second);
    mrv_owner_memory_manager(second, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    list();
    unsigned n = 0;
    mrv_owner_leaks(second, count_block, &n);
    std::printf("%u of the other\n", n);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
}

MISUSE(enough_after_one) {
    char* const p = debug("p", size());
    char* const q = debug("q", size());
    list(1);
    free_it("p", p);
    free_it("q", q);
}

MISUSE(many_leaks) {
    std::vector<void*> blocks;
    for (int i = 0; i < number(0); ++i) {
        void* p = nullptr;
        heap->DebugAlloc(static_cast<std::size_t>(i % 3000), eTaskCritical,
                         const_cast<char*>("many.c"), i, &p);
        blocks.push_back(p);
    }
    std::printf("%u live\n", live());
    for (void* p : blocks) {
        heap->Free(p);
    }
    std::printf("%u live\n", live());
}

MISUSE(leak_of_a_thread_that_ended) {
    char* p = nullptr;
    std::thread([&] { p = debug("p", size(), "thread.c", 4); }).join();
    list();
    free_it("p", p);
}

MISUSE(freed_while_listed) {
    debug("p", size());
    alloc("q", size());
    debug("r", 200000);
    const auto release = [](void*, const mrv_live_block* b) {
        return heap->Free(b->address) == S_OK ? 0 : 1;
    };
    status("leaks", mrv_owner_leaks(owner, release, nullptr));
    std::printf("%u live\n", live());
}

MISUSE(leaks_of_nothing) {
    status("no owner", mrv_owner_leaks(nullptr, print_block, nullptr));
    status("no function", mrv_owner_leaks(owner, nullptr, nullptr));
    list();
}

} // namespace
} // namespace misuse
