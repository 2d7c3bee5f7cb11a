/* SPDX-License-Identifier: MIT
 * Asks an embedded Mono to collect. Header-only, plain C11; finds Mono's functions by dlsym, so the
 * program need not be linked with it (link with libdl where libc does not have dlsym).
 *
 * One thread of the host asks, always the same: Mono knows it from the first time on, and between two
 * times it stands in a gc-safe region, so that collections of others never wait for it. (A thread
 * that is attached for each collection was seen to hang and to die, one that merely sleeps to hang.)
 *
 *   mrv_mono mono;                       a local variable of the function that the thread runs
 *   if (mrv_mono_open(&mono)) {
 *       while (!mrv_mono_is_ending(&mono)) {
 *           ... wait, a second at most, for a word that the function given to mrv_host_subscribe sets
 *           ... when it is told MRV_MEMORY_LOW, and if it is set:
 *           mrv_mono_collect(&mono);
 *       }
 *       mrv_mono_close(&mono);
 *   }
 *
 * The adapter must lie on the asking thread's stack, in a frame that outlives its use: Mono takes the
 * address of `stack` for the beginning of what the thread has on its stack in the region, and copies it.
 * The asking thread must not block the signals by which Mono suspends threads (real-time ones). It may
 * hold no lock that managed code may wait for. */
#ifndef MEMREEVE_ADAPTERS_MONO_H
#define MEMREEVE_ADAPTERS_MONO_H

#include <memreeve/adapters/find.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mrv_mono {
    void* (*get_root_domain)(void);
    void* (*attach)(void* domain);
    void* (*current)(void);
    void (*detach)(void* thread);
    void (*set_manage_callback)(void* thread, int (*manages)(void* thread));
    int (*is_shutting_down)(void);
    void (*collect)(int generation);
    int (*max_generation)(void);
    void* (*enter_safe)(void** stack);
    void (*exit_safe)(void* cookie, void** stack);
    int64_t (*used_size)(void);   /* may be null */
    void* (*main_assembly)(void); /* may be null */
    int64_t freed; /* bytes inside Mono's heap, by the last collection: it keeps most of them */
    void* cookie;
    void* stack; /* only its address counts */
    int is_attached;
} mrv_mono;

/* Mono waits for managed threads before it ends, but not for one whose callback says 0. */
static inline int mrv_mono_is_not_waited_for(void* thread) {
    (void)thread;
    return 0;
}

/* Finds Mono's functions and nothing else: any thread, no lock of Mono's is taken. 0: this process has
 * no Mono that exports them. */
static inline int mrv_mono_find(mrv_mono* m) {
    int all = 1;
    memset(m, 0, sizeof *m);
    all &= mrv_find("mono_get_root_domain", &m->get_root_domain, sizeof m->get_root_domain);
    all &= mrv_find("mono_thread_attach", &m->attach, sizeof m->attach);
    all &= mrv_find("mono_thread_current", &m->current, sizeof m->current);
    all &= mrv_find("mono_thread_detach", &m->detach, sizeof m->detach);
    all &= mrv_find("mono_thread_set_manage_callback", &m->set_manage_callback,
                    sizeof m->set_manage_callback);
    all &=
        mrv_find("mono_runtime_is_shutting_down", &m->is_shutting_down, sizeof m->is_shutting_down);
    all &= mrv_find("mono_gc_collect", &m->collect, sizeof m->collect);
    all &= mrv_find("mono_gc_max_generation", &m->max_generation, sizeof m->max_generation);
    all &= mrv_find("mono_threads_enter_gc_safe_region", &m->enter_safe, sizeof m->enter_safe);
    all &= mrv_find("mono_threads_exit_gc_safe_region", &m->exit_safe, sizeof m->exit_safe);
    (void)mrv_find("mono_gc_get_used_size", &m->used_size, sizeof m->used_size);
    (void)mrv_find("mono_assembly_get_main", &m->main_assembly, sizeof m->main_assembly);
    return all;
}

/* Mono runs a program. (A host that calls methods without one knows for itself when Mono has begun:
 * it has a domain long before threads can be attached, and 6.8 aborts on one that comes then.) */
static inline int mrv_mono_has_program(const mrv_mono* m) {
    return m->main_assembly != 0 && m->main_assembly() != 0;
}

/* Makes the calling thread known to Mono and leaves it in a gc-safe region. 0: Mono has no domain yet or
 * is ending. Not while Mono begins. */
static inline int mrv_mono_attach(mrv_mono* m) {
    void* const domain = m->get_root_domain();
    void* thread;
    if (domain == 0 || m->is_shutting_down()) {
        return 0;
    }
    thread = m->attach(domain);
    if (thread == 0) {
        return 0;
    }
    m->set_manage_callback(thread, mrv_mono_is_not_waited_for);
    m->is_attached = 1;
    m->cookie = m->enter_safe(&m->stack);
    return 1;
}

static inline int mrv_mono_open(mrv_mono* m) { return mrv_mono_find(m) && mrv_mono_attach(m); }

/* A full collection; on the thread that attached. Returns when it is over. 0: Mono is ending. */
static inline int mrv_mono_collect(mrv_mono* m) {
    if (!m->is_attached || m->is_shutting_down()) {
        return 0;
    }
    m->exit_safe(m->cookie, &m->stack);
    m->freed = m->used_size != 0 ? m->used_size() : 0;
    m->collect(m->max_generation());
    m->freed -= m->used_size != 0 ? m->used_size() : 0;
    m->cookie = m->enter_safe(&m->stack);
    return 1;
}

/* Mono is ending: it has sent the thread a signal (which ends a wait with EINTR) and waits until it is
 * gone. Call mrv_mono_close then; look after every wait, and once a second. */
static inline int mrv_mono_is_ending(const mrv_mono* m) {
    return m->is_attached && m->is_shutting_down();
}

static inline void mrv_mono_close(mrv_mono* m) {
    if (m->is_attached) {
        m->exit_safe(m->cookie, &m->stack);
        m->detach(m->current());
        m->is_attached = 0;
    }
}

#ifdef __cplusplus
}
#endif

#endif
