// SPDX-License-Identifier: MIT
// Every method with what is wrong: null pointers, unknown flags, sizes that overflow, addresses that
// nobody owns (D1-D5, D9, D11, D14, D16, D20, D28; rules A, F, V, Q). After each refusal the figures
// are as before.
#include "com/host_memory_manager.hpp"

#include "support/test_host.hpp"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>

namespace memreeve::test {
namespace {

constexpr HRESULT invalid_address = MRV_HRESULT_INVALID_ADDRESS;
void* const kernel_space = reinterpret_cast<void*>(0xffff800000000000u);
constexpr std::size_t hostile_sizes[] = {0,
                                         ~std::size_t{0},
                                         ~std::size_t{0} - 4095,
                                         ~std::size_t{0} - 65535,
                                         std::size_t{1} << 63,
                                         std::size_t{1} << 48,
                                         (std::size_t{1} << 47) + 1};

class host_memory_manager_test : public host_test {
protected:
    void SetUp() override {
        open(options_for(64 * mib, 8 * mib));
        ASSERT_EQ(alloc(4 * 65536, eTaskCritical, &base, nullptr, MEM_RESERVE, PAGE_READWRITE),
                  S_OK);
        ASSERT_EQ(alloc(page, eTaskCritical, &base, base, MEM_COMMIT), S_OK);
        before = figures();
        errno = 4711;
    }
    void TearDown() override {
        EXPECT_EQ(errno, 4711) << "D32";
        const mrv_owner_figures after = figures();
        EXPECT_EQ(after.reserved_bytes, before.reserved_bytes);
        EXPECT_EQ(after.committed_bytes, before.committed_bytes);
        EXPECT_EQ(after.charged_bytes, before.charged_bytes);
        EXPECT_EQ(after.mapped_bytes, before.mapped_bytes);
        close();
    }
    HRESULT alloc_into_nothing(void* at, std::size_t size, DWORD type, DWORD protect,
                               EMemoryCriticalLevel level = eTaskCritical) {
        void* p = &p;
        const HRESULT hr = memory->VirtualAlloc(at, size, type, protect, level, &p);
        EXPECT_NE(hr, S_OK);
        EXPECT_EQ(p, nullptr) << "D2";
        return hr;
    }
    void* base = nullptr;
    mrv_owner_figures before{};
};

TEST_F(host_memory_manager_test, D2_null_out_pointers) {
    EXPECT_EQ(
        memory->VirtualAlloc(nullptr, page, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, nullptr),
        E_POINTER);
    EXPECT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, nullptr), E_POINTER);
    MEMORY_BASIC_INFORMATION m;
    EXPECT_EQ(memory->VirtualQuery(base, &m, sizeof m, nullptr), E_POINTER);
    DWORD percent = 99;
    SIZE_T available = 99;
    EXPECT_EQ(memory->GetMemoryLoad(nullptr, &available), E_POINTER);
    EXPECT_EQ(available, 0u);
    EXPECT_EQ(memory->GetMemoryLoad(&percent, nullptr), E_POINTER);
    EXPECT_EQ(percent, 0u);
    EXPECT_EQ(memory->GetMemoryLoad(nullptr, nullptr), E_POINTER);
}

TEST_F(host_memory_manager_test, decision_5_null_old_protection) {
    EXPECT_EQ(memory->VirtualProtect(base, 1, 0, nullptr), E_INVALIDARG) << "V1 first";
    EXPECT_EQ(memory->VirtualProtect(base, 1, 0x800, nullptr), E_INVALIDARG);
    EXPECT_EQ(memory->VirtualProtect(base, 1, PAGE_READONLY, nullptr), MRV_HRESULT_NOACCESS);
    EXPECT_EQ(memory->VirtualProtect(nullptr, 0, PAGE_READONLY, nullptr), MRV_HRESULT_NOACCESS)
        << "V2 before address and size";
}

TEST_F(host_memory_manager_test, D14_levels_above_2_are_refused) {
    for (const int level : {3, 4, 255, -1}) {
        EXPECT_EQ(alloc_into_nothing(nullptr, page, MEM_RESERVE, PAGE_READWRITE,
                                     static_cast<EMemoryCriticalLevel>(level)),
                  E_INVALIDARG);
    }
}

TEST(host_memory_manager_lenient, D14_or_count_as_process_when_the_host_says_so) {
    mrv_host_options o{};
    o.size = sizeof o;
    o.limit_bytes = 4 * mib;
    o.reserve_bytes = 2 * mib;
    o.flags = MRV_HOST_LENIENT_LEVELS;
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    com_ptr<IHostMemoryManager> memory;
    ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(owner, memory.out()), MRV_OK);
    void* p = nullptr;
    EXPECT_EQ(memory->VirtualAlloc(nullptr, 4 * mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                   static_cast<EMemoryCriticalLevel>(9), &p),
              S_OK);
    memory.reset();
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
}

TEST_F(host_memory_manager_test, A1_A2_flags_that_can_never_be_valid) {
    EXPECT_EQ(
        alloc_into_nothing(reinterpret_cast<void*>(0x1000), page, MEM_RESERVE, PAGE_READWRITE),
        E_INVALIDARG);
    for (const DWORD type : {0u, 0x1u, 0x10000u, 0x80000000u, 0x4000u, 0x8000u, 0x3001u,
                             DWORD{MEM_RESET | MEM_COMMIT}, DWORD{MEM_RESET | MEM_RESERVE},
                             DWORD{MEM_WRITE_WATCH | MEM_COMMIT}, DWORD{MEM_TOP_DOWN}}) {
        EXPECT_EQ(alloc_into_nothing(nullptr, page, type, PAGE_READWRITE), E_INVALIDARG)
            << std::hex << type;
    }
    EXPECT_EQ(alloc_into_nothing(nullptr, page, MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES,
                                 PAGE_READWRITE),
              E_INVALIDARG)
        << "A4";
    EXPECT_EQ(alloc_into_nothing(nullptr, page, MEM_RESERVE | MEM_PHYSICAL, PAGE_READWRITE),
              MRV_HRESULT_PRIVILEGE_NOT_HELD)
        << "decision 7";
}

TEST_F(host_memory_manager_test, D28_protections_that_can_never_be_valid) {
    for (const DWORD protect :
         {0u, 3u, 6u, 0x60u, 0x800u, 0x80000004u, DWORD{PAGE_WRITECOPY},
          DWORD{PAGE_EXECUTE_WRITECOPY}, DWORD{PAGE_NOACCESS | PAGE_GUARD},
          DWORD{PAGE_NOACCESS | PAGE_NOCACHE}, DWORD{PAGE_READWRITE | PAGE_GUARD | PAGE_NOCACHE}}) {
        EXPECT_EQ(alloc_into_nothing(nullptr, page, MEM_RESERVE, protect), E_INVALIDARG)
            << std::hex << protect;
        DWORD old = 77;
        EXPECT_EQ(memory->VirtualProtect(base, page, protect, &old), E_INVALIDARG)
            << std::hex << protect;
        EXPECT_EQ(old, 0u) << "D2";
    }
}

TEST_F(host_memory_manager_test, A6_F3_V3_sizes_that_overflow) {
    for (const std::size_t size : hostile_sizes) {
        for (void* at : {static_cast<void*>(nullptr), base, kernel_space,
                         reinterpret_cast<void*>(0x7ffffffef000)}) {
            void* p = &p;
            EXPECT_LT(memory->VirtualAlloc(at, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                           eTaskCritical, &p),
                      0);
            EXPECT_EQ(p, nullptr);
            p = &p;
            EXPECT_LT(memory->VirtualAlloc(at, size, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &p),
                      0);
            EXPECT_EQ(p, nullptr);
            if (size != 0) {
                EXPECT_LT(memory->VirtualFree(at, size, MEM_DECOMMIT), 0);
                EXPECT_LT(memory->VirtualFree(at, size, MEM_RELEASE), 0);
            }
            DWORD old = 77;
            EXPECT_LT(memory->VirtualProtect(at, size, PAGE_READONLY, &old), 0)
                << at << ' ' << size;
            EXPECT_EQ(old, 0u);
            EXPECT_LT(memory->AcquiredVirtualAddressSpace(at, size), 0);
        }
        if (size != 0) {
            EXPECT_EQ(memory->NeedsVirtualAddressSpace(nullptr, size), E_OUTOFMEMORY);
        }
    }
    EXPECT_EQ(alloc_into_nothing(nullptr, 0, MEM_RESERVE, PAGE_READWRITE), E_INVALIDARG);
    EXPECT_EQ(alloc_into_nothing(kernel_space, page, MEM_RESERVE, PAGE_READWRITE), E_INVALIDARG);
}

TEST_F(host_memory_manager_test, A11_V6_F5_states_that_do_not_fit) {
    EXPECT_EQ(alloc_into_nothing(base, page, MEM_RESERVE, PAGE_READWRITE), invalid_address);
    EXPECT_EQ(alloc_into_nothing(static_cast<char*>(base) + 3 * 65536, 2 * 65536, MEM_COMMIT,
                                 PAGE_READWRITE),
              invalid_address);
    DWORD old = 0;
    EXPECT_EQ(memory->VirtualProtect(base, 2 * page, PAGE_READONLY, &old), invalid_address);
    EXPECT_EQ(memory->VirtualFree(base, 5 * 65536, MEM_DECOMMIT), E_INVALIDARG) << "D9: overrun";
    EXPECT_EQ(memory->VirtualFree(static_cast<char*>(base) + page, 0, MEM_RELEASE), invalid_address)
        << "F6";
    EXPECT_EQ(memory->VirtualFree(base, page, MEM_RELEASE), E_INVALIDARG) << "F2";
    for (const DWORD type : {0u, DWORD{MEM_RELEASE | MEM_DECOMMIT}, DWORD{MEM_FREE}, 1u}) {
        EXPECT_EQ(memory->VirtualFree(base, 0, type), E_INVALIDARG);
    }
}

TEST_F(host_memory_manager_test, decision_6_freeing_memory_that_is_not_ours) {
    int here = 0;
    void* foreign =
        ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (void* at : {static_cast<void*>(&here), foreign, static_cast<void*>(nullptr)}) {
        EXPECT_EQ(memory->VirtualFree(at, 0, MEM_RELEASE), HOST_E_INVALIDOPERATION);
        EXPECT_EQ(memory->VirtualFree(at, page, MEM_DECOMMIT), HOST_E_INVALIDOPERATION);
    }
    std::memset(foreign, 1, page);
    ::munmap(foreign, page);
}

TEST_F(host_memory_manager_test, Q1_Q2_Q3_query_arguments) {
    MEMORY_BASIC_INFORMATION m;
    SIZE_T length = 77;
    EXPECT_EQ(memory->VirtualQuery(base, &m, 47, &length), MRV_HRESULT_BAD_LENGTH);
    EXPECT_EQ(length, 0u);
    EXPECT_EQ(memory->VirtualQuery(kernel_space, nullptr, 0, &length), MRV_HRESULT_BAD_LENGTH)
        << "wins over both";
    EXPECT_EQ(memory->VirtualQuery(base, nullptr, 48, &length), MRV_HRESULT_NOACCESS);
    EXPECT_EQ(memory->VirtualQuery(kernel_space, &m, 48, &length), E_INVALIDARG);
    EXPECT_EQ(length, 0u);
    // Only 48 bytes are written, wherever the buffer lies.
    alignas(8) unsigned char buffer[80];
    std::memset(buffer, 0x5a, sizeof buffer);
    EXPECT_EQ(memory->VirtualQuery(base, buffer + 3, ~SIZE_T{0}, &length), S_OK);
    EXPECT_EQ(length, 48u);
    EXPECT_EQ(buffer[2], 0x5a);
    EXPECT_EQ(buffer[51], 0x5a);
    EXPECT_EQ(std::memcmp(buffer + 3 + 20, "\0\0\0\0", 4), 0) << "padding is written as zero";
}

TEST_F(host_memory_manager_test, Q_any_address_of_the_process_has_an_answer) {
    std::uintptr_t at = 0;
    int regions = 0;
    MEMORY_BASIC_INFORMATION m;
    SIZE_T length = 0;
    while (memory->VirtualQuery(reinterpret_cast<void*>(at), &m, sizeof m, &length) == S_OK) {
        ASSERT_EQ(length, sizeof m);
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(m.BaseAddress), at);
        ASSERT_GT(m.RegionSize, 0u);
        at += m.RegionSize;
        ASSERT_LT(++regions, 100000);
    }
    EXPECT_EQ(at, 0x7fffffff0000u) << "the walk ends at the end of user space";
    EXPECT_GT(regions, 10);
}

TEST_F(host_memory_manager_test, D20_unknown_bits_of_create_malloc) {
    for (const DWORD flags : {4u, 8u, 0x80000000u, 7u, ~0u}) {
        IHostMalloc* h = reinterpret_cast<IHostMalloc*>(this);
        EXPECT_EQ(memory->CreateMalloc(flags, &h), E_INVALIDARG) << flags;
        EXPECT_EQ(h, nullptr);
    }
}

TEST_F(host_memory_manager_test, D16_needs) {
    EXPECT_EQ(memory->NeedsVirtualAddressSpace(nullptr, 0), S_OK);
    EXPECT_EQ(memory->NeedsVirtualAddressSpace(nullptr, mib), S_OK);
    int here = 0;
    EXPECT_EQ(memory->NeedsVirtualAddressSpace(&here, page), E_OUTOFMEMORY) << "occupied";
    EXPECT_EQ(memory->NeedsVirtualAddressSpace(kernel_space, page), E_OUTOFMEMORY);
}

TEST_F(host_memory_manager_test, decision_11_needs_says_no_when_address_space_has_run_out) {
    rlimit was{};
    ASSERT_EQ(::getrlimit(RLIMIT_AS, &was), 0);
    rlimit tight = was;
    tight.rlim_cur = 1; // nothing more can be mapped
    if (::setrlimit(RLIMIT_AS, &tight) == 0) {
        EXPECT_EQ(memory->NeedsVirtualAddressSpace(nullptr, 64 * mib), E_OUTOFMEMORY);
        ::setrlimit(RLIMIT_AS, &was);
    }
    EXPECT_EQ(memory->NeedsVirtualAddressSpace(nullptr, 64 * mib), S_OK);
}

TEST_F(host_memory_manager_test, decision_12_acquired_and_released) {
    char* const view = static_cast<char*>(
        ::mmap(nullptr, 16 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_EQ(memory->AcquiredVirtualAddressSpace(base, page), E_INVALIDARG) << "overlaps ours";
    EXPECT_EQ(memory->AcquiredVirtualAddressSpace(nullptr, 0), E_INVALIDARG);
    EXPECT_EQ(memory->AcquiredVirtualAddressSpace(view, 16 * page), S_OK);
    EXPECT_EQ(figures().mapped_bytes, 16 * page);
    EXPECT_EQ(memory->AcquiredVirtualAddressSpace(view, 8 * page), S_OK) << "a duplicate replaces";
    EXPECT_EQ(figures().mapped_bytes, 8 * page);
    EXPECT_EQ(memory->ReleasedVirtualAddressSpace(view), S_OK);
    EXPECT_EQ(figures().mapped_bytes, 0u);
    EXPECT_EQ(memory->ReleasedVirtualAddressSpace(view), S_OK) << "unknown: ignored";
    EXPECT_EQ(memory->ReleasedVirtualAddressSpace(nullptr), S_OK);
    EXPECT_EQ(memory->ReleasedVirtualAddressSpace(kernel_space), S_OK);
    ::munmap(view, 16 * page);
}

TEST(host_memory_manager_load, D17_without_budget_and_system_there_is_no_answer) {
    mrv_host_options o{};
    o.size = sizeof o;
    o.pressure_source = MRV_PRESSURE_BUDGET;
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    com_ptr<IHostMemoryManager> memory;
    DWORD percent = 0;
    SIZE_T available = 0;
    ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(owner, memory.out()), MRV_OK);
    EXPECT_EQ(memory->GetMemoryLoad(&percent, &available), MRV_HRESULT_NOT_SUPPORTED)
        << "the runtime keeps what the system told it; 0 bytes would be a lie";
    memory.reset();
    ASSERT_EQ(mrv_host_destroy(host), MRV_OK);
    o.pressure_source = MRV_PRESSURE_ALL; // then the machine answers
    ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(owner, memory.out()), MRV_OK);
    EXPECT_EQ(memory->GetMemoryLoad(&percent, &available), S_OK);
    EXPECT_LE(percent, 100u);
    EXPECT_GT(available, 0u);
    memory.reset();
    ASSERT_EQ(mrv_host_destroy(host), MRV_OK);
}

TEST_F(host_memory_manager_test, requests_are_counted_by_method) {
    const mrv_host_figures start = snapshot();
    void* p = nullptr;
    DWORD old = 0;
    MEMORY_BASIC_INFORMATION m;
    SIZE_T length = 0;
    ASSERT_EQ(alloc(page, eTaskCritical, &p), S_OK);
    memory->VirtualProtect(p, 1, PAGE_READONLY, &old);
    memory->VirtualQuery(p, &m, sizeof m, &length);
    memory->VirtualFree(p, 0, MEM_RELEASE);
    memory->NeedsVirtualAddressSpace(nullptr, page);
    memory->AcquiredVirtualAddressSpace(&p, 1);
    memory->ReleasedVirtualAddressSpace(&p);
    com_ptr<IHostMalloc> heap;
    ASSERT_EQ(memory->CreateMalloc(0, heap.out()), S_OK);
    heap->Alloc(1, eTaskCritical, &p);
    heap->Free(p);
    const mrv_host_figures end = snapshot();
    for (int i = 0; i < 9; ++i) {
        EXPECT_EQ(end.requests[i] - start.requests[i], 1u) << i;
    }
}

// Decision 21: in a preload library the object is static storage, made by constant initialisation.
constinit manager::manager a_manager;
constinit com::host_memory_manager a_static_object(a_manager, owner_id::root);

TEST(host_memory_manager_static, can_be_constant_initialised) {
    IHostMemoryManager* const object = &a_static_object;
    EXPECT_EQ(object->AddRef(), 2u);
    EXPECT_EQ(object->Release(), 1u);
    EXPECT_EQ(object->RegisterMemoryNotificationCallback(nullptr), S_OK);
    recording_callback c;
    EXPECT_EQ(object->RegisterMemoryNotificationCallback(&c), MRV_HRESULT_NOT_SUPPORTED);
    EXPECT_EQ(c.references, 1u);
}

} // namespace
} // namespace memreeve::test
