// SPDX-License-Identifier: MIT
// The C interface (contract section 2): option structures, handles and their lifetime, figures,
// faults. Budgets and notifications have their own tests in tests/conformance.
#include "support/test_host.hpp"

#include <memreeve/version.h>

#include <atomic>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

namespace memreeve::test {
namespace {

TEST(capi, every_status_has_its_own_text) {
    std::vector<std::string> seen;
    for (int s = MRV_OK; s <= MRV_E_NOT_LOCKED; ++s) {
        const std::string text = mrv_status_text(s);
        EXPECT_NE(text, "unknown status");
        for (const auto& other : seen) {
            EXPECT_NE(text, other);
        }
        seen.push_back(text);
    }
    EXPECT_STREQ(mrv_status_text(MRV_E_NOT_LOCKED + 1), "unknown status");
    EXPECT_STREQ(mrv_status_text(-1), "unknown status");
    EXPECT_STREQ(mrv_version(), MEMREEVE_VERSION);
}

TEST(capi, null_pointers) {
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    mrv_subscription* subscription = nullptr;
    IHostControl* control = nullptr;
    IHostMemoryManager* memory = nullptr;
    mrv_owner_figures owner_figures{};
    mrv_host_figures host_figures{};
    const auto ignore = [](void*, const mrv_pressure_event*) {};
    EXPECT_EQ(mrv_host_create(nullptr, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_destroy(nullptr), MRV_OK);
    EXPECT_EQ(mrv_host_set_limits(nullptr, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_owner_create(nullptr, nullptr, nullptr, &owner), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_owner_destroy(nullptr), MRV_OK);
    EXPECT_EQ(mrv_owner_set_limits(nullptr, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_owner_memory_manager(nullptr, &memory), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_control(nullptr, nullptr, &control), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_thread_push_owner(nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_owner_stats(nullptr, &owner_figures), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_snapshot(nullptr, &host_figures), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_subscribe(nullptr, ignore, nullptr, &subscription), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_owner_subscribe(nullptr, ignore, nullptr, &subscription), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_unsubscribe(nullptr), MRV_OK);
    EXPECT_EQ(mrv_handle_fault(nullptr, nullptr), MRV_FAULT_NOT_OURS);
    ASSERT_EQ(mrv_host_create(nullptr, &host), MRV_OK) << "null options mean defaults";
    EXPECT_EQ(mrv_owner_create(host, nullptr, nullptr, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_snapshot(host, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_subscribe(host, nullptr, nullptr, &subscription), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_subscribe(host, ignore, nullptr, nullptr), MRV_E_NULL_POINTER);
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    EXPECT_EQ(mrv_owner_memory_manager(owner, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_control(host, owner, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_owner_stats(owner, nullptr), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
}

TEST(capi, options_are_stamped_with_their_size) {
    mrv_host* host = nullptr;
    mrv_host_options o{};
    EXPECT_EQ(mrv_host_create(&o, &host), MRV_E_INVALID_ARGUMENT) << "size 0";
    EXPECT_EQ(host, nullptr);
    o.size = sizeof(std::size_t); // an old caller that knows the stamp alone
    o.limit_bytes = 1;            // beyond its size: not read
    ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
    mrv_host_figures f{};
    f.size = sizeof f;
    ASSERT_EQ(mrv_host_snapshot(host, &f), MRV_OK);
    EXPECT_EQ(f.limit_bytes, MRV_NO_LIMIT);
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);

    struct {
        mrv_host_options known;
        std::uint64_t unknown;
    } later{};
    later.known.size = sizeof later;
    ASSERT_EQ(mrv_host_create(&later.known, &host), MRV_OK)
        << "a later caller that asks for nothing new";
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
    later.unknown = 1;
    EXPECT_EQ(mrv_host_create(&later.known, &host), MRV_E_INVALID_ARGUMENT);
    later.known.size = std::size_t{1} << 40;
    EXPECT_EQ(mrv_host_create(&later.known, &host), MRV_E_INVALID_ARGUMENT);
}

TEST(capi, options_that_make_no_sense) {
    mrv_host* host = nullptr;
    mrv_host_options o{};
    o.size = sizeof o;
    o.limit_bytes = mib;
    o.reserve_bytes = 2 * mib;
    EXPECT_EQ(mrv_host_create(&o, &host), MRV_E_INVALID_ARGUMENT);
    o.reserve_bytes = 0;
    o.flags = 0x100;
    EXPECT_EQ(mrv_host_create(&o, &host), MRV_E_INVALID_ARGUMENT);
    o.flags = 0;
    o.pressure_source = 9;
    EXPECT_EQ(mrv_host_create(&o, &host), MRV_E_INVALID_ARGUMENT);
    o.pressure_source = 0;
    o.faulting = 7;
    EXPECT_EQ(mrv_host_create(&o, &host), MRV_E_INVALID_ARGUMENT);
    o.faulting = 0;
    const std::string long_root(300, 'x');
    o.system_root = long_root.c_str();
    EXPECT_EQ(mrv_host_create(&o, &host), MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(host, nullptr);
}

TEST(capi, figures_are_written_up_to_the_callers_size) {
    mrv_host* host = nullptr;
    ASSERT_EQ(mrv_host_create(nullptr, &host), MRV_OK);
    mrv_host_figures f;
    std::memset(&f, 0x5a, sizeof f);
    f.size = offsetof(mrv_host_figures, charged_bytes);
    ASSERT_EQ(mrv_host_snapshot(host, &f), MRV_OK);
    EXPECT_EQ(f.limit_bytes, MRV_NO_LIMIT);
    EXPECT_EQ(f.charged_bytes, 0x5a5a5a5a5a5a5a5au);
    EXPECT_EQ(f.size, offsetof(mrv_host_figures, charged_bytes));
    f.size = 3;
    EXPECT_EQ(mrv_host_snapshot(host, &f), MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
}

// Relaxed faulting: what was decommitted may still be touched, stays for a while, is said, and is zero
// when it comes back.
TEST(capi, relaxed_faulting) {
    mrv_host_options o{};
    o.size = sizeof o;
    o.faulting = MRV_FAULTING_RELAXED;
    mrv_host* host = nullptr;
    ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
    mrv_owner* owner = nullptr;
    IHostMemoryManager* memory = nullptr;
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(owner, &memory), MRV_OK);
    const auto warm = [&] {
        mrv_owner_figures f{};
        f.size = sizeof f;
        EXPECT_EQ(mrv_owner_stats(owner, &f), MRV_OK);
        return f.warm_bytes;
    };
    void* p = nullptr;
    ASSERT_EQ(memory->VirtualAlloc(nullptr, 65536, 0x3000, 4, eTaskCritical, &p), S_OK);
    EXPECT_EQ(warm(), 0u);
    std::memset(p, 7, 65536);
    ASSERT_EQ(memory->VirtualFree(p, 65536, 0x4000), S_OK);
    EXPECT_EQ(warm(), 65536u);
    static_cast<volatile char*>(p)[5] = 1;
    ASSERT_EQ(memory->VirtualAlloc(p, 65536, 0x1000, 4, eTaskCritical, &p), S_OK);
    EXPECT_EQ(static_cast<char*>(p)[5], 0);
    EXPECT_EQ(static_cast<char*>(p)[65535], 0);
    ASSERT_EQ(memory->VirtualFree(p, 0, 0x8000), S_OK);
    EXPECT_EQ(memory->NeedsVirtualAddressSpace(nullptr, 65536), S_OK);
    EXPECT_EQ(warm(), 0u);
    memory->Release();
    EXPECT_EQ(mrv_owner_destroy(owner), MRV_OK);
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
}

class capi_host : public host_test {
protected:
    void SetUp() override { open(options_for(64 * mib, 8 * mib)); }
};

TEST_F(capi_host, owners_are_named_and_counted) {
    mrv_owner_options o{};
    o.size = sizeof o;
    o.name = "a name that is longer than what is kept of it";
    mrv_owner* named = nullptr;
    const std::uint32_t before = snapshot().owners;
    ASSERT_EQ(mrv_owner_create(host, nullptr, &o, &named), MRV_OK);
    EXPECT_STREQ(figures(named).name, "a name that is longer than what");
    EXPECT_STREQ(figures().name, "owner");
    EXPECT_EQ(snapshot().owners, before + 1);
    ASSERT_EQ(mrv_owner_destroy(named), MRV_OK);
    EXPECT_EQ(snapshot().owners, before);
}

TEST_F(capi_host, an_account_goes_on_while_memory_depends_on_it) {
    mrv_owner* other = nullptr;
    com_ptr<IHostMemoryManager> of_other;
    const std::uint32_t before = snapshot().owners;
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &other), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(other, of_other.out()), MRV_OK);
    void* p = nullptr;
    ASSERT_EQ(of_other->VirtualAlloc(nullptr, mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                     eTaskCritical, &p),
              S_OK);
    of_other.reset();
    ASSERT_EQ(mrv_owner_destroy(other), MRV_OK);
    EXPECT_EQ(snapshot().owners, before + 1);
    EXPECT_EQ(snapshot().charged_bytes, mib);
    // Any manager of the host may free it; the next change of owners closes the account.
    ASSERT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(snapshot().charged_bytes, 0u);
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &other), MRV_OK);
    EXPECT_EQ(snapshot().owners, before + 1) << "one closed, one opened";
    ASSERT_EQ(mrv_owner_destroy(other), MRV_OK);
    EXPECT_EQ(snapshot().owners, before);
}

// What a heap keeps goes back before a subscriber hears of Low, and how much is told.
TEST_F(capi_host, warm_heap_pages_go_back_at_low) {
    com_ptr<IHostMalloc> heap;
    ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
    void* block = nullptr;
    ASSERT_EQ(heap->Alloc(500000, eTaskCritical, &block), S_OK);
    EXPECT_EQ(figures().heap_warm_bytes, 0u);
    ASSERT_EQ(heap->Free(block), S_OK);
    const std::uint64_t warm = figures().heap_warm_bytes;
    EXPECT_EQ(warm, (500000 + page - 1) / page * page);
    EXPECT_GT(figures().heap_bytes, warm) << "it is among the heap's, and charged";
    EXPECT_EQ(snapshot().given_back_bytes, 0u);
    struct heard_of {
        mrv_owner* owner;
        std::atomic<std::uint64_t> warm{1};
        std::atomic<bool> low{false};
    } heard{owner};
    mrv_subscription* subscription = nullptr;
    ASSERT_EQ(mrv_owner_subscribe(
                  owner,
                  [](void* context, const mrv_pressure_event* event) {
                      auto& h = *static_cast<heard_of*>(context);
                      if (event->availability == MRV_MEMORY_LOW) {
                          mrv_owner_figures f{};
                          f.size = sizeof f;
                          mrv_owner_stats(h.owner, &f);
                          h.warm = f.heap_warm_bytes;
                          h.low = true;
                      }
                  },
                  &heard, &subscription),
              MRV_OK);
    void* p = nullptr;
    ASSERT_EQ(memory->VirtualAlloc(nullptr, 54 * mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                   eTaskCritical, &p),
              S_OK);
    for (int i = 0; i < 30000 && !heard.low; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(heard.low);
    EXPECT_EQ(heard.warm, 0u);
    EXPECT_GE(snapshot().given_back_bytes, warm);
    EXPECT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
    EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
}

TEST_F(capi_host, a_parent_lives_as_long_as_its_children) {
    mrv_owner* parent = nullptr;
    mrv_owner* child = nullptr;
    const std::uint32_t before = snapshot().owners;
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &parent), MRV_OK);
    ASSERT_EQ(mrv_owner_create(host, parent, nullptr, &child), MRV_OK);
    ASSERT_EQ(mrv_owner_destroy(parent), MRV_OK);
    EXPECT_EQ(snapshot().owners, before + 2);
    ASSERT_EQ(mrv_owner_destroy(child), MRV_OK);
    EXPECT_EQ(snapshot().owners, before);
}

TEST_F(capi_host, owners_made_and_destroyed_for_long_use_nothing_up) {
    for (int i = 0; i < 20000; ++i) {
        mrv_owner* o = nullptr;
        com_ptr<IHostMemoryManager> m;
        ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &o), MRV_OK) << i;
        ASSERT_EQ(mrv_owner_memory_manager(o, m.out()), MRV_OK);
        m.reset();
        ASSERT_EQ(mrv_owner_destroy(o), MRV_OK);
    }
}

TEST_F(capi_host, owners_from_several_threads) {
    const std::uint32_t before = snapshot().owners;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 500; ++i) {
                mrv_owner* o = nullptr;
                com_ptr<IHostMemoryManager> m;
                ASSERT_EQ(mrv_owner_create(host, owner, nullptr, &o), MRV_OK);
                ASSERT_EQ(mrv_owner_memory_manager(o, m.out()), MRV_OK);
                void* p = nullptr;
                ASSERT_EQ(m->VirtualAlloc(nullptr, page, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                          eTaskCritical, &p),
                          S_OK);
                ASSERT_EQ(m->VirtualFree(p, 0, MEM_RELEASE), S_OK);
                m.reset();
                ASSERT_EQ(mrv_owner_destroy(o), MRV_OK);
            }
        });
    }
    for (auto& t : threads) {
        t.join();
    }
    EXPECT_EQ(snapshot().owners, before);
    EXPECT_EQ(snapshot().charged_bytes, 0u);
}

TEST_F(capi_host, owners_of_another_host_are_refused) {
    mrv_host* other = nullptr;
    ASSERT_EQ(mrv_host_create(nullptr, &other), MRV_OK);
    mrv_owner* made = nullptr;
    IHostControl* control = nullptr;
    EXPECT_EQ(mrv_owner_create(other, owner, nullptr, &made), MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(mrv_host_control(other, owner, &control), MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(mrv_host_destroy(other), MRV_OK);
}

TEST_F(capi_host, two_hosts_in_one_process_know_nothing_of_each_other) {
    mrv_host* other = nullptr;
    mrv_owner* other_owner = nullptr;
    com_ptr<IHostMemoryManager> other_memory;
    ASSERT_EQ(mrv_host_create(nullptr, &other), MRV_OK);
    ASSERT_EQ(mrv_owner_create(other, nullptr, nullptr, &other_owner), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(other_owner, other_memory.out()), MRV_OK);
    void* p = nullptr;
    ASSERT_EQ(alloc(page, eTaskCritical, &p), S_OK);
    EXPECT_EQ(other_memory->VirtualFree(p, 0, MEM_RELEASE), HOST_E_INVALIDOPERATION);
    ASSERT_EQ(mrv_thread_push_owner(other_owner), MRV_OK);
    void* q = nullptr;
    ASSERT_EQ(alloc(page, eTaskCritical, &q), S_OK);
    EXPECT_EQ(figures().charged_bytes, 2 * page) << "the push is for the other host alone";
    ASSERT_EQ(mrv_thread_pop_owner(), MRV_OK);
    other_memory.reset();
    EXPECT_EQ(mrv_host_destroy(other), MRV_OK);
}

TEST_F(capi_host, pushes_are_limited_to_eight) {
    for (int i = 0; i < 8; ++i) {
        ASSERT_EQ(mrv_thread_push_owner(owner), MRV_OK);
    }
    EXPECT_EQ(mrv_thread_push_owner(owner), MRV_E_BUSY);
    for (int i = 0; i < 8; ++i) {
        ASSERT_EQ(mrv_thread_pop_owner(), MRV_OK);
    }
    EXPECT_EQ(mrv_thread_pop_owner(), MRV_E_INVALID_ARGUMENT);
}

TEST_F(capi_host, WW1_write_watch_looks_at_its_arguments_first) {
    void* addresses[4];
    std::size_t count = 4;
    std::uint32_t granularity = 0;
    void* p = nullptr;
    ASSERT_EQ(alloc(65536, eTaskCritical, &p), S_OK);
    EXPECT_EQ(mrv_get_write_watch(host, 0, p, 65536, addresses, &count, &granularity),
              MRV_E_INVALID_ARGUMENT)
        << "WW2: not a watched reservation";
    EXPECT_EQ(mrv_reset_write_watch(host, p, 65536), MRV_E_INVALID_ARGUMENT) << "WW9";
    EXPECT_EQ(mrv_get_write_watch(host, 2, p, 65536, addresses, &count, &granularity),
              MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(mrv_get_write_watch(host, 0, p, 0, addresses, &count, &granularity),
              MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(mrv_get_write_watch(host, 0, p, 65536, nullptr, &count, &granularity),
              MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_get_write_watch(host, 0, p, 65536, addresses, nullptr, &granularity),
              MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_get_write_watch(host, 0, p, 65536, addresses, &count, nullptr),
              MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_get_write_watch(nullptr, 0, p, 65536, addresses, &count, &granularity),
              MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_reset_write_watch(host, p, 0), MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(count, 4u);
    count = 0;
    EXPECT_EQ(mrv_get_write_watch(host, 0, p, 65536, nullptr, &count, &granularity),
              MRV_E_INVALID_ARGUMENT)
        << "a count of 0 comes before a null array";
    EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
}

// ---- faults ---------------------------------------------------------------------------------------

sigjmp_buf not_dealt_with;
volatile std::sig_atomic_t guards_hit = 0;

void on_fault(int, siginfo_t* info, void* context) {
    if (mrv_handle_fault(info, context) == MRV_FAULT_GUARD) {
        guards_hit = guards_hit + 1;
        return; // the access is tried again
    }
    siglongjmp(not_dealt_with, 1);
}

TEST_F(capi_host, decision_8_a_guard_is_cleared_once_by_the_embedders_handler) {
    struct sigaction mine {};
    struct sigaction before {};
    mine.sa_sigaction = on_fault;
    mine.sa_flags = SA_SIGINFO | SA_NODEFER;
    void* p = nullptr;
    ASSERT_EQ(alloc(2 * page, eTaskCritical, &p, nullptr, MEM_RESERVE | MEM_COMMIT,
                    PAGE_READWRITE | PAGE_GUARD),
              S_OK);
    auto* const bytes = static_cast<volatile char*>(p);
    guards_hit = 0;
    ASSERT_EQ(sigaction(SIGSEGV, &mine, &before), 0);
    if (sigsetjmp(not_dealt_with, 1) == 0) {
        bytes[10] = 1;
        bytes[20] = 2;
    } else {
        ADD_FAILURE() << "the guard was not recognised";
    }
    EXPECT_EQ(guards_hit, 1) << "one shot";
    volatile bool refused = false;
    const volatile std::uintptr_t nobodys = 16;
    if (sigsetjmp(not_dealt_with, 1) == 0) {
        *reinterpret_cast<volatile char*>(nobodys) = 1;
    } else {
        refused = true;
    }
    sigaction(SIGSEGV, &before, nullptr);
    EXPECT_TRUE(refused);
    EXPECT_EQ(bytes[10], 1);
    MEMORY_BASIC_INFORMATION m;
    SIZE_T length = 0;
    ASSERT_EQ(memory->VirtualQuery(p, &m, sizeof m, &length), S_OK);
    EXPECT_EQ(m.Protect, DWORD{PAGE_READWRITE});
    EXPECT_EQ(m.RegionSize, page) << "G2: that page only";
    EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
}

// ---- what a host leaves ------------------------------------------------------------------------------

// Bytes of address space. Counting mappings would not do: neighbours merge.
[[maybe_unused]] std::uint64_t address_space() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t pages = 0;
    statm >> pages;
    return pages * page;
}

TEST(capi, hosts_made_and_destroyed_leave_no_mapping_and_no_thread) {
    const auto ignore = [](void*, const mrv_pressure_event*) {};
    const auto cycle = [&] {
        mrv_host* host = nullptr;
        mrv_owner* owner = nullptr;
        mrv_subscription* s = nullptr;
        ASSERT_EQ(mrv_host_create(nullptr, &host), MRV_OK);
        ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
        ASSERT_EQ(mrv_host_subscribe(host, ignore, nullptr, &s), MRV_OK);
        com_ptr<IHostMemoryManager> m;
        ASSERT_EQ(mrv_owner_memory_manager(owner, m.out()), MRV_OK);
        void* p = nullptr;
        ASSERT_EQ(m->VirtualAlloc(nullptr, mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                  eTaskCritical, &p),
                  S_OK);
        m.reset();
        ASSERT_EQ(mrv_host_destroy(host), MRV_OK);
    };
    cycle();
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) // they map for every thread
    const std::uint64_t before = address_space();
    for (int i = 0; i < 100; ++i) {
        cycle();
    }
    EXPECT_LT(address_space(), before + 100 * 4096) << "less than a page a host";
#endif
    // 64 at once, not more; and all of them can be had again.
    std::vector<mrv_host*> hosts;
    mrv_host* host = nullptr;
    while (hosts.size() < 100 && mrv_host_create(nullptr, &host) == MRV_OK) {
        hosts.push_back(host);
    }
    EXPECT_EQ(hosts.size(), 64u);
    for (mrv_host* h : hosts) {
        EXPECT_EQ(mrv_host_destroy(h), MRV_OK);
    }
}

} // namespace
} // namespace memreeve::test
