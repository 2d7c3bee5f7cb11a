// SPDX-License-Identifier: MIT
// Rules whose proof needs the system: placement, large pages, limits, other threads and processes.
#include "replay/rule_case.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <memreeve/abi/memory_constants.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace memreeve::replay {
namespace {

constexpr std::uint64_t user_top = 0x7fffffff0000;

MEMORY_BASIC_INFORMATION query(host_fixture& f, std::uint64_t a) {
    MEMORY_BASIC_INFORMATION info{};
    SIZE_T got = 0;
    EXPECT_EQ(f.manager->VirtualQuery(reinterpret_cast<void*>(a), &info, sizeof info, &got), S_OK);
    return info;
}

// 0 when the child's checks hold; else the line of the first that does not.
template <class F>
int in_child(F checks) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(checks());
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define MUST(condition)                                                                            \
    if (!(condition)) {                                                                            \
        return __LINE__ & 127;                                                                     \
    }

// ---- A4 -----------------------------------------------------------------------------------------------

long free_huge_pages() {
    std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    long n = 0;
    return file >> n ? n : 0;
}

constexpr DWORD large = MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES;
constexpr std::size_t large_page = 2 << 20;

TEST(win32_system_rules, A4_arguments_of_large_pages) {
    host_fixture f;
    void* out = nullptr;
    const auto error = [&](std::uint64_t a, std::size_t size, DWORD type, DWORD protect = 4) {
        const HRESULT hr = f.manager->VirtualAlloc(reinterpret_cast<void*>(a), size, type, protect,
                                                   eTaskCritical, &out);
        EXPECT_NE(hr, S_OK);
        return win32_error(hr);
    };
    EXPECT_EQ(error(0, large_page, MEM_RESERVE | MEM_LARGE_PAGES), 87u);
    EXPECT_EQ(error(0, large_page, MEM_LARGE_PAGES), 87u);
    EXPECT_EQ(error(0, large_page, large | MEM_PHYSICAL), 87u);
    EXPECT_EQ(error(0, large_page, large | MEM_WRITE_WATCH), 87u);
    EXPECT_EQ(error(0x20000, page, MEM_RESET | MEM_LARGE_PAGES), 87u);
    EXPECT_EQ(error(0, large_page + page, large), 87u) << "not a multiple";
    EXPECT_EQ(error(0x7e0000010000, large_page, large), 87u) << "not at a multiple";
    EXPECT_EQ(error(0, large_page, large, 0), 87u) << "A5";
    EXPECT_EQ(error(0, 0, large), 87u) << "A6";
}

TEST(win32_system_rules, A4_large_pages_that_the_system_has_not_are_1314) {
    host_fixture f;
    void* out = nullptr;
    const auto too_many = (static_cast<std::size_t>(free_huge_pages()) + 1) * large_page;
    const HRESULT hr = f.manager->VirtualAlloc(nullptr, too_many, large, 4, eTaskCritical, &out);
    EXPECT_EQ(win32_error(hr), 1314u);
    EXPECT_EQ(out, nullptr);
}

TEST(win32_system_rules, A4_large_pages_are_there_as_a_whole) {
    if (free_huge_pages() < 2) {
        GTEST_SKIP() << "skipped: no huge pages are set up on this machine";
    }
    host_fixture f;
    void* out = nullptr;
    ASSERT_EQ(f.manager->VirtualAlloc(nullptr, large_page, large, 4, eTaskCritical, &out), S_OK);
    const auto base = reinterpret_cast<std::uint64_t>(out);
    EXPECT_EQ(base % large_page, 0u);
    EXPECT_EQ(query(f, base).RegionSize, large_page);
    EXPECT_EQ(query(f, base).State, DWORD{MEM_COMMIT});
    EXPECT_EQ(access('W', base + large_page - 1, 7), "ok");
    EXPECT_EQ(access('R', base + large_page - 1, 0), "v07");
    EXPECT_EQ(win32_error(f.manager->VirtualFree(out, page, MEM_DECOMMIT)), 487u);
    EXPECT_EQ(win32_error(f.manager->VirtualFree(out, 0, MEM_DECOMMIT)), 487u);
    DWORD old = 0;
    EXPECT_EQ(win32_error(f.manager->VirtualProtect(out, page, 2, &old)), 487u);
    EXPECT_EQ(f.manager->VirtualProtect(out, large_page, 2, &old), S_OK);
    EXPECT_EQ(access('W', base, 7), "fAV,1");
    EXPECT_EQ(f.manager->VirtualAlloc(out, large_page, MEM_COMMIT, 4, eTaskCritical, &out), S_OK);
    EXPECT_EQ(access('R', base + large_page - 1, 0), "v07");
    EXPECT_EQ(f.manager->VirtualFree(out, 0, MEM_RELEASE), S_OK);
    EXPECT_GE(free_huge_pages(), 2);
}

// ---- A6 -----------------------------------------------------------------------------------------------

// Open: the exact top. The last page below it can be asked for, the first above cannot.
TEST(win32_system_rules, A6_open_the_top_of_user_space) {
    host_fixture f;
    const auto error = [&](std::uint64_t a, std::uint64_t size) {
        void* out = nullptr;
        return win32_error(f.manager->VirtualAlloc(reinterpret_cast<void*>(a), size, MEM_COMMIT, 4,
                                                   eTaskCritical, &out));
    };
    EXPECT_EQ(error(user_top - page, page), 487u);
    EXPECT_EQ(error(user_top - page, page + 1), 87u);
    EXPECT_EQ(error(user_top, page), 87u);
    SIZE_T got = 0;
    MEMORY_BASIC_INFORMATION info{};
    EXPECT_EQ(
        f.manager->VirtualQuery(reinterpret_cast<void*>(user_top - 1), &info, sizeof info, &got),
        S_OK);
    EXPECT_EQ(reinterpret_cast<std::uint64_t>(info.BaseAddress) + info.RegionSize, user_top);
    EXPECT_EQ(win32_error(f.manager->VirtualQuery(reinterpret_cast<void*>(user_top), &info,
                                                  sizeof info, &got)),
              87u);
}

// ---- A10 ----------------------------------------------------------------------------------------------

// The highest free range, but for the room that the initial stack may still grow into.
TEST(win32_system_rules, A10_top_down_is_the_highest_free_range) {
    host_fixture f;
    constexpr std::size_t size = 5 * granule;
    int on_stack = 0;
    const auto stack = reinterpret_cast<std::uint64_t>(&on_stack);
    std::uint64_t expected = 0;
    for (std::uint64_t a = granule; a < user_top;) {
        const auto info = query(f, a);
        std::uint64_t end = a + info.RegionSize;
        if (info.State == MEM_FREE) {
            std::uint64_t usable = end;
            if (end < user_top && stack - end < (std::uint64_t{64} << 20)) {
                usable =
                    end - (std::uint64_t{128} << 20); // at least; RLIMIT_STACK may ask for more
            }
            const std::uint64_t begin = (a + granule - 1) & ~(granule - 1);
            usable &= ~(granule - 1);
            if (usable > begin && usable - begin >= size) {
                expected = (usable - size) & ~(granule - 1);
            }
        }
        a = end;
    }
    void* out = nullptr;
    ASSERT_EQ(
        f.manager->VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_TOP_DOWN, 4, eTaskCritical, &out),
        S_OK);
    EXPECT_EQ(reinterpret_cast<std::uint64_t>(out), expected);
    void* next = nullptr;
    ASSERT_EQ(f.manager->VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN, 4,
                                      eTaskCritical, &next),
              S_OK);
    EXPECT_LT(next, out) << "the next highest";
    EXPECT_EQ(f.manager->VirtualFree(out, 0, MEM_RELEASE), S_OK);
    void* again = nullptr;
    ASSERT_EQ(f.manager->VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_TOP_DOWN, 4, eTaskCritical,
                                      &again),
              S_OK);
    EXPECT_EQ(again, out);
    EXPECT_EQ(f.manager->VirtualFree(next, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(f.manager->VirtualFree(again, 0, MEM_RELEASE), S_OK);
}

// ---- A15 ----------------------------------------------------------------------------------------------

// 1455 where there is a word for it: the C calls. The interface says E_OUTOFMEMORY (D3).
TEST(win32_system_rules, A15_the_commit_limit_is_1455) {
    host_fixture f(std::uint64_t{16} << 20, MRV_NO_RESERVE);
    void* out = nullptr;
    const mrv_status s = mrv_virtual_alloc2(f.owner, nullptr, 17 << 20, MEM_RESERVE | MEM_COMMIT, 4,
                                            eProcessCritical, &out);
    EXPECT_EQ(mrv_win32_error(s), 1455u);
    EXPECT_EQ(mrv_win32_error(mrv_virtual_alloc2(f.owner, nullptr, std::size_t{1} << 36,
                                                 MEM_RESERVE, 4, eTaskCritical, &out)),
              0u);
    EXPECT_EQ(mrv_virtual_free2(f.host, out, 0, MEM_RELEASE), MRV_OK);
    EXPECT_EQ(mrv_win32_error(mrv_virtual_alloc2(f.owner, nullptr, std::size_t{0x7f} << 40,
                                                 MEM_RESERVE, 4, eTaskCritical, &out)),
              8u);
}

// ---- A18 ----------------------------------------------------------------------------------------------

TEST(win32_system_rules, A18_a_dropped_page_is_487) {
    host_fixture f;
    void* out = nullptr;
    ASSERT_EQ(f.manager->VirtualAlloc(nullptr, 4 * page, MEM_RESERVE | MEM_COMMIT, 4, eTaskCritical,
                                      &out),
              S_OK);
    auto* const bytes = static_cast<char*>(out);
    for (unsigned i = 0; i < 4; ++i) {
        bytes[i * page] = 1;
    }
    const auto reset = [&](DWORD type) {
        void* got = nullptr;
        return win32_error(f.manager->VirtualAlloc(out, 4 * page, type, 4, eTaskCritical, &got));
    };
    EXPECT_EQ(reset(MEM_RESET), 0u);
    // What the kernel does when memory is short.
    ASSERT_EQ(madvise(bytes + 2 * page, page, MADV_DONTNEED), 0);
    EXPECT_EQ(reset(MEM_RESET_UNDO), 487u);
    EXPECT_EQ(bytes[2 * page], 0) << "at least some data is zero";
    EXPECT_EQ(bytes[page], 1);
    for (unsigned i = 0; i < 4; ++i) {
        bytes[i * page] = 2;
    }
    EXPECT_EQ(reset(MEM_RESET), 0u);
    EXPECT_EQ(reset(MEM_RESET_UNDO), 0u);
    // Undone: the kernel may not drop them any more. It would, of clean pages, when told to.
    (void)madvise(bytes, 4 * page, 21 /* MADV_PAGEOUT */);
    for (unsigned i = 0; i < 4; ++i) {
        EXPECT_EQ(bytes[i * page], 2);
    }
    EXPECT_EQ(f.manager->VirtualFree(out, 0, MEM_RELEASE), S_OK);
}

// ---- F9 -----------------------------------------------------------------------------------------------

// Open: there are no sections here. What the program maps is not ours to free.
TEST(win32_system_rules, F9_views_are_left_alone) {
    host_fixture f;
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    void* view = mmap(nullptr, page, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    ASSERT_NE(view, MAP_FAILED);
    EXPECT_EQ(f.manager->VirtualFree(view, 0, MEM_RELEASE), HOST_E_INVALIDOPERATION);
    EXPECT_EQ(f.manager->VirtualFree(view, page, MEM_DECOMMIT), HOST_E_INVALIDOPERATION);
    EXPECT_EQ(access('R', reinterpret_cast<std::uint64_t>(view), 0), "v7f");
    munmap(view, page);
}

// ---- V2, Q2 -------------------------------------------------------------------------------------------

// Only null is refused: whether another address can be written to would be found out by writing.
TEST(win32_system_rules, V2_null_old_protection) {
    host_fixture f;
    EXPECT_EQ(win32_error(f.manager->VirtualProtect(nullptr, 0, 4, nullptr)), 998u);
    EXPECT_EQ(win32_error(f.manager->VirtualProtect(nullptr, 0, 3, nullptr)), 87u) << "V1 first";
}

// ---- WW -----------------------------------------------------------------------------------------------

class win32_watch : public testing::Test {
protected:
    void SetUp() override {
        if (!can_watch_writes()) {
            GTEST_SKIP() << "skipped: this system does not watch writes (decision 9)";
        }
        ASSERT_EQ(f.manager->VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
                                          4, eTaskCritical, &base),
                  S_OK);
        bytes = static_cast<char*>(base);
    }
    void TearDown() override {
        if (base != nullptr) {
            EXPECT_EQ(f.manager->VirtualFree(base, 0, MEM_RELEASE), S_OK);
        }
    }
    using numbers = std::vector<std::uint64_t>;
    // Page numbers, or {~0} after an error.
    numbers written(std::uint32_t flags = 0) {
        std::vector<void*> pages(size / page);
        std::size_t count = pages.size();
        std::uint32_t granularity = 0;
        if (mrv_get_write_watch(f.host, flags, base, size, pages.data(), &count, &granularity) !=
            MRV_OK) {
            return {~std::uint64_t{0}};
        }
        numbers all;
        for (std::size_t i = 0; i < count; ++i) {
            all.push_back((reinterpret_cast<std::uint64_t>(pages[i]) -
                           reinterpret_cast<std::uint64_t>(base)) /
                          page);
        }
        return all;
    }

    static constexpr std::size_t size = 4 << 20;
    host_fixture f{0, 0, MRV_HOST_WATCH_BY_FAULTS};
    void* base = nullptr;
    char* bytes = nullptr;
};

TEST_F(win32_watch, WW1_null_pointers_and_their_order) {
    void* pages[4];
    std::size_t count = 4;
    std::uint32_t granularity = 0;
    const auto error = [&](std::uint32_t flags, std::size_t n, void** out, std::size_t* c,
                           std::uint32_t* g) {
        return mrv_win32_error(mrv_get_write_watch(f.host, flags, base, n, out, c, g));
    };
    EXPECT_EQ(error(0, page, pages, nullptr, &granularity), 998u);
    EXPECT_EQ(error(0, page, pages, &count, nullptr), 998u);
    EXPECT_EQ(error(0, page, nullptr, &count, &granularity), 998u);
    count = 0;
    EXPECT_EQ(error(0, page, nullptr, &count, &granularity), 87u);
    EXPECT_EQ(error(0, page, pages, &count, &granularity), 87u);
    EXPECT_EQ(mrv_get_write_watch(nullptr, 0, base, page, pages, &count, &granularity),
              MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_reset_write_watch(nullptr, base, page), MRV_E_NULL_POINTER);
}

TEST_F(win32_watch, WW3_many_pages_of_a_large_range) {
    numbers expected;
    for (std::uint64_t i = 0; i < size / page; i += i % 3 + 1) {
        bytes[i * page + i % page] = 1;
        expected.push_back(i);
    }
    EXPECT_EQ(written(), expected);
    EXPECT_EQ(written(MRV_WRITE_WATCH_FLAG_RESET), expected);
    EXPECT_EQ(written(), numbers{});
}

TEST_F(win32_watch, WW4_a_straddling_write_marks_both_pages) {
    const std::uint64_t word = ~std::uint64_t{0};
    asm volatile("movq %0, (%1)" : : "r"(word), "r"(bytes + 8 * page - 3) : "memory");
    EXPECT_EQ(written(), (numbers{7, 8}));
}

bool kernel_watches() {
    host_fixture f; // without the word that every fault is told
    machine m(f.host, f.manager);
    const bool does = m.execute(words_of("A A+0 1000 202000 4")) == "ok A+0";
    m.clear();
    return does;
}

TEST_F(win32_watch, WW8_a_system_call_that_writes_marks) {
    if (!kernel_watches()) {
        const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        EXPECT_EQ(read(zero, bytes, 20), -1);
        EXPECT_EQ(errno, EFAULT) << "by faults: a deliberate difference";
        bytes[0] = 1;
        EXPECT_EQ(read(zero, bytes, 20), 20) << "open since the first write";
        close(zero);
        EXPECT_EQ(written(), (numbers{0}));
        return;
    }
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(read(fd, bytes + 5 * page - 10, 20), 20);
    EXPECT_EQ(written(MRV_WRITE_WATCH_FLAG_RESET), (numbers{4, 5}));
    ASSERT_EQ(pread(fd, bytes + 4 * page, 20, 0), 20) << "into a page that was reset";
    EXPECT_EQ(write(fd, bytes + 9 * page, 0), -1);
    EXPECT_EQ(written(), (numbers{4}));
    close(fd);
}

// In the child what holds something counts as written to, until it is reset there; the parent's marks
// are its own.
TEST_F(win32_watch, WW_after_fork) {
    const bool by_kernel = kernel_watches();
    bytes[2 * page] = 1;
    bytes[3 * page] = 1;
    EXPECT_EQ(written(MRV_WRITE_WATCH_FLAG_RESET), (numbers{2, 3}));
    bytes[3 * page] = 2;
    EXPECT_EQ(
        in_child([&] {
            const bool exact = !by_kernel; // the kernel's marks are not inherited
            MUST(written() == (exact ? numbers{3} : numbers{2, 3}));
            bytes[4 * page] = 1;
            MUST(written(MRV_WRITE_WATCH_FLAG_RESET) == (exact ? numbers{3, 4} : numbers{2, 3, 4}));
            MUST(written().empty());
            bytes[2 * page] = 7;
            MUST(written() == (numbers{2}));
            return 0;
        }),
        0);
    EXPECT_EQ(written(), (numbers{3}));
    EXPECT_EQ(bytes[2 * page], 1);
}

// A program that closes every descriptor it does not know: marks are lost towards "written".
TEST_F(win32_watch, WW_descriptors_closed_by_the_program) {
    if (!kernel_watches()) {
        GTEST_SKIP() << "skipped: no descriptor is needed here";
    }
    bytes[page] = 1;
    EXPECT_EQ(written(MRV_WRITE_WATCH_FLAG_RESET), (numbers{1}));
    EXPECT_EQ(in_child([&] {
                  MUST(written() == (numbers{1})); // opens the child's own
                  MUST(written(MRV_WRITE_WATCH_FLAG_RESET) == (numbers{1}));
                  for (int fd = 3; fd < 1024; ++fd) {
                      close(fd);
                  }
                  bytes[2 * page] = 1;
                  MUST(written() == (numbers{1, 2}));
                  MUST(written(MRV_WRITE_WATCH_FLAG_RESET) == (numbers{1, 2}));
                  MUST(written().empty());
                  return 0;
              }),
              0);
}

// No write is lost between reading and resetting.
TEST_F(win32_watch, WW3_reset_while_others_write) {
    constexpr unsigned rounds = 20000;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> done{0};
    std::thread writer([&] {
        for (std::uint64_t i = 1; i <= rounds; ++i) {
            const std::uint64_t p = i % 61;
            reinterpret_cast<std::atomic<std::uint64_t>*>(bytes + p * page)->store(i);
            done.store(i);
        }
        stop.store(true);
    });
    std::vector<std::uint64_t> seen(61);
    const auto collect = [&] {
        for (const std::uint64_t p : written(MRV_WRITE_WATCH_FLAG_RESET)) {
            seen.at(p) = reinterpret_cast<std::atomic<std::uint64_t>*>(bytes + p * page)->load();
        }
    };
    while (!stop.load()) {
        collect();
    }
    writer.join();
    collect();
    for (std::uint64_t p = 0; p < 61; ++p) {
        EXPECT_EQ(seen[p], reinterpret_cast<std::atomic<std::uint64_t>*>(bytes + p * page)->load())
            << "page " << p << " was written to after it was last told";
    }
}

// Decision 9: without the kernel and without the embedder's word it is refused, which the GC survives.
TEST(win32_system_rules, decision_9_refused_where_writes_cannot_be_watched) {
    if (kernel_watches()) {
        GTEST_SKIP() << "skipped: the kernel watches writes (the test runs again without)";
    }
    host_fixture f;
    void* out = nullptr;
    EXPECT_EQ(f.manager->VirtualAlloc(nullptr, page, MEM_RESERVE | MEM_WRITE_WATCH, 4,
                                      eTaskCritical, &out),
              E_INVALIDARG);
    EXPECT_EQ(out, nullptr);
}

// ---- L3 -----------------------------------------------------------------------------------------------

TEST(win32_system_rules, L3_over_the_quota_is_1453_and_locks_nothing) {
    host_fixture f;
    void* out = nullptr;
    ASSERT_EQ(f.manager->VirtualAlloc(nullptr, 64 * page, MEM_RESERVE | MEM_COMMIT, 4,
                                      eTaskCritical, &out),
              S_OK);
    auto* const bytes = static_cast<char*>(out);
    EXPECT_EQ(in_child([&] {
                  const rlimit few{16 * page, 16 * page};
                  MUST(setrlimit(RLIMIT_MEMLOCK, &few) == 0);
                  if (geteuid() == 0) {
                      MUST(seteuid(65534) == 0); // root may lock without a limit
                  }
                  MUST(mrv_virtual_lock(f.host, bytes + 8 * page, 4 * page) == MRV_OK);
                  MUST(mrv_win32_error(mrv_virtual_lock(f.host, bytes, 64 * page)) == 1453);
                  MUST(mrv_win32_error(mrv_virtual_unlock(f.host, bytes, page)) == 158);
                  MUST(mrv_win32_error(mrv_virtual_unlock(f.host, bytes + 20 * page, page)) == 158);
                  MUST(mrv_virtual_unlock(f.host, bytes + 8 * page, 4 * page) == MRV_OK);
                  return 0;
              }),
              0);
    EXPECT_EQ(f.manager->VirtualFree(out, 0, MEM_RELEASE), S_OK);
}

TEST(win32_system_rules, L2_guards_are_consumed_and_foreign_memory_can_be_locked) {
    host_fixture f;
    void* out = nullptr;
    ASSERT_EQ(f.manager->VirtualAlloc(nullptr, 2 * page, MEM_RESERVE | MEM_COMMIT, 0x104,
                                      eTaskCritical, &out),
              S_OK);
    EXPECT_EQ(mrv_win32_error(mrv_virtual_lock(f.host, out, page)), 998u);
    EXPECT_EQ(query(f, reinterpret_cast<std::uint64_t>(out)).Protect, 4u);
    EXPECT_EQ(mrv_virtual_lock(f.host, out, page), MRV_OK);
    EXPECT_EQ(mrv_virtual_unlock(f.host, out, page), MRV_OK);
    EXPECT_EQ(f.manager->VirtualFree(out, 0, MEM_RELEASE), S_OK);
    void* theirs = mmap(nullptr, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(theirs, MAP_FAILED);
    EXPECT_EQ(mrv_virtual_lock(f.host, theirs, 1), MRV_OK);
    EXPECT_EQ(mrv_win32_error(mrv_virtual_unlock(f.host, theirs, page + 1)), 158u);
    EXPECT_EQ(mrv_virtual_unlock(f.host, theirs, page), MRV_OK);
    munmap(theirs, 2 * page);
    EXPECT_EQ(mrv_virtual_lock(nullptr, theirs, page), MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_virtual_unlock(nullptr, theirs, page), MRV_E_NULL_POINTER);
}

// ---- PH -----------------------------------------------------------------------------------------------

constexpr DWORD make_placeholder = MEM_RESERVE | MRV_MEM_RESERVE_PLACEHOLDER;
constexpr DWORD split = MEM_RELEASE | MRV_MEM_PRESERVE_PLACEHOLDER;
constexpr DWORD join = MEM_RELEASE | MRV_MEM_COALESCE_PLACEHOLDERS;
constexpr DWORD replace = MEM_RESERVE | MEM_COMMIT | MRV_MEM_REPLACE_PLACEHOLDER;

TEST(win32_placeholders, PH2_at_most_255_pieces_and_clean_refusals) {
    host_fixture f;
    void* out = nullptr;
    ASSERT_EQ(
        mrv_virtual_alloc2(f.owner, nullptr, 600 * page, make_placeholder, 1, eTaskCritical, &out),
        MRV_OK);
    auto* const bytes = static_cast<char*>(out);
    unsigned pieces = 1;
    while (pieces < 600 &&
           mrv_virtual_free2(f.host, bytes + (pieces - 1) * page, page, split) == MRV_OK) {
        ++pieces;
    }
    EXPECT_EQ(pieces, 255u);
    const auto before = query(f, reinterpret_cast<std::uint64_t>(bytes) + 300 * page);
    EXPECT_EQ(mrv_virtual_free2(f.host, bytes + 300 * page, page, split), MRV_E_OUT_OF_MEMORY);
    const auto after = query(f, reinterpret_cast<std::uint64_t>(bytes) + 300 * page);
    EXPECT_EQ(after.RegionSize, before.RegionSize);
    EXPECT_EQ(after.AllocationBase, before.AllocationBase);
    EXPECT_EQ(mrv_virtual_free2(f.host, bytes, 600 * page, join), MRV_OK);
    EXPECT_EQ(query(f, reinterpret_cast<std::uint64_t>(bytes)).RegionSize, 600 * page);
    EXPECT_EQ(mrv_virtual_free2(f.host, bytes, 0, MEM_RELEASE), MRV_OK);
}

// The books: what is replaced and committed is charged, and is given back with the piece.
TEST(win32_placeholders, PH3_PH4_charges_follow) {
    host_fixture f(std::uint64_t{1} << 20, MRV_NO_RESERVE);
    const auto charged = [&] {
        mrv_owner_figures figures{};
        figures.size = sizeof figures;
        EXPECT_EQ(mrv_owner_stats(f.owner, &figures), MRV_OK);
        return figures.charged_bytes;
    };
    const std::uint64_t before = charged();
    void* out = nullptr;
    ASSERT_EQ(
        mrv_virtual_alloc2(f.owner, nullptr, 4 << 20, make_placeholder, 1, eTaskCritical, &out),
        MRV_OK);
    auto* const bytes = static_cast<char*>(out);
    EXPECT_EQ(charged(), before);
    void* got = nullptr;
    EXPECT_EQ(mrv_virtual_alloc2(f.owner, out, 4 << 20, replace, 4, eTaskCritical, &got),
              MRV_E_OVER_BUDGET);
    EXPECT_EQ(query(f, reinterpret_cast<std::uint64_t>(out)).State, DWORD{MEM_RESERVE});
    EXPECT_EQ(query(f, reinterpret_cast<std::uint64_t>(out)).AllocationProtect, 1u);
    ASSERT_EQ(mrv_virtual_free2(f.host, bytes + 64 * page, 64 * page, split), MRV_OK);
    ASSERT_EQ(
        mrv_virtual_alloc2(f.owner, bytes + 64 * page, 64 * page, replace, 4, eTaskCritical, &got),
        MRV_OK);
    EXPECT_EQ(got, bytes + 64 * page);
    EXPECT_EQ(charged(), before + 64 * page);
    ASSERT_EQ(mrv_virtual_free2(f.host, got, 64 * page, split), MRV_OK);
    EXPECT_EQ(charged(), before);
    ASSERT_EQ(mrv_virtual_alloc2(f.owner, got, 64 * page, replace, 4, eTaskCritical, &got), MRV_OK);
    EXPECT_EQ(f.manager->VirtualFree(got, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(charged(), before);
    EXPECT_EQ(f.manager->VirtualFree(bytes, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(f.manager->VirtualFree(bytes + 128 * page, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(query(f, reinterpret_cast<std::uint64_t>(bytes)).State, DWORD{MEM_FREE});
}

// Threads change neighbouring pieces of one area while others look: every answer is of some moment.
TEST(win32_placeholders, PH_threads_on_one_area) {
    host_fixture f;
    constexpr unsigned threads = 3;
    constexpr unsigned pages_each = 8;
    void* out = nullptr;
    ASSERT_EQ(mrv_virtual_alloc2(f.owner, nullptr, threads * pages_each * page, make_placeholder, 1,
                                 eTaskCritical, &out),
              MRV_OK);
    auto* const bytes = static_cast<char*>(out);
    for (unsigned t = 0; t + 1 < threads; ++t) {
        ASSERT_EQ(
            mrv_virtual_free2(f.host, bytes + t * pages_each * page, pages_each * page, split),
            MRV_OK);
    }
    std::atomic<unsigned> wrong{0};
    std::atomic<bool> stop{false};
    const auto work = [&](unsigned t) {
        char* const mine = bytes + t * pages_each * page;
        for (unsigned i = 0; i < 2000; ++i) {
            void* got = nullptr;
            const bool ok =
                mrv_virtual_free2(f.host, mine + 2 * page, 3 * page, split) == MRV_OK &&
                mrv_virtual_alloc2(f.owner, mine + 2 * page, 3 * page, replace, 4, eTaskCritical,
                                   &got) == MRV_OK &&
                mine[3 * page] == 0 && (mine[3 * page] = 1) == 1 &&
                query(f, reinterpret_cast<std::uint64_t>(mine) + 3 * page).AllocationBase == got &&
                mrv_virtual_free2(f.host, got, 3 * page, split) == MRV_OK &&
                mrv_virtual_free2(f.host, mine, pages_each * page, join) == MRV_OK;
            wrong.fetch_add(ok ? 0 : 1);
        }
    };
    const auto watch = [&] {
        while (!stop.load()) {
            for (unsigned p = 0; p < threads * pages_each; ++p) {
                const std::uint64_t a = reinterpret_cast<std::uint64_t>(bytes) + p * page;
                const auto info = query(f, a);
                const auto base = reinterpret_cast<std::uint64_t>(info.AllocationBase);
                const bool fits = base <= a && a < base + pages_each * page &&
                                  a + info.RegionSize <= base + pages_each * page &&
                                  info.State != MEM_FREE &&
                                  (info.AllocationProtect == 1 || info.AllocationProtect == 4);
                wrong.fetch_add(fits ? 0 : 1);
            }
        }
    };
    std::vector<std::thread> all;
    for (unsigned t = 0; t < threads; ++t) {
        all.emplace_back(work, t);
    }
    std::thread reader(watch);
    for (auto& t : all) {
        t.join();
    }
    stop.store(true);
    reader.join();
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT_EQ(mrv_virtual_free2(f.host, bytes, threads * pages_each * page, join), MRV_OK);
    EXPECT_EQ(mrv_virtual_free2(f.host, bytes, 0, MEM_RELEASE), MRV_OK);
}

TEST(win32_placeholders, PH1_null_pointers_and_levels) {
    host_fixture f;
    void* out = &f;
    EXPECT_EQ(mrv_virtual_alloc2(nullptr, nullptr, page, make_placeholder, 1, eTaskCritical, &out),
              MRV_E_NULL_POINTER);
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(
        mrv_virtual_alloc2(f.owner, nullptr, page, make_placeholder, 1, eTaskCritical, nullptr),
        MRV_E_NULL_POINTER);
    EXPECT_EQ(mrv_virtual_alloc2(f.owner, nullptr, page, make_placeholder, 1, 3, &out),
              MRV_E_INVALID_ARGUMENT)
        << "decision 3";
    EXPECT_EQ(mrv_virtual_free2(nullptr, &f, page, split), MRV_E_NULL_POINTER);
}

} // namespace
} // namespace memreeve::replay
