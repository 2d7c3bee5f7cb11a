// SPDX-License-Identifier: MIT
// What one process image (exec starts a new one) tells the world: the record format, shared by the
// image that writes it and the readers outside (memreeve run, later the live view).
//
// One writer process, several threads: every field is an atomic or written once before `state`
// becomes live. A reader may map it read-only. Layout version: ledger_header::version.
#pragma once

#include "base/lanes.hpp"
#include "base/units.hpp"
#include "telemetry/last_words.hpp"
#include "telemetry/stack_table.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::telemetry {

// free -> claimed -> live -> ended -> free. `ended`: the image closed its record, or a successor
// under the same pid did (exec), or the launcher saw it die; the launcher reads it, then frees it.
enum class image_state : std::uint32_t { free = 0, claimed, live, ended };
enum class image_end : std::uint32_t { running = 0, exited, exec, killed };
enum class runtime_kind : std::uint32_t { other = 0, mono, coreclr, jvm, node, cpython };

constexpr const char* name_of(runtime_kind k) noexcept {
    switch (k) {
    case runtime_kind::mono: return "mono";
    case runtime_kind::coreclr: return "coreclr";
    case runtime_kind::jvm: return "jvm";
    case runtime_kind::node: return "node";
    case runtime_kind::cpython: return "cpython";
    case runtime_kind::other: break;
    }
    return "other";
}

// The owners of a governed program, in the order of the summary.
enum class owner_kind : std::uint32_t { gc = 0, code, malloc, stacks, images, files, runtime };
inline constexpr std::uint32_t owner_kind_count = 7;
inline constexpr const char* owner_names[owner_kind_count] = {"gc",     "code",  "malloc", "stacks",
                                                              "images", "files", "runtime"};

// Requests as the interface counts them.
enum class request_kind : std::uint32_t {
    virtual_alloc = 0,
    virtual_free,
    virtual_protect,
    virtual_query,
    malloc,
    free,
    needs,
    acquired,
    released,
};
inline constexpr std::uint32_t request_kind_count = 9;
inline constexpr const char* request_names[request_kind_count] = {
    "virtual_alloc", "virtual_free", "virtual_protect", "virtual_query", "malloc",
    "free",          "needs",        "acquired",        "released"};

// A range of address space that belongs to one owner: an arena, a reservation at an asked-for
// address, or a foreign mapping that was recorded. Claimed by compare-and-swap on `begin`
// (0 = empty, 1 = being written); `end` and `about` are valid once begin is an address.
enum class extent_kind : std::uint32_t {
    arena = 0, // reserved by us; the page states are in the region map
    placed,    // a reservation of ours outside the arenas; likewise
    acquired,  // anonymous memory got elsewhere and recorded; about carries what is charged for it
    records,   // memreeve's own
    loader,    // mapped before memreeve was there
    stack,     // in a reader only: libc's, out of the stack table
};
struct extent {
    std::atomic<std::uint64_t> begin{0};
    std::atomic<std::uint64_t> end{0};
    std::atomic<std::uint32_t> owner{0};   // account index (owner_id)
    std::atomic<std::uint32_t> kind{0};    // extent_kind
    std::atomic<std::uint64_t> charged{0}; // pages charged for it (acquired only)
};
inline constexpr std::uint32_t extent_capacity = 2048;

// One picture of an image, taken by whoever asked (decision 4). All bytes.
struct owner_figures {
    std::uint64_t reserved, committed, charged, touched, mapped_writable, slack, resident,
        peak_charged;
};
struct kernel_figures {
    std::uint64_t rss, private_writable, private_resident, unclassified, unclassified_resident;
};
struct picture {
    std::uint64_t taken_at_ns = 0; // monotonic; 0: never taken
    std::uint32_t retries = 0;
    std::uint32_t in_flight = 0; // 1: whenever it was tried, memory moved meanwhile
    owner_figures owners[owner_kind_count]{};
    kernel_figures kernel{};
};

// A picture in shared memory: odd sequence while it is written.
struct published_picture {
    std::atomic<std::uint32_t> sequence{0};
    std::uint32_t padding = 0;
    picture value{};
};

// What every thread counts all the time, one copy a lane: requests, and operations on the address
// space. Begun and done are equal and unchanged round a picture when none was in flight.
struct alignas(128) activity {
    std::atomic<std::uint64_t> operations_begun{0};
    std::atomic<std::uint64_t> operations_done{0};
    std::atomic<std::uint64_t> requests[request_kind_count]{};
};

// What one thread asks of one heap: written by nobody else while it is taken. The shared ones are
// chosen by thread, so that threads seldom meet on one.
inline constexpr std::uint32_t heap_counts_capacity = 64;
inline constexpr std::uint32_t shared_heap_counts = 32; // a power of two
struct alignas(64) heap_counts {
    std::atomic<std::uint32_t> taken{0};
    std::atomic<std::uint64_t> allocations{0}; // request_kind::malloc
    std::atomic<std::uint64_t> frees{0};
};

// How often the image's runtime was asked to collect, and what that brought. Sums over all times.
struct asked_counts {
    std::atomic<std::uint64_t> times{0};
    std::atomic<std::uint64_t> before{0}; // bytes charged and touched, of the whole run
    std::atomic<std::uint64_t> after{0};
    std::atomic<std::uint64_t> ns{0};
    // Of the times: more was in use than the limit leaves to task level; the kernel was short of memory.
    std::atomic<std::uint64_t> over_limit{0};
    std::atomic<std::uint64_t> pressed{0};
};

inline constexpr std::uint64_t picture_hold_ns = 50'000'000;

struct image_record {
    std::atomic<std::uint32_t> state{0}; // image_state
    std::atomic<std::uint32_t> end{0};   // image_end
    std::atomic<std::int32_t> pid{0};
    std::atomic<std::uint32_t> runtime{0}; // runtime_kind
    std::atomic<std::uint64_t> start_time{
        0}; // /proc/PID/stat field 22: pid and this name a process
    std::atomic<std::uint64_t> attached_at_ns{0};
    std::atomic<std::uint32_t> process_account{0};
    std::atomic<std::uint32_t> owner_account[owner_kind_count]{};
    std::atomic<std::uint32_t> forked{0}; // 1: came by fork, 0: by exec
    std::atomic<std::uint32_t> governed{0};
    std::atomic<std::uint32_t> leaves{0}; // 1: it ends by itself, if nobody kills it meanwhile
    char path[256]{};                     // /proc/PID/exe, or the file for an ungoverned child
    char reason[128]{};                   // why it is not governed
    char settings[256]{};                 // NAME=value, newline separated
    char users_settings[256]{};           // what the user has set and was left; newline separated
    char note[256]{};                     // a sentence about the image for the closing lines

    std::atomic<std::uint64_t> refusals[criticality_count]{};
    std::atomic<std::uint64_t> notifications[3]{}; // low, neutral, high
    asked_counts asked{};
    // Rung when the thread that asks should look: a watermark of this process's, another limit, the
    // kernel's pressure. It waits here.
    std::atomic<std::uint32_t> asker_bell{0};
    std::atomic<std::uint64_t> smallest_refused{0}; // bytes; 0: nothing was refused
    std::atomic<std::uint64_t> first_refused_at_ns{0};
    std::atomic<std::uint32_t> extents_used{0}; // one past the highest slot ever used
    std::atomic<std::uint32_t> extents_lost{0}; // no slot was free: counted, shown as unclassified
    // Children of fork that have yet to copy from this record what it says of the address space, and
    // when the last of them was announced: until they have, the record is not freed (for a second:
    // a fork may fail, a child may be killed first).
    std::atomic<std::uint32_t> heirs{0};
    std::atomic<std::uint64_t> last_fork_ns{0};
    // Pages of files that serve as private heap, charged to each owner: memory without a private
    // mapping.
    std::atomic<std::uint64_t> file_pages[owner_kind_count]{};
    alignas(64) lane_table lanes{}; // whose each of these is
    activity activities[lanes_with_shared]{};
    heap_counts heap_requests[heap_counts_capacity + shared_heap_counts]{}; // the shared ones last

    // Monotonic clock: until then operations that have not begun yet wait, so that a busy program
    // can be pictured between two of them. 0: nobody asks for it. Never waited for longer, whoever
    // set it may have died.
    alignas(64) std::atomic<std::uint64_t> held_until_ns{0};

    // A reader adds 1 to picture_wanted (and wakes it); the launcher answers with a picture and
    // sets picture_served to the value it saw.
    alignas(64) std::atomic<std::uint32_t> picture_wanted{0};
    std::atomic<std::uint32_t> picture_served{0};
    published_picture last{}; // at exit, at exec, on request, or the last sample

    last_words words{};
    growth grown{};

    extent extents[extent_capacity]{};
    stack_table stacks{};
};

inline constexpr std::uint64_t heirs_patience_ns = 1'000'000'000;
inline bool is_awaited_by_heirs(const image_record& image, std::uint64_t now_ns) noexcept {
    return image.heirs.load(std::memory_order_acquire) != 0 &&
           now_ns - image.last_fork_ns.load(std::memory_order_relaxed) < heirs_patience_ns;
}

inline heap_counts& shared_heap_counts_of_this_thread(image_record& image) noexcept {
    const auto self = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
    const std::uint64_t mixed = (self >> 6) * 0x9e3779b97f4a7c15ULL;
    return image.heap_requests[heap_counts_capacity + ((mixed >> 40) & (shared_heap_counts - 1))];
}
inline void count_request(image_record& image, request_kind kind) noexcept {
    const std::uint32_t lane = image.lanes.lane_of_this_thread();
    add_in_lane(image.activities[lane].requests[static_cast<unsigned>(kind)], lane, 1);
}
inline std::uint64_t requests_of(const image_record& image, request_kind kind) noexcept {
    std::uint64_t sum = 0;
    for (const activity& lane : image.activities) {
        sum += lane.requests[static_cast<unsigned>(kind)].load(std::memory_order_relaxed);
    }
    for (const heap_counts& own : image.heap_requests) {
        sum += kind == request_kind::malloc ? own.allocations.load(std::memory_order_relaxed)
               : kind == request_kind::free ? own.frees.load(std::memory_order_relaxed)
                                            : 0;
    }
    return sum;
}

// Returns the lane, which end_operation is to be given.
inline std::uint32_t begin_operation(image_record& image) noexcept {
    const std::uint32_t lane = image.lanes.lane_of_this_thread();
    add_in_lane(image.activities[lane].operations_begun, lane, 1);
    return lane;
}
inline void end_operation(image_record& image, std::uint32_t lane) noexcept {
    add_in_lane(image.activities[lane].operations_done, lane, 1);
}
// Each lane's counts only grow, and done is never ahead. So when the sums are equal none was in
// flight in any lane between the last reading of done and the first of begun; and while the sum of
// begun stays, none has begun since.
struct operation_counts {
    std::uint64_t begun, done;
    bool is_quiet() const noexcept { return begun == done; }
};
inline std::uint64_t operations_begun(const image_record& image) noexcept {
    std::uint64_t sum = 0;
    for (const activity& lane : image.activities) {
        sum += lane.operations_begun.load(std::memory_order_acquire);
    }
    return sum;
}
inline operation_counts operations_of(const image_record& image) noexcept {
    std::uint64_t done = 0;
    for (const activity& lane : image.activities) {
        done += lane.operations_done.load(std::memory_order_acquire);
    }
    return {operations_begun(image), done};
}

// Nobody may be counting.
inline void forget_activity(image_record& image) noexcept {
    image.lanes.clear();
    for (activity& lane : image.activities) {
        lane.operations_begun.store(0, std::memory_order_relaxed);
        lane.operations_done.store(0, std::memory_order_relaxed);
        for (auto& n : lane.requests) {
            n.store(0, std::memory_order_relaxed);
        }
    }
    for (heap_counts& own : image.heap_requests) {
        own.taken.store(0, std::memory_order_relaxed);
        own.allocations.store(0, std::memory_order_relaxed);
        own.frees.store(0, std::memory_order_relaxed);
    }
}

// Whoever refuses counts it here: level, and how little was too much (for the closing lines).
inline void count_refusal(image_record& image, criticality level, byte_count bytes,
                          std::uint64_t now_ns) noexcept {
    image.refusals[static_cast<unsigned>(level)].fetch_add(1, std::memory_order_relaxed);
    std::uint64_t least = image.smallest_refused.load(std::memory_order_relaxed);
    while ((least == 0 || bytes < least) &&
           !image.smallest_refused.compare_exchange_weak(least, bytes, std::memory_order_relaxed)) {
    }
    std::uint64_t never = 0;
    (void)image.first_refused_at_ns.compare_exchange_strong(never, now_ns,
                                                            std::memory_order_relaxed);
}

} // namespace memreeve::telemetry
