/* SPDX-License-Identifier: MIT
 * A caller that knows slot numbers and nothing else (hosting-api 1.3 to 1.6, section 5): no vtable
 * struct of ours, every method reached as vtable[n]. What it passes here is what a runtime built by
 * another compiler passes. */
#include <memreeve/memreeve.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int32_t hresult;
typedef struct {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
} guid;

static const guid iid_unknown = {0, 0, 0, {0xC0, 0, 0, 0, 0, 0, 0, 0x46}};
static const guid iid_manager = {
    0x7BC698D1, 0xF9E3, 0x4460, {0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9, 0xFA, 0x25}};
static const guid iid_malloc = {
    0x1831991C, 0xCC53, 0x4A31, {0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64, 0x79}};
static const guid iid_control = {
    0x02CA073C, 0x7079, 0x4860, {0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9, 0x91}};
static const guid iid_other = {0x12345678, 1, 2, {3, 4, 5, 6, 7, 8, 9, 10}};

typedef void* object;
typedef void (*any_function)(void);

static any_function slot(object o, int n) {
    any_function f;
    memcpy(&f, *(char**)o + (size_t)n * sizeof(void*), sizeof f);
    return f;
}

#define QUERY_INTERFACE(o, iid, out)                                                               \
    ((hresult(*)(object, const guid*, void**))slot(o, 0))(o, iid, out)
#define ADD_REF(o) ((uint32_t(*)(object))slot(o, 1))(o)
#define RELEASE(o) ((uint32_t(*)(object))slot(o, 2))(o)
#define CREATE_MALLOC(o, flags, out)                                                               \
    ((hresult(*)(object, uint32_t, object*))slot(o, 3))(o, flags, out)
#define VIRTUAL_ALLOC(o, at, size, type, protect, level, out)                                      \
    ((hresult(*)(object, void*, size_t, uint32_t, uint32_t, int, void**))slot(o, 4))(              \
        o, at, size, type, protect, level, out)
#define VIRTUAL_FREE(o, at, size, type)                                                            \
    ((hresult(*)(object, void*, size_t, uint32_t))slot(o, 5))(o, at, size, type)
#define VIRTUAL_QUERY(o, at, buffer, length, out)                                                  \
    ((hresult(*)(object, void*, void*, size_t, size_t*))slot(o, 6))(o, at, buffer, length, out)
#define VIRTUAL_PROTECT(o, at, size, protect, old)                                                 \
    ((hresult(*)(object, void*, size_t, uint32_t, uint32_t*))slot(o, 7))(o, at, size, protect, old)
#define GET_MEMORY_LOAD(o, load, available)                                                        \
    ((hresult(*)(object, uint32_t*, size_t*))slot(o, 8))(o, load, available)
#define REGISTER_CALLBACK(o, callback) ((hresult(*)(object, object))slot(o, 9))(o, callback)
#define NEEDS(o, at, size) ((hresult(*)(object, void*, size_t))slot(o, 10))(o, at, size)
#define ACQUIRED(o, at, size) ((hresult(*)(object, void*, size_t))slot(o, 11))(o, at, size)
#define RELEASED(o, at) ((hresult(*)(object, void*))slot(o, 12))(o, at)

#define HEAP_ALLOC(o, size, level, out)                                                            \
    ((hresult(*)(object, size_t, int, void**))slot(o, 3))(o, size, level, out)
#define HEAP_DEBUG_ALLOC(o, size, level, file, line, out)                                          \
    ((hresult(*)(object, size_t, int, char*, int, void**))slot(o, 4))(o, size, level, file, line,  \
                                                                      out)
#define HEAP_FREE(o, block) ((hresult(*)(object, void*))slot(o, 5))(o, block)

#define GET_HOST_MANAGER(o, iid, out)                                                              \
    ((hresult(*)(object, const guid*, void**))slot(o, 3))(o, iid, out)
#define SET_APP_DOMAIN_MANAGER(o, id, unknown)                                                     \
    ((hresult(*)(object, uint32_t, object))slot(o, 4))(o, id, unknown)

static int failures;

static void expect(int holds, const char* what, int line) {
    if (!holds) {
        fprintf(stderr, "com_abi_c.c:%d: %s\n", line, what);
        ++failures;
    }
}
#define EXPECT(condition) expect(condition, #condition, __LINE__)
#define IS(call, code) EXPECT((uint32_t)(call) == (code))

enum {
    ok = 0,
    e_pointer = (int)0x80004003,
    e_no_interface = (int)0x80004002,
};
#define INVALID_ARGUMENT 0x80070057u
#define INVALID_ADDRESS 0x800701E7u
#define BAD_LENGTH 0x80070018u
#define NO_ACCESS 0x800703E6u
#define INVALID_OPERATION 0x80131022u
#define OUT_OF_MEMORY 0x8007000Eu
#define POINTER 0x80004003u
#define NO_INTERFACE 0x80004002u

/* ---- a callback made of a bare vtable -------------------------------------------------------- */

struct callback {
    const any_function* slots;
    uint32_t references;
    int told[8];
    int count;
};
static pthread_mutex_t told_mutex = PTHREAD_MUTEX_INITIALIZER;

static hresult callback_query(struct callback* self, const guid* iid, void** out) {
    (void)iid;
    *out = self;
    return ok;
}
static uint32_t callback_add_ref(struct callback* self) {
    return __atomic_add_fetch(&self->references, 1, __ATOMIC_SEQ_CST);
}
static uint32_t callback_release(struct callback* self) {
    return __atomic_sub_fetch(&self->references, 1, __ATOMIC_SEQ_CST);
}
static hresult callback_notify(struct callback* self, int level) {
    pthread_mutex_lock(&told_mutex);
    if (self->count < 8) {
        self->told[self->count++] = level;
    }
    pthread_mutex_unlock(&told_mutex);
    return ok;
}
static const any_function callback_slots[4] = {
    (any_function)callback_query, (any_function)callback_add_ref, (any_function)callback_release,
    (any_function)callback_notify};

static int told_so_far(struct callback* c) {
    pthread_mutex_lock(&told_mutex);
    const int n = c->count;
    pthread_mutex_unlock(&told_mutex);
    return n;
}

/* ---- the methods ------------------------------------------------------------------------------ */

struct region { /* 48 bytes, 64-bit offsets of hosting-api 2.3 */
    void* base;
    void* allocation_base;
    uint32_t allocation_protect, padding;
    size_t size;
    uint32_t state, protect, type, padding_2;
};

static void identity(object manager) {
    void* p = &p;
    EXPECT(QUERY_INTERFACE(manager, &iid_manager, &p) == ok && p == manager);
    RELEASE(manager);
    EXPECT(QUERY_INTERFACE(manager, &iid_unknown, &p) == ok && p == manager);
    RELEASE(manager);
    EXPECT(QUERY_INTERFACE(manager, &iid_malloc, &p) == e_no_interface && p == NULL);
    EXPECT(QUERY_INTERFACE(manager, &iid_manager, NULL) == e_pointer);
    p = &p;
    IS(QUERY_INTERFACE(manager, NULL, &p), INVALID_ARGUMENT);
    EXPECT(p == NULL);
    const uint32_t now = ADD_REF(manager);
    EXPECT(RELEASE(manager) == now - 1);
}

static void virtual_memory(object manager) {
    void* base = &base;
    EXPECT(VIRTUAL_ALLOC(manager, NULL, 0x30000, 0x2000, 0x01, 0, &base) == ok);
    EXPECT(base != NULL && ((uintptr_t)base & 0xffff) == 0);
    char* const at = base;
    void* p = NULL;
    EXPECT(VIRTUAL_ALLOC(manager, at + 0x1234, 100, 0x1000, 0x04, 1, &p) == ok);
    EXPECT(p == at + 0x1000); /* A11: the page, not the caller's pointer */
    at[0x1234] = 42;
    EXPECT(at[0x1000] == 0);

    struct region r;
    memset(&r, 0x55, sizeof r);
    size_t length = 99;
    EXPECT(VIRTUAL_QUERY(manager, at + 0x1abc, &r, sizeof r, &length) == ok && length == 48);
    EXPECT(r.base == at + 0x1000 && r.allocation_base == at && r.allocation_protect == 0x01);
    EXPECT(r.size == 0x1000 && r.state == 0x1000 && r.protect == 0x04 && r.type == 0x20000);
    EXPECT(r.padding == 0);
    EXPECT(VIRTUAL_QUERY(manager, at, &r, 4096, &length) == ok && length == 48);
    IS(VIRTUAL_QUERY(manager, at, &r, 47, &length), BAD_LENGTH); /* Q1 */
    EXPECT(length == 0);
    IS(VIRTUAL_QUERY(manager, at, NULL, 47, &length), BAD_LENGTH);
    IS(VIRTUAL_QUERY(manager, at, NULL, 48, &length), NO_ACCESS); /* Q2 */
    IS(VIRTUAL_QUERY(manager, at, &r, 48, NULL), POINTER);
    IS(VIRTUAL_QUERY(manager, (void*)0xffff800000000000u, &r, 48, &length),
       INVALID_ARGUMENT); /* Q3 */
    /* Memory that was never ours: this stack, this program. */
    int here = 0;
    EXPECT(VIRTUAL_QUERY(manager, &here, &r, 48, &length) == ok && r.state == 0x1000 &&
           r.type == 0x20000);
    EXPECT(VIRTUAL_QUERY(manager, (void*)(uintptr_t)&iid_other, &r, 48, &length) == ok &&
           r.type == 0x1000000);

    uint32_t old = 77;
    EXPECT(VIRTUAL_PROTECT(manager, at + 0x1500, 1, 0x02, &old) == ok && old == 0x04);
    EXPECT(at[0x1234] == 42);
    IS(VIRTUAL_PROTECT(manager, at + 0x1000, 1, 0x00, NULL), INVALID_ARGUMENT); /* V1 before V2 */
    IS(VIRTUAL_PROTECT(manager, at + 0x1000, 1, 0x04, NULL), NO_ACCESS);
    IS(VIRTUAL_PROTECT(manager, at, 0x1000, 0x04, &old), INVALID_ADDRESS); /* V6: not committed */

    p = &p;
    IS(VIRTUAL_ALLOC(manager, NULL, 0, 0x3000, 0x04, 0, &p), INVALID_ARGUMENT);
    EXPECT(p == NULL);
    IS(VIRTUAL_ALLOC(manager, NULL, 4096, 0x3000, 0x04, 3, &p), INVALID_ARGUMENT); /* level 3 */
    IS(VIRTUAL_ALLOC(manager, NULL, 4096, 0x3000, 0x04, 0, NULL), POINTER);
    IS(VIRTUAL_ALLOC(manager, at, 4096, 0x2000, 0x04, 0, &p), INVALID_ADDRESS); /* occupied */

    EXPECT(VIRTUAL_FREE(manager, at + 0x1000, 0x1000, 0x4000) == ok);
    IS(VIRTUAL_FREE(manager, at, 0x30000, 0x8000), INVALID_ARGUMENT); /* F2 */
    EXPECT(VIRTUAL_FREE(manager, at, 0, 0x8000) == ok);
    IS(VIRTUAL_FREE(manager, at, 0, 0x8000), INVALID_OPERATION); /* decision 6 */
    IS(VIRTUAL_FREE(manager, &here, 0, 0x8000), INVALID_OPERATION);
}

static void load_and_space(object manager) {
    uint32_t percent = 1000;
    size_t available = 0;
    EXPECT(GET_MEMORY_LOAD(manager, &percent, &available) == ok && percent <= 100);
    EXPECT(available <= (size_t)56 << 20);
    IS(GET_MEMORY_LOAD(manager, NULL, &available), POINTER);
    IS(GET_MEMORY_LOAD(manager, &percent, NULL), POINTER);
    EXPECT(NEEDS(manager, NULL, 0x10000) == ok);
    IS(NEEDS(manager, NULL, (size_t)1 << 60), OUT_OF_MEMORY);
    void* const view = malloc(1 << 20);
    EXPECT(ACQUIRED(manager, view, 1 << 20) == ok);
    EXPECT(RELEASED(manager, view) == ok);
    EXPECT(RELEASED(manager, view) == ok); /* unknown: ignored */
    free(view);
}

static void heap(object manager) {
    object h = &h;
    IS(CREATE_MALLOC(manager, 4, &h), INVALID_ARGUMENT);
    EXPECT(h == NULL);
    IS(CREATE_MALLOC(manager, 1, NULL), POINTER);
    EXPECT(CREATE_MALLOC(manager, 1, &h) == ok && h != NULL);
    void* p = NULL;
    EXPECT(QUERY_INTERFACE(h, &iid_malloc, &p) == ok && p == h);
    RELEASE(h);
    char* a = NULL;
    char* b = NULL;
    EXPECT(HEAP_ALLOC(h, 100, 2, (void**)&a) == ok && a != NULL && ((uintptr_t)a & 15) == 0);
    char name[] = "a.cpp";
    EXPECT(HEAP_DEBUG_ALLOC(h, 100, 2, name, 12, (void**)&b) == ok && b != NULL && b != a);
    memset(a, 1, 100);
    memset(b, 2, 100);
    EXPECT(a[99] == 1);
    IS(HEAP_ALLOC(h, 8, 3, &p), INVALID_ARGUMENT);
    IS(HEAP_ALLOC(h, 8, 0, NULL), POINTER);
    IS(HEAP_DEBUG_ALLOC(h, 8, 0, name, 1, NULL), POINTER);
    IS(HEAP_ALLOC(h, SIZE_MAX, 0, &p), OUT_OF_MEMORY);
    EXPECT(HEAP_FREE(h, NULL) == ok); /* D4: the CLR does it */
    EXPECT(HEAP_FREE(h, a) == ok);
    IS(HEAP_FREE(h, a), INVALID_OPERATION);
    IS(HEAP_FREE(h, name), INVALID_OPERATION);
    EXPECT(HEAP_FREE(h, b) == ok);
    EXPECT(RELEASE(h) == 0);
}

static void notifications(object manager) {
    struct callback c = {callback_slots, 1, {0}, 0};
    /* 71 % of what tasks may have: nothing better is on its way, however late the next step comes. */
    void* middle = NULL;
    EXPECT(VIRTUAL_ALLOC(manager, NULL, (size_t)40 << 20, 0x3000, 0x04, 0, &middle) == ok);
    EXPECT(REGISTER_CALLBACK(manager, &c) == ok);
    EXPECT(c.references == 2);
    void* full = NULL;
    EXPECT(VIRTUAL_ALLOC(manager, NULL, (size_t)14 << 20, 0x3000, 0x04, 0, &full) == ok);
    for (int i = 0; i < 3000 && told_so_far(&c) == 0; ++i) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    EXPECT(told_so_far(&c) > 0 && c.told[c.count - 1] == 1); /* eMemoryAvailableLow */
    EXPECT(REGISTER_CALLBACK(manager, NULL) == ok);
    EXPECT(c.references == 1);
    EXPECT(VIRTUAL_FREE(manager, full, 0, 0x8000) == ok);
    EXPECT(VIRTUAL_FREE(manager, middle, 0, 0x8000) == ok);
}

int main(void) {
    mrv_host_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.limit_bytes = 64u << 20;
    options.reserve_bytes = 8u << 20;
    options.pressure_source = MRV_PRESSURE_BUDGET;
    mrv_host* host = NULL;
    mrv_owner* owner = NULL;
    struct IHostControl* control = NULL;
    if (mrv_host_create(&options, &host) != MRV_OK ||
        mrv_owner_create(host, NULL, NULL, &owner) != MRV_OK ||
        mrv_host_control(host, owner, &control) != MRV_OK) {
        fprintf(stderr, "no host\n");
        return 1;
    }
    errno = 4711;
    object const c = control;
    object manager = NULL;
    void* p = &p;
    EXPECT(QUERY_INTERFACE(c, &iid_control, &p) == ok && p == c);
    RELEASE(c);
    EXPECT(GET_HOST_MANAGER(c, &iid_other, &p) == e_no_interface && p == NULL);
    IS(GET_HOST_MANAGER(c, &iid_manager, NULL), POINTER);
    IS(GET_HOST_MANAGER(c, NULL, &p), INVALID_ARGUMENT);
    EXPECT(GET_HOST_MANAGER(c, &iid_manager, &manager) == ok && manager != NULL);
    EXPECT(SET_APP_DOMAIN_MANAGER(c, 1, NULL) == ok);

    identity(manager);
    virtual_memory(manager);
    EXPECT(errno == 4711); /* D32 */
    load_and_space(manager);
    heap(manager);
    notifications(manager);

    EXPECT(mrv_host_destroy(host) == MRV_E_BUSY); /* the manager and the control are still out */
    EXPECT(RELEASE(manager) != 0);
    EXPECT(RELEASE(c) == 0);
    EXPECT(mrv_host_destroy(host) == MRV_OK);
    if (failures == 0) {
        puts("every slot of IHostMemoryManager, IHostMalloc and IHostControl called");
    }
    return failures != 0;
}
