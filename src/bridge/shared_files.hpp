// SPDX-License-Identifier: MIT
// A program's calls on files that serve as private heap, and on its views of them: passed on to the
// kernel, charged in file_pages. Results are the kernel's (negative errno); errno is left alone.
// Async-signal-safe.
//
// A refusal: ENOSPC where a file system would say so (fallocate, ftruncate), ENOMEM for a view.
// Plain files and private views of any file pass untouched.
#pragma once

#include "base/units.hpp"
#include "bridge/file_pages.hpp"
#include "bridge/state.hpp"

#include <cstdint>

namespace memreeve::bridge {

// ---- the files ----------------------------------------------------------------------------------------
long create_memory_file(state& s, const char* name, unsigned flags) noexcept;
// shm_open gave this descriptor for this name.
void note_posix_object(state& s, int fd, const char* name) noexcept;
long resize_file(state& s, int fd, std::int64_t size) noexcept;
long allocate_file(state& s, int fd, int mode, std::int64_t offset, std::int64_t size) noexcept;
bool is_memory_file(state& s, int fd) noexcept;
long attach_segment(state& s, int id, address where, int flags) noexcept;
long detach_segment(state& s, address where) noexcept;
// shmctl or shm_unlink has been carried out: what is gone is given back.
void after_removal(state& s) noexcept;

// ---- the views ----------------------------------------------------------------------------------------
// A shared view that is about to be mapped. Nothing happens for what is no memory file.
class [[nodiscard]] coming_view {
public:
    explicit coming_view(state& s) noexcept : state_(s) {}
    coming_view(const coming_view&) = delete;
    coming_view& operator=(const coming_view&) = delete;
    ~coming_view(); // not kept: nothing is charged

    // 0 or ENOMEM. `flags` and `fd` as mmap has them, `size` and `offset` page aligned.
    int begin(byte_count size, int prot, int flags, int fd, std::int64_t offset) noexcept;
    // The same for a view that is only cleared (clearing_block): that block is all it needs.
    int begin_clearing(byte_count size, int fd, std::int64_t offset) noexcept;
    // From there on it shows its own pages after all, which clearing makes memory of.
    int pay_for(byte_count from) noexcept; // 0 or ENOMEM
    // It lies there.
    void keep(address where) noexcept;
    bool is_of_memory_file() const noexcept { return static_cast<bool>(file_); }

private:
    friend long attach_segment(state& s, int id, address where, int flags) noexcept;
    int charge(page_span pages, bool accessible, bool executable) noexcept;

    state& state_;
    file_use file_{};
    page_span pages_{};    // of the view
    page_span on_trial_{}; // of them charged
};

// CoreCLR gives a block of generated code back by mapping it writable where it lies, clearing it and
// unmapping it (seen with .NET 10), and ends the process if that is refused. What was never committed
// of the block would become memory by this, for good. For such a call (a view of the whole part,
// writable, of the file and the offset that are mapped there now) the offset of clearing_size bytes that
// can be mapped all over the part instead, to be cleared in its place; -1 for any other. Under a limit only:
// without one nothing is refused, and the books follow what the program does.
inline constexpr byte_count clearing_size = byte_count{64} << 10; // a block of CoreCLR's
std::int64_t clearing_block(state& s, range part, int prot, int flags, int fd,
                            std::int64_t offset) noexcept;
// Of a file of ours: the pages read as zeroes and are given back. What cannot be is kept.
void free_contents(state& s, int fd, std::int64_t offset, byte_count size) noexcept;

// Views in `part` that are about to be made accessible (mprotect).
class [[nodiscard]] opening_views {
public:
    opening_views(state& s, range part) noexcept : state_(s), part_(part) {}
    opening_views(const opening_views&) = delete;
    opening_views& operator=(const opening_views&) = delete;
    ~opening_views();

    int begin(int prot) noexcept; // 0 or ENOMEM
    void keep() noexcept;

private:
    template <class F>
    void for_each(F&& f) noexcept;

    state& state_;
    range part_;
    bool is_open_ = false;
};

// Views in `part` that are about to go (munmap) or have gone (something was mapped over them).
class [[nodiscard]] leaving_views {
public:
    leaving_views(state& s, range part) noexcept;
    leaving_views(const leaving_views&) = delete;
    leaving_views& operator=(const leaving_views&) = delete;
    ~leaving_views(); // a file that has lost its last view may be gone

    void put_back() noexcept; // the kernel refused
    bool any() const noexcept { return count_ != 0; }

private:
    static constexpr std::uint32_t most = 8;
    state& state_;
    shared_views::view gone_[most];
    std::uint32_t count_ = 0;
    bool last_ = false;
};

// MADV_REMOVE was carried out.
void contents_removed(state& s, range part) noexcept;
// mremap of a view.
inline constexpr long no_such_view = 1;
long remap_view(state& s, address where, byte_count old_size, byte_count new_size, int flags,
                address to) noexcept;

} // namespace memreeve::bridge
