// SPDX-License-Identifier: MIT
// A host's heap over the lives of threads and processes: threads that come and go without end, requests
// in their last destructors and in the process's, children of a process with busy threads.
#include "com/host_malloc.hpp"
#include "manager/host.hpp"
#include "memreeve/host_interfaces.h"
#include "support/block_pattern.hpp"
#include "support/numbers.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace memreeve::test {
namespace {

struct heap_lives : testing::Test {
    manager::host* host = nullptr;
    owner_id owner = owner_id::none;
    std::unique_ptr<com::host_memory_manager> com;
    IHostMalloc* heap = nullptr;
    std::atomic<std::uint64_t> wrong{0};
    // Blocks that threads pass on; each knows its size and its pattern.
    std::array<std::atomic<address>, 256> table{};

    void SetUp() override {
        manager::host::settings settings;
        settings.memory.watch_system = false;
        host = *manager::host::create(settings);
        owner = *host->open_owner(owner_id::none, "lives", {});
        com = std::make_unique<com::host_memory_manager>(host->memory(), owner, &host->notices(),
                                                         &host->records());
        ASSERT_EQ(com->CreateMalloc(MALLOC_THREADSAFE, &heap), S_OK);
    }
    void TearDown() override {
        for (auto& place : table) {
            end(place.exchange(0));
        }
        EXPECT_EQ(wrong, 0u);
        EXPECT_EQ(blocks().stats().live_blocks, 0u);
        EXPECT_EQ(heap->Release(), 0u);
        host->memory().drop_warm();
        EXPECT_EQ(charged(), 0u);
        com.reset();
        host->destroy();
    }
    manager::owner_heap& blocks() { return static_cast<com::host_malloc*>(heap)->blocks(); }
    page_count charged() {
        host->books().tree().drain();
        return host->books().tree().charged(owner);
    }
    address get(byte_count size, bool debug = false) {
        void* out = nullptr;
        const byte_count whole = size + 16;
        const HRESULT hr =
            debug ? heap->DebugAlloc(whole, eTaskCritical, const_cast<char*>("lives.cpp"), 5, &out)
                  : heap->Alloc(whole, eTaskCritical, &out);
        if (hr != S_OK) {
            ++wrong;
            return 0;
        }
        const auto at = reinterpret_cast<address>(out);
        std::memcpy(out, &size, sizeof size);
        write_pattern(at + 16, size, at);
        return at;
    }
    void end(address at) {
        if (at == 0) {
            return;
        }
        byte_count size = 0;
        std::memcpy(&size, reinterpret_cast<void*>(at), sizeof size);
        wrong += has_pattern(at + 16, size, at, size) ? 0u : 1u;
        wrong += heap->Free(reinterpret_cast<void*>(at)) == S_OK ? 0u : 1u;
    }
    void trade(random_numbers& random) {
        const std::uint64_t kind = random.up_to(64);
        const byte_count size = kind == 0  ? 100000
                                : kind < 6 ? random.up_to(9000)
                                           : random.up_to(500);
        end(table[random.up_to(table.size())].exchange(get(size, kind % 5 == 1)));
    }
};

// Without stdio, which allocates.
long anonymous_kib() {
    char text[4096];
    const int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char* at = std::strstr(text, "\nAnonymous:");
    return at != nullptr ? std::strtol(at + 11, nullptr, 10) : 0;
}

// A thread that was joined may still be leaving the kernel; what it had is taken over once it has.
void await_end(pid_t thread) {
    while (syscall(SYS_tgkill, getpid(), thread, 0) == 0) {
        sched_yield();
    }
}

// Every thread does the same, and as many have something at once each time, so that growth is what
// threads leave behind.
TEST_F(heap_lives, a_million_threads_leave_nothing) {
    const unsigned count = std::getenv("MEMREEVE_LONG") != nullptr ? 1000000 : 60000;
    constexpr unsigned at_once = 4;
    static heap_lives* self = nullptr;
    self = this;
    static pthread_barrier_t all_there;
    ASSERT_EQ(pthread_barrier_init(&all_there, nullptr, at_once), 0);
    static std::array<pid_t, at_once> numbers;
    const auto life = [](void* number) -> void* {
        static constexpr byte_count sizes[] = {1, 30, 50, 90, 150, 400, 900, 2000, 5000, 40000};
        const auto n = reinterpret_cast<std::uintptr_t>(number);
        numbers[n % at_once] = static_cast<pid_t>(syscall(SYS_gettid));
        address mine[std::size(sizes)];
        for (unsigned i = 0; i < std::size(sizes); ++i) {
            mine[i] = self->get(sizes[i], i % 4 == 1);
        }
        pthread_barrier_wait(&all_there);
        for (unsigned i = 0; i < std::size(sizes); ++i) {
            const bool is_left = i % 3 == n % 3; // for another thread to free
            self->end(is_left ? self->table[i * 8 + n % 8].exchange(mine[i]) : mine[i]);
        }
        return nullptr;
    };
    long memory = 0;
    page_count charges = 0;
    for (unsigned i = 0; i < count; i += at_once) {
        std::array<pthread_t, at_once> crew;
        for (unsigned t = 0; t < at_once; ++t) {
            ASSERT_EQ(pthread_create(&crew[t], nullptr, life,
                                     reinterpret_cast<void*>(std::uintptr_t{i} + t)),
                      0);
        }
        for (unsigned t = 0; t < at_once; ++t) {
            pthread_join(crew[t], nullptr);
            await_end(numbers[t]);
        }
        if (i / at_once == count / at_once / 5) {
            memory = anonymous_kib();
            charges = charged();
        }
    }
    pthread_barrier_destroy(&all_there);
    const long growth = anonymous_kib() - memory;
    std::printf("%u threads: growth %ld KiB, %ld pages charged more\n", count, growth,
                static_cast<long>(charged() - charges));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LE(growth, 64);
#endif
    EXPECT_LE(charged(), charges + 64);
}

// The heap is used by objects that end with their thread, key destructors last of all.
struct ends_with_thread {
    heap_lives* test = nullptr;
    address block = 0;
    ~ends_with_thread() {
        if (test != nullptr) {
            test->end(block);
            test->end(test->get(700));
            test->end(test->table[3].exchange(test->get(70, true)));
        }
    }
};
thread_local ends_with_thread local;
pthread_key_t last_key;
heap_lives* of_last_key = nullptr;
std::atomic<unsigned> key_ends{0};
void at_key_end(void* block) {
    of_last_key->end(reinterpret_cast<address>(block));
    if (key_ends.fetch_add(1) % 3 != 0) {
        pthread_setspecific(last_key, reinterpret_cast<void*>(of_last_key->get(123)));
    }
}
TEST_F(heap_lives, requests_come_in_a_threads_last_destructors) {
    of_last_key = this;
    ASSERT_EQ(pthread_key_create(&last_key, at_key_end), 0);
    std::uint64_t left = 0;
    for (int i = 0; i < 400; ++i) {
        std::thread([&] {
            if (i % 2 == 0) { // else the first request of the thread is a destructor's
                end(get(100));
            }
            local.test = this;
            local.block = i % 2 == 0 ? get(50) : 0;
            pthread_setspecific(last_key, reinterpret_cast<void*>(get(9)));
        }).join();
    }
    // libc gives up after four rounds: what is set then is left.
    left = blocks().stats().live_blocks;
    EXPECT_GT(key_ends, 400u);
    EXPECT_LE(left, 400u + 1);
    end(table[3].exchange(0));
    pthread_key_delete(last_key);
}

// After main: static objects, handlers of exit, in any order.
heap_lives* of_the_end = nullptr;
struct ends_with_process {
    ~ends_with_process() {
        if (of_the_end != nullptr) {
            random_numbers random(3);
            for (int i = 0; i < 500; ++i) {
                of_the_end->trade(random);
            }
            if (of_the_end->wrong != 0) {
                _exit(9);
            }
        }
    }
} at_the_end;
TEST_F(heap_lives, requests_come_when_the_process_ends) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        of_the_end = this;
        std::atexit([] {
            of_the_end->end(of_the_end->get(3000));
            of_the_end->end(of_the_end->table[0].exchange(of_the_end->get(5)));
        });
        std::exit(3);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 3);
}

// Nobody has told the heap that there is a child (only a governed process does): it works all the same.
TEST_F(heap_lives, children_of_busy_threads_go_on) {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "skipped: ThreadSanitizer starts no threads in a child";
#endif
    std::atomic<bool> stop{false};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < 8; ++t) {
        crew.emplace_back([&, t] {
            random_numbers random(t);
            for (unsigned n = 0; !stop; ++n) {
                for (int i = 0; i < 40; ++i) {
                    trade(random);
                }
                if (n % 4 == 0) {
                    usleep(200);
                }
            }
        });
    }
    const unsigned forks = std::getenv("MEMREEVE_LONG") != nullptr ? 10000 : 150;
    unsigned bad = 0;
    for (unsigned n = 0; n < forks && bad < 5; ++n) {
        const address mine = get(n * 11 % 3000);
        const pid_t child = fork();
        if (child == 0) {
            alarm(30);
            random_numbers random(n);
            end(mine);
            for (std::size_t i = n % 2; i < table.size(); i += 2) {
                end(table[i].exchange(0));
            }
            for (int i = 0; i < 300; ++i) {
                trade(random);
            }
#if !defined(__SANITIZE_ADDRESS__)
            // AddressSanitizer's allocator, of which a new thread asks, keeps in a child the locks that
            // other threads held at the fork.
            if (n % 4 == 0) {
                std::thread([&] {
                    for (int i = 0; i < 300; ++i) {
                        trade(random);
                    }
                }).join();
            }
#endif
            (void)blocks().trim();
            for (auto& place : table) {
                end(place.exchange(0));
            }
            _exit(wrong == 0 ? 0 : 1);
        }
        int status = -1;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        if (status != 0) {
            ++bad;
            ADD_FAILURE() << "child " << n << ": " << (WIFSIGNALED(status) ? "signal " : "status ")
                          << (WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
        end(mine);
    }
    stop = true;
    for (auto& one : crew) {
        one.join();
    }
}

} // namespace
} // namespace memreeve::test
