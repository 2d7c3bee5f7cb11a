// SPDX-License-Identifier: MIT
// Does everything a runtime commits reach the host? Compares what the kernel says this process has got
// since it was governed with what the owners' figures say.
//
//   reach mono LIBRARY PROGRAM.EXE | coreclr PROGRAM.DLL
//   reach owners LIBRARY PROGRAM.EXE: whom Mono's memory is charged to when threads have owners
//
// Counted on the kernel's side: private writable anonymous mappings. Not counted: thread stacks, which
// are measured and not supplied (decision 25), and what the loader puts behind a library's file (its
// .bss). One line at the end: kernel, host, in bytes, and the numbers of requests.
#include "host_coreclr/dotnet.hpp"

#include <memreeve/embed.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using number = std::uint64_t;

// Where the threads' stack pointers are; a running thread's own is here. Of another that runs just now
// it cannot be told: it is counted in `running`.
std::vector<number> stack_pointers(unsigned& running) {
    std::vector<number> found{reinterpret_cast<number>(__builtin_frame_address(0))};
    DIR* tasks = opendir("/proc/self/task");
    while (const dirent* entry = tasks != nullptr ? readdir(tasks) : nullptr) {
        char path[300];
        std::snprintf(path, sizeof path, "/proc/self/task/%s/syscall", entry->d_name);
        if (std::FILE* f = std::fopen(path, "r")) {
            number sp = 0;
            if (std::fscanf(f, "%*d %*x %*x %*x %*x %*x %*x %" SCNx64, &sp) == 1) {
                found.push_back(sp);
            } else if (std::atoi(entry->d_name) > 0 && std::atoi(entry->d_name) != gettid()) {
                ++running;
            }
            std::fclose(f);
        }
    }
    if (tasks != nullptr) {
        closedir(tasks);
    }
    return found;
}

struct reading {
    number writable = 0;
    bool whole = true; // no thread but this one was running, no mapping was listed twice
};

// The kernel lists mappings some at a time: two that become one in between are listed again.
reading writable_for_the_kernel() {
    unsigned running = 0;
    const std::vector<number> stacks = stack_pointers(running);
    std::FILE* maps = std::fopen("/proc/self/maps", "r");
    char line[600];
    reading r;
    r.whole = running == 0;
    number file_end = 0, listed_to = 0;
    while (maps != nullptr && std::fgets(line, sizeof line, maps) != nullptr) {
        number begin = 0, end = 0, inode = 0;
        char access[5] = "";
        if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %" SCNu64, &begin, &end, access,
                        &inode) != 4) {
            continue;
        }
        r.whole = r.whole && begin >= listed_to;
        listed_to = end;
        bool counts = inode == 0 && access[1] == 'w' && access[3] == 'p' && begin != file_end;
        for (const number sp : stacks) {
            counts = counts && !(sp >= begin && sp < end);
        }
        file_end = inode != 0 ? end : 0;
        if (counts && std::getenv("REACH_VERBOSE") != nullptr) {
            std::fprintf(stderr, "%9" PRIu64 " %s", (end - begin) >> 10, line);
        }
        r.writable += counts ? end - begin : 0;
    }
    if (maps != nullptr) {
        std::fclose(maps);
    }
    return r;
}

mrv_host_figures figures_of(mrv_host* host) {
    mrv_host_figures f{};
    f.size = sizeof f;
    mrv_host_snapshot(host, &f);
    return f;
}

template <class Function>
Function from(void* library, const char* name) {
    void* found = dlsym(library, name);
    if (found == nullptr) {
        std::fprintf(stderr, "reach: no %s\n", name);
        std::exit(1);
    }
    return reinterpret_cast<Function>(found);
}

// The part of Mono's interface that is used, from a library that need not be there for building.
class mono {
public:
    mono(const char* path, const char* program) : library_(dlopen(path, RTLD_NOW)) {
        if (library_ == nullptr) {
            std::fprintf(stderr, "reach: %s\n", dlerror());
            std::exit(1);
        }
        domain_ = from<void* (*)(const char*)>(library_, "mono_jit_init")("reach");
        void* assembly = from<void* (*)(void*, const char*)>(library_, "mono_domain_assembly_open")(
            domain_, program);
        void* image = from<void* (*)(void*)>(library_, "mono_assembly_get_image")(assembly);
        type_ = from<void* (*)(void*, const char*, const char*)>(library_, "mono_class_from_name")(
            image, "", "Reached");
    }

    // False when an exception escaped, or what came back is not positive.
    bool call(const char* name, int argument) {
        void* method = from<void* (*)(void*, const char*, int)>(
            library_, "mono_class_get_method_from_name")(type_, name, 1);
        void* arguments[] = {&argument};
        void* escaped = nullptr;
        void* boxed = from<void* (*)(void*, void*, void**, void**)>(
            library_, "mono_runtime_invoke")(method, nullptr, arguments, &escaped);
        const auto unbox = from<void* (*)(void*)>(library_, "mono_object_unbox");
        return escaped == nullptr && *static_cast<int*>(unbox(boxed)) > 0;
    }

    void attach() { from<void* (*)(void*)>(library_, "mono_thread_attach")(domain_); }
    void detach() {
        void* me = from<void* (*)()>(library_, "mono_thread_current")();
        from<void (*)(void*)>(library_, "mono_thread_detach")(me);
    }

private:
    void* library_;
    void* domain_ = nullptr;
    void* type_ = nullptr;
};

int run_mono(const char* path, const char* program) {
    return mono(path, program).call("Hold", 100) ? 0 : 1;
}

// 60 MiB by each of three threads with an owner of its own, one after the other; then what each owner
// is charged, in KiB.
int run_owners(mrv_host* host, const char* path, const char* program) {
    mono runtime(path, program);
    bool good = true;
    for (const char* name : {"Large", "Middle", "Small"}) {
        mrv_owner_options options{};
        options.size = sizeof options;
        options.name = name;
        mrv_owner* owner = nullptr;
        good = mrv_owner_create(host, nullptr, &options, &owner) == MRV_OK && good;
        std::thread([&] {
            mrv_thread_push_owner(owner);
            runtime.attach();
            good = runtime.call(name, 60) && good;
            runtime.detach();
            mrv_thread_pop_owner();
        }).join();
        mrv_owner_figures f{};
        f.size = sizeof f;
        mrv_owner_stats(owner, &f);
        std::printf("%s %" PRIu64 " ", name, f.charged_bytes >> 10);
    }
    std::printf("\n");
    return good ? 0 : 1;
}

// Somebody else governs already: says so, and how much of 256 MiB that one grants.
int run_refused(mrv_status status) {
    int granted = 0;
    while (granted < 256 && std::malloc(1 << 20) != nullptr) {
        ++granted;
    }
    std::printf("%s, %d MiB\n", mrv_status_text(status), granted);
    return 0;
}

int run_coreclr(const char* program) {
    int (*hold)(int requests) = nullptr;
    dotnet::runtime(program).find("Reached", "HoldForHost", &hold);
    return hold(100) > 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    const bool has_owner = mrv_host_create(nullptr, &host) == MRV_OK &&
                           mrv_owner_create(host, nullptr, nullptr, &owner) == MRV_OK;
    const mrv_status governed = mrv_host_govern_process(host, owner);
    if (has_owner && argc == 2 && std::strcmp(argv[1], "refused") == 0) {
        return run_refused(governed);
    }
    if (argc < 3 || !has_owner || governed != MRV_OK) {
        std::fprintf(stderr,
                     "usage: reach mono|owners LIBRARY PROGRAM.EXE | coreclr PROGRAM.DLL\n");
        return 2;
    }
    const number kernel_before = writable_for_the_kernel().writable;
    const mrv_host_figures before = figures_of(host);
    if (std::strcmp(argv[1], "owners") == 0 && argc == 4) {
        const int owners_status = run_owners(host, argv[2], argv[3]);
        std::fflush(stdout);
        std::_Exit(owners_status);
    }
    const int status = std::strcmp(argv[1], "mono") == 0 && argc == 4 ? run_mono(argv[2], argv[3])
                                                                      : run_coreclr(argv[2]);
    // The runtime's own threads may still be at work: a picture counts when nothing has moved while
    // it was taken, and no thread was running at either end of it.
    mrv_host_figures after = figures_of(host);
    number kernel_after = 0;
    bool quiet = false;
    for (int tries = 0; tries < 600 && !quiet; ++tries) {
        usleep(100000);
        const mrv_host_figures earlier = figures_of(host);
        const reading first = writable_for_the_kernel();
        const reading second = writable_for_the_kernel();
        after = figures_of(host);
        kernel_after = second.writable;
        quiet = first.whole && second.whole && first.writable == second.writable &&
                after.charged_bytes == earlier.charged_bytes &&
                after.mapped_writable_bytes == earlier.mapped_writable_bytes;
    }
    if (!quiet) {
        std::fprintf(stderr, "reach: the runtime did not come to rest in a minute\n");
    }
    std::printf(
        "kernel %" PRIu64 " host %" PRIu64 " virtual_alloc %" PRIu64 " malloc %" PRIu64 "\n",
        kernel_after - kernel_before, after.mapped_writable_bytes - before.mapped_writable_bytes,
        after.requests[0] - before.requests[0], after.requests[4] - before.requests[4]);
    std::fflush(stdout);
    std::_Exit(status); // the runtime's threads are still there
}
