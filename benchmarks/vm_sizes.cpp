// SPDX-License-Identifier: MIT
// What regions cost: bytes of memreeve's records, mappings of the kernel. Counts are exact.
#include "vm_host.hpp"
#include "vm_rows.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace memreeve::bench {

namespace {

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
double bytes_each(host_kind kind, unsigned count, F&& make) {
    host h(kind);
    for (unsigned i = 0; i < 16; ++i) {
        make(h);
    }
    const std::uint64_t before = resident_bytes();
    for (unsigned i = 0; i < count; ++i) {
        make(h);
    }
    return static_cast<double>(resident_bytes() - before) / count;
}

void measure_bytes(report& out, host_kind kind, const std::string& suffix) {
    out.value(("vm_bytes_per_64k_region" + suffix).c_str(),
              bytes_each(kind, 20000,
                         [](const host& h) {
                             must(h.alloc(nullptr, small, reserve) != nullptr, "VirtualAlloc");
                         }),
              "bytes", "resident set", 1, 64);
    out.value(("vm_bytes_per_16m_region" + suffix).c_str(),
              bytes_each(kind, 2000,
                         [](const host& h) {
                             must(h.alloc(nullptr, large, reserve) != nullptr, "VirtualAlloc");
                         }),
              "bytes", "resident set", 1, 256);
    // Every second page committed behind a guard: inaccessible like its neighbours, so that the
    // kernel's map stays small and only memreeve's records grow.
    out.value(("vm_bytes_per_16m_mixed" + suffix).c_str(),
              bytes_each(kind, 24,
                         [](const host& h) {
                             auto* p = static_cast<char*>(h.alloc(nullptr, large, reserve));
                             must(p != nullptr, "VirtualAlloc");
                             for (std::uint64_t at = 0; at < large; at += 2 * page) {
                                 must(h.alloc(p + at, page, commit, guarded) != nullptr,
                                      "VirtualAlloc");
                             }
                         }),
              "bytes", "resident set", 1, 0.5 * static_cast<double>(large / page));
}

void measure_a_million(report& out) {
    const long before = mappings();
    std::string reference = "regions, every second committed";
    host h;
    for (unsigned made = 0; made < 1000000; ++made) {
        if (h.alloc(nullptr, small, made % 2 == 0 ? reserve : reserve | commit) == nullptr) {
            reference =
                "refused after " + std::to_string(made) + " regions: the system's mapping limit";
            break;
        }
    }
    out.value("vm_vmas_1m_regions", static_cast<double>(mappings() - before), "mappings",
              reference.c_str(), 1, 1000);
}

// Without guards a committed run among reserved pages is a mapping of its own.
void measure_fallback_mappings(report& out) {
    constexpr unsigned regions = 20000;
    const long before = mappings();
    host h(host_kind::no_guard);
    for (unsigned i = 0; i < regions; ++i) {
        must(h.alloc(nullptr, small, i % 2 == 0 ? reserve : reserve | commit) != nullptr,
             "VirtualAlloc");
    }
    const double each = static_cast<double>(mappings() - before) / (regions / 2);
    out.value("vm_vmas_1m_regions_noguard", each, "mappings a run",
              "20000 regions, every second committed", 1, 1);
}

} // namespace

void measure_sizes(report& out) {
    if (out.wants({"vm_bytes_"})) {
        measure_bytes(out, host_kind::plain, "");
    }
    if (out.wants({"vm_vmas_1m_regions"})) {
        measure_a_million(out);
    }
    if (host::exists(host_kind::no_guard)) {
        if (out.wants({"vm_bytes_"})) {
            measure_bytes(out, host_kind::no_guard, "_noguard");
        }
        if (out.wants({"vm_vmas_1m_regions_noguard"})) {
            measure_fallback_mappings(out);
        }
        return;
    }
    for (const char* metric : {"vm_bytes_per_64k_region_noguard", "vm_bytes_per_16m_region_noguard",
                               "vm_bytes_per_16m_mixed_noguard", "vm_vmas_1m_regions_noguard"}) {
        out.skipped(metric, "a host cannot do without guards on request");
    }
}

} // namespace memreeve::bench
