// SPDX-License-Identifier: MIT
// The other calls: virtual memory, values that cannot be, handles of the C interface.
#include "misuse.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace misuse {
namespace {

MISUSE(virtual_free_of_a_block) {
    char* const p = alloc("p", size());
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
    const auto base = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(p) & ~0xffffull);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(base, 0, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(base, 4096, MEM_DECOMMIT)));
    write(p, 'x', size());
    free_it("p", p);
}

MISUSE(virtual_free_twice) {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &p);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}

MISUSE(virtual_free_inside) {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &p);
    std::printf("VirtualFree: %s\n",
                code(memory->VirtualFree(static_cast<char*>(p) + 4096, 0, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 4096, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE | MEM_DECOMMIT)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}

MISUSE(virtual_free_of_libcs) {
    void* const p = std::malloc(1 << 20);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
    std::free(p);
}

MISUSE(sizes_that_cannot_be) {
    void* p = &p;
    std::printf("Alloc: %s\n", code(heap->Alloc(~std::size_t{0}, eProcessCritical, &p)));
    std::printf("DebugAlloc: %s\n",
                code(heap->DebugAlloc(~std::size_t{0} - 16, eProcessCritical, nullptr, 0, &p)));
    std::printf("%s\n", p == nullptr ? "null" : "not null");
}

MISUSE(null_out_pointers) {
    std::printf("Alloc: %s\n", code(heap->Alloc(1, eTaskCritical, nullptr)));
    std::printf("DebugAlloc: %s\n", code(heap->DebugAlloc(1, eTaskCritical, nullptr, 0, nullptr)));
    std::printf("CreateMalloc: %s\n", code(memory->CreateMalloc(0, nullptr)));
}

MISUSE(unknown_values) {
    void* p = nullptr;
    IHostMalloc* made = nullptr;
    std::printf("Alloc: %s\n", code(heap->Alloc(1, static_cast<EMemoryCriticalLevel>(3), &p)));
    std::printf("DebugAlloc: %s\n",
                code(heap->DebugAlloc(1, static_cast<EMemoryCriticalLevel>(-1), nullptr, 0, &p)));
    std::printf("CreateMalloc: %s\n", code(memory->CreateMalloc(4, &made)));
}

MISUSE(destroyed_while_in_use) {
    status("destroy", mrv_host_destroy(host));
    char* const p = alloc("p", size());
    free_it("p", p);
}

MISUSE(popped_too_often) {
    status("pop", mrv_thread_pop_owner());
    status("push", mrv_thread_push_owner(owner));
    status("pop", mrv_thread_pop_owner());
    status("pop", mrv_thread_pop_owner());
}

MISUSE(pushed_too_deep) {
    for (int i = 0; i < 8; ++i) {
        mrv_thread_push_owner(owner);
    }
    status("push", mrv_thread_push_owner(owner));
    for (int i = 0; i < 8; ++i) {
        mrv_thread_pop_owner();
    }
}

MISUSE(null_handles) {
    status("host", mrv_host_destroy(nullptr));
    status("owner", mrv_owner_destroy(nullptr));
    status("subscription", mrv_host_unsubscribe(nullptr));
    status("push", mrv_thread_push_owner(nullptr));
    status("stats", mrv_owner_stats(nullptr, nullptr));
    status("manager", mrv_owner_memory_manager(nullptr, nullptr));
    status("create", mrv_owner_create(nullptr, nullptr, nullptr, &owner));
}

MISUSE(options_without_size) {
    mrv_host_options o{};
    mrv_host* made = nullptr;
    status("create", mrv_host_create(&o, &made));
    o.size = sizeof o;
    o.flags = 1u << 30;
    status("create", mrv_host_create(&o, &made));
    mrv_owner_options p{};
    mrv_owner* someone = nullptr;
    status("owner", mrv_owner_create(host, nullptr, &p, &someone));
    p.size = sizeof p;
    p.hard_limit_bytes = 1 << 20;
    p.guaranteed_bytes = 2 << 20;
    status("owner", mrv_owner_create(host, nullptr, &p, &someone));
}

MISUSE(owner_of_another_host) {
    mrv_host* second = nullptr;
    IHostControl* control = nullptr;
    mrv_host_create(nullptr, &second);
    mrv_owner* made = nullptr;
    status("control", mrv_host_control(second, owner, &control));
    status("owner", mrv_owner_create(second, owner, nullptr, &made));
    status("watch", mrv_host_watch(
                        second, owner, [](void*, const mrv_pressure_event*) {}, nullptr, nullptr));
    status("destroy", mrv_host_destroy(second));
}

} // namespace
} // namespace misuse
