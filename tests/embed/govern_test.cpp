// SPDX-License-Identifier: MIT
// memreeve/embed.h: what is charged to whom, what passes on, and that nothing ever goes back to the
// wrong allocator.
#include <memreeve/embed.h>
#include <memreeve/host_interfaces.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::size_t mib = 1 << 20;

// Runs `body` in a child, where it may govern; what it expects counts.
template <class Body>
void in_a_process_of_its_own(Body body) {
    std::fflush(nullptr);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        body();
        std::fflush(nullptr);
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

struct world {
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;

    explicit world(std::uint64_t limit = 0) {
        mrv_host_options options{};
        options.size = sizeof options;
        options.limit_bytes = limit;
        EXPECT_EQ(mrv_host_create(&options, &host), MRV_OK);
        EXPECT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    }
    mrv_status govern() { return mrv_host_govern_process(host, owner); }
};

mrv_owner_figures figures_of(mrv_owner* owner) {
    mrv_owner_figures f{};
    f.size = sizeof f;
    EXPECT_EQ(mrv_owner_stats(owner, &f), MRV_OK);
    return f;
}
mrv_host_figures figures_of(mrv_host* host) {
    mrv_host_figures f{};
    f.size = sizeof f;
    EXPECT_EQ(mrv_host_snapshot(host, &f), MRV_OK);
    return f;
}

void* map(std::size_t size, int protection = PROT_READ | PROT_WRITE) {
    return mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// What libc's own malloc has given out.
std::size_t held_by_libc() {
    const auto ask = reinterpret_cast<struct mallinfo2 (*)()>(dlsym(RTLD_NEXT, "mallinfo2"));
    const struct mallinfo2 now = ask();
    return now.uordblks + now.hblkhd;
}

// A block the compiler cannot do away with.
char* allocate(std::size_t size) {
    auto* volatile block = static_cast<char*>(std::malloc(size));
    return block;
}

TEST(Govern, RefusesWhatMakesNoSense) {
    in_a_process_of_its_own([] {
        world one, other;
        EXPECT_EQ(mrv_host_govern_process(nullptr, one.owner), MRV_E_NULL_POINTER);
        EXPECT_EQ(mrv_host_govern_process(one.host, nullptr), MRV_E_NULL_POINTER);
        EXPECT_EQ(mrv_host_govern_process(one.host, other.owner), MRV_E_INVALID_ARGUMENT);
        EXPECT_EQ(mrv_host_release_process(nullptr), MRV_E_NULL_POINTER);
        EXPECT_EQ(mrv_host_release_process(one.host), MRV_E_INVALID_ARGUMENT);
        EXPECT_EQ(one.govern(), MRV_OK);
        EXPECT_EQ(one.govern(), MRV_E_BUSY);
        EXPECT_EQ(other.govern(), MRV_E_BUSY);
        EXPECT_EQ(mrv_host_release_process(other.host), MRV_E_INVALID_ARGUMENT);
        EXPECT_EQ(mrv_host_destroy(one.host), MRV_E_BUSY);
        mrv_owner_destroy(one.owner);
        EXPECT_EQ(mrv_host_destroy(one.host), MRV_E_BUSY);
        std::free(allocate(mib)); // still the account's
        mrv_owner_destroy(other.owner);
        EXPECT_EQ(mrv_host_destroy(other.host), MRV_OK);
    });
}

TEST(Govern, WithoutRoomNothingHasChanged) {
    in_a_process_of_its_own([] {
        world tight(4096);
        EXPECT_EQ(tight.govern(), MRV_E_OVER_BUDGET);
        char* block = allocate(mib);
        EXPECT_NE(block, nullptr);
        std::free(block);
        EXPECT_EQ(mrv_host_release_process(tight.host), MRV_E_INVALID_ARGUMENT);
        mrv_owner_destroy(tight.owner);
        EXPECT_EQ(mrv_host_destroy(tight.host), MRV_OK);
        world roomy;
        EXPECT_EQ(roomy.govern(), MRV_OK);
    });
}

TEST(Govern, MallocIsTheOwnersHeap) {
    in_a_process_of_its_own([] {
        world w;
        char* early = allocate(300000);
        std::memset(early, 7, 300000);
        ASSERT_EQ(w.govern(), MRV_OK);
        const mrv_owner_figures before = figures_of(w.owner);
        const mrv_host_figures requests = figures_of(w.host);

        char* block = allocate(8 * mib);
        ASSERT_NE(block, nullptr);
        EXPECT_GE(figures_of(w.owner).heap_bytes, before.heap_bytes + 8 * mib);
        EXPECT_GT(figures_of(w.host).requests[4], requests.requests[4]);
        std::free(block);
        malloc_trim(0); // what the heap keeps for the next one
        EXPECT_LE(figures_of(w.owner).heap_bytes, before.heap_bytes);
        EXPECT_GT(figures_of(w.host).requests[5], requests.requests[5]);

        // Made before: libc's, whatever is done with it.
        early = static_cast<char*>(std::realloc(early, 600000));
        ASSERT_NE(early, nullptr);
        EXPECT_EQ(early[299999], 7);
        EXPECT_LE(figures_of(w.owner).heap_bytes, before.heap_bytes);
        const std::size_t held = held_by_libc();
        std::free(early);
        EXPECT_LE(held_by_libc(), held - 600000);
    });
}

TEST(Govern, MappingsFromBeforeAreNotOurs) {
    in_a_process_of_its_own([] {
        world w;
        auto* early = static_cast<char*>(map(mib));
        ASSERT_NE(early, MAP_FAILED);
        ASSERT_EQ(w.govern(), MRV_OK);
        const mrv_owner_figures before = figures_of(w.owner);
        early[5] = 1;
        EXPECT_EQ(mprotect(early, 4096, PROT_READ), 0);
        EXPECT_EQ(madvise(early, mib, MADV_DONTNEED), 0);
        EXPECT_EQ(early[5], 0);
        EXPECT_EQ(munmap(early, mib), 0);
        EXPECT_EQ(munmap(early, mib), 0); // as the kernel has it
        EXPECT_EQ(figures_of(w.owner).charged_bytes, before.charged_bytes);
    });
}

TEST(Govern, MappingsAreTheThreadsOwners) {
    in_a_process_of_its_own([] {
        world w;
        mrv_owner* others[2];
        for (mrv_owner*& o : others) {
            ASSERT_EQ(mrv_owner_create(w.host, nullptr, nullptr, &o), MRV_OK);
        }
        ASSERT_EQ(w.govern(), MRV_OK);
        const mrv_owner_figures base = figures_of(w.owner);
        void* mine = map(3 * mib);
        EXPECT_EQ(figures_of(w.owner).committed_bytes, base.committed_bytes + 3 * mib);
        void* theirs[2];
        std::thread threads[2];
        for (std::size_t i = 0; i < 2; ++i) {
            threads[i] = std::thread([&, i] {
                EXPECT_EQ(mrv_thread_push_owner(others[i]), MRV_OK);
                theirs[i] = map((i + 1) * 5 * mib);
                std::free(allocate(100)); // the heap stays the one owner's
                EXPECT_EQ(mrv_thread_pop_owner(), MRV_OK);
            });
        }
        for (std::thread& t : threads) {
            t.join();
        }
        for (std::size_t i = 0; i < 2; ++i) {
            const mrv_owner_figures f = figures_of(others[i]);
            EXPECT_EQ(f.committed_bytes, (i + 1) * 5 * mib);
            EXPECT_EQ(f.heap_bytes, 0u);
            EXPECT_EQ(munmap(theirs[i], (i + 1) * 5 * mib), 0); // by whom does not matter
            EXPECT_EQ(figures_of(others[i]).charged_bytes, 0u);
        }
        EXPECT_EQ(munmap(mine, 3 * mib), 0);
    });
}

TEST(Govern, TheHeapIsTheGivenOwnersWhoeverIsPushed) {
    in_a_process_of_its_own([] {
        world w;
        mrv_owner* pushed = nullptr;
        ASSERT_EQ(mrv_owner_create(w.host, nullptr, nullptr, &pushed), MRV_OK);
        ASSERT_EQ(mrv_thread_push_owner(pushed), MRV_OK);
        ASSERT_EQ(w.govern(), MRV_OK);
        char* block = allocate(mib);
        EXPECT_EQ(figures_of(pushed).charged_bytes, 0u);
        EXPECT_GE(figures_of(w.owner).heap_bytes, mib);
        std::free(block);
        EXPECT_EQ(mrv_thread_pop_owner(), MRV_OK);
        EXPECT_EQ(mrv_thread_pop_owner(),
                  MRV_E_INVALID_ARGUMENT); // govern left the thread as it was
    });
}

TEST(Govern, ALimitIsEnomem) {
    in_a_process_of_its_own([] {
        world w(64 * mib);
        ASSERT_EQ(w.govern(), MRV_OK);
        errno = 0;
        EXPECT_EQ(map(128 * mib), MAP_FAILED);
        EXPECT_EQ(errno, ENOMEM);
        errno = 0;
        EXPECT_EQ(allocate(128 * mib), nullptr);
        EXPECT_EQ(errno, ENOMEM);
        void* (*volatile make)(std::size_t) = &::operator new;
        EXPECT_THROW(make(128 * mib), std::bad_alloc);
        void* reserved = map(std::size_t{1} << 40, PROT_NONE); // address space is free
        EXPECT_NE(reserved, MAP_FAILED);
        EXPECT_EQ(mprotect(reserved, 128 * mib, PROT_READ | PROT_WRITE), -1);
        EXPECT_EQ(mprotect(reserved, mib, PROT_READ | PROT_WRITE), 0);
        EXPECT_GE(figures_of(w.owner).refusals[0], 4u);
        EXPECT_LE(figures_of(w.host).peak_charged_bytes, 64 * mib);
    });
}

TEST(Govern, DroppedPagesReadAsZeroes) {
    in_a_process_of_its_own([] {
        world w;
        ASSERT_EQ(w.govern(), MRV_OK);
        auto* pages = static_cast<char*>(map(mib));
        std::memset(pages, 1, mib);
        ASSERT_EQ(madvise(pages, mib, MADV_DONTNEED), 0);
        for (std::size_t i = 0; i < mib; i += 4096) {
            ASSERT_EQ(pages[i], 0);
        }
        std::memset(pages, 1, mib);
        ASSERT_EQ(mmap(pages, mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                       -1, 0),
                  static_cast<void*>(pages));
        EXPECT_EQ(pages[mib - 1], 0);
    });
}

TEST(Govern, ReleaseLeavesWhatWasGivenOut) {
    in_a_process_of_its_own([] {
        world w, other;
        ASSERT_EQ(w.govern(), MRV_OK);
        char* block = allocate(mib);
        char* grown = allocate(1000);
        auto* pages = static_cast<char*>(map(2 * mib));
        std::memset(grown, 3, 1000);
        ASSERT_EQ(mrv_host_release_process(w.host), MRV_OK);
        const mrv_owner_figures before = figures_of(w.owner);

        char* libcs = allocate(4 * mib);
        void* kernels = map(4 * mib);
        EXPECT_EQ(figures_of(w.owner).charged_bytes, before.charged_bytes)
            << "a new request arrived";
        grown = static_cast<char*>(std::realloc(grown, 200000));
        ASSERT_NE(grown, nullptr);
        EXPECT_EQ(grown[999], 3);
        std::free(block);
        EXPECT_EQ(madvise(pages, 4096, MADV_DONTNEED), 0);
        EXPECT_EQ(mprotect(pages, 4096, PROT_READ), 0);
        EXPECT_EQ(munmap(pages, 2 * mib), 0);
        std::free(grown);
        malloc_trim(0);
        EXPECT_LE(figures_of(w.owner).charged_bytes, before.charged_bytes - 3 * mib);
        EXPECT_EQ(other.govern(), MRV_E_BUSY);
        EXPECT_EQ(mrv_host_destroy(w.host), MRV_E_BUSY);

        ASSERT_EQ(w.govern(), MRV_OK);
        std::free(libcs);
        EXPECT_EQ(munmap(kernels, 4 * mib), 0);
        block = allocate(mib);
        EXPECT_GE(figures_of(w.owner).heap_bytes, mib);
        std::free(block);
    });
}

TEST(Govern, WhileOthersAllocate) {
    in_a_process_of_its_own([] {
        world w;
        std::atomic<bool> is_over{false};
        std::atomic<unsigned> wrong{0};
        std::atomic<void*> passed_on{nullptr};
        const auto work = [&](unsigned seed) {
            std::vector<std::pair<unsigned char*, std::size_t>> held(64);
            for (unsigned n = seed; !is_over; n = n * 1664525 + 1013904223) {
                auto& slot = held[n >> 8 & 63];
                if (slot.first != nullptr) {
                    wrong += slot.first[slot.second - 1] != static_cast<unsigned char>(slot.second);
                    std::free(passed_on.exchange(slot.first));
                }
                slot.second = 1 + (n >> 14) % ((n & 15) == 0 ? 300000 : 2000);
                slot.first = static_cast<unsigned char*>(std::malloc(slot.second));
                slot.first[slot.second - 1] = static_cast<unsigned char>(slot.second);
            }
            for (auto& slot : held) {
                std::free(slot.first);
            }
        };
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < 4; ++i) {
            threads.emplace_back(work, i * 7919 + 1);
        }
        usleep(20000);
        EXPECT_EQ(w.govern(), MRV_OK);
        for (int i = 0; i < 20; ++i) {
            usleep(5000);
            EXPECT_EQ(mrv_host_release_process(w.host), MRV_OK);
            usleep(5000);
            EXPECT_EQ(w.govern(), MRV_OK);
        }
        is_over = true;
        for (std::thread& t : threads) {
            t.join();
        }
        std::free(passed_on);
        EXPECT_EQ(wrong, 0u);
        EXPECT_GT(figures_of(w.host).requests[4], 0u);
    });
}

TEST(Govern, AChildHasACopy) {
    in_a_process_of_its_own([] {
        world w(256 * mib);
        ASSERT_EQ(w.govern(), MRV_OK);
        auto* pages = static_cast<char*>(map(mib));
        char* block = allocate(100000);
        pages[0] = block[0] = 1;
        const std::uint64_t before = figures_of(w.owner).charged_bytes;
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            bool good = pages[0] == 1 && block[0] == 1 && allocate(128 * mib) != nullptr &&
                        allocate(256 * mib) == nullptr && munmap(pages, mib) == 0;
            std::free(block);
            good = good && figures_of(w.owner).charged_bytes > before + 100 * mib;
            _exit(good ? 0 : 1);
        }
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        EXPECT_EQ(figures_of(w.owner).charged_bytes, before) << "the child's doings are seen here";
        EXPECT_EQ(pages[0], 1);
        std::free(block);
    });
}

} // namespace
