// SPDX-License-Identifier: MIT
// A page source over mmap for the heap's tests: strict about its contract, refuses on request,
// and knows what is still out.
#pragma once

#include "heap/page_source.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <new>

namespace memreeve::heap {

class test_page_source final : public page_source {
public:
    ~test_page_source() { EXPECT_EQ(pages(), 0u) << "pages were not given back"; }

    result<taken> take(const wish& w) noexcept override {
        EXPECT_NE(w.tag, 0u);
        EXPECT_GT(w.size, 0u);
        EXPECT_EQ(w.alignment & (w.alignment - 1), 0u);
        if (during_take) {
            const auto others = std::move(during_take);
            during_take = nullptr;
            others();
        }
        const std::scoped_lock lock(mutex_);
        last_level = w.level;
        const byte_count bytes = round_up(w.size, page_size);
        if (const auto r = admit(pages_of(bytes)); !r) {
            return r.error();
        }
        const byte_count room = std::max(bytes, round_up(w.room, page_size));
        const byte_count with_slack = room + granule_size + w.alignment;
        void* got = mmap(nullptr, with_slack, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) {
            return errc::out_of_address_space;
        }
        const auto all = reinterpret_cast<address>(got);
        const address begin = round_up(all, granule_size);
        const address at = round_up(begin, std::max(w.alignment, granule_size)) + w.guard;
        EXPECT_TRUE(w.guard == 0 || w.alignment == granule_size);
        open({at, at + bytes}, w.executable);
        taken_[begin] = {{at, at + bytes}, w.tag, w.executable, {all, all + with_slack}};
        pages_ += pages_of(bytes);
        return taken{begin, at, bytes};
    }

    result<void> resize(address begin, range now, byte_count size, bool executable,
                        criticality level) noexcept override {
        const std::scoped_lock lock(mutex_);
        held& h = taken_.at(begin);
        EXPECT_EQ(h.pages, now);
        EXPECT_EQ(h.executable, executable);
        last_level = level;
        const range wanted{now.begin, now.begin + round_up(size, page_size)};
        if (wanted.end > h.mapped.end) {
            return errc::out_of_address_space;
        }
        if (wanted.end > now.end) {
            if (const auto r = admit(pages_of(wanted.end - now.end)); !r) {
                return r;
            }
            open({now.end, wanted.end}, executable);
        } else {
            void* const tail = reinterpret_cast<void*>(wanted.end);
            madvise(tail, now.end - wanted.end, MADV_DONTNEED);
            mprotect(tail, now.end - wanted.end, PROT_NONE);
        }
        pages_ = pages_ - now.pages() + wanted.pages();
        h.pages = wanted;
        ++resizes;
        return {};
    }

    result<taken> move(address begin, range now, const wish& w) noexcept override {
        EXPECT_GT(w.size, now.size());
        const page_count before = limit;
        if (limit != 0) {
            limit += now.pages(); // only the difference is charged
        }
        const auto got = take(w);
        limit = before;
        if (!got) {
            return got;
        }
        EXPECT_EQ(taken_.at(begin).pages, now);
        std::memcpy(reinterpret_cast<void*>(got->pages), reinterpret_cast<void*>(now.begin),
                    now.size());
        give_back(begin);
        ++moves;
        return got;
    }

    void give_back(address begin) noexcept override {
        const std::scoped_lock lock(mutex_);
        const auto it = taken_.find(begin);
        ASSERT_NE(it, taken_.end()) << "given back what was not taken";
        pages_ -= it->second.pages.pages();
        munmap(reinterpret_cast<void*>(it->second.mapped.begin), it->second.mapped.size());
        taken_.erase(it);
        ++returns;
    }

    byte_count trim() noexcept override { return 0; }

    std::uint64_t tag_of(address where, address* begin) noexcept override {
        const std::scoped_lock lock(mutex_);
        auto it = taken_.upper_bound(where);
        if (it == taken_.begin()) {
            return 0;
        }
        --it;
        if (where >= it->second.mapped.end) {
            return 0;
        }
        *begin = it->first;
        return it->second.tag;
    }

    peeked peek(address from, void* to, byte_count size) noexcept override {
        if (!may_peek) {
            return peeked::not_allowed;
        }
        const iovec here{to, size};
        const iovec there{reinterpret_cast<void*>(from), size};
        return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == static_cast<ssize_t>(size)
                   ? peeked::copied
                   : peeked::gone;
    }

    tally take_tally(bool alone) noexcept override {
        const std::scoped_lock lock(mutex_);
        tallies.emplace_back();
        return {&tallies.back().allocations, &tallies.back().frees, !alone};
    }
    void give_back_tally(const tally&) noexcept override {}
    std::uint64_t this_thread() noexcept override {
        return static_cast<std::uint64_t>(getpid()) << 22 | static_cast<std::uint32_t>(gettid());
    }
    bool is_gone(std::uint64_t thread) noexcept override {
        const int code = errno;
        const bool gone = thread >> 22 == static_cast<std::uint64_t>(getpid()) &&
                          tgkill(getpid(), static_cast<pid_t>(thread & ((1u << 22) - 1)), 0) != 0 &&
                          errno == ESRCH;
        errno = code;
        return gone;
    }
    std::uint64_t allocations() {
        const std::scoped_lock lock(mutex_);
        std::uint64_t n = 0;
        for (auto& t : tallies) {
            n += t.allocations;
        }
        return n;
    }
    std::uint64_t frees() {
        const std::scoped_lock lock(mutex_);
        std::uint64_t n = 0;
        for (auto& t : tallies) {
            n += t.frees;
        }
        return n;
    }

    // Between the two nobody else is inside: round a fork.
    void hold() { mutex_.lock(); }
    void release() { mutex_.unlock(); }
    void release_in_child() { ::new (&mutex_) std::recursive_mutex; }

    page_count pages() {
        const std::scoped_lock lock(mutex_);
        return pages_;
    }
    bool is_executable(address where) {
        const std::scoped_lock lock(mutex_);
        auto it = taken_.upper_bound(where);
        return it != taken_.begin() && (--it)->second.executable;
    }

    // Runs once, inside the next take: what other threads do while this one is stopped there.
    std::function<void()> during_take;
    bool may_peek = true;
    unsigned takes = 0;
    unsigned returns = 0;
    unsigned resizes = 0;
    unsigned moves = 0;
    unsigned refused = 0;
    unsigned fail_at = 0;   // this take is refused, once
    unsigned fail_from = 0; // this one and all after it
    page_count limit = 0;
    errc refusal = errc::over_budget;
    criticality last_level = criticality::task;

private:
    struct counted {
        std::atomic<std::uint64_t> allocations{0};
        std::atomic<std::uint64_t> frees{0};
    };
    std::deque<counted> tallies;

    struct held {
        range pages;
        std::uint64_t tag;
        bool executable;
        range mapped;
    };
    result<void> admit(page_count more) {
        ++takes;
        if (takes == fail_at || (fail_from != 0 && takes >= fail_from)) {
            ++refused;
            return refusal;
        }
        if (limit != 0 && pages_ + more > limit) {
            ++refused;
            return errc::over_budget;
        }
        return {};
    }
    static void open(range pages, bool executable) {
        const int access = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
        EXPECT_EQ(mprotect(reinterpret_cast<void*>(pages.begin), pages.size(), access), 0);
    }

    std::recursive_mutex mutex_; // a signal handler may come while it is held
    std::map<address, held> taken_;
    page_count pages_ = 0;
};

} // namespace memreeve::heap
