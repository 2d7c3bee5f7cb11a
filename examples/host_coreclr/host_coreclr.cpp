// SPDX-License-Identifier: MIT
// A program that embeds .NET and owns its memory: every mmap and malloc of libcoreclr becomes a request
// to an mrv_host. One owner; when it gets short of memory its memory manager tells a callback, which
// wakes a thread that has .NET collect; when its limit changes, .NET is told the new one.
//
//   host_coreclr TENANT.DLL        (beside it: its .runtimeconfig.json)
#include "dotnet.hpp"

#include <memreeve/embed.h>
#include <memreeve/host_interfaces.h>

#include <cinttypes>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

namespace {

constexpr std::uint64_t mib = 1 << 20;

void check(mrv_status status, const char* what) {
    if (status != MRV_OK) {
        dotnet::fail(std::string(what) + ": " + mrv_status_text(status));
    }
}

// The managed functions (tenant.cs).
struct managed {
    int (*leak)(int requests) = nullptr;
    void (*collect)() = nullptr;
    int (*refresh)(std::uint64_t bytes) = nullptr;

    explicit managed(const char* assembly) {
        const dotnet::runtime net(assembly);
        net.find("Tenant", "Leak", &leak);
        net.find("Tenant", "Collect", &collect);
        net.find("Tenant", "Refresh", &refresh);
    }
};

mrv_owner_figures figures_of(mrv_owner* owner) {
    mrv_owner_figures f{};
    f.size = sizeof f;
    check(mrv_owner_stats(owner, &f), "mrv_owner_stats");
    return f;
}

std::uint64_t sum(const std::uint64_t (&three)[3]) { return three[0] + three[1] + three[2]; }

// The callback that a CLR would register, and the thread that collects when it was called: news comes
// while .NET may hold locks of its own, so nothing is asked of it there.
class collector final : public ICLRMemoryNotificationCallback {
public:
    collector(mrv_owner* watched, void (*collect)()) : watched_(watched), collect_(collect) {}

    // On memreeve's notifier thread.
    HRESULT OnMemoryNotification(EMemoryAvailable available) override {
        if (available == eMemoryAvailableLow) {
            const std::lock_guard<std::mutex> hold(mutex_);
            if (told_low_++ == 0) {
                refusals_before_ = sum(figures_of(watched_).refusals);
            }
            is_wanted_ = true;
            wake_.notify_one();
        }
        return S_OK;
    }

    void run() {
        while (is_wanted()) {
            const std::uint64_t before = figures_of(watched_).charged_bytes;
            collect_();
            const std::uint64_t after = figures_of(watched_).charged_bytes;
            ++collections_;
            given_back_ += before > after ? before - after : 0;
        }
    }

    void end() {
        const std::lock_guard<std::mutex> hold(mutex_);
        is_over_ = true;
        wake_.notify_one();
    }

    void print() const {
        std::printf("told low %u times, first after %" PRIu64
                    " refusals; collected %u times, %" PRIu64 " MiB given back\n",
                    told_low_, refusals_before_, collections_, given_back_ / mib);
    }

    // It lives as long as the program does.
    ULONG AddRef() override { return 1; }
    ULONG Release() override { return 1; }
    HRESULT QueryInterface(REFIID iid, void** out) override {
        const bool known =
            std::memcmp(&iid, &MRV_IID_IUnknown, sizeof iid) == 0 ||
            std::memcmp(&iid, &MRV_IID_ICLRMemoryNotificationCallback, sizeof iid) == 0;
        *out = known ? this : nullptr;
        return known ? S_OK : E_NOINTERFACE;
    }

private:
    bool is_wanted() {
        std::unique_lock<std::mutex> hold(mutex_);
        wake_.wait(hold, [this] { return is_wanted_ || is_over_; });
        is_wanted_ = false;
        return !is_over_;
    }

    mrv_owner* watched_;
    void (*collect_)();
    std::mutex mutex_;
    std::condition_variable wake_;
    bool is_wanted_ = false;
    bool is_over_ = false;
    unsigned told_low_ = 0;
    std::uint64_t refusals_before_ = 0;
    unsigned collections_ = 0;
    std::uint64_t given_back_ = 0;
};

mrv_owner_options limits_of(std::uint64_t limit) {
    mrv_owner_options options{};
    options.size = sizeof options;
    options.name = "coreclr";
    options.hard_limit_bytes = limit;
    options.reserve_bytes = limit / 8; // for small requests, whose refusal is worse
    return options;
}

bool leak(const managed& tenant, mrv_owner* owner, const char* when) {
    const std::uint64_t before = sum(figures_of(owner).refusals);
    const int held = tenant.leak(50);
    std::printf("%s: OutOfMemoryException caught with %d MiB held after %" PRIu64 " refusals, %s\n",
                when, std::abs(held), sum(figures_of(owner).refusals) - before,
                held > 0 ? "worked on" : "did not work on");
    return held > 0;
}

void print_table(mrv_owner* owner) {
    const mrv_owner_figures f = figures_of(owner);
    std::printf("%-8s %9s %9s %9s %9s %9s %9s %8s %4s\n", "KiB", "reserved", "committed", "heap",
                "mapped", "charged", "peak", "refusals", "told");
    std::printf("%-8s", f.name);
    for (const std::uint64_t b : {f.reserved_bytes, f.committed_bytes, f.heap_bytes, f.mapped_bytes,
                                  f.charged_bytes, f.peak_charged_bytes}) {
        std::printf(" %9" PRIu64, b >> 10);
    }
    std::printf(" %8" PRIu64 " %4" PRIu64 "\n", sum(f.refusals), sum(f.notifications));
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: host_coreclr TENANT.DLL\n");
        return 2;
    }
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    mrv_owner_options limits = limits_of(256 * mib);
    check(mrv_host_create(nullptr, &host), "mrv_host_create");
    check(mrv_owner_create(host, nullptr, &limits, &owner), "mrv_owner_create");
    // Before .NET is even loaded.
    check(mrv_host_govern_process(host, owner), "mrv_host_govern_process");

    const managed tenant(argv[1]);
    collector collects(owner, tenant.collect);
    IHostMemoryManager* memory = nullptr;
    check(mrv_owner_memory_manager(owner, &memory), "mrv_owner_memory_manager");
    if (memory->RegisterMemoryNotificationCallback(&collects) != S_OK) {
        dotnet::fail("no notifications");
    }
    std::thread collecting(&collector::run, &collects);

    bool good = leak(tenant, owner, "limit 256 MiB");

    // Less from now on. .NET gives back first, since the host refuses everything above a limit; then
    // both know it, so that it does not come to refusals.
    tenant.collect();
    limits = limits_of(160 * mib);
    check(mrv_owner_set_limits(owner, &limits), "mrv_owner_set_limits");
    const bool told = tenant.refresh(96 * mib) == 0;
    std::printf("limit 160 MiB: .NET was told a heap limit of 96 MiB%s\n", told ? "" : ", in vain");
    good = leak(tenant, owner, "limit 160 MiB") && told && good;

    memory->RegisterMemoryNotificationCallback(nullptr);
    memory->Release();
    collects.end();
    collecting.join();
    collects.print();
    print_table(owner);
    return good ? 0 : 1;
}
