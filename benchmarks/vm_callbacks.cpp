// SPDX-License-Identifier: MIT
// From the request that crosses a watermark to the call that says so, against an eventfd's write and
// poll between two threads in the same loop.
#include "vm_host.hpp"
#include "vm_rows.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace memreeve::bench {

namespace {

constexpr std::uint64_t limit = std::uint64_t{64} << 20;
// Committed before, and what then crosses 90 per cent: little, because what a large commit costs
// before it is charged is no notification.
constexpr std::uint64_t below_low = limit / 1000 * 898 / small * small;
constexpr std::uint64_t over_low = 4 * small;
constexpr timespec until_asleep{0, 300'000};

double wall() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

void wait_for(const std::atomic<double>& stamp) {
    for (int i = 0; stamp.load() <= 0; ++i) {
        must(i < 20'000, "waiting for a call");
        if (i > 100) {
            constexpr timespec a_moment{0, 100'000};
            nanosleep(&a_moment, nullptr);
        }
    }
}

// A thread that polls an eventfd and says when it woke.
struct waiter {
    waiter() : fd(eventfd(0, EFD_CLOEXEC)), thread([this] { run(); }) {}
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;
    ~waiter() {
        ends = true;
        wake();
        thread.join();
        close(fd);
    }
    void wake() const {
        const std::uint64_t one = 1;
        must(write(fd, &one, sizeof one) == sizeof one, "writing an eventfd");
    }
    void run() {
        for (pollfd p{fd, POLLIN, 0}; poll(&p, 1, -1) == 1;) {
            const double now = wall();
            std::uint64_t count = 0;
            must(read(fd, &count, sizeof count) == sizeof count, "reading an eventfd");
            if (ends) {
                return;
            }
            woke = now;
        }
    }
    int fd;
    std::atomic<bool> ends{false};
    std::atomic<double> woke{0};
    std::thread thread;
};

struct listener {
    std::atomic<double> low_at{0};
    std::atomic<unsigned> lows{0};

    static void told(void* context, const mrv_pressure_event* event) {
        const double now = wall();
        auto& me = *static_cast<listener*>(context);
        if (event->availability == eMemoryAvailableLow) {
            me.lows.fetch_add(1);
            me.low_at = now;
        }
    }
    static void ignored(void*, const mrv_pressure_event*) {}
};

mrv_host_options limited() {
    mrv_host_options o{};
    o.size = sizeof o;
    o.limit_bytes = limit;
    o.reserve_bytes = MRV_NO_RESERVE;
    o.pressure_source = MRV_PRESSURE_BUDGET;
    return o;
}

// The share of edges that a native watch has been told when the request that makes one returns.
void measure_same_thread(report& out) {
    constexpr unsigned edges = 1000;
    constexpr std::uint64_t enough =
        below_low / 10 / small * small; // to leave low: below 85 per cent
    host h(limited());
    auto* const base = static_cast<char*>(h.alloc(nullptr, limit, reserve));
    must(base != nullptr && h.alloc(base, below_low, commit) != nullptr, "committing");
    listener heard;
    mrv_subscription* s = nullptr;
    must(mrv_host_watch(h.handle, nullptr, &listener::told, &heard, &s) == MRV_OK, "watching");
    unsigned in_time = 0;
    for (unsigned i = 1; i <= edges; ++i) {
        must(h.alloc(base + below_low, over_low, commit) != nullptr, "committing");
        in_time += heard.lows == i ? 1u : 0u;
        must(h.memory->VirtualFree(base + below_low, over_low, decommit) == S_OK &&
                 h.memory->VirtualFree(base, enough, decommit) == S_OK &&
                 h.alloc(base, enough, commit) != nullptr,
             "decommitting");
    }
    mrv_host_unsubscribe(s);
    const std::string reference = "of " + std::to_string(edges) +
                                  " edges told before the request returned; " +
                                  std::to_string(heard.lows) + " told in all";
    out.value("budget_callback_same_thread", static_cast<double>(in_time) / edges, "share",
              reference.c_str(), edges, 1);
}

} // namespace

void measure_callbacks(report& out, unsigned rounds) {
    if (!out.wants({"budget_callback_"})) {
        return;
    }
    measure_same_thread(out);
    host h(limited());
    auto* const base = static_cast<char*>(h.alloc(nullptr, limit, reserve));
    must(base != nullptr && h.alloc(base, below_low, commit) != nullptr, "committing");
    char* const top = base + below_low;
    mrv_subscription* keeps_the_thread = nullptr;
    must(mrv_host_subscribe(h.handle, &listener::ignored, nullptr, &keeps_the_thread) == MRV_OK,
         "subscribing");
    waiter raw;
    std::vector<double> ours;
    std::vector<double> theirs;
    unsigned wrong = 0;
    const unsigned edges = 20 * rounds;
    for (unsigned i = 0; i < edges; ++i) {
        // A new subscriber has no hysteresis behind it: the next crossing is told at once.
        listener heard;
        mrv_subscription* s = nullptr;
        must(mrv_host_subscribe(h.handle, &listener::told, &heard, &s) == MRV_OK, "subscribing");
        nanosleep(&until_asleep, nullptr);
        const double before = wall();
        must(h.alloc(top, over_low, commit) != nullptr, "committing");
        wait_for(heard.low_at);
        ours.push_back(heard.low_at - before);
        nanosleep(&until_asleep, nullptr);
        mrv_host_unsubscribe(s);
        wrong += heard.lows != 1 ? 1u : 0u;
        must(h.memory->VirtualFree(top, over_low, decommit) == S_OK, "decommitting");

        raw.woke = 0;
        nanosleep(&until_asleep, nullptr);
        const double written = wall();
        raw.wake();
        wait_for(raw.woke);
        theirs.push_back(raw.woke - written);
    }
    mrv_host_unsubscribe(keeps_the_thread);
    std::fprintf(stdout, "# crossing to call %.0f ns, eventfd %.0f ns, %u of %u edges wrong\n",
                 median(ours), median(theirs), wrong, edges);
    const std::string reference = "eventfd, p50 of " + std::to_string(edges) + " edges, " +
                                  std::to_string(wrong) + " missed or told twice";
    out.value("budget_callback_other_thread", median(ours) / median(theirs), "ratio",
              reference.c_str(), edges, 1.2);
}

} // namespace memreeve::bench
