// SPDX-License-Identifier: MIT
// The ledger: one block of memory with the owner tree, the credit slots and a record per process
// image. A memfd made by `memreeve run` and mapped by every governed process, so that children
// share the limit and the launcher can read it after SIGKILL (decision 20); private memory, same
// layout, in an embedded host. Sparse: what no image uses costs no memory.
//
//   header | accounts[account_capacity] | credits[credit_capacity]
//          | entries[account_capacity] of each lane | image_record[image_capacity]
//
// Every program under the limit can write over all of a shared ledger, by a wild store or on purpose. What
// it holds is therefore never a size or a place to whoever reads on: capacities are read once, when it is
// attached, and checked against the mapping; numbers of accounts are asked of budget::tree::below_root.
//
// Account 0 is the root. A governed image uses one account for the process below the root, and one
// for each of its owners below that.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "budget/budget.hpp"
#include "telemetry/image_record.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

inline constexpr std::uint64_t ledger_magic = 0x31726765646c726dULL; // "mrldger1"
// Of the layout, and of what MEMREEVE_LEDGER says of it (ledger_name.hpp).
inline constexpr std::uint32_t ledger_version = 8;

enum ledger_flag : std::uint32_t {
    flag_best_effort = 1, // a child that cannot attach runs ungoverned instead of being refused
    flag_no_children = 2, // only the image that attaches first
    flag_no_knobs = 4,    // runtime_limit stays 0
    flag_own_reserve = 8, // the reserve was given, and stays when the limit changes
    flag_ask = 16, // runtimes are asked to collect at watermarks and at the kernel's pressure too
    flag_no_ask = 32, // not even after the limit was lowered
};

// Is a runtime of this kind asked to collect? CPython only where it was wished: a program of one thread
// stays one.
constexpr bool is_asked(std::uint32_t flags, telemetry::runtime_kind kind) noexcept {
    return (flags & flag_no_ask) == 0 && kind != telemetry::runtime_kind::other &&
           ((flags & flag_ask) != 0 || kind != telemetry::runtime_kind::cpython);
}

// The root's limit was changed while the program ran. Bytes, all ones: no limit.
struct limit_change {
    std::atomic<std::uint64_t> at_ns{0}; // monotonic
    std::atomic<std::uint64_t> from{0};
    std::atomic<std::uint64_t> to{0};
    std::atomic<std::uint64_t> charged{0}; // then
};
inline constexpr std::uint32_t limit_changes_kept = 64; // the last ones

struct ledger_header {
    std::uint64_t magic = 0;
    std::uint32_t version = 0;
    std::uint32_t account_capacity = 0;
    std::uint32_t credit_capacity = 0; // power of two
    std::uint32_t image_capacity = 0;
    std::uint64_t size = 0; // bytes of the whole ledger
    std::atomic<std::int32_t> launcher_pid{0};
    std::atomic<std::uint32_t> flags{0};
    std::atomic<std::uint64_t> launcher_start_time{0};
    // Counts every change the launcher should look at (attach, end, picture wanted): it waits here.
    std::atomic<std::uint32_t> bell{0};
    std::atomic<std::uint32_t> images_high{0}; // one past the highest image slot ever used
    std::atomic<std::uint64_t> images_refused{0};
    // Bytes from which settings of runtimes are derived: the limit, or the container's where that is
    // lower. 0: there is none, or --no-knobs.
    std::atomic<std::uint64_t> runtime_limit{0};
    std::atomic<std::uint64_t> looked_for_dead_ns{0};
    std::atomic<std::uint32_t> pressure_notices{0}; // of the kernel's, so many so far
    std::atomic<std::uint32_t> limit_changes{0};    // so many so far
    limit_change changes[limit_changes_kept]{};
    // How often the launcher has looked at what is touched, and when it means to look next.
    std::atomic<std::uint32_t> looks{0};
    std::atomic<std::uint64_t> next_look_ns{0};       // monotonic
    std::atomic<std::uint64_t> awaited_in_vain_ns{0}; // somebody gave up waiting
};
static_assert(sizeof(ledger_header) <= page_size);

struct ledger_shape {
    std::uint32_t accounts = 4352; // root + 8 for each image, and some
    std::uint32_t credits = 256;
    std::uint32_t images = 512;
};
inline constexpr ledger_shape shared_shape{};             // 512 images at once under one `run`
inline constexpr ledger_shape private_shape{4096, 64, 1}; // an embedded host: 4087 owners

// Who holds what in this image and under its limit, and who grew, as things are now. Whoever writes has
// the words to himself. Lock-free, async-signal-safe.
void write_holders(const budget::tree& tree, const telemetry::image_record& image,
                   telemetry::last_words& words) noexcept;

class ledger {
public:
    constexpr ledger() noexcept = default;

    // Lays out zeroed memory of size_for(shape) bytes.
    static byte_count size_for(ledger_shape shape) noexcept;
    void format(void* memory, ledger_shape shape, budget::tree::limits root) noexcept;
    // Takes over memory that format() laid out, maybe in another process. invalid_argument when it
    // is no ledger of this version, or says that it is larger than `size`.
    result<void> attach(void* memory, byte_count size) noexcept;

    // A new record for this process, with its accounts. A live record of the same pid is ended
    // (exec) and what it charged is returned. out_of_address_space when every slot is taken.
    // `path`: what the record is called from the moment it can be seen; null: told later.
    result<telemetry::image_record*> begin_image(int pid, std::uint64_t start_time, bool forked,
                                                 const char* path = nullptr) noexcept;
    // The image cannot be governed after all: its accounts are closed, it is listed with the reason.
    void turn_away(telemetry::image_record& image, const char* reason) noexcept;
    // Returns what the image charged to the root, closes its accounts, marks it ended.
    void end_image(telemetry::image_record& image, telemetry::image_end how) noexcept;
    // Ends the records of processes that are gone (waited for by their parents). True when one was.
    // When it finds none, not again for a millisecond; nothing in a private ledger.
    bool fold_dead() noexcept;
    // After the launcher has read an ended record.
    void free_image(telemetry::image_record& image) noexcept;
    // A child that runs without us: listed, not counted.
    void note_ungoverned(int pid, std::uint64_t start_time, const char* path,
                         const char* reason) noexcept;

    // Changes the root's limit under everybody's hands and writes it down. All ones: no limit. One
    // caller at a time. What there was, and what was charged when the new one was in force.
    struct changed_limit {
        byte_count from, charged;
    };
    changed_limit change_limit(byte_count limit, byte_count reserve) noexcept;

    // By the launcher, when it has put what is touched beside what is charged; `next_ns`: when it will
    // do so again.
    void note_look(std::uint64_t next_ns) noexcept;
    // Where the launcher is late with that, because processor time is withheld from it: waits until it
    // has looked, a quarter of a second at most, and after a vain wait not again for a second. Nothing
    // in a private ledger. Async-signal-safe.
    void await_look() noexcept;
    // Somebody has written over what nobody changes in this way: the header, the root account, or what
    // a live image says of its accounts. Figures can be wrong without this being seen.
    bool is_damaged() const noexcept;

    // The kernel is short of memory: counts it, and whoever asks runtimes to collect looks.
    void note_pressure() noexcept;

    bool is_open() const noexcept { return header_ != nullptr; }
    ledger_header& header() const noexcept { return *header_; }
    budget::tree& tree() noexcept { return tree_; }
    // i < images_seen()
    telemetry::image_record& image(std::uint32_t i) const noexcept { return images_[i]; }
    // One past the highest image slot ever used, and never more than there are.
    std::uint32_t images_seen() const noexcept;
    owner_id process_of(const telemetry::image_record& r) const noexcept {
        return tree_.below_root(r.process_account.load(std::memory_order_relaxed));
    }
    owner_id owner_of(const telemetry::image_record& r, std::uint32_t kind) const noexcept {
        return tree_.below_root(r.owner_account[kind].load(std::memory_order_relaxed));
    }
    std::uint32_t index_of(const telemetry::image_record& r) const noexcept {
        return static_cast<std::uint32_t>(&r - images_);
    }
    void ring() noexcept; // header().bell, and wakes the launcher

private:
    telemetry::image_record* claim_record() noexcept;
    void close_accounts(telemetry::image_record& image) noexcept;
    void wake_askers() noexcept;
    void fold(const telemetry::image_record& image) noexcept;
    void await_drains() noexcept;
    bool has_damaged_accounts(const telemetry::image_record& image) const noexcept;

    ledger_header* header_ = nullptr;
    telemetry::image_record* images_ = nullptr;
    std::uint32_t image_capacity_ = 0;
    std::uint32_t credit_capacity_ = 0;
    // So many drains were waited for in vain: whoever was at them was killed.
    std::atomic<std::uint32_t> dead_drains_{0};
    budget::tree tree_{};
};

} // namespace memreeve::manager
