// SPDX-License-Identifier: MIT
// The same from C++: the interface is an abstract class there.
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <cstdio>

int main() {
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* manager = nullptr;
    if (mrv_host_create(nullptr, &host) != MRV_OK ||
        mrv_owner_create(host, nullptr, nullptr, &owner) != MRV_OK ||
        mrv_owner_memory_manager(owner, &manager) != MRV_OK) {
        std::fputs("consumer: no memory manager\n", stderr);
        return 1;
    }
    void* memory = nullptr;
    const HRESULT reserved =
        manager->VirtualAlloc(nullptr, 65536, 0x3000, 4, eTaskCritical, &memory);
    const HRESULT freed = reserved == S_OK ? manager->VirtualFree(memory, 0, 0x8000) : reserved;
    manager->Release();
    mrv_owner_destroy(owner);
    mrv_host_destroy(host);
    if (freed != S_OK) {
        std::fputs("consumer: VirtualAlloc and VirtualFree failed\n", stderr);
        return 1;
    }
    std::puts("ok");
    return 0;
}
