// SPDX-License-Identifier: MIT
// Random operations through IHostMemoryManager against a naive model of the rules and against the
// kernel's map, which is asked at every operation where PROCMAP_QUERY exists and at every 256th
// elsewhere (decision 33). The owner's books are compared too.
//
//   MEMREEVE_SEED   repeats a run          MEMREEVE_OPS   operations of the single-threaded run
//   MEMREEVE_LONG   set: many more
#include "conformance/replay/machine.hpp"
#include "page_model.hpp"

#include "prim/prim.hpp"

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <fcntl.h>
#include <random>
#include <thread>
#include <unistd.h>

namespace memreeve::differential {
namespace {

constexpr std::uint64_t page = page_model::page;
constexpr std::uint64_t window_pages = 640;

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

std::uint64_t seed() {
    static const std::uint64_t chosen = number_from("MEMREEVE_SEED", std::random_device{}());
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
}

// One query of the map costs a microsecond where the kernel has the ioctl (6.11), else a read of
// the whole text.
bool has_quick_map_query() {
    const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    std::uint64_t request[16] = {104, 0x10, 0x1000}; // size, COVERING_OR_NEXT_VMA, address
    const bool has = fd >= 0 && ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'f', 17, 104), request) == 0;
    close(fd);
    return has;
}

enum class event : unsigned {
    reserved,
    committed,
    reserved_committed,
    placed,
    reset,
    alloc_87,
    alloc_487,
    decommitted,
    released,
    free_87,
    free_487,
    changed,
    protect_87,
    protect_487,
    protect_998,
    query_free,
    query_reserved,
    query_committed,
    query_87,
    read,
    written,
    called,
    violation,
    guard,
    count,
};
constexpr const char* event_names[] = {
    "reserved",   "committed",      "reserved_committed", "placed",      "reset",
    "alloc_87",   "alloc_487",      "decommitted",        "released",    "free_87",
    "free_487",   "changed",        "protect_87",         "protect_487", "protect_998",
    "query_free", "query_reserved", "query_committed",    "query_87",    "read",
    "written",    "called",         "violation",          "guard"};
using tally = std::array<std::uint64_t, static_cast<std::size_t>(event::count)>;

struct host {
    host() {
        EXPECT_EQ(mrv_host_create(nullptr, &handle), MRV_OK);
        EXPECT_EQ(mrv_owner_create(handle, nullptr, nullptr, &owner), MRV_OK);
        EXPECT_EQ(mrv_owner_memory_manager(owner, &manager), MRV_OK);
        replay::install_fault_handler();
    }
    host(const host&) = delete;
    host& operator=(const host&) = delete;
    ~host() {
        manager->Release();
        EXPECT_EQ(mrv_owner_destroy(owner), MRV_OK);
        EXPECT_EQ(mrv_host_destroy(handle), MRV_OK);
    }
    mrv_host* handle = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* manager = nullptr;
};

// One window of address space, one model, one generator.
class driver {
public:
    driver(host& h, std::uint64_t seed, unsigned which, plant mistake)
        : host_(h), model_(mistake), random_(seed), quick_(has_quick_map_query()) {
        // The middle lies on a boundary of 2 MiB, 256 MiB and 64 GiB at once.
        const std::uint64_t middle = 0x7e9000000000 + (std::uint64_t{which} << 36);
        begin_ = middle - window_pages / 2 * page;
        end_ = middle + window_pages / 2 * page;
    }
    bool alone = true; // nobody else uses the owner: its books are this model's
    tally events{};

    // Empty, or the first disagreement.
    std::string run(std::uint64_t operations) {
        for (std::uint64_t i = 0; i < operations; ++i) {
            std::string what = step();
            if (what.empty()) {
                what = look(i);
            }
            if (!what.empty()) {
                return "operation " + std::to_string(i) + ": " + last_ + ": " + what;
            }
        }
        return {};
    }
    // Everything goes back, and then everything is free.
    std::string finish() {
        while (!model_.reservations().empty()) {
            const std::uint64_t base = model_.reservations().begin()->first;
            if (host_.manager->VirtualFree(pointer(base), 0, 0x8000) != S_OK) {
                return "a reservation of the model is not there";
            }
            (void)model_.free(base, 0, 0x8000);
        }
        return compare_window();
    }

private:
    static void* pointer(std::uint64_t a) { return reinterpret_cast<void*>(a); }
    std::uint64_t up_to(std::uint64_t n) { return random_() % n; }
    bool one_in(std::uint64_t n) { return random_() % n == 0; }
    template <std::size_t n>
    std::uint32_t one_of(const std::uint32_t (&from)[n]) {
        return from[random_() % n];
    }
    void note(event e) { ++events[static_cast<std::size_t>(e)]; }

    // Outside the window only what the model knows: what lies beside it there may be another thread's.
    std::uint64_t some_address() {
        const std::uint64_t a = any_address();
        const bool odd = a < 0x10000 || a >= page_model::top - page;
        return alone || odd || is_mine(a) ? a : begin_ + up_to(end_ - begin_);
    }
    bool is_mine(std::uint64_t a) const { return (a >= begin_ && a < end_) || !model_.is_free(a); }
    std::uint64_t any_address() {
        if (!model_.reservations().empty() && !one_in(4)) {
            auto it = model_.reservations().begin();
            std::advance(it, static_cast<long>(up_to(model_.reservations().size())));
            const auto& r = it->second;
            switch (up_to(8)) {
            case 0: return r.base;
            case 1: return r.end - page;
            case 2: return r.base + up_to(page);
            case 3: return r.end + up_to(2 * page) - page;
            default: break;
            }
            const std::uint64_t a = r.base + up_to(r.end - r.base);
            return one_in(3) ? a : a & ~(page - 1);
        }
        if (one_in(40)) {
            constexpr std::uint64_t odd[] = {0,
                                             1,
                                             0x8000,
                                             0xffff,
                                             0x7fffffff0000,
                                             0x7ffffffef000,
                                             0xffff800000000000,
                                             ~std::uint64_t{0}};
            return odd[random_() % 8];
        }
        const std::uint64_t a = begin_ + up_to(end_ - begin_);
        return one_in(2) ? a & ~std::uint64_t{0xffff} : a;
    }
    std::uint64_t some_size() {
        switch (up_to(24)) {
        case 0: return 0;
        case 1: return 1;
        case 2: return one_in(8) ? ~std::uint64_t{0} >> up_to(20) : page + 1;
        case 3: return (1 + up_to(8)) * 0x10000;
        default: break;
        }
        const std::uint64_t pages = 1 + up_to(one_in(6) ? 90 : 12);
        return one_in(3) ? pages * page - up_to(page) : pages * page;
    }
    // Reservations of the model must stay inside the window, so that its map is the whole story.
    bool may_reserve(std::uint64_t a, std::uint64_t size, std::uint32_t type) const {
        if ((type & 0x2000) == 0 || a == 0) {
            return true;
        }
        if (size == 0 || a >= page_model::top || size > page_model::top - a || a < 0x10000) {
            return true; // refused anyway
        }
        return a >= begin_ && a + size <= end_;
    }
    std::uint32_t some_protection() {
        static constexpr std::uint32_t usual[] = {1,     2,     4,     4,     4,     4,
                                                  0x10,  0x20,  0x40,  0x40,  0x102, 0x104,
                                                  0x104, 0x140, 0x120, 0x204, 0x404};
        static constexpr std::uint32_t odd[] = {0,     3,     8,     0x80,  0x101,    0x201,
                                                0x304, 0x804, 0x108, 0x604, 0x1000004};
        return one_in(12) ? one_of(odd) : one_of(usual);
    }

    std::string step() {
        const std::uint64_t what = up_to(100);
        if (what < 34) {
            return alloc();
        }
        if (what < 50) {
            return free();
        }
        if (what < 64) {
            return protect();
        }
        if (what < 72) {
            return query(some_address());
        }
        return access();
    }

    std::string alloc() {
        static constexpr std::uint32_t types[] = {0x1000,  0x1000,   0x1000,  0x1000,
                                                  0x2000,  0x2000,   0x3000,  0x3000,
                                                  0x80000, 0x103000, 0x101000};
        static constexpr std::uint32_t odd[] = {
            0, 0x4000, 0x81000, 0x100000, 0x200000 | 0x1000, 0x180000, 0x9000, 1};
        const std::uint32_t type = one_in(20) ? one_of(odd) : one_of(types);
        std::uint64_t a = some_address();
        std::uint64_t size = some_size();
        const std::uint32_t value = some_protection();
        if (one_in(12) && model_.reservations().size() < 24 && size < 0x400000) {
            a = 0;
        }
        if (a == 0 && size >= 0x400000 && size <= page_model::top) {
            size = 1 + size % 0x100000;
        }
        if (!may_reserve(a, size, type)) {
            a = begin_ + up_to(window_pages / 16) * 0x10000;
            size = 1 + size % (end_ - a);
        }
        describe("VirtualAlloc", a, size, type, value);
        void* got = nullptr;
        const HRESULT hr =
            host_.manager->VirtualAlloc(pointer(a), size, type, value, eTaskCritical, &got);
        const unsigned error = hr == S_OK ? 0 : replay::win32_error(hr);
        const page_model::outcome expected = model_.alloc(a, size, type, value);
        if (error != expected.error || (hr != S_OK && error == 0)) {
            return differs("error", expected.error, error);
        }
        const auto base = reinterpret_cast<std::uint64_t>(got);
        if (error != 0) {
            note(error == 87 ? event::alloc_87 : event::alloc_487);
            return base == 0 ? "" : "the out pointer was not nulled";
        }
        touched_ = base;
        if (expected.anywhere) {
            note(event::placed);
            return model_.placed(base);
        }
        note((type & 0x3000) == 0x3000 ? event::reserved_committed
             : (type & 0x2000) != 0    ? event::reserved
             : (type & 0x1000) != 0    ? event::committed
                                       : event::reset);
        return base == expected.value ? "" : differs("address", expected.value, base);
    }

    std::string free() {
        static constexpr std::uint32_t odd[] = {0, 0xc000, 0x10000, 0x8001, 0x1000};
        const std::uint32_t type = one_in(20) ? one_of(odd) : one_in(3) ? 0x8000 : 0x4000;
        const std::uint64_t a = some_address();
        const std::uint64_t size = type == 0x8000 ? (one_in(12) ? 1 + up_to(9000) : 0)
                                   : one_in(8)    ? 0
                                                  : some_size();
        describe("VirtualFree", a, size, type, 0);
        const HRESULT hr = host_.manager->VirtualFree(pointer(a), size, type);
        const unsigned error = hr == S_OK ? 0 : replay::win32_error(hr);
        touched_ = a;
        const page_model::outcome expected = model_.free(a, size, type);
        if (error != expected.error || (hr != S_OK && error == 0)) {
            return differs("error", expected.error, error);
        }
        note(error == 87      ? event::free_87
             : error == 487   ? event::free_487
             : type == 0x4000 ? event::decommitted
                              : event::released);
        return {};
    }

    std::string protect() {
        const std::uint64_t a = some_address();
        const std::uint64_t size = some_size();
        const std::uint32_t value = some_protection();
        const bool has_old = !one_in(25);
        describe("VirtualProtect", a, size, value, has_old ? 1 : 0);
        DWORD old = 0;
        const HRESULT hr =
            host_.manager->VirtualProtect(pointer(a), size, value, has_old ? &old : nullptr);
        const unsigned error = hr == S_OK ? 0 : replay::win32_error(hr);
        touched_ = a;
        const page_model::outcome expected = model_.protect(a, size, value, has_old);
        if (error != expected.error || (hr != S_OK && error == 0)) {
            return differs("error", expected.error, error);
        }
        note(error == 87    ? event::protect_87
             : error == 487 ? event::protect_487
             : error == 998 ? event::protect_998
                            : event::changed);
        return error != 0 || old == expected.value ? ""
                                                   : differs("old protection", expected.value, old);
    }

    std::string query(std::uint64_t a) {
        MEMORY_BASIC_INFORMATION info{};
        SIZE_T got = 0;
        const HRESULT hr = host_.manager->VirtualQuery(pointer(a), &info, sizeof info, &got);
        if (a >= page_model::top) {
            note(event::query_87);
            return hr != S_OK && replay::win32_error(hr) == 87
                       ? ""
                       : "VirtualQuery beyond user space succeeded";
        }
        if (hr != S_OK || got != sizeof info) {
            return "VirtualQuery failed";
        }
        const bool inside = a >= begin_ && a < end_;
        const page_model::region r = model_.query(a, inside ? end_ : page_model::top);
        if (r.state == 0x10000 && !inside) {
            return {}; // who else is there is not the model's business
        }
        std::uint64_t size = info.RegionSize;
        const auto base = reinterpret_cast<std::uint64_t>(info.BaseAddress);
        if (r.state == 0x10000 && base + size > end_) {
            size = end_ - base;
        }
        const auto wrong = [&](const char* field, std::uint64_t expected, std::uint64_t is) {
            return "VirtualQuery(" + replay::hex(a) + ") " + differs(field, expected, is);
        };
        if (info.State != r.state) {
            return wrong("State", r.state, info.State);
        }
        if (base != r.base) {
            return wrong("BaseAddress", r.base, base);
        }
        if (size != r.size) {
            return wrong("RegionSize", r.size, size);
        }
        if (info.Protect != r.protect) {
            return wrong("Protect", r.protect, info.Protect);
        }
        if (info.AllocationProtect != r.allocation_protect) {
            return wrong("AllocationProtect", r.allocation_protect, info.AllocationProtect);
        }
        if (reinterpret_cast<std::uint64_t>(info.AllocationBase) != r.allocation_base) {
            return wrong("AllocationBase", r.allocation_base,
                         reinterpret_cast<std::uint64_t>(info.AllocationBase));
        }
        if (info.Type != (r.state == 0x10000 ? 0u : 0x20000u)) {
            return wrong("Type", 0x20000, info.Type);
        }
        note(r.state == 0x10000  ? event::query_free
             : r.state == 0x2000 ? event::query_reserved
                                 : event::query_committed);
        return {};
    }

    std::string access() {
        std::uint64_t a = some_address();
        if (one_in(2) && written_ != 0) {
            a = written_;
        }
        if (!is_mine(a) && a < page_model::top) {
            return {}; // foreign memory, maybe our own stack
        }
        const char op = one_in(2) ? 'W' : one_in(4) ? 'X' : 'R';
        const unsigned value = one_in(3) ? 0xc3 : static_cast<unsigned>(up_to(256));
        if (op == 'X' && !model_.holds_return(a) && (model_.kernel_access(a) & 4) != 0) {
            return {};
        }
        describe(op == 'R' ? "read" : op == 'W' ? "write" : "call", a, value, 0, 0);
        const std::string got = replay::access(op, a, value);
        const std::string expected = model_.access(op, a, value);
        touched_ = a;
        if (got == "ok" && op == 'W') {
            written_ = a;
        }
        note(got[0] == 'v'              ? event::read
             : got == "ok"              ? (op == 'W' ? event::written : event::called)
             : got.rfind("fGP", 0) == 0 ? event::guard
                                        : event::violation);
        return got == expected || (expected == "v?" && got[0] == 'v')
                   ? ""
                   : "expected " + expected + ", got " + got;
    }

    // ---- the other two witnesses -----------------------------------------------------------------

    std::string look(std::uint64_t i) {
        if (touched_ != 0) {
            if (std::string what = query(touched_); !what.empty()) {
                return what;
            }
        }
        if (std::string what = query(begin_ + up_to(end_ - begin_)); !what.empty()) {
            return what;
        }
        const bool often = i % 256 == 255;
        if (quick_ || often) {
            for (const std::uint64_t a : {touched_, begin_ + up_to(end_ - begin_)}) {
                if (is_mine(a) && a < page_model::top) {
                    if (std::string what = compare_kernel(a); !what.empty()) {
                        return what;
                    }
                }
            }
        }
        if (!often) {
            return {};
        }
        if (std::string what = compare_window(); !what.empty()) {
            return what;
        }
        return alone ? compare_books() : std::string{};
    }

    static bool can_read(std::uint64_t a) {
        char byte = 0;
        const iovec to{&byte, 1};
        const iovec from{reinterpret_cast<void*>(a), 1};
        return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
    }

    std::string compare_kernel(std::uint64_t a) {
        prim::mapping m;
        const bool mapped = prim::find_mapping(a, &m) == 0 && m.where.contains(a);
        unsigned allowed = mapped ? static_cast<unsigned>(m.allowed) : 0;
        if (allowed == 3 && model_.kernel_access(a) == 0 && !can_read(a)) {
            allowed = 0; // behind a marker (MADV_GUARD_INSTALL), which no list of mappings shows
        }
        if (allowed != model_.kernel_access(a)) {
            return "the kernel's access at " + replay::hex(a) + ": " +
                   differs("rwx", model_.kernel_access(a), allowed);
        }
        return model_.is_free(a) || mapped ? "" : "the kernel has nothing at " + replay::hex(a);
    }

    std::string compare_window() {
        for (std::uint64_t a = begin_; a < end_;) {
            if (std::string what = query(a); !what.empty()) {
                return what;
            }
            const page_model::region r = model_.query(a, end_);
            if (quick_) {
                if (std::string what = compare_kernel(a); !what.empty()) {
                    return what;
                }
            }
            a = r.base + r.size > a ? r.base + r.size : a + page;
        }
        return {};
    }

    std::string compare_books() {
        mrv_owner_figures s{};
        s.size = sizeof s;
        if (mrv_owner_stats(host_.owner, &s) != MRV_OK) {
            return "no statistics";
        }
        const page_model::totals t = model_.count();
        if (s.reserved_bytes != t.reserved * page) {
            return differs("reserved_bytes", t.reserved * page, s.reserved_bytes);
        }
        if (s.committed_bytes != t.committed * page) {
            return differs("committed_bytes", t.committed * page, s.committed_bytes);
        }
        if (s.mapped_writable_bytes != (t.writable * page) + s.slack_bytes) {
            return differs("mapped_writable_bytes", t.writable * page + s.slack_bytes,
                           s.mapped_writable_bytes);
        }
        return s.charged_bytes >= s.committed_bytes
                   ? ""
                   : differs("charged_bytes at least", s.committed_bytes, s.charged_bytes);
    }

    void describe(const char* what, std::uint64_t a, std::uint64_t b, std::uint64_t c,
                  std::uint64_t d) {
        last_ = std::string(what) + "(" + replay::hex(a) + ", " + replay::hex(b) + ", " +
                replay::hex(c) + ", " + replay::hex(d) + ")";
    }
    static std::string differs(const char* what, std::uint64_t expected, std::uint64_t got) {
        return std::string(what) + " expected " + replay::hex(expected) + ", got " +
               replay::hex(got);
    }

    host& host_;
    page_model model_;
    std::mt19937_64 random_;
    bool quick_;
    std::uint64_t begin_ = 0;
    std::uint64_t end_ = 0;
    std::uint64_t touched_ = 0;
    std::uint64_t written_ = 0;
    std::string last_;
};

bool is_long() { return std::getenv("MEMREEVE_LONG") != nullptr; }

TEST(vm_random, agrees_with_the_model_the_kernel_and_the_books) {
    const std::uint64_t operations = number_from("MEMREEVE_OPS", is_long() ? 20'000'000 : 200'000);
    host h;
    driver d(h, seed(), 0, plant::none);
    ASSERT_EQ(d.run(operations), "");
    ASSERT_EQ(d.finish(), "");
    mrv_owner_figures s{};
    s.size = sizeof s;
    ASSERT_EQ(mrv_owner_stats(h.owner, &s), MRV_OK);
    EXPECT_EQ(s.reserved_bytes, 0u);
    EXPECT_EQ(s.committed_bytes, 0u);
    EXPECT_EQ(s.mapped_writable_bytes, s.slack_bytes);
    std::printf("%llu operations:", static_cast<unsigned long long>(operations));
    for (std::size_t e = 0; e < d.events.size(); ++e) {
        std::printf(" %s %llu", event_names[e], static_cast<unsigned long long>(d.events[e]));
        if (operations >= 50'000) {
            EXPECT_GT(d.events[e], operations / 5000)
                << event_names[e] << ": the generator lost its variety";
        }
    }
    std::printf("\n");
}

// Threads on windows of their own, each with its exact model, while others ask about all windows.
TEST(vm_random, threads_on_disjoint_windows_agree_with_their_models) {
    constexpr unsigned threads = 4;
    const std::uint64_t operations =
        number_from("MEMREEVE_OPS", is_long() ? 4'000'000 : 160'000) / threads;
    const std::uint64_t first_seed = seed();
    host h;
    std::array<std::string, threads> what;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> asked{0};
    std::atomic<std::uint64_t> nonsense{0};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < threads; ++t) {
        crew.emplace_back([&, t] {
            driver d(h, first_seed + 1000003 * (t + 1), t, plant::none);
            d.alone = false;
            what[t] = d.run(operations);
            if (what[t].empty()) {
                what[t] = d.finish();
            }
        });
    }
    std::vector<std::thread> readers;
    for (unsigned t = 0; t < 2; ++t) {
        readers.emplace_back([&, t] {
            std::mt19937_64 random(t + 77);
            while (!stop) {
                const std::uint64_t middle = 0x7e9000000000 + ((random() % threads) << 36);
                const std::uint64_t a =
                    middle + random() % (window_pages * page) - window_pages / 2 * page;
                MEMORY_BASIC_INFORMATION i{};
                SIZE_T got = 0;
                const HRESULT hr =
                    h.manager->VirtualQuery(reinterpret_cast<void*>(a), &i, sizeof i, &got);
                const bool sane =
                    hr == S_OK && got == sizeof i &&
                    reinterpret_cast<std::uint64_t>(i.BaseAddress) == (a & ~(page - 1)) &&
                    i.RegionSize != 0 && i.RegionSize % page == 0 &&
                    (i.State == 0x10000
                         ? i.AllocationBase == nullptr && i.Protect == 1
                         : i.AllocationBase != nullptr && i.AllocationProtect != 0 &&
                               (i.State == 0x2000 ? i.Protect == 0
                                                  : i.State == 0x1000 && i.Protect != 0));
                nonsense.fetch_add(sane ? 0u : 1u);
                asked.fetch_add(1, std::memory_order_relaxed);
            }
        });
    }
    for (auto& one : crew) {
        one.join();
    }
    stop = true;
    for (auto& one : readers) {
        one.join();
    }
    for (const auto& one : what) {
        EXPECT_EQ(one, "");
    }
    EXPECT_EQ(nonsense, 0u);
    EXPECT_GT(asked, 1000u);
    mrv_owner_figures s{};
    s.size = sizeof s;
    ASSERT_EQ(mrv_owner_stats(h.owner, &s), MRV_OK);
    EXPECT_EQ(s.reserved_bytes, 0u);
    EXPECT_EQ(s.committed_bytes, 0u);
    EXPECT_EQ(s.mapped_writable_bytes, s.slack_bytes);
}

// The test of the test: a model with one rule wrong is found out, whichever rule it is.
TEST(vm_random, every_planted_mistake_in_the_model_is_found) {
    for (int p = 1; p < static_cast<int>(plant::count); ++p) {
        host h;
        driver d(h, 20250101, 0, static_cast<plant>(p));
        EXPECT_NE(d.run(60'000), "") << "plant " << p << " went unnoticed";
    }
}

} // namespace
} // namespace memreeve::differential
