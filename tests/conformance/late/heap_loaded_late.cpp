// SPDX-License-Identifier: MIT
// libmemreeve.so in a program that knows nothing of it but its path: loaded, used by two threads and
// closed a thousand times, which leaves nothing behind; then closed while a heap of it lives, which
// goes on working, in a thread's last destructors too, because the library never leaves the process.
//   heap_loaded_late PATH
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <thread>
#include <unistd.h>

namespace {

[[noreturn]] void fail(const char* what) {
    std::printf("failed: %s\n", what);
    std::exit(1);
}
void require(bool holds, const char* what) {
    if (!holds) {
        fail(what);
    }
}

struct library {
    void* handle;
    decltype(&mrv_host_create) create_host;
    decltype(&mrv_host_destroy) destroy_host;
    decltype(&mrv_owner_create) create_owner;
    decltype(&mrv_owner_memory_manager) memory_manager;

    explicit library(const char* path) : handle(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        if (handle == nullptr) {
            fail(dlerror());
        }
        find(create_host, "mrv_host_create");
        find(destroy_host, "mrv_host_destroy");
        find(create_owner, "mrv_owner_create");
        find(memory_manager, "mrv_owner_memory_manager");
    }
    template <class F>
    void find(F& f, const char* name) {
        void* const symbol = dlsym(handle, name);
        require(symbol != nullptr, name);
        std::memcpy(&f, &symbol, sizeof f);
    }
};

struct heap_of_host {
    mrv_host* host = nullptr;
    IHostMemoryManager* memory = nullptr;
    IHostMalloc* heap = nullptr;

    void open(library& l) {
        mrv_owner* owner = nullptr;
        require(l.create_host(nullptr, &host) == MRV_OK, "mrv_host_create");
        require(l.create_owner(host, nullptr, nullptr, &owner) == MRV_OK, "mrv_owner_create");
        require(l.memory_manager(owner, &memory) == MRV_OK, "mrv_owner_memory_manager");
        require(memory->CreateMalloc(MALLOC_THREADSAFE, &heap) == S_OK, "CreateMalloc");
    }
    void close(library& l) {
        require(heap->Release() == 0, "the heap's last reference");
        memory->Release();
        require(l.destroy_host(host) == MRV_OK, "mrv_host_destroy");
    }
    void* get(std::size_t size) {
        void* block = nullptr;
        require(heap->Alloc(size, eTaskCritical, &block) == S_OK, "Alloc");
        std::memset(block, 0x5a, size);
        return block;
    }
    void end(void* block) { require(heap->Free(block) == S_OK, "Free"); }
    void work() {
        void* blocks[50];
        for (std::size_t i = 0; i < 50; ++i) {
            blocks[i] = get(i % 10 == 0 ? 50000 : 24 * i + 1);
        }
        for (void* const block : blocks) {
            end(block);
            require(heap->Free(block) == HOST_E_INVALIDOPERATION, "Free again");
        }
    }
};

// Anonymous memory that is there.
long anonymous_kib() {
    char text[4096];
    const int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char* at = std::strstr(text, "\nAnonymous:");
    return at != nullptr ? std::strtol(at + 11, nullptr, 10) : 0;
}
unsigned mappings() {
    unsigned lines = 0;
    std::FILE* f = std::fopen("/proc/self/maps", "re");
    for (int c = 0; (c = std::getc(f)) != EOF;) {
        lines += c == '\n' ? 1 : 0;
    }
    std::fclose(f);
    return lines;
}

heap_of_host outlives;
void at_threads_end(void* block) {
    outlives.end(block);
    outlives.work();
}

} // namespace

int main(int argc, char** argv) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    std::puts("skipped: a library with a sanitizer wants its run-time in the program");
    return 77;
#endif
    require(argc == 2, "usage: heap_loaded_late PATH");
    constexpr unsigned rounds = 1000;
    long before = 0;
    unsigned lines = 0;
    for (unsigned i = 0; i < rounds; ++i) {
        library l(argv[1]);
        heap_of_host h;
        h.open(l);
        void* const left = h.get(100);
        std::thread([&] {
            h.end(left);
            h.work();
        }).join();
        h.work();
        static_cast<void>(h.get(5000)); // lives when the heap ends
        h.close(l);
        dlclose(l.handle);
        if (i == rounds / 2) {
            before = anonymous_kib();
            lines = mappings();
        }
    }
    const long growth = anonymous_kib() - before;
    std::printf("growth %ld KiB, mappings %u, then %u\n", growth, lines, mappings());
    require(growth <= 64, "memory is left behind");
    require(mappings() <= lines + 2, "mappings are left behind");

    library l(argv[1]);
    outlives.open(l);
    pthread_key_t key;
    require(pthread_key_create(&key, at_threads_end) == 0, "pthread_key_create");
    void* const held = outlives.get(1000);
    std::thread([&] {
        pthread_setspecific(key, outlives.get(77));
        dlclose(l.handle);
        outlives.work();
    }).join();
    outlives.end(held);
    outlives.work();
    outlives.close(l);
    std::puts("good");
    return 0;
}
