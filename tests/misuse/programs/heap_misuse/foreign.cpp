// SPDX-License-Identifier: MIT
// Free of what is no memory of the heap.
#include "misuse.hpp"

#include <cstdio>
#include <cstdlib>

namespace misuse {
namespace {

int a_static = 1;

MISUSE(stack) {
    char here[64] = {};
    free_wrong("wrong", here);
}

MISUSE(global) { free_wrong("wrong", &a_static); }

MISUSE(code_of_program) { free_wrong("wrong", reinterpret_cast<const void*>(&global)); }

MISUSE(of_libc) {
    void* const p = std::malloc(size());
    free_wrong("wrong", p);
    std::free(p);
}

MISUSE(constant) { free_wrong("wrong", reinterpret_cast<const void*>(number(0))); }

MISUSE(environment) { free_wrong("wrong", std::getenv("PATH")); }

MISUSE(the_heap_itself) { free_wrong("wrong", heap); }

MISUSE(virtual_memory) {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                         &p);
    free_wrong("wrong", p);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}

MISUSE(reserved_memory) {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &p);
    free_wrong("wrong", p);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}

MISUSE(of_another_heap) {
    IHostMalloc* const other = another();
    char* const p = alloc("p", size(), other);
    free_it("p", p);
    free_it("p", p, other);
    other->Release();
}

MISUSE(of_another_owner) {
    mrv_owner* second = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_owner_options o{};
    o.size = sizeof o;
    o.name = "second";
    mrv_owner_create(host, nullptr, &o, &second);
    mrv_owner_memory_manager(second, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    free_it("p", p);
    char* const q = alloc("q", size());
    free_it("q", q, other);
    free_it("q", q);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
    mrv_owner_destroy(second);
}

MISUSE(of_another_host) {
    mrv_host* second = nullptr;
    mrv_owner* someone = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_host_create(nullptr, &second);
    mrv_owner_create(second, nullptr, nullptr, &someone);
    mrv_owner_memory_manager(someone, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    free_it("p", p);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
    status("destroy", mrv_host_destroy(second));
}

MISUSE(of_a_heap_that_is_gone) {
    IHostMalloc* const other = another();
    char* const p = alloc("p", size(), other);
    std::printf("Release: %lu\n", static_cast<unsigned long>(other->Release()));
    free_it("p", p);
}

MISUSE(of_a_single_threaded_heap) {
    IHostMalloc* const other = another(0);
    char* const p = alloc("p", size(), other);
    free_it("p", p, other);
    free_it("p", p, other);
    other->Release();
}

MISUSE(of_an_executable_heap) {
    IHostMalloc* const other = another(MALLOC_THREADSAFE | MALLOC_EXECUTABLE);
    char* const p = alloc("p", size(), other);
    free_it("p", p, other);
    free_it("p", p, other);
    other->Release();
}

} // namespace
} // namespace misuse
