// SPDX-License-Identifier: MIT
// Does everything a runtime commits reach the host? Compares what the kernel says this process has got
// since it was governed with what the owners' figures say.
//
//   reach mono LIBRARY PROGRAM.EXE | coreclr PROGRAM.DLL
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
#include <unistd.h>
#include <vector>

namespace {

using number = std::uint64_t;

// Where the threads' stack pointers are; a running thread's own is here.
std::vector<number> stack_pointers() {
    std::vector<number> found{reinterpret_cast<number>(__builtin_frame_address(0))};
    DIR* tasks = opendir("/proc/self/task");
    while (const dirent* entry = tasks != nullptr ? readdir(tasks) : nullptr) {
        char path[300];
        std::snprintf(path, sizeof path, "/proc/self/task/%s/syscall", entry->d_name);
        if (std::FILE* f = std::fopen(path, "r")) {
            number sp = 0;
            if (std::fscanf(f, "%*d %*x %*x %*x %*x %*x %*x %" SCNx64, &sp) == 1) {
                found.push_back(sp);
            }
            std::fclose(f);
        }
    }
    if (tasks != nullptr) {
        closedir(tasks);
    }
    return found;
}

number writable_for_the_kernel() {
    const std::vector<number> stacks = stack_pointers();
    std::FILE* maps = std::fopen("/proc/self/maps", "r");
    char line[600];
    number sum = 0, file_end = 0;
    while (maps != nullptr && std::fgets(line, sizeof line, maps) != nullptr) {
        number begin = 0, end = 0, inode = 0;
        char access[5] = "";
        if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %" SCNu64, &begin, &end, access,
                        &inode) != 4) {
            continue;
        }
        bool counts = inode == 0 && access[1] == 'w' && access[3] == 'p' && begin != file_end;
        for (const number sp : stacks) {
            counts = counts && !(sp >= begin && sp < end);
        }
        file_end = inode != 0 ? end : 0;
        if (counts && std::getenv("REACH_VERBOSE") != nullptr) {
            std::fprintf(stderr, "%9" PRIu64 " %s", (end - begin) >> 10, line);
        }
        sum += counts ? end - begin : 0;
    }
    if (maps != nullptr) {
        std::fclose(maps);
    }
    return sum;
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

int run_mono(const char* path, const char* program) {
    void* mono = dlopen(path, RTLD_NOW);
    if (mono == nullptr) {
        std::fprintf(stderr, "reach: %s\n", dlerror());
        return 1;
    }
    void* domain = from<void* (*)(const char*)>(mono, "mono_jit_init")("reach");
    void* assembly =
        from<void* (*)(void*, const char*)>(mono, "mono_domain_assembly_open")(domain, program);
    void* image = from<void* (*)(void*)>(mono, "mono_assembly_get_image")(assembly);
    void* type = from<void* (*)(void*, const char*, const char*)>(mono, "mono_class_from_name")(
        image, "", "Reached");
    void* method = from<void* (*)(void*, const char*, int)>(
        mono, "mono_class_get_method_from_name")(type, "Hold", 1);
    int requests = 100;
    void* arguments[] = {&requests};
    void* escaped = nullptr;
    void* boxed = from<void* (*)(void*, void*, void**, void**)>(mono, "mono_runtime_invoke")(
        method, nullptr, arguments, &escaped);
    return escaped == nullptr &&
                   *static_cast<int*>(from<void* (*)(void*)>(mono, "mono_object_unbox")(boxed)) > 0
               ? 0
               : 1;
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
    if (argc < 3 || mrv_host_create(nullptr, &host) != MRV_OK ||
        mrv_owner_create(host, nullptr, nullptr, &owner) != MRV_OK ||
        mrv_host_govern_process(host, owner) != MRV_OK) {
        std::fprintf(stderr, "usage: reach mono LIBRARY PROGRAM.EXE | coreclr PROGRAM.DLL\n");
        return 2;
    }
    const number kernel_before = writable_for_the_kernel();
    const mrv_host_figures before = figures_of(host);
    const int status = std::strcmp(argv[1], "mono") == 0 && argc == 4 ? run_mono(argv[2], argv[3])
                                                                      : run_coreclr(argv[2]);
    // The runtime's own threads may still be at work: a picture counts when nothing has moved.
    mrv_host_figures after = figures_of(host);
    number kernel_after = 0;
    for (int tries = 0; tries < 50; ++tries) {
        const number earlier = after.charged_bytes;
        usleep(100000);
        kernel_after = writable_for_the_kernel();
        after = figures_of(host);
        if (after.charged_bytes == earlier) {
            break;
        }
    }
    std::printf(
        "kernel %" PRIu64 " host %" PRIu64 " virtual_alloc %" PRIu64 " malloc %" PRIu64 "\n",
        kernel_after - kernel_before, after.mapped_writable_bytes - before.mapped_writable_bytes,
        after.requests[0] - before.requests[0], after.requests[4] - before.requests[4]);
    std::fflush(stdout);
    std::_Exit(status); // the runtime's threads are still there
}
