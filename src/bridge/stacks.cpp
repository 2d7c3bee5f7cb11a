// SPDX-License-Identifier: MIT
#include "bridge/stacks.hpp"

#include "bridge/dotnet_diagnostics.hpp"
#include "bridge/levels.hpp"
#include "prim/prim.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace memreeve::bridge {

using telemetry::owner_kind;

namespace {

constexpr byte_count room_for_a_thread = byte_count{64} << 10; // decision 25
constexpr std::uint32_t most_on_their_way = 1024;              // a power of two

struct parcel {
    thread_start start{}; // first: the pointer given out is the parcel's
    // The process that holds it, 0: free. Another process's number is that of a parent whose
    // thread was on its way when it forked.
    std::atomic<std::int32_t> holder{0};
};

constinit parcel parcels[most_on_their_way]{};
constinit std::atomic<std::uint32_t> next_parcel{0};

} // namespace

bool may_start_thread(state& s) noexcept {
    constexpr page_count pages = pages_of(room_for_a_thread);
    const criticality level = level_for(s, telemetry::purpose::stack, room_for_a_thread);
    // For as long as a collection takes that we asked for.
    if (dotnet_diagnostics::is_serving_thread()) {
        return true;
    }
    // Stacks grow unseen: those of two threads may be more than the reserve.
    if (s.books().tree().at(owner_id::root).limit.load(std::memory_order_relaxed) <
        budget::no_limit) {
        s.books().await_look();
    }
    if (s.books().tree().admit(s.owner(owner_kind::stacks), pages, level)) {
        return true;
    }
    s.memory().count_refusal(s.owner(owner_kind::stacks), level, pages);
    return false;
}

thread_start* post(state& s, const thread_start& start) noexcept {
    const std::int32_t me = s.image().pid.load(std::memory_order_relaxed);
    for (std::uint32_t n = 0; n < most_on_their_way; ++n) {
        parcel& p =
            parcels[next_parcel.fetch_add(1, std::memory_order_relaxed) % most_on_their_way];
        std::int32_t holder = p.holder.load(std::memory_order_relaxed);
        if (holder != me &&
            p.holder.compare_exchange_strong(holder, me, std::memory_order_acquire)) {
            p.start = start;
            return &p.start;
        }
    }
    return nullptr;
}

thread_start take(thread_start* posted) noexcept {
    auto& p = *reinterpret_cast<parcel*>(posted);
    const thread_start start = p.start;
    p.holder.store(0, std::memory_order_release);
    return start;
}

namespace {

// libc's control block says where its stack lies, in three words on end: lowest address of the
// block, its size, the size of the guard at its lower end. Which words is libc's affair, but nothing
// else there adds up to the end of the stack. An empty range: not found.
range find_in_control_block(const void* self, address end) noexcept {
    const auto* const words = static_cast<const std::uint64_t*>(self);
    const std::size_t count = (end - reinterpret_cast<address>(self)) / sizeof *words;
    for (std::size_t i = 0; i + 2 < count; ++i) {
        const std::uint64_t lowest = words[i];
        const std::uint64_t size = words[i + 1];
        const std::uint64_t guard = words[i + 2];
        if (lowest + size == end && lowest < end && lowest >= lowest_address &&
            is_aligned(lowest, page_size) && is_aligned(guard, page_size) && guard < size) {
            return {lowest + guard, end};
        }
    }
    return {};
}

// Until the next sample puts what is there in its place: thousands of threads may start before it.
void expect_touched(state& s, page_count pages) noexcept {
    budget::tree& tree = s.books().tree();
    for (owner_id id = s.owner(owner_kind::stacks); id != owner_id::none;
         id = static_cast<owner_id>(tree.at(id).parent.load(std::memory_order_relaxed))) {
        tree.at(id).touched.fetch_add(pages, std::memory_order_relaxed);
    }
}

} // namespace

void note_stack(state& s, const void* self) noexcept {
    // The control block is smaller than a page and ends where the stack does.
    const auto at = reinterpret_cast<address>(self);
    const address end = round_up(at + 1, page_size);
    range where = find_in_control_block(self, end);
    if (where.is_empty()) {
        // By its mapping, which may go on above, and below where there is no guard.
        prim::mapping m;
        if (prim::find_mapping(at, &m) != 0 || !m.where.contains(at) || m.has_file || m.shared) {
            return; // no /proc, no descriptor left: recognised by its guard
        }
        where = {m.where.begin, end};
    }
    // One that libc uses again has its pages already. Who embeds us samples when he likes, or never.
    if (s.image().stacks.note(where) && !s.is_embedded()) {
        expect_touched(s, pages_of(room_for_a_thread));
    }
}

bool lies_in_stack(state& s, range part) noexcept {
    return s.image().stacks.covers(part) &&
           s.memory().known().containing(part.begin, telemetry::extent_kind::acquired) == nullptr;
}

} // namespace memreeve::bridge
