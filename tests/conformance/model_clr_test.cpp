// SPDX-License-Identifier: MIT
// The CLR's start-up handshake (hosting-api 3.1) and its call patterns (3.7), replayed on memreeve.
#include "conformance/model_clr.hpp"

#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <thread>

namespace memreeve::test {
namespace {

class model_clr_test : public host_test {
protected:
    void SetUp() override {
        open(options_for(256 * mib, 16 * mib));
        memory.reset();
        com_ptr<IHostControl> control;
        ASSERT_EQ(mrv_host_control(host, owner, control.out()), MRV_OK);
        ASSERT_EQ(clr.set_host_control(control.get()), S_OK);
        ASSERT_TRUE(clr.is_memory_hosted());
        clr.start();
    }
    void TearDown() override {
        if (clr.is_memory_hosted()) {
            clr.let_go();
        }
        close();
    }
    MEMORY_BASIC_INFORMATION query(const void* at) {
        MEMORY_BASIC_INFORMATION m;
        EXPECT_EQ(clr.virtual_query(at, &m), sizeof m);
        return m;
    }
    static bool wait_until(const std::function<bool()>& holds) {
        for (int i = 0; i < 1000 && !holds(); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return holds();
    }

    model_clr clr;
};

// ---- 3.1 ----------------------------------------------------------------------------------------

TEST_F(model_clr_test, hosting_api_3_1_handshake) {
    EXPECT_EQ(clr.other_managers, 0);
    com_ptr<IHostControl> control;
    ASSERT_EQ(mrv_host_control(host, owner, control.out()), MRV_OK);
    EXPECT_EQ(clr.set_host_control(control.get()), E_ACCESSDENIED) << "it has started";
    const mrv_host_figures so_far = snapshot();
    EXPECT_EQ(so_far.requests[0], 0u) << "the handshake allocates through nothing but CreateMalloc";
}

TEST_F(model_clr_test, hosting_api_3_1_asked_again_it_keeps_what_it_has) {
    model_clr other;
    com_ptr<IHostControl> control;
    ASSERT_EQ(mrv_host_control(host, owner, control.out()), MRV_OK);
    ASSERT_EQ(other.set_host_control(control.get()), S_OK);
    IHostMemoryManager* const first = other.manager();
    ASSERT_EQ(other.set_host_control(control.get()), S_OK);
    EXPECT_EQ(other.manager(), first);
    control->Release(); // the second call's reference
    other.let_go();
}

TEST(model_clr_refused, hosting_api_3_1_a_host_without_the_manager_is_no_error) {
    struct empty_control final : IHostControl {
        HRESULT QueryInterface(REFIID, void**) override { return E_NOINTERFACE; }
        ULONG AddRef() override { return 1; }
        ULONG Release() override { return 1; }
        HRESULT GetHostManager(REFIID, void** out) override {
            *out = nullptr;
            return E_NOINTERFACE;
        }
        HRESULT SetAppDomainManager(DWORD, IUnknown*) override { return S_OK; }
    } control;
    model_clr clr;
    EXPECT_EQ(clr.set_host_control(nullptr), E_INVALIDARG);
    EXPECT_EQ(clr.set_host_control(&control), S_OK);
    EXPECT_FALSE(clr.is_memory_hosted());
}

// ---- 3.7, row by row -------------------------------------------------------------------------------

TEST_F(model_clr_test, hosting_api_3_7_gc_init_probe_for_write_watch) {
    // Decision 9: refused where writes cannot be watched; the collector goes on without.
    void* p = clr.virtual_alloc(nullptr, 65536, MEM_WRITE_WATCH | MEM_RESERVE, PAGE_READWRITE);
    if (p != nullptr) {
        EXPECT_TRUE(clr.virtual_free(p, 0, MEM_RELEASE));
    }
    void* after = clr.virtual_alloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE);
    ASSERT_NE(after, nullptr);
    EXPECT_TRUE(clr.virtual_free(after, 0, MEM_RELEASE));
}

TEST_F(model_clr_test, hosting_api_3_7_gc_segments_start_growth_decommit_reset_release) {
    // 256 + 128 MiB in one block: reserved, not charged.
    constexpr std::size_t segment = 384 * mib;
    auto* const base =
        static_cast<char*>(clr.virtual_alloc(nullptr, segment, MEM_RESERVE, PAGE_READWRITE));
    ASSERT_NE(base, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(base) % 65536, 0u);
    EXPECT_EQ(figures().reserved_bytes, segment + snapshot().heap_bytes + 2 * page)
        << "the heap's records lie between two guards";
    const auto before = figures().committed_bytes;

    ASSERT_EQ(clr.virtual_alloc(base, 2 * page, MEM_COMMIT, PAGE_READWRITE), base);
    for (std::size_t at = 2; at < 66; at += 16) {
        char* const where = base + at * page;
        ASSERT_EQ(clr.virtual_alloc(where, 16 * page, MEM_COMMIT, PAGE_READWRITE), where);
        where[16 * page - 1] = 1;
    }
    EXPECT_EQ(figures().committed_bytes, before + 66 * page);

    // Idle tail given back; what comes again is zero.
    base[40 * page] = 7;
    ASSERT_TRUE(clr.virtual_free(base + 34 * page, 32 * page, MEM_DECOMMIT));
    EXPECT_EQ(figures().committed_bytes, before + 34 * page);
    ASSERT_EQ(clr.virtual_alloc(base + 34 * page, 32 * page, MEM_COMMIT, PAGE_READWRITE),
              base + 34 * page);
    EXPECT_EQ(base[40 * page], 0);

    // Reset: result ignored, still committed, still writable.
    clr.virtual_alloc(base + 34 * page, 32 * page, MEM_RESET, PAGE_READWRITE);
    EXPECT_EQ(query(base + 40 * page).State, DWORD{MEM_COMMIT});
    base[40 * page] = 9;
    EXPECT_EQ(base[40 * page], 9);

    EXPECT_TRUE(clr.virtual_free(base, 0, MEM_RELEASE));
    EXPECT_EQ(figures().committed_bytes, before);
}

TEST_F(model_clr_test, hosting_api_3_7_card_table_sizes_are_no_page_multiples) {
    auto* const base =
        static_cast<char*>(clr.virtual_alloc(nullptr, 3 * 65536, MEM_RESERVE, PAGE_READWRITE));
    ASSERT_NE(base, nullptr);
    ASSERT_EQ(clr.virtual_alloc(base, 10000, MEM_COMMIT, PAGE_READWRITE), base);
    base[12287] = 5; // the third page, whole
    EXPECT_EQ(query(base).RegionSize, 3 * page);
    EXPECT_TRUE(clr.virtual_free(base, 0, MEM_RELEASE));
}

TEST_F(model_clr_test, hosting_api_3_7_mark_array_commits_overlap_and_contents_survive) {
    auto* const base =
        static_cast<char*>(clr.virtual_alloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE));
    ASSERT_EQ(clr.virtual_alloc(base, 4 * page, MEM_COMMIT, PAGE_READWRITE), base);
    std::memset(base, 0x5a, 4 * page);
    const auto before = figures().committed_bytes;
    ASSERT_EQ(clr.virtual_alloc(base + 2 * page, 4 * page, MEM_COMMIT, PAGE_READWRITE),
              base + 2 * page);
    EXPECT_EQ(base[3 * page], 0x5a);
    EXPECT_EQ(base[5 * page], 0);
    EXPECT_EQ(figures().committed_bytes, before + 2 * page) << "a page is counted once (D15)";
    EXPECT_TRUE(clr.virtual_free(base, 0, MEM_RELEASE));
}

TEST_F(model_clr_test, hosting_api_3_7_loader_heap_reserves_noaccess_and_commits_what_it_needs) {
    auto* const base =
        static_cast<char*>(clr.virtual_alloc(nullptr, 4 * 65536, MEM_RESERVE, PAGE_NOACCESS));
    ASSERT_NE(base, nullptr);
    ASSERT_EQ(clr.virtual_alloc(base, page, MEM_COMMIT, PAGE_READWRITE), base);
    ASSERT_EQ(clr.virtual_alloc(base + page, 2 * page, MEM_COMMIT, PAGE_EXECUTE_READWRITE),
              base + page);
    base[0] = 1;
    base[page] = static_cast<char>(0xc3); // ret
    reinterpret_cast<void (*)()>(base + page)();
    const auto m = query(base);
    EXPECT_EQ(m.AllocationProtect, DWORD{PAGE_NOACCESS});
    EXPECT_EQ(m.Protect, DWORD{PAGE_READWRITE});
    EXPECT_TRUE(clr.virtual_free(base, 0, MEM_RELEASE));
}

TEST_F(model_clr_test, hosting_api_3_7_near_code_search_steps_through_free_regions) {
    auto* const code =
        static_cast<char*>(clr.virtual_alloc(nullptr, 65536, MEM_RESERVE, PAGE_NOACCESS));
    ASSERT_NE(code, nullptr);
    // As in the JIT's code manager: from the target upwards, within 2 GiB, query, and reserve in the
    // first free region at an aligned address; a lost race is tried again behind it.
    auto* at = code;
    void* found = nullptr;
    int steps = 0;
    while (found == nullptr && at < code + (std::int64_t{1} << 31) && steps < 100000) {
        MEMORY_BASIC_INFORMATION m;
        ASSERT_EQ(clr.virtual_query(at, &m), sizeof m);
        ++steps;
        auto* const begin = static_cast<char*>(m.BaseAddress);
        char* const end = begin + m.RegionSize;
        ASSERT_GT(end, at) << "every step gets on";
        if (m.State == MEM_FREE) {
            const auto aligned =
                (reinterpret_cast<std::uintptr_t>(begin) + 0xffff) & ~std::uintptr_t{0xffff};
            char* const where = begin + (aligned - reinterpret_cast<std::uintptr_t>(begin));
            if (where + 0x40000 <= end) {
                found = clr.virtual_alloc(where, 0x40000, MEM_RESERVE, PAGE_NOACCESS);
                EXPECT_TRUE(found == nullptr || found == where);
            }
        }
        at = end;
    }
    ASSERT_NE(found, nullptr) << "after " << steps << " steps";
    EXPECT_TRUE(clr.virtual_free(found, 0, MEM_RELEASE));
    EXPECT_TRUE(clr.virtual_free(code, 0, MEM_RELEASE));
}

TEST_F(model_clr_test, hosting_api_3_7_remoting_thunks_and_cache_line_allocator) {
    void* thunks =
        clr.virtual_alloc(nullptr, 65536, MEM_RESERVE | MEM_TOP_DOWN, PAGE_EXECUTE_READWRITE);
    ASSERT_NE(thunks, nullptr);
    EXPECT_EQ(clr.virtual_alloc(thunks, page, MEM_COMMIT, PAGE_EXECUTE_READWRITE), thunks);
    void* lines = clr.virtual_alloc(nullptr, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ASSERT_NE(lines, nullptr);
    EXPECT_TRUE(clr.virtual_free(thunks, 0, MEM_RELEASE));
    EXPECT_TRUE(clr.virtual_free(lines, 0, MEM_RELEASE));
}

TEST_F(model_clr_test, hosting_api_3_7_pe_image_at_its_preferred_base) {
    // An address that is free now: reserve anywhere, release, ask for it.
    void* base = clr.virtual_alloc(nullptr, 0x20000, MEM_RESERVE, PAGE_NOACCESS);
    ASSERT_TRUE(clr.virtual_free(base, 0, MEM_RELEASE));
    ASSERT_EQ(clr.virtual_alloc(base, 0x20000, MEM_RESERVE, PAGE_NOACCESS), base);
    EXPECT_EQ(clr.virtual_alloc(base, 0x20000, MEM_RESERVE, PAGE_NOACCESS), nullptr)
        << "occupied (D11)";
    EXPECT_TRUE(clr.virtual_free(base, 0, MEM_RELEASE));
    // D11: never over foreign memory.
    static char foreign[0x30000];
    foreign[0x18000] = 3;
    EXPECT_EQ(clr.virtual_alloc(foreign + 0x10000, page, MEM_RESERVE, PAGE_NOACCESS), nullptr);
    EXPECT_EQ(foreign[0x18000], 3);
}

TEST_F(model_clr_test, hosting_api_3_7_stack_checks) {
    int on_stack = 0;
    const auto m = query(&on_stack);
    EXPECT_EQ(m.State, DWORD{MEM_COMMIT});
    EXPECT_LE(m.BaseAddress, static_cast<void*>(&on_stack));
    EXPECT_GT(static_cast<char*>(m.BaseAddress) + m.RegionSize, reinterpret_cast<char*>(&on_stack));
    // The guard page of a stack of ours: set with size 1, seen by the query (D27).
    auto* const stack = static_cast<char*>(
        clr.virtual_alloc(nullptr, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
    DWORD old = 0;
    ASSERT_TRUE(clr.virtual_protect(stack, 1, PAGE_READWRITE | PAGE_GUARD, &old));
    EXPECT_EQ(old, DWORD{PAGE_READWRITE});
    EXPECT_EQ(query(stack).Protect, DWORD{PAGE_READWRITE | PAGE_GUARD});
    EXPECT_EQ(query(stack).RegionSize, page);
    EXPECT_TRUE(clr.virtual_free(stack, 0, MEM_RELEASE));
    // D27: a guard on foreign memory is a documented difference.
    void* const foreign =
        ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(static_cast<std::uint32_t>(
                  clr.manager()->VirtualProtect(foreign, 1, PAGE_READWRITE | PAGE_GUARD, &old)),
              0x80070032u);
    ::munmap(foreign, page);
}

TEST_F(model_clr_test, hosting_api_3_7_code_patching_same_variable_in_and_out_on_foreign_pages) {
    // D10: code that the loader mapped, sizes of 1, 5 and 8 bytes, across a page boundary too.
    auto* const code = static_cast<unsigned char*>(
        ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(code, MAP_FAILED);
    ASSERT_EQ(::mprotect(code, 2 * page, PROT_READ | PROT_EXEC), 0);
    for (const std::size_t size : {std::size_t{1}, std::size_t{5}, std::size_t{8}}) {
        for (unsigned char* at : {code + 16, code + page - 3}) {
            DWORD old = 0;
            ASSERT_TRUE(clr.virtual_protect(at, size, PAGE_EXECUTE_READWRITE, &old));
            EXPECT_EQ(old, DWORD{PAGE_EXECUTE_READ});
            std::memset(at, 0x90, size);
            ASSERT_TRUE(clr.virtual_protect(at, size, old, &old));
            EXPECT_EQ(old, DWORD{PAGE_EXECUTE_READWRITE});
            EXPECT_EQ(query(at).Protect, DWORD{PAGE_EXECUTE_READ});
        }
    }
    ::munmap(code, 2 * page);
}

// ---- 3.2, 3.4, 3.5 -----------------------------------------------------------------------------------

TEST_F(model_clr_test, hosting_api_3_2_heap_free_of_null_is_asked_and_must_succeed) {
    EXPECT_TRUE(clr.heap_free(nullptr));
    void* p = clr.heap_alloc(0);
    EXPECT_NE(p, nullptr) << "D5";
    EXPECT_TRUE(clr.heap_free(p));
    EXPECT_EQ(snapshot().requests[4], 1u);
    EXPECT_EQ(snapshot().requests[5], 2u);
}

TEST_F(model_clr_test, hosting_api_3_4_a_mapping_that_fails_is_retried_once_and_announced) {
    int tries = 0;
    auto map = [&tries]() -> void* {
        if (++tries == 1) {
            return nullptr;
        }
        void* p = ::mmap(nullptr, 4 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? nullptr : p;
    };
    void* view = clr.map_view(nullptr, 4 * page, map);
    ASSERT_NE(view, nullptr);
    EXPECT_EQ(tries, 2) << "decision 11: there is room, so S_OK, so a retry";
    EXPECT_EQ(figures().mapped_bytes, 4 * page);
    clr.unmapped(view);
    EXPECT_EQ(figures().mapped_bytes, 0u);
    ::munmap(view, 4 * page);
    // The whole file: size 0, address null.
    EXPECT_EQ(clr.manager()->NeedsVirtualAddressSpace(nullptr, 0), S_OK) << "D16";
}

TEST_F(model_clr_test, hosting_api_3_5_low_is_a_state_that_neutral_clears) {
    EXPECT_TRUE(clr.memory_load().from_host);
    EXPECT_LT(clr.memory_load().percent, 60u);
    void* p = clr.virtual_alloc(nullptr, 220 * mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ASSERT_NE(p, nullptr);
    EXPECT_TRUE(wait_until([&] { return clr.callback.low_memory_from_host > 0; }));
    EXPECT_GE(clr.memory_load().percent, 90u) << "the collector's own high-load mark";
    // The collection that answers.
    EXPECT_TRUE(clr.virtual_free(p, 0, MEM_RELEASE));
    EXPECT_TRUE(wait_until([&] { return clr.callback.low_memory_from_host == 0; }));
    EXPECT_LT(clr.memory_load().percent, 60u);
}

TEST_F(model_clr_test, hosting_api_3_2_levels_by_what_the_thread_holds) {
    // 240 MiB for tasks, 248 for domains, 256 for the process.
    std::size_t granted = 0;
    while (clr.virtual_alloc(nullptr, mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) != nullptr) {
        ++granted;
    }
    EXPECT_NEAR(static_cast<double>(granted), 240, 1) << "the heap has pages of its own";
    clr.holds_lock_in_other_domain = true;
    EXPECT_NE(clr.virtual_alloc(nullptr, mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE), nullptr);
    while (clr.virtual_alloc(nullptr, mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) != nullptr) {
    }
    clr.holds_lock_in_default_domain = true;
    EXPECT_NE(clr.virtual_alloc(nullptr, mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE), nullptr);
    EXPECT_LE(snapshot().charged_bytes, 256 * mib);
}

} // namespace
} // namespace memreeve::test
