// SPDX-License-Identifier: MIT
// Four heaps of two owners under 2 and 16 threads at once. Every block carries a pattern of its own
// from end to end; blocks pass between threads through shared places, so that a third is freed or
// resized by another thread than the one that asked for it. One owner's limit refuses some requests.
//
// Now and then all threads stand, and the books are compared with what the threads have, to the byte
// and the page. A wrong free (interior, another heap's, wild) is found at any moment.
#include "com/host_malloc.hpp"
#include "manager/host.hpp"
#include "memreeve/host_interfaces.h"
#include "support/block_pattern.hpp"
#include "support/numbers.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace memreeve::test {
namespace {

constexpr unsigned heaps = 4;
constexpr unsigned own_places = 160;
constexpr unsigned shared_places = 256;

struct block {
    unsigned heap;
    address at;
    byte_count usable;
    std::uint64_t seed;
    int line; // -1: not of DebugAlloc; -2: it was, and has been resized
};

class storm {
public:
    explicit storm(unsigned threads, std::uint64_t seed) : threads_(threads), seed_(seed) {
        manager::host::settings settings;
        settings.memory.watch_system = false;
        settings.memory.report = [](void* count, const char*) {
            static_cast<std::atomic<std::uint64_t>*>(count)->fetch_add(1);
        };
        settings.memory.report_context = &reports_;
        host_ = *manager::host::create(settings);
        // Of the owner of heaps 2 and 3: a third less than the threads would like.
        limit_ = byte_count{threads == 2 ? 4u : 24u} << 20;
        for (unsigned o = 0; o < 2; ++o) {
            budget::tree::limits l;
            l.hard = o == 0 ? l.hard : limit_;
            owners_[o] = *host_->open_owner(owner_id::none, o == 0 ? "free" : "bounded", l);
            com_[o] = std::make_unique<com::host_memory_manager>(
                host_->memory(), owners_[o], &host_->notices(), &host_->records());
        }
        for (unsigned h = 0; h < heaps; ++h) {
            // Thread-safe or not is a matter of what the caller promises (D20): here nothing is.
            const HRESULT hr =
                com_[h / 2]->CreateMalloc(h % 2 == 0 ? MALLOC_THREADSAFE : 0, &heap_[h]);
            EXPECT_EQ(hr, S_OK);
        }
    }
    storm(const storm&) = delete;
    storm& operator=(const storm&) = delete;
    ~storm() { host_->destroy(); }

    void run(std::chrono::milliseconds time) {
        std::vector<std::vector<block>> left(threads_);
        std::atomic<bool> stop{false};
        unsigned pauses = 0;
        // All threads stand while one compares; then they go on.
        std::barrier standing(static_cast<std::ptrdiff_t>(threads_), [&]() noexcept {
            compare(left);
            ++pauses;
        });
        const auto end = std::chrono::steady_clock::now() + time;
        std::vector<std::thread> crew;
        for (unsigned t = 0; t < threads_; ++t) {
            crew.emplace_back([&, t] {
                worker w{*this, random_numbers(seed_ + t), left[t], t};
                for (;;) {
                    for (int i = 0; i < 3000; ++i) {
                        w.step();
                    }
                    if (t == 0 && (std::chrono::steady_clock::now() > end || wrong_ != 0)) {
                        stop = true;
                    }
                    standing.arrive_and_wait();
                    if (stop) { // the same for all: nobody changes it between two meetings
                        break;
                    }
                    standing.arrive_and_wait();
                }
                w.free_all();
            });
        }
        for (auto& one : crew) {
            one.join();
        }
        worker last{*this, random_numbers(seed_), left[0], 0};
        for (auto& place : shared_) {
            if (block* const b = place.exchange(nullptr)) {
                last.free_block(*b);
                delete b;
            }
        }
        compare(left);
        for (unsigned h = 0; h < heaps; ++h) {
            EXPECT_EQ(blocks(h).stats().live_blocks, 0u);
            EXPECT_EQ(blocks(h).stats().live_bytes, 0u);
        }
        const std::uint64_t all = operations_;
        std::printf(
            "%u threads: %llu operations, %llu refused, %llu of another thread's blocks, %u "
            "times compared\n",
            threads_, static_cast<unsigned long long>(all),
            static_cast<unsigned long long>(refused_.load()),
            static_cast<unsigned long long>(taken_over_.load()), pauses);
        EXPECT_GT(refused_, 0u);
        EXPECT_EQ(reports_, wrong_frees_) << "each wrong free is reported, and nothing else";
        EXPECT_GT(taken_over_, all / 50);
        for (IHostMalloc* one : heap_) {
            EXPECT_EQ(one->Release(), 0u);
        }
        host_->memory().drop_warm();
        host_->books().tree().drain();
        for (unsigned o = 0; o < 2; ++o) {
            EXPECT_EQ(host_->books().tree().charged(owners_[o]), 0u) << "owner " << o;
            com_[o].reset();
        }
    }

private:
    manager::owner_heap& blocks(unsigned h) {
        return static_cast<com::host_malloc*>(heap_[h])->blocks();
    }
    void complain(const char* what, address at) {
        if (wrong_.fetch_add(1) < 10) {
            ADD_FAILURE() << what << ", block " << std::hex << at << ", MEMREEVE_SEED=" << std::dec
                          << seed_;
        }
    }

    // Nobody is inside.
    void compare(const std::vector<std::vector<block>>& left) {
        std::array<std::uint64_t, heaps> count{};
        std::array<byte_count, heaps> bytes{};
        const auto add = [&](const block& b) {
            ++count[b.heap];
            bytes[b.heap] += b.usable;
        };
        for (const auto& mine : left) {
            for (const block& b : mine) {
                add(b);
            }
        }
        for (const auto& place : shared_) {
            if (const block* const b = place.load()) {
                add(*b);
            }
        }
        host_->memory().drop_warm();
        host_->books().tree().drain();
        for (unsigned o = 0; o < 2; ++o) {
            const page_count held =
                blocks(2 * o).stats().pages_held + blocks(2 * o + 1).stats().pages_held;
            EXPECT_EQ(host_->books().tree().charged(owners_[o]), held) << "owner " << o;
        }
        EXPECT_LE(bytes_of(host_->books().tree().charged(owners_[1])), limit_);
        for (unsigned h = 0; h < heaps; ++h) {
            const heap::heap_stats s = blocks(h).stats();
            EXPECT_EQ(s.live_blocks, count[h]) << "heap " << h;
            EXPECT_EQ(s.live_bytes, bytes[h]) << "heap " << h;
        }
    }

    struct worker {
        storm& all;
        random_numbers random;
        std::vector<block>& mine;
        unsigned number;

        void step() {
            all.operations_.fetch_add(1, std::memory_order_relaxed);
            const std::uint64_t what = random.up_to(100);
            if (what < 40 || mine.empty()) {
                if (mine.size() < own_places) {
                    allocate();
                } else {
                    free_some();
                }
            } else if (what < 62) {
                free_some();
            } else if (what < 80) {
                pass_on();
            } else if (what < 90) {
                resize(mine[random.up_to(mine.size())]);
            } else if (what < 97) {
                free_wrongly(mine[random.up_to(mine.size())]);
            } else if (what < 99) {
                look(mine[random.up_to(mine.size())]);
            } else if (random.up_to(40) == 0) {
                all.blocks(static_cast<unsigned>(random.up_to(heaps))).trim();
            }
        }
        byte_count a_size() {
            const std::uint64_t kind = random.up_to(64);
            return kind < 40   ? random.up_to(300)
                   : kind < 56 ? random.up_to(5000)
                   : kind < 61 ? random.up_to(32769)
                   : kind < 63 ? random.up_to(200000)
                               : random.up_to(1 << 20);
        }
        void allocate() {
            block b{static_cast<unsigned>(random.up_to(heaps)), 0, 0, 0, -1};
            const byte_count size = a_size();
            const std::uint64_t how = random.up_to(10);
            byte_count alignment = 16;
            if (how < 6) {
                void* out = nullptr;
                b.line = how < 4 ? -1 : static_cast<int>(random.up_to(1000));
                const HRESULT hr =
                    b.line < 0 ? all.heap_[b.heap]->Alloc(size, eProcessCritical, &out)
                               : all.heap_[b.heap]->DebugAlloc(size, eProcessCritical,
                                                               const_cast<char*>("storm.cpp"),
                                                               b.line, &out);
                b.at = reinterpret_cast<address>(out);
                if (hr != S_OK && (hr != E_OUTOFMEMORY || out != nullptr)) {
                    all.complain("refused in a wrong way", b.at);
                }
            } else if (how < 8) {
                const auto r = all.blocks(b.heap).allocate_zeroed(size, criticality::process);
                b.at = r ? *r : 0;
                for (byte_count i = 0; r && i < size; i += i < 512 ? 1 : 509) {
                    if (reinterpret_cast<const char*>(b.at)[i] != 0) {
                        all.complain("not zero", b.at);
                        break;
                    }
                }
            } else {
                alignment = byte_count{16} << random.up_to(10);
                const auto r =
                    all.blocks(b.heap).allocate_aligned(size, alignment, criticality::process);
                b.at = r ? *r : 0;
            }
            if (b.at == 0) {
                if (b.heap < 2) {
                    all.complain("refused by an owner without a limit", size);
                }
                all.refused_.fetch_add(1, std::memory_order_relaxed);
                return;
            }
            b.usable = all.blocks(b.heap).size_of(b.at);
            if (b.usable < size || b.at % alignment != 0) {
                all.complain("too small, or not aligned", b.at);
            }
            fill(b);
            mine.push_back(b);
        }
        void fill(block& b) {
            b.seed = random.up_to(~std::uint64_t{0});
            write_pattern(b.at, b.usable, b.seed);
        }
        bool look(const block& b) {
            if (!has_pattern(b.at, b.usable, b.seed, b.usable)) {
                all.complain("overwritten", b.at);
                return false;
            }
            if (all.blocks(b.heap).size_of(b.at) != b.usable) {
                all.complain("another size than it had", b.at);
            }
            if (b.line >= 0) {
                const char* file = nullptr;
                int line = 0;
                if (!all.blocks(b.heap).origin_of(b.at, &file, &line) || line != b.line ||
                    std::strcmp(file, "storm.cpp") != 0) {
                    all.complain("another origin than it had", b.at);
                }
            }
            return true;
        }
        void free_block(const block& b) {
            look(b);
            if (all.heap_[b.heap]->Free(reinterpret_cast<void*>(b.at)) != S_OK) {
                all.complain("a live block was not freed", b.at);
            }
        }
        void free_some() {
            for (std::uint64_t n = random.up_to(8) == 0 ? mine.size() / 2 : 1; n != 0; --n) {
                const std::size_t i = random.up_to(mine.size());
                free_block(mine[i]);
                mine[i] = mine.back();
                mine.pop_back();
            }
        }
        void free_all() {
            for (const block& b : mine) {
                free_block(b);
            }
            mine.clear();
        }
        // One of mine for one of theirs.
        void pass_on() {
            const std::size_t i = random.up_to(mine.size());
            auto* const given = new block(mine[i]);
            mine[i] = mine.back();
            mine.pop_back();
            block* const got = all.shared_[random.up_to(shared_places)].exchange(given);
            if (got == nullptr) {
                return;
            }
            all.taken_over_.fetch_add(1, std::memory_order_relaxed);
            if (random.up_to(3) == 0) {
                look(*got);
                mine.push_back(*got);
            } else {
                free_block(*got);
            }
            delete got;
        }
        void resize(block& b) {
            if (!look(b)) {
                return;
            }
            const byte_count size = a_size();
            const auto r = all.blocks(b.heap).resize(b.at, size, criticality::process);
            if (!r) {
                if (b.heap < 2 || size <= b.usable) {
                    all.complain("a resize was refused", b.at);
                }
                look(b);
                return;
            }
            const block old = b;
            b.at = *r;
            b.usable = all.blocks(b.heap).size_of(b.at);
            b.line = old.line == -1 ? -1 : -2;
            if (b.usable < size ||
                !has_pattern(b.at, old.usable, old.seed, old.usable < size ? old.usable : size)) {
                all.complain("resized wrongly", b.at);
            }
            fill(b);
        }
        void free_wrongly(const block& b) {
            const std::uint64_t how = random.up_to(3);
            const unsigned other =
                (b.heap + 1 + static_cast<unsigned>(random.up_to(heaps - 1))) % heaps;
            void* const at = reinterpret_cast<void*>(
                how == 0 && b.usable > 1 ? b.at + 1 + random.up_to(b.usable - 1)
                : how <= 1               ? b.at
                           : reinterpret_cast<address>(&all) + random.up_to(sizeof all));
            if (all.heap_[how == 1 || (how == 0 && b.usable <= 1) ? other : b.heap]->Free(at) !=
                HOST_E_INVALIDOPERATION) {
                all.complain("a wrong free was not refused", reinterpret_cast<address>(at));
            }
            all.wrong_frees_.fetch_add(1);
        }
    };

    unsigned threads_;
    std::uint64_t seed_;
    byte_count limit_ = 0;
    manager::host* host_ = nullptr;
    std::array<owner_id, 2> owners_{};
    std::array<std::unique_ptr<com::host_memory_manager>, 2> com_;
    std::array<IHostMalloc*, heaps> heap_{};
    std::array<std::atomic<block*>, shared_places> shared_{};
    std::atomic<std::uint64_t> operations_{0}, refused_{0}, taken_over_{0}, wrong_{0};
    std::atomic<std::uint64_t> wrong_frees_{0}, reports_{0};
};

std::chrono::milliseconds time_of_run() {
    return std::chrono::seconds(std::getenv("MEMREEVE_LONG") != nullptr ? 120 : 6);
}

TEST(heap_storm, two_threads) { storm(2, seed_of_run()).run(time_of_run()); }
TEST(heap_storm, sixteen_threads) { storm(16, seed_of_run()).run(time_of_run()); }

} // namespace
} // namespace memreeve::test
