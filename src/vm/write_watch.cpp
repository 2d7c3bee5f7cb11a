// SPDX-License-Identifier: MIT
#include "vm/write_watch.hpp"

#include "prim/prim.hpp"
#include "prim/write_watch.hpp"

namespace memreeve::vm {

namespace {

constexpr int no_such_call = 38; // ENOSYS
constexpr int no_memory = 12;    // ENOMEM
constexpr int bad_descriptor = 9;
constexpr int another_file = 25;          // ENOTTY
constexpr int table_is_full[] = {23, 24}; // ENFILE, EMFILE

failure out_of(long os_code) noexcept {
    return {errc::out_of_address_space, static_cast<int>(-os_code)};
}

} // namespace

// Only a yes is remembered: a no costs a system call, and may be of this moment.
bool write_watch::is_supported() noexcept {
    if (works_.load(std::memory_order_acquire)) {
        return true;
    }
    const long watcher = prim::open_write_watcher();
    const long marks = watcher < 0 ? watcher : prim::open_page_marks();
    if (watcher >= 0) {
        (void)prim::close(static_cast<int>(watcher));
    }
    if (marks >= 0) {
        (void)prim::close(static_cast<int>(marks));
        works_.store(true, std::memory_order_release);
    }
    // No descriptor or memory just now is for begin() to say.
    return marks >= 0 || marks == -table_is_full[0] || marks == -table_is_full[1] ||
           marks == -no_memory;
}

result<int> write_watch::watcher() noexcept {
    std::atomic<int>* word = word_.load(std::memory_order_acquire);
    if (word == nullptr) {
        address page = 0;
        if (const int e = prim::map_records(page_size, &page); e != 0) {
            return out_of(-e);
        }
        if (prim::wipe_on_fork(page, page_size) != 0) {
            (void)prim::unmap(page, page_size);
            return errc::not_supported;
        }
        auto* const made = reinterpret_cast<std::atomic<int>*>(page);
        if (word_.compare_exchange_strong(word, made, std::memory_order_acq_rel)) {
            word = made;
        } else {
            (void)prim::unmap(page, page_size);
        }
    }
    const int held = word->load(std::memory_order_acquire);
    return held != 0 ? result<int>(held - 1) : replace(-1);
}

result<int> write_watch::replace(int stale) noexcept {
    const long fresh = prim::open_write_watcher();
    if (fresh < 0) {
        return fresh == -no_such_call ? failure{errc::not_supported, no_such_call} : out_of(fresh);
    }
    const int fd = static_cast<int>(fresh);
    int seen = stale + 1;
    if (!word_.load(std::memory_order_acquire)
             ->compare_exchange_strong(seen, fd + 1, std::memory_order_acq_rel)) {
        (void)prim::close(fd);
        return seen - 1; // somebody was faster
    }
    return fd;
}

result<void> write_watch::ensure(range mapping) noexcept {
    auto fd = watcher();
    for (int attempt = 0; fd; ++attempt) {
        const int e = prim::watch_writes(*fd, mapping.begin, mapping.size());
        if (e == 0) {
            return {};
        }
        // The program closed the descriptor (which ended every watch) and may use the number anew.
        if (attempt != 0 || (e != bad_descriptor && e != another_file)) {
            return out_of(-e);
        }
        fd = replace(*fd);
    }
    return fd.error();
}

result<void> write_watch::begin(range mapping) noexcept { return ensure(mapping); }

result<page_count> write_watch::read(range span, bool reset, void** out, page_count most) noexcept {
    // What is watched already is left as it is: this is for children, closed descriptors and parts
    // that were mapped anew.
    if (auto r = ensure(span); !r) {
        return r.error();
    }
    const long marks = prim::open_page_marks();
    if (marks < 0) {
        return out_of(marks);
    }
    constexpr std::size_t at_once = 64;
    range runs[at_once];
    page_count told = 0;
    long count = 0;
    for (address a = span.begin; a < span.end && told < most;) {
        address walked = a;
        count = prim::written_pages(static_cast<int>(marks), {a, span.end}, reset, most - told,
                                    runs, at_once, &walked);
        if (count < 0 || walked <= a) {
            break;
        }
        for (long i = 0; i < count; ++i) {
            for (address page = runs[i].begin; page < runs[i].end; page += page_size, ++told) {
                if (out != nullptr) {
                    out[told] = reinterpret_cast<void*>(page);
                }
            }
        }
        a = walked;
    }
    (void)prim::close(static_cast<int>(marks));
    if (count < 0 && reset && out != nullptr) {
        // What was reset in earlier steps goes untold.
        if (const auto fd = watcher(); fd) {
            for (page_count i = 0; i < told; ++i) {
                const auto page = reinterpret_cast<address>(out[i]);
                (void)prim::mark_written(*fd, page, page_size);
            }
        }
    }
    if (count < 0) {
        return out_of(count);
    }
    return told;
}

void write_watch::close() noexcept {
    std::atomic<int>* const word = word_.exchange(nullptr, std::memory_order_acq_rel);
    if (word == nullptr) {
        return;
    }
    if (const int held = word->load(std::memory_order_relaxed); held != 0) {
        (void)prim::close(held - 1);
    }
    (void)prim::unmap(reinterpret_cast<address>(word), page_size);
}

} // namespace memreeve::vm
