/* SPDX-License-Identifier: MIT
 * Asks an embedded CoreCLR to collect, and tells it a new limit. Header-only, plain C11. CoreCLR exports
 * nothing that collects: the two functions are managed ones of the host's own, marked
 * [UnmanagedCallersOnly], whose addresses hostfxr's load_assembly_and_get_function_pointer gives.
 *
 *   [UnmanagedCallersOnly] static void Collect() => GC.Collect();
 *   [UnmanagedCallersOnly] static int Limit(ulong bytes)          1: done, 0: more is held already
 *   {
 *       AppContext.SetData("GCHeapHardLimit", bytes);
 *       try { GC.RefreshMemoryLimit(); return 1; } catch (InvalidOperationException) { return 0; }
 *   }
 *
 * Any thread may ask; CoreCLR makes it a thread of its own when it first does. Not the thread that
 * mrv_host_subscribe calls, if others are told by it too: a collection takes its time. */
#ifndef MEMREEVE_ADAPTERS_CORECLR_H
#define MEMREEVE_ADAPTERS_CORECLR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mrv_coreclr {
    void (*collect)(void);
    int32_t (*limit)(uint64_t bytes); /* may be null */
} mrv_coreclr;

/* Returns when the collection is over. 0: there is nothing to call. */
static inline int mrv_coreclr_collect(const mrv_coreclr* c) {
    if (c->collect == 0) {
        return 0;
    }
    c->collect();
    return 1;
}

/* What the GC's heap may hold from now on, in bytes. 0: it holds more, or there is nothing to call. */
static inline int mrv_coreclr_limit(const mrv_coreclr* c, uint64_t heap_bytes) {
    return c->limit != 0 && c->limit(heap_bytes) == 1;
}

#ifdef __cplusplus
}
#endif

#endif
