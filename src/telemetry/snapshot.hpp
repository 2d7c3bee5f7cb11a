// SPDX-License-Identifier: MIT
// One consistent picture of an image: the kernel's list of mappings laid beside the books.
//
// The text of /proc/PID/smaps is fed in chunks. Every mapping, or every part of it that an extent
// of the image record cuts out, gets an owner; what nobody owns is counted as unclassified, never
// computed as a remainder, so that the sums of the summary are a check (decision 4).
//
// Order of the rules for a private mapping; the first that fits decides:
//   [heap] malloc, [stack] stacks, [vdso] [vvar] [vsyscall] images
//   anonymous in an arena or placed reservation   its owner; writable bytes come from the books
//   in memreeve's records                         runtime
//   in what the loader had mapped                 images
//   anonymous and recorded as acquired            its owner
//   file also mapped executable, the program itself,
//     *.so*, *.dll, *.exe, *.jsa                  images
//   other file                                    files
//   glibc arena (64 MiB aligned, the rest inaccessible)       malloc
//   tiled by chunks that malloc mapped            malloc
//   directly behind an image's mapping, as far as its ELF header asks (.bss)    images
//   noted as a thread's stack                     stacks
//   directly above a small inaccessible mapping   stacks
//   else                                          unclassified
//
// Pure: no allocation, no system call, no libc; the same code runs in the preload library when its
// process ends and in the launcher. A reader is used by one thread.
#pragma once

#include "base/units.hpp"
#include "telemetry/image_record.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace memreeve::telemetry {

// What the accounts say about one owner. Bytes.
struct owner_books {
    std::uint64_t reserved, committed, charged, writable, slack, peak_charged;
};

// Optional looks into the pictured process; without them the attribution is coarser, the sums are
// exact all the same. Both return false when it cannot be told.
struct memory_view {
    bool (*read_word)(void* context, std::uint64_t at, std::uint64_t* out) noexcept = nullptr;
    // Pages present in [begin, end): weighs the parts of a mapping that extents cut.
    bool (*count_present)(void* context, std::uint64_t begin, std::uint64_t end,
                          std::uint64_t* pages) noexcept = nullptr;
    void* context = nullptr;
};

struct kind_figures {
    std::uint64_t mapped_writable, resident, touched; // bytes
};

// What one reading of smaps says. Bytes.
struct smaps_figures {
    kind_figures outside[owner_kind_count]{}; // what the kernel alone knows of
    kind_figures served[owner_kind_count]{};  // in arenas and placed reservations; `touched` is
                                              // what is there anonymously, charged or not
    std::uint64_t acquired_charged[owner_kind_count]{};
    kernel_figures kernel{};
    std::uint64_t mappings = 0;
};

// About 200 KiB: lives in mapped or static memory, not on a stack.
class smaps_reader {
public:
    // Copies the image's extents and stacks. Everything else is forgotten.
    void begin(const image_record& image, memory_view view) noexcept;
    void feed(const char* text, std::size_t size) noexcept;
    // False when the text was no smaps, was empty (the process has ended) or shows another image
    // than the record (nothing of what we mapped is in it: after exec).
    bool finish(smaps_figures& out) noexcept;
    // The text shows the same addresses twice. The kernel lists mappings some at a time and goes on
    // from an address: two that become one in between (an mprotect that ends, an madvise that we only
    // pass on) are listed once more as a whole. What it says of a mapping is right, its sums are not.
    bool is_torn() const noexcept { return torn_; }

private:
    enum class name_kind : std::uint8_t { none, heap, stack, kernel, file };
    struct span {
        std::uint64_t begin, end;
        std::uint64_t reach;     // highest end of this span and all before it
        std::uint64_t charged;   // bytes
        std::uint64_t anonymous; // bytes seen in it
        extent_kind kind;
        owner_kind owner;
    };
    struct vma {
        std::uint64_t begin, end;
        std::uint64_t offset, device, inode;
        std::uint64_t rss, anonymous, exclusive; // bytes
        bool readable, writable, executable, is_private, like_image;
        name_kind name;
        std::uint64_t size() const noexcept { return end - begin; }
        bool has_file() const noexcept { return inode != 0; }
    };
    // Consecutive mappings of one file: what it is may be told only by a later one.
    struct file_group {
        std::uint64_t device, inode;
        std::uint64_t first; // where its first page is mapped, 0: nowhere
        bool is_open, is_image;
        kind_figures of_file, behind; // `behind`: anonymous, would be its .bss
    };
    enum class verdict : std::uint8_t { owner, served, acquired, group_file, group_behind, nobody };

    static constexpr std::size_t line_capacity = 4608; // PATH_MAX and the numbers before it

    void take_line() noexcept;
    bool take_header() noexcept;
    void take_field() noexcept;
    void complete() noexcept;
    void attribute(const vma& v, const vma* before, const vma* next) noexcept;
    void enter_group(const vma& v, const span* in) noexcept;
    void close_group() noexcept;
    span* find(std::uint64_t at, std::uint64_t* boundary) noexcept;
    owner_kind kind_of_account(const image_record& image, std::uint32_t account) const noexcept;
    std::uint64_t end_of_chunks(std::uint64_t begin, std::uint64_t end) noexcept;
    std::uint64_t end_of_image(std::uint64_t first) noexcept;
    bool is_malloc_arena(const vma& v, const vma* next) noexcept;
    bool is_above_guard(const vma& v, const vma* before) noexcept;

    memory_view view_{};
    bool forked_ = false;
    bool broken_ = false;
    bool torn_ = false;
    bool seen_ours_ = false;
    bool lists_ours_ = false;
    std::uint32_t span_count_ = 0;
    std::uint64_t listed_to_ = 0; // end of the last mapping of the text
    vma current_{}, held_{}, before_{};
    bool has_current_ = false, has_held_ = false, has_before_ = false;
    file_group group_{};
    smaps_figures figures_{};
    std::size_t line_size_ = 0;
    char line_[line_capacity]{};
    char program_[sizeof(image_record::path)]{};
    span spans_[extent_capacity + stack_table::capacity]{};
};

// Kernel figures and books together. Bytes charged for acquired memory are part of books.charged.
// out.in_flight is read: what moved while it was pictured is not taken for touched memory.
void compose(const smaps_figures& seen, const owner_books (&books)[owner_kind_count],
             picture& out) noexcept;

// The sums of the contract, to the page.
bool adds_up(const picture& p) noexcept;

// Puts a picture where others read it. False when somebody else is writing it. `insist`: take over
// from a writer that does not come to an end (it may have been killed).
bool publish(published_picture& to, const picture& p, bool insist) noexcept;
// False when none was ever published, or a writer is stuck in it.
bool read(const published_picture& from, picture& out) noexcept;

// Works on any owner tree with these members (budget::tree), pages to bytes.
template <class Tree>
owner_books books_of(const Tree& accounts, owner_id who) noexcept {
    const auto& a = accounts.at(who);
    const auto entered = accounts.entered(who);
    return {bytes_of(entered.reserved),
            bytes_of(entered.committed),
            bytes_of(a.charged.load(std::memory_order_relaxed)),
            bytes_of(entered.writable),
            bytes_of(entered.slack),
            bytes_of(a.peak.load(std::memory_order_relaxed))};
}

// A picture taken with no operation in flight (decision 4), from a text that is not torn: tried at
// most `tries` times, then taken all the same and marked in_flight. A program too busy for the first
// polite_tries is asked to begin no operation while the next ones are made
// (image_record::held_until_ns), four tries on and four off: a thread that a runtime stopped within an
// operation comes out of it only when others go on.
//   pump(reader)  feeds the whole smaps text; false when it cannot be read
//   books(kind)   the owner's books
//   wait(n)       called after try n; a thread that was stopped within an operation takes a while
//   clock()       nanoseconds of the monotonic clock
inline constexpr unsigned polite_tries = 3;
template <class Pump, class Books, class Wait, class Clock>
bool take_picture(image_record& image, smaps_reader& reader, memory_view view, unsigned tries,
                  Clock clock, Pump pump, Books books, Wait wait, picture& out) noexcept {
    struct hold {
        std::atomic<std::uint64_t>& until;
        std::uint64_t now = 0;
        void set(std::uint64_t to) noexcept {
            if (to != now) {
                until.store(now = to, std::memory_order_release);
            }
        }
        ~hold() { set(0); }
    } hold{image.held_until_ns};
    smaps_figures seen;
    owner_books of[owner_kind_count];
    for (unsigned n = 0;; ++n) {
        const bool last = n + 1 >= tries;
        if (n >= polite_tries) {
            hold.set((n - polite_tries) % 8 < 4 || last ? clock() + picture_hold_ns : 0);
        }
        const operation_counts before = operations_of(image);
        if (!before.is_quiet() && !last) {
            wait(n);
            continue;
        }
        reader.begin(image, view);
        const bool read_through = pump(reader);
        if (!read_through || !reader.finish(seen)) {
            return false;
        }
        for (std::uint32_t k = 0; k < owner_kind_count; ++k) {
            of[k] = books(static_cast<owner_kind>(k));
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        const bool quiet =
            before.is_quiet() && !reader.is_torn() && operations_begun(image) == before.begun;
        if (!quiet && !last) {
            wait(n);
            continue;
        }
        out = picture{};
        out.taken_at_ns = clock();
        out.retries = n;
        out.in_flight = quiet ? 0 : 1;
        compose(seen, of, out);
        return true;
    }
}

} // namespace memreeve::telemetry
