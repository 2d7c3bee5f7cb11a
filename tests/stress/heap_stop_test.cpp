// SPDX-License-Identifier: MIT
// Threads are stopped anywhere in a heap, and while they stand the controller uses the same heap
// (decision 18): it must never wait for one of them. In half of the rounds each stopped thread's
// handler has used the heap itself first, in the middle of whatever was interrupted there.
#include "com/host_malloc.hpp"
#include "manager/host.hpp"
#include "memreeve/host_interfaces.h"
#include "support/block_pattern.hpp"
#include "support/numbers.hpp"
#include "support/stopping.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

namespace memreeve::test {
namespace {

using namespace stopping;

constexpr unsigned workers = 4;
constexpr double most_seconds = 0.3; // of the processor, for what the controller does in a round

struct block {
    address at = 0;
    byte_count size = 0;
    std::uint64_t seed = 0;
};

// Nothing here allocates from another heap: the handler and the controller use it too.
struct user {
    manager::owner_heap* heap = nullptr;
    IHostMalloc* com = nullptr;
    std::array<block, 48> blocks{};
    std::uint64_t state = 1;
    std::uint64_t wrong = 0;

    std::uint64_t up_to(std::uint64_t n) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state % n;
    }
    byte_count a_size() {
        const std::uint64_t kind = up_to(32);
        return kind < 20   ? up_to(400)
               : kind < 28 ? up_to(9000)
               : kind < 31 ? up_to(90000)
                           : up_to(900000);
    }
    void fill(block& b, byte_count size) {
        b.size = size;
        b.seed = up_to(~std::uint64_t{0});
        write_pattern(b.at, b.size, b.seed);
    }
    void end(block& b) {
        wrong += has_pattern(b.at, b.size, b.seed, b.size) ? 0u : 1u;
        wrong += com->Free(reinterpret_cast<void*>(b.at)) == S_OK ? 0u : 1u;
        b.at = 0;
    }
    void step() {
        block& b = blocks[up_to(blocks.size())];
        if (b.at == 0) {
            const byte_count size = a_size();
            void* out = nullptr;
            switch (up_to(5)) {
            case 0:
                wrong += com->DebugAlloc(size, eTaskCritical, const_cast<char*>("stop.cpp"),
                                         static_cast<int>(up_to(9)), &out) == S_OK
                             ? 0u
                             : 1u;
                b.at = reinterpret_cast<address>(out);
                break;
            case 1: {
                const auto r = heap->allocate_zeroed(size, criticality::task);
                b.at = r ? *r : 0;
                break;
            }
            case 2: {
                const auto r = heap->allocate_aligned(size, 256, criticality::task);
                b.at = r ? *r : 0;
                break;
            }
            default:
                wrong += com->Alloc(size, eTaskCritical, &out) == S_OK ? 0u : 1u;
                b.at = reinterpret_cast<address>(out);
                break;
            }
            if (b.at == 0) {
                ++wrong;
                return;
            }
            fill(b, size);
            return;
        }
        const std::uint64_t what = up_to(16);
        if (what == 0) {
            const byte_count size = a_size();
            wrong += has_pattern(b.at, b.size, b.seed, b.size) ? 0u : 1u;
            const auto r = heap->resize(b.at, size, criticality::task);
            if (!r) {
                ++wrong;
                return;
            }
            wrong += has_pattern(*r, b.size, b.seed, b.size < size ? b.size : size) ? 0u : 1u;
            b.at = *r;
            fill(b, size);
        } else if (what == 1) {
            wrong += heap->size_of(b.at) >= b.size ? 0u : 1u;
            wrong +=
                com->Free(reinterpret_cast<void*>(b.at + 1)) == HOST_E_INVALIDOPERATION ? 0u : 1u;
        } else {
            end(b);
        }
    }
    std::uint64_t live() const {
        std::uint64_t n = 0;
        for (const block& b : blocks) {
            n += b.at != 0 ? 1u : 0u;
        }
        return n;
    }
    void end_all() {
        for (block& b : blocks) {
            if (b.at != 0) {
                end(b);
            }
        }
    }
};

std::array<user, workers> in_handlers;
thread_local unsigned own_number = workers;
std::atomic<bool> handlers_act{false};

void use_and_stand(int) {
    const int kept = errno;
    if (handlers_act && own_number < workers) {
        const bool inside = inside_operation;
        for (int i = 0; i < 12; ++i) {
            in_handlers[own_number].step();
        }
        inside_operation = inside;
    }
    errno = kept;
    stand(0);
}

double most_time() { return std::getenv("MEMREEVE_LONG") != nullptr ? 6000 : 60; }
std::uint64_t rounds() {
    const char* text = std::getenv("MEMREEVE_ROUNDS");
    return text != nullptr ? std::strtoull(text, nullptr, 0) : 10000;
}

TEST(heap_stop, nobody_waits_for_a_stopped_thread) {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "skipped: ThreadSanitizer holds signals back";
#endif
    manager::host::settings settings;
    settings.memory.watch_system = false;
    settings.memory.report = [](void*, const char*) {}; // of wrong frees that are wanted
    manager::host* const host = *manager::host::create(settings);
    const owner_id owner = *host->open_owner(owner_id::none, "stopped", {});
    auto com = std::make_unique<com::host_memory_manager>(host->memory(), owner, &host->notices(),
                                                          &host->records());
    IHostMalloc* heap = nullptr;
    ASSERT_EQ(com->CreateMalloc(MALLOC_THREADSAFE, &heap), S_OK);
    manager::owner_heap& blocks = static_cast<com::host_malloc*>(heap)->blocks();
    struct sigaction action {};
    action.sa_handler = use_and_stand;
    action.sa_flags = SA_RESTART;
    ASSERT_EQ(sigaction(stop_signal, &action, nullptr), 0);

    const std::uint64_t seed = seed_of_run();
    std::array<user, workers> users;
    std::atomic<bool> stop{false};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < workers; ++t) {
        users[t].heap = in_handlers[t].heap = &blocks;
        users[t].com = in_handlers[t].com = heap;
        users[t].state = seed + t + 1;
        in_handlers[t].state = seed + t + 100;
        crew.emplace_back([&, t] {
            own_number = t;
            take_short_turns();
            while (!stop) {
                inside_operation = true;
                users[t].step();
                inside_operation = false;
            }
        });
    }
    auto own = std::make_unique<user>();
    own->heap = &blocks;
    own->com = heap;
    own->state = seed + 50;
    double longest = 0;
    std::uint64_t done = 0;
    {
        const watchdog dog(workers);
        const double enough = seconds_of(CLOCK_MONOTONIC) + most_time();
        for (; done < rounds() && seconds_of(CLOCK_MONOTONIC) < enough; ++done) {
            round_number = done;
            handlers_act = done % 2 == 1;
            stage = "let them run";
            const double until =
                seconds_of(CLOCK_MONOTONIC) + static_cast<double>(own->up_to(200)) / 1e6;
            while (seconds_of(CLOCK_MONOTONIC) < until) {
            }
            stage = "stop them";
            for (auto& t : crew) {
                pthread_kill(t.native_handle(), stop_signal);
            }
            wait_until_standing(workers);
            const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            stage = "requests";
            for (int i = 0; i < 60; ++i) {
                own->step();
            }
            if (done % 16 == 0) {
                stage = "trim";
                (void)blocks.trim();
            }
            if (done % 64 == 0) {
                stage = "stats";
                (void)blocks.stats();
            }
            if (done % 128 == 0) {
                stage = "another heap";
                IHostMalloc* other = nullptr;
                void* one = nullptr;
                own->wrong += com->CreateMalloc(0, &other) == S_OK &&
                                      other->Alloc(100, eTaskCritical, &one) == S_OK &&
                                      other->Release() == 0
                                  ? 0u
                                  : 1u;
            }
            longest = std::max(longest, seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin);
            stage = "resume them";
            resumed.fetch_add(1);
            futex(resumed, FUTEX_WAKE, 1000);
            wait_until_standing(0);
        }
    }
    stop = true;
    for (auto& t : crew) {
        t.join();
    }
    std::printf("%llu rounds, 0 hangs, %llu stops inside a request, longest round %.2f ms of "
                "processor\n",
                static_cast<unsigned long long>(done),
                static_cast<unsigned long long>(stopped_inside.load()), longest * 1e3);
    EXPECT_GE(done, rounds() / 20);
    EXPECT_GE(stopped_inside, 2 * done) << "too few stops were inside a request";
    EXPECT_LT(longest, most_seconds) << "the controller waited";
    std::uint64_t live = own->live();
    for (unsigned t = 0; t < workers; ++t) {
        live += users[t].live() + in_handlers[t].live();
        EXPECT_EQ(users[t].wrong, 0u) << "thread " << t;
        EXPECT_EQ(in_handlers[t].wrong, 0u) << "the handler of thread " << t;
    }
    EXPECT_EQ(own->wrong, 0u) << "the controller";
    EXPECT_EQ(blocks.stats().live_blocks, live);
    own->end_all();
    for (unsigned t = 0; t < workers; ++t) {
        users[t].end_all();
        in_handlers[t].end_all();
        EXPECT_EQ(users[t].wrong + in_handlers[t].wrong, 0u) << "thread " << t;
    }
    EXPECT_EQ(own->wrong, 0u);
    EXPECT_EQ(blocks.stats().live_blocks, 0u);
    host->memory().drop_warm();
    host->books().tree().drain();
    EXPECT_EQ(host->books().tree().charged(owner), blocks.stats().pages_held);
    EXPECT_EQ(heap->Release(), 0u);
    host->memory().drop_warm();
    host->books().tree().drain();
    EXPECT_EQ(host->books().tree().charged(owner), 0u);
    com.reset();
    host->destroy();
}

} // namespace
} // namespace memreeve::test
