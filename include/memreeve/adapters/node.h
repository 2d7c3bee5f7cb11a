/* SPDX-License-Identifier: MIT
 * Tells an embedded V8 (Node) that memory is short. Header-only, plain C11; finds V8's functions by
 * their names in the Itanium C++ ABI.
 *
 * V8 documents Isolate::MemoryPressureNotification as callable by any thread: the isolate's own thread
 * collects at its next check for interrupts, in the middle of a loop too, and at latest at its next
 * task. Buffers that scripts have dropped go with it. Workers have isolates of their own.
 *
 *   mrv_node node;
 *   if (mrv_node_find(&node) && mrv_node_note(&node)) {      on the isolate's thread, inside it
 *       mrv_node_collect(&node);                             on any thread while the isolate lives
 *   } */
#ifndef MEMREEVE_ADAPTERS_NODE_H
#define MEMREEVE_ADAPTERS_NODE_H

#include <memreeve/adapters/find.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mrv_node {
    void* (*current)(void);                   /* v8::Isolate::TryGetCurrent or GetCurrent */
    void (*notify)(void* isolate, int level); /* MemoryPressureLevel: none, moderate, critical */
    void* isolate;
} mrv_node;

/* 0: this process has no V8 that exports them. */
static inline int mrv_node_find(mrv_node* n) {
    memset(n, 0, sizeof *n);
    if (!mrv_find("_ZN2v87Isolate13TryGetCurrentEv", &n->current, sizeof n->current)) {
        (void)mrv_find("_ZN2v87Isolate10GetCurrentEv", &n->current, sizeof n->current);
    }
    (void)mrv_find("_ZN2v87Isolate26MemoryPressureNotificationENS_19MemoryPressureLevelE",
                   &n->notify, sizeof n->notify);
    return n->current != 0 && n->notify != 0;
}

/* Remembers the isolate that the calling thread is in. 0: it is in none. An embedder may as well set
 * `isolate` itself. */
static inline int mrv_node_note(mrv_node* n) {
    n->isolate = n->current();
    return n->isolate != 0;
}

/* Asks for a full collection; returns at once. 0: no isolate is known. */
static inline int mrv_node_collect(mrv_node* n) {
    if (n->isolate == 0) {
        return 0;
    }
    n->notify(n->isolate, 2);
    return 1;
}

#ifdef __cplusplus
}
#endif

#endif
