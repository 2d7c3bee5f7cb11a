/* SPDX-License-Identifier: MIT
 * A host in C: a budget of 64 MiB, an owner, and the memory manager a runtime would be given. */
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <stdio.h>

int main(void) {
    mrv_host* host = NULL;
    mrv_owner* owner = NULL;
    IHostMemoryManager* memory = NULL;
    mrv_host_options options = {.size = sizeof options, .limit_bytes = 64u << 20};
    if (mrv_host_create(&options, &host) != MRV_OK ||
        mrv_owner_create(host, NULL, NULL, &owner) != MRV_OK ||
        mrv_owner_memory_manager(owner, &memory) != MRV_OK) {
        return 1;
    }
    void* block = NULL;
    unsigned granted = 0;
    while (memory->lpVtbl->VirtualAlloc(memory, NULL, 1 << 20, MEM_RESERVE | MEM_COMMIT,
                                        PAGE_READWRITE, eTaskCritical, &block) == S_OK) {
        *(char*)block = 1; /* ours to use */
        ++granted;
    }
    printf("%u MiB granted, then refused\n", granted);
    memory->lpVtbl->Release(memory);
    return mrv_host_destroy(host) == MRV_OK && granted == 56 ? 0 : 1;
}
