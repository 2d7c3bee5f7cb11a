// SPDX-License-Identifier: MIT
// The libc names for starting a thread. Each asks, forwards, and lets the new thread note its stack
// first; attributes, errors and errno are libc's. Nothing is put round the program's function: it
// may end by pthread_exit or cancellation, which unwind through here.
#include "bridge/asking.hpp"
#include "bridge/early_collection.hpp"
#include "bridge/stacks.hpp"

#include <atomic>
#include <cerrno>
#include <dlfcn.h>
#include <pthread.h>
#include <threads.h>

using namespace memreeve;

#define MEMREEVE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using posix_function = void* (*)(void*);
using posix_create = int (*)(pthread_t*, const pthread_attr_t*, posix_function, void*);
using posix_join = int (*)(pthread_t, void**);
using c11_create = int (*)(thrd_t*, thrd_start_t, void*);

constinit std::atomic<posix_create> libc_pthread_create{nullptr};
constinit std::atomic<posix_join> libc_pthread_join{nullptr};
constinit std::atomic<c11_create> libc_thrd_create{nullptr};

template <class Function>
Function find(std::atomic<Function>& known, const char* name) noexcept {
    Function f = known.load(std::memory_order_relaxed);
    if (f == nullptr) {
        f = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
        known.store(f, std::memory_order_relaxed);
    }
    return f;
}

// dlsym takes the loader's lock: better now than in a thread that may be suspended meanwhile.
__attribute__((constructor)) void find_them() {
    static_cast<void>(find(libc_pthread_create, "pthread_create"));
    static_cast<void>(find(libc_pthread_join, "pthread_join"));
    static_cast<void>(find(libc_thrd_create, "thrd_create"));
}

bridge::thread_start arrive(void* posted) noexcept {
    const bridge::thread_start start = bridge::take(static_cast<bridge::thread_start*>(posted));
    if (bridge::state* s = bridge::governed()) {
        bridge::note_stack(*s, reinterpret_cast<const void*>(pthread_self()));
    }
    return start;
}

void* run_posix(void* posted) {
    const bridge::thread_start start = arrive(posted);
    return reinterpret_cast<posix_function>(start.run)(start.argument);
}

int run_c11(void* posted) {
    const bridge::thread_start start = arrive(posted);
    return reinterpret_cast<thrd_start_t>(start.run)(start.argument);
}

bool may_start(bridge::state& s, const void* caller) noexcept {
    const bridge::asking by(caller);
    return bridge::may_start_thread(s);
}

// A stack of the caller's own stays what it is: memory that the caller got somewhere.
bool supplies_stack(const pthread_attr_t* attributes) noexcept {
    void* lowest = nullptr;
    size_t size = 0;
    // glibc computes the lowest address as end - size, and the end is null where none was set.
    return attributes != nullptr && pthread_attr_getstack(attributes, &lowest, &size) == 0 &&
           reinterpret_cast<address>(lowest) + size != 0;
}

} // namespace

MEMREEVE_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                                   posix_function run, void* argument) noexcept {
    const posix_create libc = find(libc_pthread_create, "pthread_create");
    if (libc == nullptr) {
        return EAGAIN;
    }
    bridge::state* s = bridge::governed();
    if (s == nullptr) {
        return libc(thread, attributes, run, argument);
    }
    if (!may_start(*s, __builtin_return_address(0))) {
        return EAGAIN;
    }
    bridge::thread_start* posted = supplies_stack(attributes)
                                       ? nullptr
                                       : bridge::post(*s, {reinterpret_cast<void*>(run), argument});
    const int e = posted == nullptr ? libc(thread, attributes, run, argument)
                                    : libc(thread, attributes, run_posix, posted);
    if (e != 0 && posted != nullptr) {
        static_cast<void>(bridge::take(posted));
    }
    if (e == 0) {
        bridge::the_early_collection.note_thread(*s);
    }
    return e;
}

// A cancellation point, as libc's.
MEMREEVE_EXPORT int pthread_join(pthread_t thread, void** result) {
    const posix_join libc = find(libc_pthread_join, "pthread_join");
    if (libc == nullptr) {
        return EINVAL;
    }
    bridge::the_early_collection.note_join();
    return libc(thread, result);
}

MEMREEVE_EXPORT int thrd_create(thrd_t* thread, thrd_start_t run, void* argument) {
    const c11_create libc = find(libc_thrd_create, "thrd_create");
    if (libc == nullptr) {
        return thrd_error;
    }
    bridge::state* s = bridge::governed();
    if (s == nullptr) {
        return libc(thread, run, argument);
    }
    if (!may_start(*s, __builtin_return_address(0))) {
        return thrd_nomem;
    }
    bridge::thread_start* posted = bridge::post(*s, {reinterpret_cast<void*>(run), argument});
    const int e = posted == nullptr ? libc(thread, run, argument) : libc(thread, run_c11, posted);
    if (e != thrd_success && posted != nullptr) {
        static_cast<void>(bridge::take(posted));
    }
    if (e == thrd_success) {
        bridge::the_early_collection.note_thread(*s);
    }
    return e;
}
