// SPDX-License-Identifier: MIT
// A page source over mmap for the heap's tests: strict about its contract, refuses on request,
// and knows what is still out.
#pragma once

#include "heap/page_source.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>

namespace memreeve::heap {

class test_page_source final : public page_source {
public:
    ~test_page_source() { EXPECT_EQ(pages(), 0u) << "pages were not given back"; }

    result<address> take(byte_count size, bool executable, criticality level,
                         std::uint64_t tag) noexcept override {
        EXPECT_NE(tag, 0u);
        EXPECT_GT(size, 0u);
        if (during_take) {
            const auto others = std::move(during_take);
            during_take = nullptr;
            others();
        }
        const std::scoped_lock lock(mutex_);
        last_level = level;
        ++takes;
        if (takes == fail_at || (fail_from != 0 && takes >= fail_from)) {
            ++refused;
            return refusal;
        }
        const byte_count bytes = round_up(size, page_size);
        if (limit != 0 && pages_ + pages_of(bytes) > limit) {
            ++refused;
            return errc::over_budget;
        }
        const byte_count with_slack = bytes + granule_size;
        void* got = mmap(nullptr, with_slack, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) {
            return errc::out_of_address_space;
        }
        const auto all = reinterpret_cast<address>(got);
        const address begin = round_up(all, granule_size);
        const int access = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
        EXPECT_EQ(mprotect(reinterpret_cast<void*>(begin), bytes, access), 0);
        taken_[begin] = {bytes, tag, executable, {all, all + with_slack}};
        pages_ += pages_of(bytes);
        return begin;
    }

    void give_back(address begin) noexcept override {
        const std::scoped_lock lock(mutex_);
        const auto it = taken_.find(begin);
        ASSERT_NE(it, taken_.end()) << "given back what was not taken";
        pages_ -= pages_of(it->second.bytes);
        munmap(reinterpret_cast<void*>(it->second.mapped.begin), it->second.mapped.size());
        taken_.erase(it);
        ++returns;
    }

    std::uint64_t tag_of(address where, address* begin) noexcept override {
        const std::scoped_lock lock(mutex_);
        auto it = taken_.upper_bound(where);
        if (it == taken_.begin()) {
            return 0;
        }
        --it;
        if (where - it->first >= it->second.bytes) {
            return 0;
        }
        *begin = it->first;
        return it->second.tag;
    }

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
    unsigned takes = 0;
    unsigned returns = 0;
    unsigned refused = 0;
    unsigned fail_at = 0;   // this take is refused, once
    unsigned fail_from = 0; // this one and all after it
    page_count limit = 0;
    errc refusal = errc::over_budget;
    criticality last_level = criticality::task;

private:
    struct held {
        byte_count bytes;
        std::uint64_t tag;
        bool executable;
        range mapped;
    };
    std::mutex mutex_;
    std::map<address, held> taken_;
    page_count pages_ = 0;
};

} // namespace memreeve::heap
