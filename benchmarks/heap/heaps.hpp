// SPDX-License-Identifier: MIT
// The heaps that heap_driver can use: malloc of the process, whichever was preloaded, and IHostMalloc
// of a libmemreeve.so that is named, with an owner's hard limit in force.
#pragma once

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace memreeve::bench {

[[noreturn]] inline void give_up(const char* what, const char* why) {
    std::fprintf(stderr, "heap_driver: %s: %s\n", what, why);
    std::exit(2);
}

class malloc_heap {
public:
    // What a loop holds: a copy in a register costs what a caller's own pointer would.
    struct calls {
        void allocate(std::size_t size, void*& place) const {
            place = std::malloc(size);
            if (place == nullptr) [[unlikely]] {
                give_up("malloc", "refused");
            }
        }
        void free(void* block) const { std::free(block); }
        void settle() const {}
    };
    calls use() const { return {}; }
    // Gives back what is free, where the allocator has a way to ask for that.
    void trim() {
        for (const char* name : {"malloc_trim", "MallocExtension_ReleaseFreeMemory"}) {
            if (void* const function = dlsym(RTLD_DEFAULT, name)) {
                reinterpret_cast<int (*)(std::size_t)>(function)(0);
            }
        }
        if (void* const collect = dlsym(RTLD_DEFAULT, "mi_collect")) {
            reinterpret_cast<void (*)(bool)>(collect)(true);
        }
    }
    // The file whose malloc it is. By the name as it was linked: dlsym passes over old versions.
    static std::string object() {
        Dl_info info{};
        return dladdr(reinterpret_cast<void*>(&std::malloc), &info) != 0 &&
                       info.dli_fname != nullptr
                   ? info.dli_fname
                   : "unknown";
    }
};

class host_heap {
public:
    explicit host_heap(const char* library) : library_(dlopen(library, RTLD_NOW)) {
        if (library_ == nullptr) {
            give_up(library, dlerror());
        }
        mrv_host_options options{};
        options.size = sizeof options;
        options.limit_bytes = std::uint64_t{4} << 30;
        mrv_owner_options limits{};
        limits.size = sizeof limits;
        limits.hard_limit_bytes = std::uint64_t{2} << 30;
        if (call<decltype(&mrv_host_create)>("mrv_host_create")(&options, &host_) != MRV_OK ||
            call<decltype(&mrv_owner_create)>("mrv_owner_create")(host_, nullptr, &limits,
                                                                  &owner_) != MRV_OK ||
            call<decltype(&mrv_owner_memory_manager)>("mrv_owner_memory_manager")(
                owner_, &memory_) != MRV_OK) {
            give_up(library, "making a host failed");
        }
        charged_before_ = charged();
        if (memory_->CreateMalloc(MALLOC_THREADSAFE, &heap_) != S_OK) {
            give_up(library, "CreateMalloc failed");
        }
    }
    // When all blocks are free again: how far the books are off.
    struct drift {
        std::uint64_t allocated; // requests for a block that were counted
        std::int64_t blocks;     // those less the frees
        std::int64_t bytes; // charged to the owner once the heap is gone and not before it was made
    };
    drift close() {
        mrv_host_figures figures{};
        figures.size = sizeof figures;
        call<decltype(&mrv_host_snapshot)>("mrv_host_snapshot")(host_, &figures);
        constexpr int malloc_requests = 4, free_requests = 5;
        heap_->Release();
        heap_ = nullptr;
        return {figures.requests[malloc_requests],
                static_cast<std::int64_t>(figures.requests[malloc_requests] -
                                          figures.requests[free_requests]),
                static_cast<std::int64_t>(charged() - charged_before_)};
    }
    host_heap(const host_heap&) = delete;
    host_heap& operator=(const host_heap&) = delete;

    struct calls {
        IHostMalloc* heap;
        HRESULT answers = S_OK;

        void allocate(std::size_t size, void*& place) const {
            if (heap->Alloc(size, eTaskCritical, &place) != S_OK) [[unlikely]] {
                give_up("Alloc", "refused");
            }
        }
        void free(void* block) { answers |= heap->Free(block); }
        // Ends the process if a block was not taken back.
        void settle() const {
            if (answers != S_OK) {
                give_up("Free", "refused");
            }
        }
    };
    calls use() const { return {heap_}; }
    // Makes room as for a request that failed (decision 11).
    void trim() { memory_->NeedsVirtualAddressSpace(nullptr, std::size_t{1} << 16); }

protected:
    IHostMalloc* heap_ = nullptr;

private:
    template <class F>
    F call(const char* name) {
        void* const function = dlsym(library_, name);
        if (function == nullptr) {
            give_up(name, "the library does not have it");
        }
        return reinterpret_cast<F>(function);
    }
    std::uint64_t charged() {
        mrv_owner_figures figures{};
        figures.size = sizeof figures;
        call<decltype(&mrv_owner_stats)>("mrv_owner_stats")(owner_, &figures);
        return figures.charged_bytes;
    }

    void* library_;
    mrv_host* host_ = nullptr;
    mrv_owner* owner_ = nullptr;
    IHostMemoryManager* memory_ = nullptr;
    std::uint64_t charged_before_ = 0;
};

// The same, every block by DebugAlloc.
class debug_heap : public host_heap {
public:
    using host_heap::host_heap;

    struct calls {
        IHostMalloc* heap;
        HRESULT answers = S_OK;

        void allocate(std::size_t size, void*& place) const {
            static char file[] = "driver.cpp";
            if (heap->DebugAlloc(size, eTaskCritical, file, __LINE__, &place) != S_OK)
                [[unlikely]] {
                give_up("DebugAlloc", "refused");
            }
        }
        void free(void* block) { answers |= heap->Free(block); }
        // Ends the process if a block was not taken back.
        void settle() const {
            if (answers != S_OK) {
                give_up("Free", "refused");
            }
        }
    };
    calls use() const { return {heap_}; }
};

} // namespace memreeve::bench
