// SPDX-License-Identifier: MIT
// The binary form of the interfaces from the implementing side (hosting-api sections 1, 2 and 5), and
// the rules every object keeps (D2, D21, D22). com_abi_c.c is the calling side.
#include "support/test_host.hpp"

#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>

namespace memreeve::test {
namespace {

// ---- layout -------------------------------------------------------------------------------------

static_assert(!std::has_virtual_destructor_v<IHostMemoryManager>);
static_assert(!std::has_virtual_destructor_v<IHostMalloc>);
static_assert(!std::has_virtual_destructor_v<ICLRMemoryNotificationCallback>);
static_assert(!std::has_virtual_destructor_v<IHostControl>);
static_assert(std::is_abstract_v<IHostMemoryManager> &&
              sizeof(IHostMemoryManager) == sizeof(void*));

// An object whose methods answer with the number of their slot.
class numbered final : public IHostMemoryManager {
public:
    HRESULT QueryInterface(REFIID, void**) override { return 0; }
    ULONG AddRef() override { return 1; }
    ULONG Release() override { return 2; }
    HRESULT CreateMalloc(DWORD, IHostMalloc**) override { return 3; }
    HRESULT VirtualAlloc(void*, SIZE_T, DWORD, DWORD, EMemoryCriticalLevel, void**) override {
        return 4;
    }
    HRESULT VirtualFree(LPVOID, SIZE_T, DWORD) override { return 5; }
    HRESULT VirtualQuery(void*, void*, SIZE_T, SIZE_T*) override { return 6; }
    HRESULT VirtualProtect(void*, SIZE_T, DWORD, DWORD*) override { return 7; }
    HRESULT GetMemoryLoad(DWORD*, SIZE_T*) override { return 8; }
    HRESULT RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback*) override {
        return 9;
    }
    HRESULT NeedsVirtualAddressSpace(LPVOID, SIZE_T) override { return 10; }
    HRESULT AcquiredVirtualAddressSpace(LPVOID, SIZE_T) override { return 11; }
    HRESULT ReleasedVirtualAddressSpace(LPVOID) override { return 12; }
};

TEST(com_abi, hosting_api_1_3_slots_are_in_idl_order) {
    numbered n;
    IHostMemoryManager* object = &n;
    using method = HRESULT (*)(void*, void*, void*, void*, void*, void*);
    const method* slots = nullptr;
    std::memcpy(&slots, static_cast<void*>(object), sizeof slots);
    for (int i = 0; i < 13; ++i) {
        EXPECT_EQ(slots[i](object, nullptr, nullptr, nullptr, nullptr, nullptr), i);
    }
}

std::string text_of(const GUID& g) {
    char text[40];
    std::snprintf(text, sizeof text, "%08X-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X", g.Data1,
                  g.Data2, g.Data3, g.Data4[0], g.Data4[1], g.Data4[2], g.Data4[3], g.Data4[4],
                  g.Data4[5], g.Data4[6], g.Data4[7]);
    return text;
}

TEST(com_abi, hosting_api_1_1_iids) {
    EXPECT_EQ(text_of(IID_IUnknown), "00000000-0000-0000-C000-000000000046");
    EXPECT_EQ(text_of(IID_IHostMemoryManager), "7BC698D1-F9E3-4460-9CDE-D04248E9FA25");
    EXPECT_EQ(text_of(IID_IHostMalloc), "1831991C-CC53-4A31-B218-04E910446479");
    EXPECT_EQ(text_of(IID_ICLRMemoryNotificationCallback), "47EB8E57-0846-4546-AF76-6F42FCFC2649");
    EXPECT_EQ(text_of(IID_IHostControl), "02CA073C-7079-4860-880A-C2F7A449C991");
}

TEST(com_abi, hosting_api_2_enums_and_constants) {
    EXPECT_EQ(eTaskCritical, 0);
    EXPECT_EQ(eAppDomainCritical, 1);
    EXPECT_EQ(eProcessCritical, 2);
    EXPECT_EQ(eMemoryAvailableLow, 1);
    EXPECT_EQ(eMemoryAvailableNeutral, 2);
    EXPECT_EQ(eMemoryAvailableHigh, 3);
    EXPECT_EQ(MALLOC_THREADSAFE, 1);
    EXPECT_EQ(MALLOC_EXECUTABLE, 2);
    EXPECT_EQ(MEM_COMMIT | MEM_RESERVE | MEM_DECOMMIT | MEM_RELEASE | MEM_FREE, 0x1f000);
    EXPECT_EQ(MEM_PRIVATE | MEM_MAPPED | MEM_RESET | MEM_TOP_DOWN | MEM_WRITE_WATCH | MEM_PHYSICAL,
              0x7e0000);
    EXPECT_EQ(MEM_IMAGE, 0x1000000);
    EXPECT_EQ(MEM_LARGE_PAGES, 0x20000000);
    EXPECT_EQ(PAGE_NOACCESS | PAGE_READONLY | PAGE_READWRITE | PAGE_WRITECOPY, 0x0f);
    EXPECT_EQ(PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY,
              0xf0);
    EXPECT_EQ(PAGE_GUARD | PAGE_NOCACHE | PAGE_WRITECOMBINE, 0x700);
}

// mingw's header has the same guard as the SDK's and lacks most of it. Compiling is the test.
TEST(com_abi, compiles_beside_mingws_mscoree_h) {
    if (std::system("command -v x86_64-w64-mingw32-g++ >/dev/null 2>&1") != 0) {
        GTEST_SKIP() << "x86_64-w64-mingw32-g++ is not installed (package g++-mingw-w64-x86-64)";
    }
    const char* source = std::getenv("MEMREEVE_SOURCE");
    if (source == nullptr) {
        GTEST_SKIP() << "MEMREEVE_SOURCE is not set (run through ctest)";
    }
    const std::string body = "static_assert(sizeof(MEMORY_BASIC_INFORMATION) == 48, \\\"\\\");\\n"
                             "IHostMemoryManager *m; IHostControl *c; EMemoryAvailable a;\\n";
    const std::string ours = "#include <memreeve/host_interfaces.h>\\n";
    const std::string theirs = "#include <mscoree.h>\\n";
    for (const auto& text : {ours + body, theirs + ours + body, ours + theirs + body}) {
        const std::string command = "printf \"" + text +
                                    "\" | x86_64-w64-mingw32-g++ -std=c++20 -Wall -Wextra " +
                                    "-fsyntax-only -I" + source + "/include -x c++ -";
        EXPECT_EQ(std::system(command.c_str()), 0) << command;
    }
}

// ---- identity and counts --------------------------------------------------------------------------

class com_rules : public host_test {
protected:
    void SetUp() override { open(options_for(64 * mib, 8 * mib)); }
};

TEST_F(com_rules, D21_every_pointer_handed_out_is_counted) {
    const ULONG before = memory->AddRef();
    com_ptr<IHostMemoryManager> again;
    ASSERT_EQ(mrv_owner_memory_manager(owner, again.out()), MRV_OK);
    EXPECT_EQ(again.get(), memory.get()) << "one object per owner";
    EXPECT_EQ(memory->AddRef(), before + 2);
    memory->Release();
    com_ptr<IHostControl> control;
    ASSERT_EQ(mrv_host_control(host, owner, control.out()), MRV_OK);
    EXPECT_EQ(memory->AddRef(), before + 3) << "the control holds one";
    memory->Release();
    void* from_control = nullptr;
    ASSERT_EQ(control->GetHostManager(IID_IHostMemoryManager, &from_control), S_OK);
    EXPECT_EQ(from_control, memory.get());
    EXPECT_EQ(memory->Release(), before + 2) << "GetHostManager's";
    control.reset();
    again.reset();
    EXPECT_EQ(memory->Release(), before - 1);
}

TEST_F(com_rules, D21_query_interface_is_symmetric_and_has_one_identity) {
    com_ptr<IHostMalloc> heap;
    ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
    for (IUnknown* o : {static_cast<IUnknown*>(memory.get()), static_cast<IUnknown*>(heap.get())}) {
        void* unknown = nullptr;
        ASSERT_EQ(o->QueryInterface(IID_IUnknown, &unknown), S_OK);
        void* twice = nullptr;
        ASSERT_EQ(static_cast<IUnknown*>(unknown)->QueryInterface(IID_IUnknown, &twice), S_OK);
        EXPECT_EQ(unknown, twice);
        o->Release();
        o->Release();
    }
    void* none = &none;
    EXPECT_EQ(heap->QueryInterface(IID_IHostMemoryManager, &none), E_NOINTERFACE);
    EXPECT_EQ(none, nullptr);
    EXPECT_EQ(heap->QueryInterface(IID_IHostMalloc, nullptr), E_POINTER);
}

TEST_F(com_rules, D21_a_heap_outlives_its_manager_and_the_owners_handle) {
    com_ptr<IHostMalloc> heap;
    ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
    memory.reset();
    ASSERT_EQ(mrv_owner_destroy(owner), MRV_OK);
    void* p = nullptr;
    ASSERT_EQ(heap->Alloc(1000, eTaskCritical, &p), S_OK);
    std::memset(p, 1, 1000);
    EXPECT_EQ(heap->Free(p), S_OK);
    EXPECT_EQ(mrv_host_destroy(host), MRV_E_BUSY) << "the heap is still out";
    heap.reset();
    EXPECT_EQ(snapshot().charged_bytes, 0u) << "the last Release gives every page back";
    EXPECT_EQ(snapshot().reserved_bytes, 0u);
}

TEST_F(com_rules, D21_a_manager_may_never_be_released) {
    memory->AddRef(); // the CLR keeps it for ever
    memory.reset();
    EXPECT_EQ(mrv_host_destroy(host), MRV_E_BUSY);
    ASSERT_EQ(mrv_owner_memory_manager(owner, memory.out()), MRV_OK);
    memory->Release();
}

TEST_F(com_rules, D22_host_control_knows_the_memory_manager_alone_or_asks_the_embedder) {
    struct inner_control final : IHostControl {
        HRESULT QueryInterface(REFIID, void**) override { return E_NOINTERFACE; }
        ULONG AddRef() override { return ++references; }
        ULONG Release() override { return --references; }
        HRESULT GetHostManager(REFIID riid, void** out) override {
            asked = riid;
            *out = this;
            return S_OK;
        }
        HRESULT SetAppDomainManager(DWORD id, IUnknown*) override {
            domain = id;
            return S_OK;
        }
        ULONG references = 1;
        DWORD domain = 0;
        GUID asked{};
    } inner;
    const IID task_manager = {
        0x997FF24C, 0x43B7, 0x4352, {0x86, 0x67, 0x0D, 0xC0, 0x4F, 0xAF, 0xD3, 0x54}};
    com_ptr<IHostControl> control;
    void* out = &out;
    ASSERT_EQ(mrv_host_control(host, owner, control.out()), MRV_OK);
    EXPECT_EQ(control->GetHostManager(task_manager, &out), E_NOINTERFACE);
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(control->GetHostManager(task_manager, nullptr), E_POINTER);
    ASSERT_EQ(mrv_host_control_with(host, owner, &inner, control.out()), MRV_OK);
    EXPECT_EQ(inner.references, 2u);
    EXPECT_EQ(control->GetHostManager(task_manager, &out), S_OK);
    EXPECT_EQ(out, &inner);
    EXPECT_EQ(inner.asked.Data1, 0x997FF24Cu);
    EXPECT_EQ(control->SetAppDomainManager(7, nullptr), S_OK);
    EXPECT_EQ(inner.domain, 7u);
    control.reset();
    EXPECT_EQ(inner.references, 1u);
}

} // namespace
} // namespace memreeve::test
