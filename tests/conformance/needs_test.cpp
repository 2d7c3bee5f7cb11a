// SPDX-License-Identifier: MIT
// Decision 11, hosting-api 3.4: after a mapping failed for want of address space,
// NeedsVirtualAddressSpace gives back what is idle, and says S_OK only when the retry succeeds.
#include <gtest/gtest.h>
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true; // its shadow is larger than any limit that could be set here
#else
constexpr bool sanitized = false;
#endif

void* map(std::size_t size) {
    return mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// Exit status of the child: 0 or the number of the step that went wrong.
int in_a_full_address_space() {
    constexpr rlim_t gib = rlim_t{1} << 30;
    const rlimit limit{64 * gib, 64 * gib};
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* memory = nullptr;
    if (setrlimit(RLIMIT_AS, &limit) != 0 || mrv_host_create(nullptr, &host) != MRV_OK ||
        mrv_owner_create(host, nullptr, nullptr, &owner) != MRV_OK ||
        mrv_owner_memory_manager(owner, &memory) != MRV_OK) {
        return 1;
    }
    void* block = nullptr;
    if (memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                             eTaskCritical, &block) != S_OK) {
        return 2;
    }
    constexpr std::size_t wanted = std::size_t{512} << 20;
    while (map(wanted) != MAP_FAILED) {
    }
    // The arena is in use: nothing can be given back, and nothing is promised.
    if (memory->NeedsVirtualAddressSpace(nullptr, wanted) != E_OUTOFMEMORY) {
        return 3;
    }
    if (memory->VirtualFree(block, 0, MEM_RELEASE) != S_OK || map(wanted) != MAP_FAILED) {
        return 4; // the empty arena is kept warm
    }
    if (memory->NeedsVirtualAddressSpace(nullptr, wanted) != S_OK) {
        return 5;
    }
    if (map(wanted) == MAP_FAILED) {
        return 6;
    }
    while (map(wanted) != MAP_FAILED) {
    }
    return memory->NeedsVirtualAddressSpace(nullptr, wanted) == E_OUTOFMEMORY ? 0 : 7;
}

TEST(needs_virtual_address_space, decision_11_makes_room_and_promises_only_what_is_there) {
    if (sanitized) {
        GTEST_SKIP() << "SKIPPED: RLIMIT_AS and a sanitizer's shadow exclude each other";
    }
    const pid_t child = fork();
    if (child == 0) {
        _exit(in_a_full_address_space());
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0) << "step";
}

} // namespace
