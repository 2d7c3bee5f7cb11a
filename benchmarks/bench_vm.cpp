// SPDX-License-Identifier: MIT
// Cost of the four methods of virtual memory through IHostMemoryManager, accounting and budget on,
// against the system calls that do the same. Counts (system calls, mappings, bytes) are exact.
#include "bridge_cost.hpp"
#include "child.hpp"
#include "measure.hpp"

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <fcntl.h>
#include <sys/mman.h>

#include <memory>
#include <random>

namespace {

using namespace memreeve::bench;

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t small = 65536;
constexpr std::uint64_t large = std::uint64_t{16} << 20;
constexpr DWORD commit = 0x1000, reserve = 0x2000, decommit = 0x4000, release = 0x8000;

void must(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "bench_vm: %s failed\n", what);
        std::exit(2);
    }
}

struct host {
    host() {
        must(mrv_host_create(nullptr, &handle) == MRV_OK &&
                 mrv_owner_create(handle, nullptr, nullptr, &owner) == MRV_OK &&
                 mrv_owner_memory_manager(owner, &memory) == MRV_OK,
             "making a host");
    }
    host(const host&) = delete;
    host& operator=(const host&) = delete;
    ~host() {
        memory->Release();
        mrv_owner_destroy(owner);
        mrv_host_destroy(handle);
    }
    void* alloc(void* at, std::uint64_t size, DWORD type, DWORD protect = 4) const {
        void* got = nullptr;
        return memory->VirtualAlloc(at, size, type, protect, eTaskCritical, &got) == S_OK ? got
                                                                                          : nullptr;
    }
    mrv_host* handle = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* memory = nullptr;
};

void touch(void* at, unsigned pages) {
    for (unsigned i = 0; i < pages; ++i) {
        static_cast<volatile char*>(at)[i * page] = 1;
    }
}

void cycle(const host& h, unsigned touched) {
    void* p = h.alloc(nullptr, small, reserve);
    h.alloc(p, small, commit);
    touch(p, touched);
    h.memory->VirtualFree(p, small, decommit);
    h.memory->VirtualFree(p, 0, release);
}

// S0: what a caller without memreeve does.
void naked_cycle(unsigned touched) {
    void* p = mmap(nullptr, small, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    mprotect(p, small, PROT_READ | PROT_WRITE);
    touch(p, touched);
    madvise(p, small, MADV_DONTNEED);
    mprotect(p, small, PROT_NONE);
    munmap(p, small);
}

// N live regions of 64 KiB, all committed, in random order of address.
struct population {
    explicit population(unsigned n) {
        for (unsigned i = 0; i < n; ++i) {
            at.push_back(h.alloc(nullptr, small, reserve | commit));
            must(at.back() != nullptr, "VirtualAlloc");
        }
        std::shuffle(at.begin(), at.end(), std::mt19937(n));
    }
    void query(std::uint64_t operations) {
        MEMORY_BASIC_INFORMATION info;
        SIZE_T got = 0;
        for (std::uint64_t i = 0; i < operations; ++i) {
            next = next + 1 == at.size() ? 0 : next + 1;
            h.memory->VirtualQuery(at[next], &info, sizeof info, &got);
            use(info);
        }
    }
    // Each operation is one call that changes something.
    void protect(std::uint64_t operations) {
        DWORD old = 0;
        for (std::uint64_t i = 0; i + 1 < operations; i += 2) {
            next = next + 1 == at.size() ? 0 : next + 1;
            h.memory->VirtualProtect(at[next], small, 2, &old);
            h.memory->VirtualProtect(at[next], small, 4, &old);
        }
    }
    void protect_same(std::uint64_t operations) {
        DWORD old = 0;
        for (std::uint64_t i = 0; i < operations; ++i) {
            next = next + 1 == at.size() ? 0 : next + 1;
            h.memory->VirtualProtect(at[next], small, 4, &old);
        }
    }
    host h;
    std::vector<void*> at;
    std::size_t next = 0;
};

// The same shape without memreeve: one readable and writable area of N x 64 KiB.
struct raw_population {
    explicit raw_population(unsigned n) : bytes(n * small) {
        base = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        must(base != MAP_FAILED, "mmap");
        for (unsigned i = 0; i < n; ++i) {
            at.push_back(base + i * small);
        }
        std::shuffle(at.begin(), at.end(), std::mt19937(n));
    }
    raw_population(const raw_population&) = delete;
    raw_population& operator=(const raw_population&) = delete;
    ~raw_population() { munmap(base, bytes); }
    void protect(std::uint64_t operations) {
        for (std::uint64_t i = 0; i + 1 < operations; i += 2) {
            next = next + 1 == at.size() ? 0 : next + 1;
            mprotect(at[next], small, PROT_READ);
            mprotect(at[next], small, PROT_READ | PROT_WRITE);
        }
    }
    std::uint64_t bytes;
    char* base = nullptr;
    std::vector<char*> at;
    std::size_t next = 0;
};

long mappings() {
    const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    long lines = 0;
    char buffer[65536];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) > 0;) {
        lines += std::count(buffer, buffer + n, '\n');
    }
    close(fd);
    return lines;
}

std::uint64_t resident_bytes() {
    char buffer[128] = {};
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    must(read(fd, buffer, sizeof buffer - 1) > 0, "reading statm");
    close(fd);
    unsigned long long size = 0, resident = 0;
    must(std::sscanf(buffer, "%llu %llu", &size, &resident) == 2, "parsing statm");
    return resident * page;
}

// Growth of the resident set, which is memreeve's records: the regions themselves are not touched.
template <class F>
double bytes_each(unsigned count, F&& make) {
    host h;
    for (unsigned i = 0; i < 16; ++i) {
        make(h);
    }
    const std::uint64_t before = resident_bytes();
    for (unsigned i = 0; i < count; ++i) {
        make(h);
    }
    return static_cast<double>(resident_bytes() - before) / count;
}

void measure_times(report& out, unsigned rounds) {
    race r;
    host plain;
    const auto empty = r.add("getppid", [](std::uint64_t n) {
        while (n-- != 0) {
            use(syscall(SYS_getppid));
        }
    });
    std::size_t ours[3];
    std::size_t naked[3];
    constexpr unsigned touched[3] = {0, 1, 16};
    for (unsigned i = 0; i < 3; ++i) {
        const unsigned t = touched[i];
        ours[i] = r.add("cycle, touched " + std::to_string(t), [&plain, t](std::uint64_t n) {
            while (n-- != 0) {
                cycle(plain, t);
            }
        });
        naked[i] = r.add("S0, touched " + std::to_string(t), [t](std::uint64_t n) {
            while (n-- != 0) {
                naked_cycle(t);
            }
        });
    }
    constexpr unsigned counts[4] = {10, 1000, 10000, 50000};
    std::unique_ptr<population> live[4];
    std::size_t query[4];
    for (unsigned i = 0; i < 4; ++i) {
        live[i] = std::make_unique<population>(counts[i]);
        query[i] = r.add("query, " + std::to_string(counts[i]),
                         [p = live[i].get()](std::uint64_t n) { p->query(n); });
    }
    raw_population raw10(10);
    raw_population raw50k(50000);
    const auto change10 = r.add("protect, 10", [&](std::uint64_t n) { live[0]->protect(n); });
    const auto raw_change10 = r.add("mprotect, 10", [&](std::uint64_t n) { raw10.protect(n); });
    const auto change50k = r.add("protect, 50000", [&](std::uint64_t n) { live[3]->protect(n); });
    const auto raw_change50k =
        r.add("mprotect, 50000", [&](std::uint64_t n) { raw50k.protect(n); });
    const auto same =
        r.add("protect, unchanged", [&](std::uint64_t n) { live[1]->protect_same(n); });
    r.run(rounds);
    r.print(stdout);

    constexpr const char* cycles[3] = {"vm_cycle_64k_touch0", "vm_cycle_64k_touch1",
                                       "vm_cycle_64k_touch16"};
    constexpr double cycle_goals[3] = {0.45, 0.65, 0.50};
    for (unsigned i = 0; i < 3; ++i) {
        out.value(cycles[i], r.ratio(ours[i], naked[i]), "ratio", "naked S0", rounds,
                  cycle_goals[i]);
    }
    constexpr const char* queries[4] = {"vm_query_10", "vm_query_1k", "vm_query_10k",
                                        "vm_query_50k"};
    for (unsigned i = 0; i < 4; ++i) {
        out.value(queries[i], r.ratio(query[i], empty), "ratio", "getppid", rounds,
                  i == 3 ? 0.25 : 0.12);
    }
    out.value("vm_protect_change_10", r.ratio(change10, raw_change10), "ratio", "raw mprotect",
              rounds, 1.10);
    out.value("vm_protect_change_50k", r.ratio(change50k, raw_change50k), "ratio", "raw mprotect",
              rounds, 1.10);
    out.value("vm_protect_same", r.ratio(same, empty), "ratio", "getppid", rounds, 0.15);
}

void measure_counts(report& out) {
    const long calls = count_syscalls([] {
        host h;
        cycle(h, 0); // makes the arena
        count_mark();
        cycle(h, 0);
        count_mark();
    });
    if (calls < 0) {
        out.skipped("vm_cycle_64k_syscalls", "ptrace is refused here");
    } else {
        out.value("vm_cycle_64k_syscalls", static_cast<double>(calls), "system calls", "S0 makes 5",
                  1, 2);
    }

    constexpr unsigned regions = 20000;
    out.value("vm_bytes_per_64k_region",
              bytes_each(regions,
                         [](const host& h) {
                             must(h.alloc(nullptr, small, reserve) != nullptr, "VirtualAlloc");
                         }),
              "bytes", "resident set", 1, 64);
    out.value("vm_bytes_per_16m_region",
              bytes_each(2000,
                         [](const host& h) {
                             must(h.alloc(nullptr, large, reserve) != nullptr, "VirtualAlloc");
                         }),
              "bytes", "resident set", 1);
    // Every second page committed behind a guard: inaccessible like its neighbours, so that the
    // kernel's map stays small and only memreeve's records grow.
    out.value("vm_bytes_per_16m_mixed",
              bytes_each(24,
                         [](const host& h) {
                             auto* p = static_cast<char*>(h.alloc(nullptr, large, reserve));
                             must(p != nullptr, "VirtualAlloc");
                             for (std::uint64_t at = 0; at < large; at += 2 * page) {
                                 must(h.alloc(p + at, page, commit, 0x104) != nullptr,
                                      "VirtualAlloc");
                             }
                         }),
              "bytes", "resident set", 1, 0.5 * static_cast<double>(large / page));

    const long before = mappings();
    std::string reference = "regions, every second committed";
    {
        host h;
        unsigned made = 0;
        for (; made < 1000000; ++made) {
            if (h.alloc(nullptr, small, made % 2 == 0 ? reserve : reserve | commit) == nullptr) {
                reference = "refused after " + std::to_string(made) +
                            " regions: the system's mapping limit";
                break;
            }
        }
        out.value("vm_vmas_1m_regions", static_cast<double>(mappings() - before), "mappings",
                  reference.c_str(), 1, 1000);
    }
}

void measure_start(report& out, unsigned rounds) {
    std::vector<double> ratios;
    for (unsigned r = 0; r < 4 * rounds; ++r) {
        const double empty = process_cpu_ns("--start-nothing");
        const double with = process_cpu_ns("--start-host");
        if (empty <= 0 || with <= 0) {
            out.skipped("startup", "cannot run a copy of this program");
            return;
        }
        ratios.push_back(with / empty);
    }
    out.value("startup", median(ratios), "ratio", "empty process", 4 * rounds, 1.03);
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

} // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--start-nothing") == 0) {
        _exit(0);
    }
    if (argc == 2 && std::strcmp(argv[1], "--start-host") == 0) {
        mrv_host* h = nullptr;
        mrv_owner* owner = nullptr;
        IHostMemoryManager* memory = nullptr;
        const bool made = mrv_host_create(nullptr, &h) == MRV_OK &&
                          mrv_owner_create(h, nullptr, nullptr, &owner) == MRV_OK &&
                          mrv_owner_memory_manager(owner, &memory) == MRV_OK;
        _exit(made ? 0 : 1);
    }
    const arguments a = arguments::parse(argc, argv,
                                         "Cost of VirtualAlloc, VirtualFree, VirtualProtect and "
                                         "VirtualQuery, and of `memreeve run`.");
    report out(a.json, a.only);
    // Before this process is large: what it starts inherits its peak (execve(2)).
    measure_bridge(out, a.rounds);
    if (out.wants({"startup"})) {
        measure_start(out, a.rounds);
    }
    if (!out.wants({"vm_"})) {
        return 0;
    }
    measure_counts(out);
    measure_times(out, a.rounds);
    for (const char* metric : {"vm_cycle_relaxed_touch0", "vm_cycle_relaxed_touch16"}) {
        out.skipped(metric, "relaxed faulting is not built yet");
    }
    return 0;
}
