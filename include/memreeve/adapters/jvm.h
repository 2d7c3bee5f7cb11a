/* SPDX-License-Identifier: MIT
 * Asks a Java virtual machine in this process to collect (System.gc). Header-only, plain C11; needs no
 * jni.h and no linking with libjvm: what it uses are slots of the tables that the JNI specification
 * numbers.
 *
 * One thread asks, always the same: it becomes a daemon thread of the VM, named memreeve-ask. Under
 * -XX:+DisableExplicitGC the VM ignores what is asked; with -XX:+ExplicitGCInvokesConcurrent G1
 * collects beside the program, and mrv_jvm_collect returns when that is over.
 *
 *   mrv_jvm jvm;                                     on the thread that is to ask
 *   if (mrv_jvm_open(&jvm)) {
 *       ... wait for a word that mrv_host_subscribe's function sets when it is told MRV_MEMORY_LOW
 *       mrv_jvm_collect(&jvm);
 *       mrv_jvm_close(&jvm);
 *   } */
#ifndef MEMREEVE_ADAPTERS_JVM_H
#define MEMREEVE_ADAPTERS_JVM_H

#include <memreeve/adapters/find.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mrv_jvm {
    int32_t (*created)(void** machines, int32_t room, int32_t* count);
    const void* const** machine; /* JavaVM* */
    const void* const** thread;  /* JNIEnv* of the thread that asks */
    void* system;                /* java.lang.System, a global reference */
    void* gc;                    /* its method gc */
} mrv_jvm;

/* What AttachCurrentThread is given: version, name in modified UTF-8, thread group. */
typedef struct mrv_jvm_attach_arguments {
    int32_t version;
    const char* name;
    void* group;
} mrv_jvm_attach_arguments;

enum {
    MRV_JVM_VERSION = 0x00010006,
    /* slots of JNIInvokeInterface */
    MRV_JVM_DETACH = 5,
    MRV_JVM_ATTACH_AS_DAEMON = 7,
    /* slots of JNINativeInterface */
    MRV_JNI_FIND_CLASS = 6,
    MRV_JNI_EXCEPTION_CLEAR = 17,
    MRV_JNI_NEW_GLOBAL_REF = 21,
    MRV_JNI_DELETE_GLOBAL_REF = 22,
    MRV_JNI_DELETE_LOCAL_REF = 23,
    MRV_JNI_GET_STATIC_METHOD_ID = 113,
    MRV_JNI_CALL_STATIC_VOID_METHOD_A = 143
};

/* Finds libjvm's function and nothing else. 0: there is no JVM in this process. */
static inline int mrv_jvm_find(mrv_jvm* j) {
    memset(j, 0, sizeof *j);
    return mrv_find_in("libjvm.so", "JNI_GetCreatedJavaVMs", &j->created, sizeof j->created);
}

/* On the thread that attached; it is none of the VM's then. Nothing to do where nothing is attached. */
static inline void mrv_jvm_close(mrv_jvm* j) {
    void (*drop)(void* thread, void* object);
    int32_t (*detach)(void* machine);
    if (j->thread == 0) {
        return;
    }
    memcpy(&drop, &(*j->thread)[MRV_JNI_DELETE_GLOBAL_REF], sizeof drop);
    memcpy(&detach, &(*j->machine)[MRV_JVM_DETACH], sizeof detach);
    if (j->system != 0) {
        drop((void*)(uintptr_t)j->thread, j->system);
    }
    detach((void*)(uintptr_t)j->machine);
    j->thread = 0;
    j->system = 0;
    j->gc = 0;
}

/* Makes the calling thread a daemon thread of the VM. 0: the VM is not there yet, or is ending. */
static inline int mrv_jvm_attach(mrv_jvm* j) {
    int32_t (*attach)(void* machine, void** thread, void* arguments);
    void* (*find_class)(void* thread, const char* name);
    void* (*global)(void* thread, void* object);
    void (*drop)(void* thread, void* object);
    void (*clear)(void* thread);
    void* (*method)(void* thread, void* in, const char* name, const char* signature);
    mrv_jvm_attach_arguments arguments = {MRV_JVM_VERSION, "memreeve-ask", 0};
    void* machine = 0;
    void* thread = 0;
    void* local;
    int32_t count = 0;
    if (j->created(&machine, 1, &count) != 0 || count < 1) {
        return 0;
    }
    j->machine = (const void* const**)machine;
    memcpy(&attach, &(*j->machine)[MRV_JVM_ATTACH_AS_DAEMON], sizeof attach);
    if (attach(machine, &thread, &arguments) != 0) {
        return 0;
    }
    j->thread = (const void* const**)thread;
    memcpy(&find_class, &(*j->thread)[MRV_JNI_FIND_CLASS], sizeof find_class);
    memcpy(&global, &(*j->thread)[MRV_JNI_NEW_GLOBAL_REF], sizeof global);
    memcpy(&drop, &(*j->thread)[MRV_JNI_DELETE_LOCAL_REF], sizeof drop);
    memcpy(&clear, &(*j->thread)[MRV_JNI_EXCEPTION_CLEAR], sizeof clear);
    memcpy(&method, &(*j->thread)[MRV_JNI_GET_STATIC_METHOD_ID], sizeof method);
    local = find_class(thread, "java/lang/System");
    if (local != 0) {
        j->system = global(thread, local);
        j->gc = method(thread, local, "gc", "()V");
        drop(thread, local);
    }
    clear(thread);
    if (j->system == 0 || j->gc == 0) {
        mrv_jvm_close(j); /* who asks for the next time would attach once more */
        return 0;
    }
    return 1;
}

static inline int mrv_jvm_open(mrv_jvm* j) { return mrv_jvm_find(j) && mrv_jvm_attach(j); }

/* System.gc(); on the thread that attached. Returns when the VM does. */
static inline int mrv_jvm_collect(mrv_jvm* j) {
    void (*call)(void* thread, void* in, void* method, const void* arguments);
    void (*clear)(void* thread);
    if (j->gc == 0) {
        return 0;
    }
    memcpy(&call, &(*j->thread)[MRV_JNI_CALL_STATIC_VOID_METHOD_A], sizeof call);
    memcpy(&clear, &(*j->thread)[MRV_JNI_EXCEPTION_CLEAR], sizeof clear);
    call((void*)(uintptr_t)j->thread, j->system, j->gc, 0);
    clear((void*)(uintptr_t)j->thread);
    return 1;
}

#ifdef __cplusplus
}
#endif

#endif
