// SPDX-License-Identifier: MIT
// What the rows of bench_heap do to a heap: templates over the heap, so that the same source makes
// direct calls of malloc and virtual calls of IHostMalloc, and no more than that between them.
//   pair    32 bytes allocated and freed, no other block of that size alive
//   small   16-128 B, 1024 slots       mixed  16 B-8 KiB log-uniform, 512 slots
//   large   64 KiB-2 MiB log-uniform, 16 slots, every page written
//   two     small on two threads       larson 10-500 B on two threads that swap their slots
//   xmt     64-128 B, one thread allocates, the other frees
// An operation is a block freed and one allocated.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <random>
#include <thread>
#include <vector>

namespace memreeve::bench {

// Nanoseconds of CPU time of this thread.
inline double thread_ns() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// Sizes and slots are drawn beforehand, the same in every process.
class pattern {
public:
    enum class spread { uniform, log_uniform };

    pattern(std::uint32_t slots, std::uint32_t least, std::uint32_t most, spread s) : kept_(slots) {
        std::mt19937 random(42);
        for (std::uint32_t& step : steps_) {
            const double part = std::uniform_real_distribution<double>(0, 1)(random);
            const double size = s == spread::log_uniform
                                    ? least * std::pow(static_cast<double>(most) / least, part)
                                    : least + part * (most - least + 1);
            step = static_cast<std::uint32_t>(size) << slot_bits |
                   static_cast<std::uint32_t>(random() % slots);
        }
    }
    std::uint32_t size(std::uint64_t i) const { return steps_[i & (length - 1)] >> slot_bits; }
    std::uint32_t slot(std::uint64_t i) const {
        return steps_[i & (length - 1)] & ((1u << slot_bits) - 1);
    }
    std::uint32_t slots() const { return kept_; }

private:
    static constexpr unsigned slot_bits = 10;
    static constexpr std::uint32_t length = 1 << 14;
    std::uint32_t steps_[length];
    std::uint32_t kept_;
};

struct block_word {
    std::uint64_t value;
};

inline void write_word(void* block, std::uint64_t value) {
    static_cast<volatile block_word*>(block)->value = value;
}

// One thread's slots; the first word of a block is written.
template <class Heap>
class slots {
public:
    slots(const Heap& heap, const pattern& p) : heap_(heap.use()), pattern_(p), live_(p.slots()) {}
    ~slots() {
        for (void* block : live_) {
            if (block != nullptr) {
                heap_.free(block);
            }
        }
        heap_.settle();
    }
    slots(const slots&) = delete;
    slots& operator=(const slots&) = delete;

    void churn(std::uint64_t operations) {
        auto [heap, live, from] = begin();
        for (std::uint64_t i = 0; i < operations; ++i) {
            const std::uint32_t slot = pattern_.slot(from + i);
            replace(heap, live[slot], pattern_.size(from + i));
        }
        heap.settle();
        done_ += operations;
    }
    // churn, and a byte in every page is written.
    void churn_touched(std::uint64_t operations) {
        auto [heap, live, from] = begin();
        for (std::uint64_t i = 0; i < operations; ++i) {
            void*& place = live[pattern_.slot(from + i)];
            const std::uint32_t size = pattern_.size(from + i);
            replace(heap, place, size);
            for (std::uint32_t at = 4096; at < size; at += 4096) {
                static_cast<volatile char*>(place)[at] = 1;
            }
        }
        heap.settle();
        done_ += operations;
    }

private:
    using calls = typename Heap::calls;

    // What a loop keeps in registers.
    struct held {
        calls heap;
        void** live;
        std::uint64_t from;
    };
    held begin() { return {heap_, live_.data(), done_}; }
    static void replace(calls& heap, void*& place, std::uint32_t size) {
        if (place != nullptr) {
            heap.free(place);
        }
        heap.allocate(size, place);
        write_word(place, size);
    }

    calls heap_;
    const pattern& pattern_;
    std::vector<void*> live_;
    std::uint64_t done_ = 0;
};

template <class Heap>
void pairs(const Heap& heap, std::uint64_t operations) {
    auto calls = heap.use();
    for (; operations != 0; --operations) {
        void* block;
        calls.allocate(32, block);
        asm volatile("" : "+r"(block) : : "memory");
        calls.free(block);
    }
    calls.settle();
}

// body(0) and body(1) at once, on threads that last as long as the object: what a thread's first use
// of a heap costs is paid once. Each has a processor of its own: on one, passing a block on would cost
// nothing.
class two_threads {
public:
    two_threads()
        : processors_(allowed()), other_([this] {
              for (unsigned seen = 0;;) {
                  while (turn_.load(std::memory_order_acquire) == seen) {
                      sched_yield();
                  }
                  ++seen;
                  if (body_ == nullptr) {
                      return;
                  }
                  body_(context_, 1);
                  done_.store(seen, std::memory_order_release);
              }
          }) {
        stay_on(pthread_self(), 0);
        stay_on(other_.native_handle(), 1);
    }
    ~two_threads() {
        body_ = nullptr;
        turn_.fetch_add(1, std::memory_order_release);
        other_.join();
    }
    two_threads(const two_threads&) = delete;
    two_threads& operator=(const two_threads&) = delete;

    template <class Body>
    void run(Body&& body) {
        context_ = &body;
        body_ = [](void* context, unsigned thread) {
            (*static_cast<std::remove_reference_t<Body>*>(context))(thread);
        };
        const unsigned now = turn_.load(std::memory_order_relaxed) + 1;
        turn_.store(now, std::memory_order_release);
        body(0u);
        while (done_.load(std::memory_order_acquire) != now) {
            sched_yield();
        }
    }

private:
    static cpu_set_t allowed() {
        cpu_set_t all;
        CPU_ZERO(&all);
        sched_getaffinity(0, sizeof all, &all);
        return all;
    }
    // On the n-th processor of those the process may use, if it has so many.
    void stay_on(pthread_t thread, unsigned n) const {
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(cpu, &processors_) && n-- == 0) {
                cpu_set_t one;
                CPU_ZERO(&one);
                CPU_SET(cpu, &one);
                pthread_setaffinity_np(thread, sizeof one, &one);
                return;
            }
        }
    }

    cpu_set_t processors_;
    std::atomic<unsigned> turn_{0};
    std::atomic<unsigned> done_{0};
    void (*body_)(void*, unsigned) = nullptr;
    void* context_ = nullptr;
    std::thread other_; // last: it uses the others
};

// Waits without counting as work: `waited` is lengthened by what it takes.
template <class Until>
void wait(double& waited, Until&& until) {
    if (until()) {
        return;
    }
    const double begin = thread_ns();
    while (!until()) {
        sched_yield();
    }
    waited += thread_ns() - begin;
}

// Two threads churn their slots and swap them every `between_swaps` operations, so that a quarter of
// the blocks is freed by the thread that did not allocate it.
template <class Heap>
class swapped_slots {
public:
    swapped_slots(const Heap& heap, const pattern& p) : sets_{{heap, p}, {heap, p}} {}

    // CPU nanoseconds of work of each thread.
    void run(two_threads& threads, std::uint64_t operations, double (&work)[2]) {
        std::atomic<std::uint64_t> arrived{0};
        threads.run([&](unsigned thread) {
            const double begin = thread_ns();
            double waited = 0;
            std::uint64_t meetings = 0;
            for (std::uint64_t done = 0; done < operations; done += between_swaps) {
                sets_[(thread + meetings) & 1].churn(between_swaps);
                ++meetings;
                arrived.fetch_add(1, std::memory_order_acq_rel);
                wait(waited,
                     [&] { return arrived.load(std::memory_order_acquire) >= 2 * meetings; });
            }
            work[thread] = thread_ns() - begin - waited;
        });
    }
    static constexpr std::uint64_t between_swaps = 4096;

private:
    slots<Heap> sets_[2];
};

// A ring that is filled and emptied in batches, so that passing on costs little beside the blocks.
template <class Heap>
class passed_on {
public:
    passed_on(const Heap& heap, const pattern& p)
        : heap_(heap.use()), pattern_(p), ring_(ring_size) {}

    void run(two_threads& threads, std::uint64_t operations, double (&work)[2]) {
        operations = operations / batch * batch;
        filled_.store(0, std::memory_order_relaxed);
        emptied_.store(0, std::memory_order_relaxed);
        threads.run([&](unsigned thread) {
            const double begin = thread_ns();
            double waited = 0;
            for (std::uint64_t i = 0; i < operations; i += batch) {
                thread == 0 ? fill(i, waited) : empty(i, waited);
            }
            work[thread] = thread_ns() - begin - waited;
        });
    }

private:
    static constexpr std::uint64_t ring_size = 1024, batch = 128;

    void fill(std::uint64_t from, double& waited) {
        wait(waited,
             [&] { return from + batch - emptied_.load(std::memory_order_acquire) <= ring_size; });
        const auto heap = heap_;
        for (std::uint64_t i = from; i < from + batch; ++i) {
            void*& place = ring_[i % ring_size];
            heap.allocate(pattern_.size(i), place);
            write_word(place, i);
        }
        filled_.store(from + batch, std::memory_order_release);
    }
    void empty(std::uint64_t from, double& waited) {
        wait(waited, [&] { return filled_.load(std::memory_order_acquire) >= from + batch; });
        auto heap = heap_;
        for (std::uint64_t i = from; i < from + batch; ++i) {
            void* const block = ring_[i % ring_size];
            if (static_cast<volatile block_word*>(block)->value != i) {
                std::abort();
            }
            heap.free(block);
        }
        heap.settle();
        emptied_.store(from + batch, std::memory_order_release);
    }

    typename Heap::calls heap_;
    const pattern& pattern_;
    std::vector<void*> ring_;
    alignas(64) std::atomic<std::uint64_t> filled_{0};
    alignas(64) std::atomic<std::uint64_t> emptied_{0};
};

} // namespace memreeve::bench
