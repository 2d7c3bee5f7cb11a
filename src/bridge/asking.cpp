// SPDX-License-Identifier: MIT
#include "bridge/asking.hpp"

#include "bridge/callers.hpp"
#include "bridge/refused_once.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

namespace memreeve::bridge {

using telemetry::image_record;
using telemetry::last_words;

static_assert(telemetry::words_owner_count == telemetry::owner_kind_count);

constinit thread_local asking* asking::current __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

constexpr std::uint64_t streak_gap_ns = 10'000'000;
constexpr std::uint32_t refusals_a_pause = 16; // a power of two
constexpr std::uint64_t first_pause_ns = 100'000;
constexpr std::uint64_t longest_pause_ns = 4'000'000;

// This thread's refusals in a row.
struct streak {
    std::uint64_t begun_ns = 0; // or the end of the last pause
    std::uint64_t last_ns = 0;
    std::uint64_t owed_ns = 0; // by how much the last pause was longer than it was meant to be
    std::uint32_t count = 0;
    std::uint32_t next_pause_ns = 0;
};
constinit thread_local streak refusals __attribute__((tls_model("initial-exec"))) = {};

void slow_down(criticality level) noexcept {
    const std::uint64_t now = prim::now_ns();
    if (now - refusals.last_ns > streak_gap_ns) {
        refusals = {now, now, 0, 0, first_pause_ns};
    }
    refusals.last_ns = now;
    if (++refusals.count % refusals_a_pause != 0 || level == criticality::process ||
        prim::may_be_in_signal_handler()) {
        return;
    }
    const std::uint64_t taken = now - refusals.begun_ns;
    if (taken <= refusals.owed_ns) {
        refusals.owed_ns -= taken;
        refusals.begun_ns = now;
        return;
    }
    const std::uint64_t most = taken - refusals.owed_ns;
    const std::uint64_t pause = refusals.next_pause_ns < most ? refusals.next_pause_ns : most;
    const std::uint32_t nobody_wakes = 0;
    prim::wait_on(&nobody_wakes, 0, pause);
    const std::uint64_t paused = prim::now_ns() - now;
    refusals.owed_ns = paused > pause ? paused - pause : 0;
    refusals.next_pause_ns = refusals.next_pause_ns * 2 < longest_pause_ns
                                 ? refusals.next_pause_ns * 2
                                 : static_cast<std::uint32_t>(longest_pause_ns);
    refusals.begun_ns = refusals.last_ns = now + paused;
}

std::uint32_t kind_of_owner(const image_record& image, owner_id who) noexcept {
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        if (image.owner_account[k].load(std::memory_order_relaxed) ==
            static_cast<std::uint32_t>(who)) {
            return k;
        }
    }
    return static_cast<std::uint32_t>(telemetry::owner_kind::runtime);
}

} // namespace

void asking::note_refusal(owner_id who, criticality level, page_count pages) noexcept {
    if (current != nullptr) {
        current->refused_ = pages != 0 ? pages : 1;
        current->owner_ = who;
        current->level_ = level;
    }
}

void asking::after_refusal() const noexcept {
    if (state* const s = holding(); s != nullptr && !s->is_embedded()) {
        leave_words(*s);
        if (is_once_ && level_ == criticality::domain) {
            the_refused_once.told(s->books().tree().at(owner_id::root));
        }
    }
    slow_down(level_);
}

void asking::give_way() const noexcept {
    constexpr std::uint64_t longest_ns = 10'000'000;
    if (prim::may_be_in_signal_handler()) {
        return;
    }
    const std::uint64_t until = prim::now_ns() + longest_ns;
    for (std::uint64_t now = until - longest_ns;
         now < until && awaited_->load(std::memory_order_acquire) == awaited_value_;
         now = prim::now_ns()) {
        prim::wait_on(reinterpret_cast<const std::uint32_t*>(awaited_), awaited_value_,
                      until - now);
    }
}

void asking::leave_words(state& s) const noexcept {
    image_record& image = s.image();
    last_words& words = image.words;
    std::uint32_t none = last_words::none;
    if (words.state.load(std::memory_order_relaxed) != none || s.shares_memory() ||
        !words.state.compare_exchange_strong(none, last_words::being_written,
                                             std::memory_order_acq_rel)) {
        return;
    }
    words.at_ns = prim::now_ns();
    words.level = static_cast<std::uint32_t>(level_);
    words.what_for = static_cast<std::uint32_t>(what_for_);
    words.owner = kind_of_owner(image, owner_);
    words.refused = bytes_of(refused_);
    name_caller(s, caller_, words.caller, sizeof words.caller);
    manager::write_holders(s.books().tree(), image, words);
    words.state.store(last_words::complete, std::memory_order_release);
    s.books().ring();
}

} // namespace memreeve::bridge
