// SPDX-License-Identifier: MIT
// What a process pays for having memreeve: CPU time from the first to the last initialising
// instruction (decision 22), beside it the loader's share, and exact counts of system calls.
#include "child.hpp"
#include "vm_host.hpp"
#include "vm_rows.hpp"

#include <dlfcn.h>

namespace memreeve::bench {

namespace {

double process_cpu_now() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// The library lies beside this program's folder: build/.../lib.
std::string library() {
    char path[4096] = {};
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    const std::string program(path, n > 0 ? static_cast<std::size_t>(n) : 0);
    const std::string folder = program.substr(0, program.rfind('/'));
    return folder.substr(0, folder.rfind('/')) + "/lib/libmemreeve.so";
}

long threads_of_this_process() {
    char text[4096] = {};
    FILE* const f = std::fopen("/proc/self/status", "r");
    const std::size_t n = f != nullptr ? std::fread(text, 1, sizeof text - 1, f) : 0;
    if (f != nullptr) {
        std::fclose(f);
    }
    const char* const at = n != 0 ? std::strstr(text, "Threads:") : nullptr;
    return at != nullptr ? std::atol(at + 8) : -1;
}

} // namespace

int run_as_started(const char* argument) {
    if (std::strcmp(argument, "--start-nothing") == 0) {
        return 0;
    }
    if (std::strcmp(argument, "--start-host") == 0) {
        const double before = process_cpu_now();
        mrv_host* h = nullptr;
        mrv_owner* owner = nullptr;
        IHostMemoryManager* memory = nullptr;
        const bool made = mrv_host_create(nullptr, &h) == MRV_OK &&
                          mrv_owner_create(h, nullptr, nullptr, &owner) == MRV_OK &&
                          mrv_owner_memory_manager(owner, &memory) == MRV_OK;
        const double spent = process_cpu_now() - before;
        std::printf("%.0f %ld\n", spent, threads_of_this_process());
        std::fflush(stdout);
        return made ? 0 : 1;
    }
    if (std::strcmp(argument, "--start-library") == 0) {
        const double before = process_cpu_now();
        void* const loaded = dlopen(library().c_str(), RTLD_NOW);
        std::printf("%.0f\n", process_cpu_now() - before);
        std::fflush(stdout);
        return loaded != nullptr ? 0 : 1;
    }
    return -1;
}

void measure_start(report& out, unsigned rounds) {
    if (!out.wants({"startup"})) {
        return;
    }
    std::vector<double> ratios;
    std::vector<double> loader;
    long threads = 0;
    for (unsigned r = 0; r < 4 * rounds; ++r) {
        const double empty = process_cpu_ns("--start-nothing");
        const std::string with = process_output("--start-host");
        const std::string loaded = process_output("--start-library");
        if (empty <= 0 || with.empty()) {
            out.skipped("startup", "cannot run a copy of this program");
            return;
        }
        double spent = 0;
        must(std::sscanf(with.c_str(), "%lf %ld", &spent, &threads) == 2, "reading a figure");
        ratios.push_back(1 + spent / empty);
        if (!loaded.empty()) {
            loader.push_back(1 + std::atof(loaded.c_str()) / empty);
        }
    }
    out.value("startup", median(ratios), "ratio", "empty process; memreeve's own work", 4 * rounds,
              1.03);
    if (loader.empty()) {
        out.skipped("startup_loader", "libmemreeve.so is not beside this program");
    } else {
        out.value("startup_loader", median(loader), "ratio",
                  "empty process; the loader's for libmemreeve.so", 4 * rounds);
    }
    out.value("startup_threads", static_cast<double>(threads - 1), "threads",
              "started by host, owner, manager", 1, 0);
    const long calls = count_syscalls([] {
        count_mark();
        host h;
        count_mark();
        _exit(0);
    });
    if (calls < 0) {
        out.skipped("startup_syscalls", "ptrace is refused here");
    } else {
        out.value("startup_syscalls", static_cast<double>(calls), "system calls",
                  "host, owner, manager", 1, 8);
    }
}

} // namespace memreeve::bench
