/* SPDX-License-Identifier: MIT
 * Mistakes with a heap, found: a block freed twice, one written beyond its end, and what has leaked. */
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <stdio.h>

static unsigned leaks;

static int show(void* context, const mrv_live_block* block) {
    (void)context;
    printf("leaked: %s:%d: %llu bytes\n", block->file != NULL ? block->file : "?", (int)block->line,
           (unsigned long long)block->bytes);
    ++leaks;
    return 0; /* go on */
}

static void tell(void* context, const char* line) {
    ++*(unsigned*)context;
    printf("%s\n", line);
}

static void* get(IHostMalloc* heap, size_t size, int line) {
    void* block = NULL;
    char file[] = __FILE__;
    heap->lpVtbl->DebugAlloc(heap, size, eTaskCritical, file, line, &block);
    return block;
}

int main(void) {
    mrv_host* host = NULL;
    mrv_owner* owner = NULL;
    IHostMemoryManager* memory = NULL;
    IHostMalloc* heap = NULL;
    unsigned told = 0;
    mrv_host_options options = {.size = sizeof options, .report = tell, .report_context = &told};
    if (mrv_host_create(&options, &host) != MRV_OK ||
        mrv_owner_create(host, NULL, NULL, &owner) != MRV_OK ||
        mrv_owner_memory_manager(owner, &memory) != MRV_OK ||
        memory->lpVtbl->CreateMalloc(memory, MALLOC_THREADSAFE, &heap) != S_OK) {
        return 1;
    }
    void* twice = get(heap, 100, __LINE__);
    char* volatile overrun = get(heap, 10, __LINE__);
    heap->lpVtbl->Free(heap, twice);
    heap->lpVtbl->Free(heap, twice);
    overrun[10] = '\0';
    heap->lpVtbl->Free(heap, overrun); /* refused: the block stays */
    get(heap, 5000, __LINE__);
    mrv_owner_leaks(owner, show, NULL);
    heap->lpVtbl->Release(heap);
    memory->lpVtbl->Release(memory);
    return mrv_host_destroy(host) == MRV_OK && told == 2 && leaks == 2 ? 0 : 1;
}
