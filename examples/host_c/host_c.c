/* SPDX-License-Identifier: MIT
 * A host in C: a budget of 64 MiB, an owner, and the memory manager a runtime would be given. */
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <stdio.h>

int main(void) {
    mrv_host* host = NULL;
    mrv_owner* owner = NULL;
    IHostMemoryManager* memory = NULL;
    IHostMalloc* heap = NULL;
    mrv_host_options options = {.size = sizeof options, .limit_bytes = 64u << 20};
    if (mrv_host_create(&options, &host) != MRV_OK ||
        mrv_owner_create(host, NULL, NULL, &owner) != MRV_OK ||
        mrv_owner_memory_manager(owner, &memory) != MRV_OK ||
        memory->lpVtbl->CreateMalloc(memory, MALLOC_THREADSAFE, &heap) != S_OK) {
        return 1;
    }
    void *block = NULL, *pages = NULL;
    unsigned granted = 0;
    while (memory->lpVtbl->VirtualAlloc(memory, NULL, 1 << 20, MEM_RESERVE | MEM_COMMIT,
                                        PAGE_READWRITE, eTaskCritical, &pages) == S_OK) {
        *(char*)pages = 1; /* ours to use */
        ++granted;
    }
    printf("%u MiB granted, then refused\n", granted);
    /* What more depends on is still granted from the part that the host keeps back. */
    HRESULT small = heap->lpVtbl->Alloc(heap, 1000, eProcessCritical, &block);
    printf("a block of 1000 bytes: %s\n", small == S_OK ? "granted" : "refused");
    heap->lpVtbl->Free(heap, block);
    heap->lpVtbl->Release(heap);
    memory->lpVtbl->Release(memory);
    return mrv_host_destroy(host) == MRV_OK && granted == 55 && small == S_OK ? 0 : 1;
}
