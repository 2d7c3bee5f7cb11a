// SPDX-License-Identifier: MIT
// Files that serve as private heap (memfds, POSIX shared memory, SysV segments), known by device and
// inode, and which of their pages are charged (decisions 1, 2): a page once however many views of it
// there are, to the owner that made it accessible first; neither committed nor mapped writable.
//
// Charged: pages that fallocate gave the file, and pages up to the end of the file that a shared
// view makes accessible (mmap, mprotect, shmat; ftruncate and fallocate under a view). They stay
// charged when the view goes: the contents do. They come back by hole punching, MADV_REMOVE and
// ftruncate, and all of them when the file is gone.
//
// Gone is a file without a view in this process and without a descriptor in it. close() is not
// watched. The descriptor the file was first seen with is remembered, and fstat tells whether it
// still is that file; if not, /proc/self/fd is searched once for another. A named POSIX object also
// lives while its name leads to it, a segment while shmctl knows it. Asked when a file loses its
// last view, when a new file comes, before anything is refused, and before a picture.
//
// fork: what was charged stays the parent's; the child pays for what it makes accessible (19).
//
// Process-local, lock-free, in mappings of its own made at the first such file. Room for 512 files
// and 65536 views; what has no room is not charged. Pages beyond 8 TiB of a file are not charged.
#pragma once

#include "bridge/page_marks.hpp"
#include "bridge/shared_views.hpp"
#include "bridge/state.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::bridge {

enum class file_kind : std::uint32_t { memfd = 0, posix_object, segment };

struct memory_file {
    std::atomic<std::uint64_t> word{0}; // life << 32 | users << 8 | state
    std::atomic<std::uint64_t> inode{0};
    std::atomic<std::uint32_t> device{0};
    std::atomic<std::uint32_t> kind{0};  // file_kind
    std::atomic<std::int32_t> handle{0}; // descriptor, or id of the segment
    std::atomic<std::uint32_t> flags{0};
    std::atomic<page_count> end{0};        // pages up to the end of the file as last seen
    std::atomic<page_count> view_pages{0}; // in views of this process
    std::atomic<std::uint32_t> payers[payer_count]{}; // accounts (owner_id), 0: none
    page_marks marks{};
    char name[256]{}; // of a POSIX object

    static constexpr std::uint32_t is_code = 1;    // has been mapped executable, or is known to be
    static constexpr std::uint32_t lost_views = 2; // a view found no room: never taken for gone
    // CoreCLR's: a block given back is mapped writable in its place, cleared and unmapped.
    static constexpr std::uint32_t cleared_to_free = 4;

    bool is(std::uint32_t flag) const noexcept {
        return (flags.load(std::memory_order_relaxed) & flag) != 0;
    }
};

// A file that is not given up while this exists.
class [[nodiscard]] file_use {
public:
    constexpr file_use() noexcept = default;
    explicit file_use(memory_file* taken, std::uint32_t index) noexcept
        : file_(taken), index_(index) {}
    file_use(file_use&& other) noexcept : file_(other.file_), index_(other.index_) {
        other.file_ = nullptr;
    }
    file_use& operator=(file_use&& other) noexcept {
        if (this != &other) {
            end();
            file_ = other.file_;
            index_ = other.index_;
            other.file_ = nullptr;
        }
        return *this;
    }
    ~file_use() { end(); }

    explicit operator bool() const noexcept { return file_ != nullptr; }
    memory_file* operator->() const noexcept { return file_; }
    memory_file& operator*() const noexcept { return *file_; }
    std::uint32_t index() const noexcept { return index_; }

private:
    void end() noexcept;
    memory_file* file_ = nullptr;
    std::uint32_t index_ = 0;
};

// How pages of a file become memory: its contents or protection change (fallocate, ftruncate, mprotect),
// or a view is mapped.
struct use_of_pages {
    bool executable = false;
    bool is_view = false;
};

enum class charge_outcome : unsigned char { charged, over_budget, no_memory };

class file_pages {
public:
    static constexpr std::uint32_t capacity = 512;

    constexpr file_pages() noexcept = default;

    bool is_in_use() const noexcept { return used_.load(std::memory_order_acquire) != 0; }
    shared_views& views() noexcept { return views_; }

    // The file that `fd` is, taking it up when it serves as memory without having been seen before
    // (a memfd that came through a socket). None for every other file.
    file_use of_descriptor(state& s, int fd) noexcept;
    file_use of_segment(int id) noexcept;
    file_use of_index(std::uint32_t index) noexcept;
    // A file that has just been made or opened.
    file_use take_up(state& s, int fd, file_kind kind, const char* name) noexcept;
    file_use take_up_segment(state& s, int id, byte_count size) noexcept;

    // Charges what is free of `where`, on trial until keep() or undo(). A refusal is decided after
    // what is owed was given back, and counted with the level of a request of that size.
    charge_outcome charge(state& s, memory_file& f, page_span where,
                          use_of_pages use = {}) noexcept;
    void keep(memory_file& f, page_span where) noexcept;
    void undo(state& s, memory_file& f, page_span where) noexcept;
    // Contents are gone.
    void clear(state& s, memory_file& f, page_span where) noexcept;

    void add_view(range where, const file_use& f, page_count first) noexcept;
    // Takes `where` out of the views; f(const shared_views::view&). True: a file lost its last one.
    template <class F>
    bool cut_views(range where, F&& f) noexcept;

    // Files that are gone give all back. True: one did. `at_once` false: when many have no view, at
    // most every millisecond.
    bool give_back_gone(state& s, bool at_once) noexcept;
    // In the only thread of a fork's child.
    void settle_after_fork() noexcept;

private:
    memory_file& file(std::uint32_t i) noexcept { return files_[i]; }
    bool open(state& s) noexcept;
    file_use find(std::uint32_t device, std::uint64_t inode, bool segment) noexcept;
    file_use enter(state& s, file_kind kind, std::uint32_t device, std::uint64_t inode, int handle,
                   const char* name) noexcept;
    bool is_gone(memory_file& f) noexcept;
    bool give_up(state& s, memory_file& f) noexcept;
    void refund(state& s, memory_file& f, const payer_pages& gone) noexcept;
    payer payer_for(memory_file& f, owner_id who) noexcept;

    std::atomic<address> base_{0}; // 0: not there yet, 1: being made
    memory_file* files_ = nullptr;
    std::atomic<std::uint32_t> used_{0};
    std::atomic<std::uint64_t> looked_at_ns_{0};
    std::atomic<std::uint32_t> looked_at_{0}; // how many were worth a look then
    shared_views views_{};
    node_pool nodes_{};
};

file_pages& files() noexcept;

template <class F>
bool file_pages::cut_views(range where, F&& f) noexcept {
    bool last = false;
    if (views_.is_empty()) {
        return false;
    }
    views_.cut(where, [&](const shared_views::view& v) {
        const page_count pages = v.where.pages();
        last = file(v.file).view_pages.fetch_sub(pages, std::memory_order_acq_rel) == pages || last;
        f(v);
    });
    return last;
}

} // namespace memreeve::bridge
