// SPDX-License-Identifier: MIT
// Rules and decisions of the four methods that the language of the recorded sequences has no words
// for: lengths and pointers, foreign memory, budgets, levels, system calls, errno.
#include "replay/host_fixture.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace memreeve::replay {
namespace {

TEST(win32_query, q1_length_below_48_comes_first_and_a_larger_one_gives_48) {
    host_fixture f;
    MEMORY_BASIC_INFORMATION info[2]{};
    SIZE_T got = 7;
    void* const here = &f;
    EXPECT_EQ(win32_error(f.manager->VirtualQuery(here, info, 47, &got)), 24u);
    EXPECT_EQ(got, 0u);
    EXPECT_EQ(win32_error(f.manager->VirtualQuery(here, nullptr, 47, &got)), 24u);
    EXPECT_EQ(
        win32_error(f.manager->VirtualQuery(reinterpret_cast<void*>(kernel_base), info, 0, &got)),
        24u);
    EXPECT_EQ(f.manager->VirtualQuery(here, info, 48, &got), S_OK);
    EXPECT_EQ(got, 48u);
    EXPECT_EQ(f.manager->VirtualQuery(here, info, sizeof info, &got), S_OK);
    EXPECT_EQ(got, 48u);
    EXPECT_EQ(info[1].RegionSize, 0u) << "wrote more than 48 bytes";
}

TEST(win32_query, q2_a_null_buffer_is_998) {
    host_fixture f;
    SIZE_T got = 7;
    EXPECT_EQ(win32_error(f.manager->VirtualQuery(&f, nullptr, 48, &got)), 998u);
    EXPECT_EQ(got, 0u);
}

TEST(win32_query, decision_5_null_out_pointers_are_e_pointer) {
    host_fixture f;
    MEMORY_BASIC_INFORMATION info{};
    EXPECT_EQ(f.manager->VirtualQuery(&f, &info, sizeof info, nullptr), E_POINTER);
    EXPECT_EQ(f.manager->VirtualAlloc(nullptr, 4096, 0x3000, 4, eTaskCritical, nullptr), E_POINTER);
    EXPECT_EQ(f.manager->CreateMalloc(1, nullptr), E_POINTER);
}

TEST(win32_query, q5_the_null_page_is_free) {
    host_fixture f;
    MEMORY_BASIC_INFORMATION info{};
    SIZE_T got = 0;
    ASSERT_EQ(f.manager->VirtualQuery(nullptr, &info, sizeof info, &got), S_OK);
    EXPECT_EQ(info.BaseAddress, nullptr);
    EXPECT_EQ(info.AllocationBase, nullptr);
    EXPECT_EQ(info.AllocationProtect, 0u);
    EXPECT_EQ(info.State, 0x10000u);
    EXPECT_EQ(info.Protect, 1u);
    EXPECT_EQ(info.Type, 0u);
    EXPECT_GE(info.RegionSize, page);
}

// Decision 15: any address; a file, an image, anonymous memory, the stack, and nothing.
TEST(win32_query, decision_15_foreign_memory) {
    host_fixture f;
    const auto query = [&](const void* a) {
        MEMORY_BASIC_INFORMATION info{};
        SIZE_T got = 0;
        EXPECT_EQ(f.manager->VirtualQuery(const_cast<void*>(a), &info, sizeof info, &got), S_OK);
        return info;
    };
    const auto code = query(reinterpret_cast<const void*>(&fnv1a));
    EXPECT_EQ(code.State, 0x1000u);
    EXPECT_EQ(code.Type, 0x1000000u);
    EXPECT_EQ(code.Protect, 0x20u);
    EXPECT_LE(code.AllocationBase, code.BaseAddress);
    int on_stack = 0;
    const auto stack = query(&on_stack);
    EXPECT_EQ(stack.State, 0x1000u);
    EXPECT_EQ(stack.Type, 0x20000u);
    EXPECT_EQ(stack.Protect, 4u);
    void* two = mmap(nullptr, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(two, MAP_FAILED);
    EXPECT_EQ(query(two).Type, 0x20000u);
    EXPECT_EQ(query(two).Protect, 2u);
    munmap(two, 2 * page);
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    void* file = mmap(nullptr, page, PROT_READ, MAP_SHARED, fd, 0);
    ASSERT_NE(file, MAP_FAILED);
    EXPECT_NE(query(file).Type, 0x20000u);
    EXPECT_EQ(query(file).State, 0x1000u);
    munmap(file, page);
    close(fd);
    EXPECT_EQ(query(file).State, 0x10000u);
}

// D11: never over what is mapped already.
TEST(win32_alloc, d11_reserving_over_foreign_memory_is_487) {
    host_fixture f;
    void* got =
        mmap(nullptr, 4 * granule, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(got, MAP_FAILED);
    auto* bytes = static_cast<unsigned char*>(got);
    bytes[2 * granule] = 0x42;
    void* out = nullptr;
    EXPECT_EQ(win32_error(f.manager->VirtualAlloc(bytes + 2 * granule, page, 0x2000, 4,
                                                  eTaskCritical, &out)),
              487u);
    EXPECT_EQ(win32_error(f.manager->VirtualAlloc(bytes + 2 * granule, page, 0x3000, 4,
                                                  eTaskCritical, &out)),
              487u);
    EXPECT_EQ(win32_error(f.manager->VirtualAlloc(bytes + 2 * granule, page, 0x1000, 4,
                                                  eTaskCritical, &out)),
              487u);
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(bytes[2 * granule], 0x42);
    EXPECT_EQ(f.manager->VirtualFree(bytes, 0, 0x8000), HOST_E_INVALIDOPERATION) << "decision 6";
    munmap(got, 4 * granule);
}

// D10, decision 16: the kernel's for memory that is not ours, sizes of 1, 5 and 8 bytes.
TEST(win32_protect, decision_16_foreign_pages) {
    host_fixture f;
    void* got = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(got, MAP_FAILED);
    auto* bytes = static_cast<unsigned char*>(got);
    DWORD old = 0;
    EXPECT_EQ(f.manager->VirtualProtect(bytes + page - 1, 8, 2, &old), S_OK);
    EXPECT_EQ(old, 4u);
    EXPECT_EQ(f.manager->VirtualProtect(bytes, 1, 4, &old), S_OK);
    EXPECT_EQ(old, 2u);
    bytes[0] = 1;
    EXPECT_EQ(f.manager->VirtualProtect(bytes, 1, 0x104, &old), MRV_HRESULT_NOT_SUPPORTED) << "D27";
    munmap(got, 2 * page);
    EXPECT_EQ(win32_error(f.manager->VirtualProtect(bytes, 1, 4, &old)), 487u) << "V4";
    EXPECT_EQ(win32_error(f.manager->VirtualProtect(bytes, 1, 0x104, &old)), 487u) << "V4";
}

// A15 with D3: the commit limit is E_OUTOFMEMORY, changes nothing, and letting go is never refused.
TEST(win32_alloc, a15_the_budget_refuses_commits_and_not_reserves) {
    host_fixture f(std::uint64_t{16} << 20, MRV_NO_RESERVE);
    machine m(f.host, f.manager);
    void* big = nullptr;
    ASSERT_EQ(
        f.manager->VirtualAlloc(nullptr, std::uint64_t{1} << 30, 0x2000, 4, eTaskCritical, &big),
        S_OK);
    void* out = nullptr;
    EXPECT_EQ(
        f.manager->VirtualAlloc(big, std::uint64_t{17} << 20, 0x1000, 4, eProcessCritical, &out),
        E_OUTOFMEMORY);
    EXPECT_EQ(out, nullptr);
    ASSERT_EQ(f.manager->VirtualAlloc(big, std::uint64_t{16} << 20, 0x1000, 4, eTaskCritical, &out),
              S_OK);
    EXPECT_EQ(m.execute(words_of("A A+0 1000 3000 4")), "e8");
    EXPECT_EQ(m.execute(words_of("A A+0 1000 2000 4")), "ok A+0");
    EXPECT_EQ(m.execute(words_of("A A+0 1000 1000 4")), "e8");
    EXPECT_EQ(m.execute(words_of("Q A+0")), "A+0,1000,R,A+0,4");
    // Recommitting what is committed costs nothing, also when full.
    EXPECT_EQ(f.manager->VirtualAlloc(big, std::uint64_t{16} << 20, 0x1000, 2, eTaskCritical, &out),
              S_OK);
    EXPECT_EQ(f.manager->VirtualFree(big, page, 0x4000), S_OK) << "decommit works when full";
    EXPECT_EQ(m.execute(words_of("A A+0 1000 1000 4")), "ok A+0");
    EXPECT_EQ(f.manager->VirtualFree(big, 0, 0x8000), S_OK);
    m.clear();
}

// D14, decision 3.
TEST(win32_alloc, decision_3_a_level_above_2_is_refused_unless_lenient) {
    for (const std::uint32_t flags : {0u, std::uint32_t{MRV_HOST_LENIENT_LEVELS}}) {
        host_fixture f(0, 0, flags);
        void* out = nullptr;
        const HRESULT hr = f.manager->VirtualAlloc(nullptr, page, 0x3000, 4,
                                                   static_cast<EMemoryCriticalLevel>(3), &out);
        EXPECT_EQ(hr, flags == 0 ? E_INVALIDARG : S_OK);
        if (hr == S_OK) {
            EXPECT_EQ(f.manager->VirtualFree(out, 0, 0x8000), S_OK);
        }
    }
}

// G4 with decision 8: a system call that meets a guard gets EFAULT and the guard stays armed, which
// is deliberately not Windows (there the guard is consumed).
TEST(win32_guard, g4_decision_8_a_system_call_gets_efault_and_the_guard_stays) {
    host_fixture f;
    machine m(f.host, f.manager);
    ASSERT_EQ(m.execute(words_of("A A+0 1000 3000 104")), "ok A+0");
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(read(fd, reinterpret_cast<void*>(m.arena()), 16), -1);
    EXPECT_EQ(errno, EFAULT);
    close(fd);
    EXPECT_EQ(m.execute(words_of("Q A+0")), "A+0,1000,C,A+0,104,104");
    EXPECT_EQ(m.execute(words_of("R A+0")), "fGP,0");
    m.clear();
}

// Decision 8: a fault that is no guard of ours is passed on.
TEST(win32_guard, decision_8_other_faults_are_not_ours) {
    host_fixture f;
    siginfo_t info{};
    info.si_signo = SIGSEGV;
    for (void* a : {static_cast<void*>(nullptr), static_cast<void*>(&info),
                    reinterpret_cast<void*>(kernel_base)}) {
        info.si_addr = a;
        EXPECT_EQ(mrv_handle_fault(&info, nullptr), MRV_FAULT_NOT_OURS);
    }
    EXPECT_EQ(mrv_handle_fault(nullptr, nullptr), MRV_FAULT_NOT_OURS);
}

// Decision 10 by policy: writable and executable at once.
TEST(win32_alloc, decision_10_a_host_may_forbid_write_and_execute) {
    host_fixture f(0, 0, MRV_HOST_FORBID_WRITE_EXECUTE);
    machine m(f.host, f.manager);
    EXPECT_EQ(m.execute(words_of("A A+0 1000 3000 40")), "e8");
    EXPECT_EQ(m.execute(words_of("A A+0 1000 3000 20")), "ok A+0");
    EXPECT_EQ(m.execute(words_of("P A+0 1000 40")), "e8");
    EXPECT_EQ(m.execute(words_of("P A+0 1000 140")), "e8");
    EXPECT_EQ(m.execute(words_of("Q A+0")), "A+0,1000,C,A+0,20,20");
    m.clear();
}

// D32: errno is left alone, whatever the outcome.
TEST(win32_all, d32_errno_is_left_alone) {
    host_fixture f;
    void* out = nullptr;
    DWORD old = 0;
    MEMORY_BASIC_INFORMATION info{};
    SIZE_T got = 0;
    errno = 4242;
    (void)f.manager->VirtualAlloc(nullptr, 0x7f0000000000, 0x3000, 4, eTaskCritical, &out);
    (void)f.manager->VirtualAlloc(nullptr, page, 0x3000, 4, eTaskCritical, &out);
    (void)f.manager->VirtualProtect(out, page, 2, &old);
    (void)f.manager->VirtualProtect(&f, page, 3, &old);
    (void)f.manager->VirtualQuery(&f, &info, sizeof info, &got);
    (void)f.manager->VirtualFree(&f, 0, 0x8000);
    (void)f.manager->VirtualFree(out, page, 0x4000);
    (void)f.manager->VirtualFree(out, 0, 0x8000);
    EXPECT_EQ(errno, 4242);
}

} // namespace
} // namespace memreeve::replay
