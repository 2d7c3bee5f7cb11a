// SPDX-License-Identifier: MIT
// Threads that commit, decommit, protect, query, reserve and release next to each other: granules of
// one arena, and pages, groups of pages and granules of one reservation dealt out in turn. Each thread
// knows exactly what its own pages are, and every answer is compared with that; bystanders ask about
// everything and look for nonsense. MEMREEVE_LONG: a minute.
#include "differential/twin.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

namespace memreeve::differential {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr unsigned short_run = 4;
#else
constexpr unsigned short_run = 8;
#endif
std::chrono::seconds duration() {
    return std::chrono::seconds(std::getenv("MEMREEVE_LONG") != nullptr ? 60 : short_run);
}

constexpr std::uint64_t page = page_model::page;
constexpr unsigned workers = 4, bystanders = 2;
constexpr unsigned shared_pages = 1024;                    // 4 MiB across a boundary of 2 MiB
constexpr unsigned deals[] = {1, 3, 16, 40};               // pages in a row that are one thread's
constexpr unsigned regions = sizeof deals / sizeof *deals; // one shared reservation each

// A shared reservation, of which thread `t` has every workers-th run of `deal` pages.
struct shared_region {
    std::uint64_t base = 0;
    unsigned deal = 1;
    unsigned owner(unsigned n) const { return n / deal % workers; }
};

class worker {
public:
    worker(test_host& h, const std::array<shared_region, regions>& shared, unsigned which,
           std::uint64_t seed)
        : h_(h), shared_(shared), which_(which), random_(seed + which) {
        for (auto& region : pages_) {
            region.resize(shared_pages);
        }
    }

    std::uint64_t done = 0;
    std::string what;

    void run(const std::atomic<bool>& stop) {
        while (!stop.load(std::memory_order_relaxed) && what.empty()) {
            what = random_() % 5 == 0 ? private_life() : shared_step();
            ++done;
        }
        for (unsigned r = 0; r < regions && what.empty(); ++r) {
            for (unsigned n = 0; n < shared_pages && what.empty(); ++n) {
                if (shared_[r].owner(n) == which_) {
                    what = look(shared_[r].base + n * page, pages_[r][n]);
                }
            }
        }
    }

private:
    struct own_page {
        std::uint32_t protect = 0; // 0: reserved
        std::uint64_t word = 0;    // at the page's beginning
    };
    static constexpr std::uint32_t protections[] = {1, 2, 4, 4, 4, 0x20, 0x40, 0x104};

    std::uint64_t up_to(std::uint64_t n) { return random_() % n; }
    std::uint32_t any_protection() { return protections[up_to(8)]; }
    static void* pointer(std::uint64_t a) { return reinterpret_cast<void*>(a); }
    static unsigned access_of(std::uint32_t protect) {
        return protect == 2 ? 1 : protect == 4 ? 3 : protect == 0x20 ? 5 : protect == 0x40 ? 7 : 0;
    }
    std::string fault(const char* call, std::uint64_t a, HRESULT hr) const {
        return std::string(call) + " at " + hex(a) + " by thread " + std::to_string(which_) + ": " +
               hex(static_cast<std::uint32_t>(hr));
    }

    // Everything that can be asked about one page of ours.
    std::string look(std::uint64_t a, own_page& p) {
        MEMORY_BASIC_INFORMATION i{};
        SIZE_T got = 0;
        const HRESULT hr = h_.manager->VirtualQuery(pointer(a), &i, sizeof i, &got);
        if (hr != S_OK || i.State != (p.protect == 0 ? 0x2000u : 0x1000u) ||
            i.Protect != p.protect || reinterpret_cast<std::uint64_t>(i.BaseAddress) != a ||
            i.RegionSize < page) {
            return fault("VirtualQuery", a, hr) + ", state " + hex(i.State) + ", protection " +
                   hex(i.Protect) + ", expected " + hex(p.protect);
        }
        if (const unsigned allowed = truth_.at(a).access; allowed != access_of(p.protect)) {
            return "the kernel allows " + hex(allowed) + " at " + hex(a) + ", protection " +
                   hex(p.protect);
        }
        if ((access_of(p.protect) & 1) != 0) {
            std::uint64_t word = 0;
            asm volatile("movq (%1), %0" : "=r"(word) : "r"(a) : "memory");
            if (word != p.word) {
                return "page " + hex(a) + " holds " + hex(word) + ", expected " + hex(p.word);
            }
        } else if (up_to(16) == 0) {
            const test::touch t = test::touching::read(a);
            const bool guarded = p.protect == 0x104;
            if (t.how != (guarded ? test::touch::end::guard : test::touch::end::violation)) {
                return "page " + hex(a) + " can be read, protection " + hex(p.protect);
            }
            p.protect = guarded ? 4 : p.protect;
        }
        if ((access_of(p.protect) & 2) != 0 && up_to(2) == 0) {
            p.word = random_();
            asm volatile("movq %0, (%1)" : : "r"(p.word), "r"(a) : "memory");
        }
        return {};
    }

    // Some pages of ours in a row, in one of the shared reservations.
    std::string shared_step() {
        const auto r = static_cast<unsigned>(up_to(regions));
        const shared_region& region = shared_[r];
        unsigned first = static_cast<unsigned>(up_to(shared_pages));
        while (region.owner(first) != which_) {
            first = (first + 1) % shared_pages;
        }
        unsigned count = 1;
        while (count < 24 && first + count < shared_pages &&
               region.owner(first + count) == which_ && up_to(6) != 0) {
            ++count;
        }
        const std::uint64_t a = region.base + first * page;
        own_page* const p = &pages_[r][first];
        bool all_committed = true;
        for (unsigned n = 0; n < count; ++n) {
            all_committed = all_committed && p[n].protect != 0;
        }
        const std::uint32_t value = any_protection();
        switch (up_to(4)) {
        case 0: {
            void* got = nullptr;
            const HRESULT hr = h_.manager->VirtualAlloc(pointer(a), count * page, 0x1000, value,
                                                        eTaskCritical, &got);
            if (hr != S_OK || got != pointer(a)) {
                return fault("commit", a, hr);
            }
            for (unsigned n = 0; n < count; ++n) {
                p[n].protect = value;
            }
            break;
        }
        case 1: {
            const HRESULT hr = h_.manager->VirtualFree(pointer(a), count * page, 0x4000);
            if (hr != S_OK) {
                return fault("decommit", a, hr);
            }
            for (unsigned n = 0; n < count; ++n) {
                p[n] = {};
            }
            break;
        }
        default: {
            DWORD old = 0;
            const HRESULT hr = h_.manager->VirtualProtect(pointer(a), count * page, value, &old);
            if (all_committed ? hr != S_OK || old != p->protect
                              : static_cast<std::uint32_t>(hr) != 0x800701E7) {
                return fault("protect", a, hr) + ", old " + hex(old);
            }
            for (unsigned n = 0; all_committed && n < count; ++n) {
                p[n].protect = value;
            }
        }
        }
        for (unsigned n = 0; n < count; ++n) {
            if (std::string wrong = look(a + n * page, p[n]); !wrong.empty()) {
                return wrong;
            }
        }
        return {};
    }

    // A reservation of one's own between those of the others.
    std::string private_life() {
        const std::uint64_t count = 1 + up_to(40);
        void* got = nullptr;
        HRESULT hr = h_.manager->VirtualAlloc(
            nullptr, count * page, up_to(2) == 0 ? 0x3000 : 0x2000, 4, eTaskCritical, &got);
        if (hr != S_OK) {
            return fault("reserve", 0, hr);
        }
        const auto a = reinterpret_cast<std::uint64_t>(got);
        const std::uint64_t first = up_to(count);
        const std::uint64_t some = 1 + up_to(count - first);
        hr = h_.manager->VirtualAlloc(pointer(a + first * page), some * page, 0x1000, 4,
                                      eTaskCritical, &got);
        if (hr != S_OK) {
            return fault("commit", a, hr);
        }
        for (std::uint64_t n = first; n < first + some; ++n) {
            own_page p{4, 0}; // S2: zero, whoever had the granule before
            if (std::string wrong = look(a + n * page, p); !wrong.empty()) {
                return wrong;
            }
            const std::uint64_t mark = a ^ which_;
            asm volatile("movq %0, (%1)" : : "r"(mark), "r"(a + n * page) : "memory");
        }
        MEMORY_BASIC_INFORMATION i{};
        SIZE_T length = 0;
        hr = h_.manager->VirtualQuery(pointer(a), &i, sizeof i, &length);
        if (hr != S_OK || reinterpret_cast<std::uint64_t>(i.AllocationBase) != a ||
            i.RegionSize > count * page) {
            return fault("VirtualQuery", a, hr) + ", size " + hex(i.RegionSize);
        }
        for (std::uint64_t n = first; n < first + some; ++n) {
            std::uint64_t word = 0;
            asm volatile("movq (%1), %0" : "=r"(word) : "r"(a + n * page) : "memory");
            if (word != (a ^ which_)) {
                return "somebody else wrote to page " + hex(a + n * page);
            }
        }
        hr = h_.manager->VirtualFree(pointer(a), 0, 0x8000);
        return hr == S_OK ? std::string() : fault("release", a, hr);
    }

    test_host& h_;
    const std::array<shared_region, regions>& shared_;
    unsigned which_;
    std::mt19937_64 random_;
    test::kernel_truth truth_;
    std::array<std::vector<own_page>, regions> pages_;
};

TEST(neighbours, every_answer_is_right_while_others_change_what_lies_beside) {
    const std::uint64_t seed = std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    test_host h;
    ASSERT_TRUE(h.good);
    std::array<shared_region, regions> shared;
    for (unsigned r = 0; r < regions; ++r) {
        void* got = nullptr;
        ASSERT_EQ(
            h.manager->VirtualAlloc(nullptr, shared_pages * page, 0x2000, 4, eTaskCritical, &got),
            S_OK);
        shared[r] = {reinterpret_cast<std::uint64_t>(got), deals[r]};
    }
    std::atomic<bool> stop{false};
    std::vector<std::unique_ptr<worker>> crew;
    for (unsigned t = 0; t < workers; ++t) {
        crew.push_back(std::make_unique<worker>(h, shared, t, seed));
    }
    std::array<std::string, bystanders> nonsense;
    std::array<std::uint64_t, bystanders> asked{};
    std::vector<std::thread> threads;
    for (auto& w : crew) {
        threads.emplace_back([&w, &stop] { w->run(stop); });
    }
    for (unsigned b = 0; b < bystanders; ++b) {
        threads.emplace_back([&, b] {
            std::mt19937_64 random(seed + 100 + b);
            while (!stop.load(std::memory_order_relaxed) && nonsense[b].empty()) {
                const shared_region& region = shared[random() % regions];
                const bool beside = random() % 4 == 0; // where private lives come and go
                const std::uint64_t a =
                    region.base + random() % ((beside ? 3 : 1) * shared_pages) * page;
                MEMORY_BASIC_INFORMATION i{};
                SIZE_T got = 0;
                const HRESULT hr =
                    h.manager->VirtualQuery(reinterpret_cast<void*>(a), &i, sizeof i, &got);
                const bool is_shared = a - region.base < shared_pages * page;
                const auto base = reinterpret_cast<std::uint64_t>(i.AllocationBase);
                bool sane = hr == S_OK && reinterpret_cast<std::uint64_t>(i.BaseAddress) == a &&
                            i.RegionSize != 0 && i.RegionSize % page == 0;
                if (is_shared) {
                    bool known = i.State == 0x2000 && i.Protect == 0;
                    for (const std::uint32_t v : {1u, 2u, 4u, 0x20u, 0x40u, 0x104u}) {
                        known = known || (i.State == 0x1000 && i.Protect == v);
                    }
                    sane = sane && known && base == region.base && i.AllocationProtect == 4 &&
                           a + i.RegionSize <= region.base + shared_pages * page;
                } else if (sane && i.State != 0x10000) {
                    sane = base != 0 && base <= a;
                }
                if (!sane) {
                    nonsense[b] = "VirtualQuery(" + hex(a) + "): state " + hex(i.State) +
                                  ", protection " + hex(i.Protect) + ", base " + hex(base) +
                                  ", size " + hex(i.RegionSize);
                }
                ++asked[b];
            }
        });
    }
    std::this_thread::sleep_for(duration());
    stop = true;
    for (auto& t : threads) {
        t.join();
    }
    std::uint64_t done = 0;
    for (auto& w : crew) {
        EXPECT_EQ(w->what, "");
        EXPECT_GT(w->done, 100u);
        done += w->done;
    }
    for (const auto& n : nonsense) {
        EXPECT_EQ(n, "");
    }
    std::printf("%llu steps of %u threads, %llu questions beside\n",
                static_cast<unsigned long long>(done), workers,
                static_cast<unsigned long long>(asked[0] + asked[1]));
    const char* broken = h.host->core->memory().space().map().check_invariants();
    EXPECT_EQ(broken, nullptr) << broken;
    for (const shared_region& region : shared) {
        EXPECT_EQ(h.manager->VirtualFree(reinterpret_cast<void*>(region.base), 0, 0x8000), S_OK);
    }
    mrv_owner_figures s{};
    s.size = sizeof s;
    ASSERT_EQ(mrv_owner_stats(h.owner, &s), MRV_OK);
    EXPECT_EQ(s.reserved_bytes, 0u);
    EXPECT_EQ(s.committed_bytes, 0u);
    EXPECT_EQ(s.charged_bytes, 0u);
}

} // namespace
} // namespace memreeve::differential
