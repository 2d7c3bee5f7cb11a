// SPDX-License-Identifier: MIT
// The SIGSEGV handler that embedders opt in to (decision 8, rules G2 and G5): guards are told and
// cleared, everything else goes to who was there, in whatever order handlers came.
#include "support/test_host.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace memreeve::test {
namespace {

struct told {
    unsigned guards = 0;
    void* address = nullptr;
    std::uint32_t access = 99;
    bool on_alternate_stack = false;
    unsigned first = 0;   // faults that reached the program's own handler
    unsigned runtime = 0; // and one that a runtime installed later
    void* fault_address = nullptr;
};
told seen;
sigjmp_buf back;
struct sigaction before_runtime;

void on_guard(void* context, const mrv_guard_hit* hit) {
    auto& t = *static_cast<told*>(context);
    ++t.guards;
    t.address = hit->address;
    t.access = hit->access;
    stack_t now{};
    sigaltstack(nullptr, &now);
    t.on_alternate_stack = (now.ss_flags & SS_ONSTACK) != 0;
    errno = 1234;
}

void first_handler(int, siginfo_t* info, void*) {
    ++seen.first;
    seen.fault_address = info->si_addr;
    siglongjmp(back, 1);
}

// Chains, as runtimes do.
void runtime_handler(int signal_number, siginfo_t* info, void* context) {
    ++seen.runtime;
    before_runtime.sa_sigaction(signal_number, info, context);
}

void install(void (*handler)(int, siginfo_t*, void*), struct sigaction* before) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    ASSERT_EQ(sigaction(SIGSEGV, &action, before), 0);
}

// In assembly: a sanitizer's check would fault first.
void write_byte(void* a) { asm volatile("movb $7, (%0)" : : "r"(a) : "memory"); }

// A fault that is not memreeve's must reach the program's own handler, and once.
void expect_passed_on(void* nobodys) {
    const unsigned before = seen.first;
    if (sigsetjmp(back, 1) == 0) {
        write_byte(nobodys);
        ADD_FAILURE() << "the access did not fault";
    }
    EXPECT_EQ(seen.first, before + 1);
    EXPECT_EQ(seen.fault_address, nobodys);
}

class fault_handler : public host_test {
protected:
    void SetUp() override {
        seen = {};
        open(options_for(MRV_NO_LIMIT));
        install(first_handler, &original);
        nobodys = mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(nobodys, MAP_FAILED);
        ASSERT_EQ(alloc(16 * page, eTaskCritical, reinterpret_cast<void**>(&guarded), nullptr,
                        MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD),
                  S_OK);
    }
    void TearDown() override {
        EXPECT_EQ(mrv_remove_fault_handler(), MRV_OK);
        sigaction(SIGSEGV, &original, nullptr);
        munmap(nobodys, page);
        EXPECT_EQ(memory->VirtualFree(guarded, 0, MEM_RELEASE), S_OK);
        close();
    }
    void expect_guard(unsigned number) {
        const unsigned before = seen.guards;
        char* const at = guarded + number * page + 5;
        errno = 77;
        write_byte(at);
        EXPECT_EQ(errno, 77);
        EXPECT_EQ(seen.guards, before + 1);
        EXPECT_EQ(seen.address, at);
        EXPECT_EQ(seen.access, 1u);
        EXPECT_EQ(*at, 7);
        write_byte(at);
        EXPECT_EQ(seen.guards, before + 1) << "one shot";
    }

    struct sigaction original {};
    void* nobodys = nullptr;
    char* guarded = nullptr;
};

TEST_F(fault_handler, decision_8_G2_guards_are_told_and_the_rest_is_passed_on) {
    ASSERT_EQ(mrv_install_fault_handler(on_guard, &seen), MRV_OK);
    expect_guard(0);
    expect_passed_on(nobodys);
    expect_guard(1);
    volatile char* const read = guarded + 2 * page;
    EXPECT_EQ(*read, 0);
    EXPECT_EQ(seen.access, 0u);
    ASSERT_EQ(mrv_remove_fault_handler(), MRV_OK);
    struct sigaction now {};
    sigaction(SIGSEGV, nullptr, &now);
    EXPECT_EQ(now.sa_sigaction, &first_handler) << "put back";
    expect_passed_on(guarded + 3 * page);
    EXPECT_EQ(seen.guards, 3u);
}

TEST_F(fault_handler, G5_an_armed_guard_is_told_again) {
    ASSERT_EQ(mrv_install_fault_handler(on_guard, &seen), MRV_OK);
    expect_guard(0);
    DWORD old = 0;
    ASSERT_EQ(memory->VirtualProtect(guarded, page, PAGE_READWRITE | PAGE_GUARD, &old), S_OK);
    expect_guard(0);
}

TEST_F(fault_handler, without_a_function_guards_are_cleared_silently) {
    ASSERT_EQ(mrv_install_fault_handler(nullptr, nullptr), MRV_OK);
    write_byte(guarded);
    EXPECT_EQ(*guarded, 7);
    EXPECT_EQ(seen.guards, 0u);
    expect_passed_on(nobodys);
}

TEST_F(fault_handler, a_runtime_that_comes_later_and_chains) {
    ASSERT_EQ(mrv_install_fault_handler(on_guard, &seen), MRV_OK);
    install(runtime_handler, &before_runtime);
    expect_guard(0);
    EXPECT_EQ(seen.runtime, 2u - 1u);
    expect_passed_on(nobodys);
    EXPECT_EQ(seen.runtime, 2u);

    // First again: the chain leads from us to the runtime, back to us, and on to who was first.
    ASSERT_EQ(mrv_install_fault_handler(on_guard, &seen), MRV_OK);
    expect_guard(1);
    EXPECT_EQ(seen.runtime, 2u) << "not asked about guards any more";
    expect_passed_on(nobodys);
    EXPECT_EQ(seen.runtime, 3u);
    expect_passed_on(nobodys);
    EXPECT_EQ(seen.runtime, 4u) << "left by siglongjmp, passed on as before";

    ASSERT_EQ(mrv_remove_fault_handler(), MRV_OK);
    struct sigaction now {};
    sigaction(SIGSEGV, nullptr, &now);
    EXPECT_EQ(now.sa_sigaction, &runtime_handler);
    expect_passed_on(guarded + 2 * page);
    EXPECT_EQ(seen.runtime, 5u);
    EXPECT_EQ(seen.guards, 2u) << "in the runtime's chain, and passive";
}

TEST_F(fault_handler, installing_again_changes_who_is_told_only) {
    told other;
    ASSERT_EQ(mrv_install_fault_handler(on_guard, &other), MRV_OK);
    ASSERT_EQ(mrv_install_fault_handler(on_guard, &seen), MRV_OK);
    expect_guard(0);
    EXPECT_EQ(other.guards, 0u);
    expect_passed_on(nobodys);
}

TEST_F(fault_handler, runs_on_the_threads_alternate_stack) {
    ASSERT_EQ(mrv_install_fault_handler(on_guard, &seen), MRV_OK);
    std::thread([this] {
        static std::array<char, 256 * 1024> space;
        stack_t mine{};
        mine.ss_sp = space.data();
        mine.ss_size = space.size();
        stack_t none{};
        ASSERT_EQ(sigaltstack(&mine, &none), 0);
        expect_guard(0);
        EXPECT_TRUE(seen.on_alternate_stack);
        expect_passed_on(nobodys);
        expect_passed_on(nobodys);
        sigaltstack(&none, nullptr);
    }).join();
}

TEST_F(fault_handler, what_nobody_handles_ends_the_process) {
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        if (mrv_install_fault_handler(on_guard, &seen) != MRV_OK) {
            _exit(0);
        }
        write_byte(guarded);
        write_byte(nobodys);
        _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

// Whoever meets it second finds the page open, or about to be: the access is tried again.
TEST_F(fault_handler, G2_one_of_two_threads_is_told_of_a_guard_both_meet) {
    static std::atomic<unsigned> guards;
    guards = 0;
    ASSERT_EQ(mrv_install_fault_handler([](void*, const mrv_guard_hit*) { ++guards; }, nullptr),
              MRV_OK);
    constexpr unsigned rounds = 3000;
    std::atomic<unsigned> begun{0};
    std::atomic<unsigned> done{0};
    std::thread other([&] {
        for (unsigned round = 1; round <= rounds; ++round) {
            while (begun < round) {
            }
            write_byte(guarded + 8);
            done = round;
        }
    });
    for (unsigned round = 1; round <= rounds; ++round) {
        DWORD old = 0;
        EXPECT_EQ(memory->VirtualProtect(guarded, page, PAGE_READWRITE | PAGE_GUARD, &old), S_OK);
        begun = round;
        write_byte(guarded);
        while (done < round) {
        }
    }
    other.join();
    EXPECT_EQ(guards, rounds);
    EXPECT_EQ(seen.first, 0u);
}

TEST_F(fault_handler, a_signal_that_somebody_sends_is_passed_on) {
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_IGN);
        if (mrv_install_fault_handler(on_guard, &seen) != MRV_OK) {
            _exit(1);
        }
        raise(SIGSEGV); // ignored, as it was
        struct sigaction by_default {};
        by_default.sa_handler = SIG_DFL;
        sigaction(SIGSEGV, &by_default, nullptr);
        if (mrv_install_fault_handler(on_guard, &seen) != MRV_OK) {
            _exit(1);
        }
        raise(SIGSEGV);
        _exit(1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

} // namespace
} // namespace memreeve::test
