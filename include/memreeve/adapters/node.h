/* SPDX-License-Identifier: MIT
 * Tells an embedded V8 (Node) that memory is short. Header-only, plain C11; finds V8's functions by
 * their names in the Itanium C++ ABI.
 *
 * V8 documents Isolate::MemoryPressureNotification as callable by any thread: the isolate's own thread
 * collects at its next check for interrupts, in the middle of a loop too, and at latest at its next
 * task. Buffers that scripts have dropped go with it. Workers have isolates of their own.
 *
 * When Node ends it first takes down what serves the isolate, and aborts where that is asked for something
 * then: who asks on another thread must know of the end (mrv_node_at_end).
 *
 *   mrv_node node;
 *   if (mrv_node_find(&node) && mrv_node_note(&node)) {      on the isolate's thread, inside it
 *       mrv_node_collect(&node);                             on any thread while the isolate is served
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
    void* (*loop_of)(void* isolate); /* node::GetCurrentEventLoop; null with the next in no Node */
    void (*add_hook)(void* isolate, void (*call)(void*),
                     void* context); /* AddEnvironmentCleanupHook */
} mrv_node;

/* 0: this process has no V8 that exports them. */
static inline int mrv_node_find(mrv_node* n) {
    memset(n, 0, sizeof *n);
    if (!mrv_find("_ZN2v87Isolate13TryGetCurrentEv", &n->current, sizeof n->current)) {
        (void)mrv_find("_ZN2v87Isolate10GetCurrentEv", &n->current, sizeof n->current);
    }
    (void)mrv_find("_ZN2v87Isolate26MemoryPressureNotificationENS_19MemoryPressureLevelE",
                   &n->notify, sizeof n->notify);
    (void)mrv_find("_ZN4node19GetCurrentEventLoopEPN2v87IsolateE", &n->loop_of, sizeof n->loop_of);
    (void)mrv_find("_ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_", &n->add_hook,
                   sizeof n->add_hook);
    return n->current != 0 && n->notify != 0;
}

/* Remembers the isolate that the calling thread is in. 0: it is in none. An embedder may as well set
 * `isolate` itself. */
static inline int mrv_node_note(mrv_node* n) {
    n->isolate = n->current();
    return n->isolate != 0;
}

/* On the isolate's thread, inside it, after mrv_node_note: has `call` made on that thread before Node takes
 * down what serves the isolate; when it has returned nobody may be in mrv_node_collect, nor come there.
 * process.exit() calls nothing: it waits for Node's own threads before it takes anything down. 0: nothing
 * will be called: there is no environment yet, or this is no Node. */
static inline int mrv_node_at_end(const mrv_node* n, void (*call)(void*), void* context) {
    if (n->loop_of == 0 || n->add_hook == 0 || n->loop_of(n->isolate) == 0) {
        return 0; /* without an environment add_hook aborts */
    }
    n->add_hook(n->isolate, call, context);
    return 1;
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
