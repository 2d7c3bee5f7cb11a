/* SPDX-License-Identifier: MIT
 * Asks an embedded CPython to collect. Header-only, plain C11; finds Python's functions by dlsym.
 *
 * Any thread may ask, with or without the GIL: what is asked is done by Python's main thread, between
 * two instructions of bytecode. While that thread is inside a long call of native code, it waits.
 * Python frees what nobody refers to by itself, at once: a collection frees cycles, nothing else. After
 * gc.disable() it does nothing.
 *
 *   mrv_cpython python;
 *   if (mrv_cpython_find(&python)) {
 *       mrv_cpython_collect(&python);        e.g. from mrv_host_subscribe's function at MRV_MEMORY_LOW
 *   }
 *
 * `python` stays where it is until what was asked is done (mrv_cpython_is_done). A child of fork inherits
 * what its parent has asked and not come to: `python` must be no variable on a stack where the program
 * forks, and not be found anew in the child; mrv_cpython_forget there instead. */
#ifndef MEMREEVE_ADAPTERS_CPYTHON_H
#define MEMREEVE_ADAPTERS_CPYTHON_H

#include <memreeve/adapters/find.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mrv_cpython {
    int (*add_pending_call)(int (*function)(void*), void* argument);
    ptrdiff_t (*collect)(void);
    int (*is_initialized)(void);
    int (*is_finalizing)(void);                   /* may be null */
    void (*done)(void* context, ptrdiff_t freed); /* on Python's thread; may be null */
    void* context;
    uint32_t asked; /* atomic: the last time it was asked, and the last that is over */
    uint32_t finished;
} mrv_cpython;

/* 0: this process has no Python that exports them. */
static inline int mrv_cpython_find(mrv_cpython* p) {
    int all = 1;
    memset(p, 0, sizeof *p);
    all &= mrv_find("Py_AddPendingCall", &p->add_pending_call, sizeof p->add_pending_call);
    all &= mrv_find("PyGC_Collect", &p->collect, sizeof p->collect);
    all &= mrv_find("Py_IsInitialized", &p->is_initialized, sizeof p->is_initialized);
    if (!mrv_find("Py_IsFinalizing", &p->is_finalizing, sizeof p->is_finalizing)) { /* 3.13 */
        (void)mrv_find("_Py_IsFinalizing", &p->is_finalizing, sizeof p->is_finalizing);
    }
    return all;
}

static inline int mrv_cpython_run(void* adapter) {
    mrv_cpython* const p = (mrv_cpython*)adapter;
    const uint32_t asked = __atomic_load_n(&p->asked, __ATOMIC_ACQUIRE);
    const ptrdiff_t freed = p->collect();
    /* Not one more: it may be a parent's that is run here. */
    __atomic_store_n(&p->finished, asked, __ATOMIC_RELEASE);
    if (p->done != NULL) {
        p->done(p->context, freed);
    }
    return 0;
}

static inline int mrv_cpython_is_done(const mrv_cpython* p) {
    return __atomic_load_n(&p->finished, __ATOMIC_ACQUIRE) ==
           __atomic_load_n(&p->asked, __ATOMIC_ACQUIRE);
}

/* On the thread that asks: nothing is waited for. In a child of fork whether what its parent had under
 * way will come to anything here is not known. */
static inline void mrv_cpython_forget(mrv_cpython* p) {
    __atomic_store_n(&p->finished, __atomic_load_n(&p->asked, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

/* 0: Python has not begun, is ending, was asked already and has not come to it, or has too much to do. */
static inline int mrv_cpython_collect(mrv_cpython* p) {
    const int may = p->is_initialized() && (p->is_finalizing == NULL || !p->is_finalizing());
    if (!may || !mrv_cpython_is_done(p)) {
        return 0;
    }
    __atomic_add_fetch(&p->asked, 1, __ATOMIC_RELEASE);
    if (p->add_pending_call(mrv_cpython_run, p) != 0) {
        mrv_cpython_forget(p);
        return 0;
    }
    return 1;
}

#ifdef __cplusplus
}
#endif

#endif
