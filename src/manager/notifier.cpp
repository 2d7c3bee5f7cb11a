// SPDX-License-Identifier: MIT
#include "manager/notifier.hpp"

#include "manager/usage.hpp"

#include <algorithm>

namespace memreeve::manager {

namespace {

const std::uint32_t* futex(const std::atomic<std::uint32_t>& word) noexcept {
    static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
    return reinterpret_cast<const std::uint32_t*>(&word);
}

owner_id parent_of(const budget::account& a) noexcept {
    return static_cast<owner_id>(a.parent.load(std::memory_order_relaxed));
}

std::uint8_t band_of(unsigned permille) noexcept {
    std::uint8_t band = 0;
    for (const unsigned mark : pressure::watermarks) {
        band = static_cast<std::uint8_t>(band + (permille >= mark ? 1 : 0));
    }
    return band;
}

} // namespace

// ---- news from the owner tree ------------------------------------------------------------------

// True when an account on the way to the root is in another band than when last noted.
bool notifier::note_band(owner_id who) noexcept {
    bool crossed = false;
    auto& bands = tables_.load(std::memory_order_acquire)->bands;
    for (owner_id id = who; id != owner_id::none; id = parent_of(accounts_->at(id))) {
        const auto index = static_cast<std::uint32_t>(id);
        if (index >= band_capacity) {
            continue;
        }
        const std::uint8_t band = band_of(permille_of_account(accounts_->at(id), 0));
        if (bands[index].load(std::memory_order_relaxed) != band) {
            bands[index].store(band, std::memory_order_seq_cst);
            crossed = true;
        }
    }
    return crossed;
}

void notifier::moved(void* self, owner_id who) noexcept {
    auto& me = *static_cast<notifier*>(self);
    me.edges_.look();
    if (me.live_.load(std::memory_order_relaxed) == 0) {
        return;
    }
    // Against look(), which notes the bands first and then reads the usage: either it reads the
    // usage that brought us here, or we see the band it noted and find it crossed.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (me.note_band(who)) {
        me.ring();
    }
}

void notifier::ring() noexcept {
    bell_.fetch_add(1, std::memory_order_seq_cst);
    if (is_waiting_.load(std::memory_order_seq_cst) != 0) {
        prim::wake_all(futex(bell_));
    }
}

// ---- the thread --------------------------------------------------------------------------------

unsigned notifier::permille_of(owner_id who, bool* has_inside) noexcept {
    const sensors::sample sample = system_->read();
    unsigned highest = std::max(pressure::permille_used(sample.machine),
                                pressure::permille_used(sample.container));
    if (watch_.is_pressed(prim::now_ns())) {
        highest = std::max(highest, pressure::enter_low);
    }
    highest = std::max(highest, permille_on_the_way(*accounts_, who, has_inside));
    return highest;
}

// One subscriber's turn. Returns when to look again though nothing rings.
std::uint64_t notifier::look(std::uint32_t index, std::uint64_t now, bool* has_inside) noexcept {
    slot& s = slot_at(index);
    std::uint64_t word = s.word.load(std::memory_order_acquire);
    if ((word & state_mask) != slot_live) {
        return pressure::never;
    }
    std::uint64_t look_again_at = pressure::never;
    visiting_.store(index + 1, std::memory_order_seq_cst);
    word = s.word.load(std::memory_order_seq_cst);
    if ((word & state_mask) == slot_live) {
        if (s.seen_generation != word >> 2) {
            s.seen_generation = word >> 2;
            s.is_muted = false;
            s.policy = {};
        }
        note_band(s.who);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const pressure::policy::step step = s.policy.update(permille_of(s.who, has_inside), now);
        look_again_at = step.look_again_at;
        if (step.notify && !s.is_muted) {
            visiting_group_.store(s.group, std::memory_order_seq_cst);
            call(s, step.level);
            visiting_group_.store(nullptr, std::memory_order_seq_cst);
        }
        if (ended_inside_) {
            ended_inside_ = false;
            s.word.store((word & ~state_mask) | slot_free, std::memory_order_release);
            leave();
        }
    }
    visiting_.store(0, std::memory_order_seq_cst);
    if (leaving_.load(std::memory_order_seq_cst) != 0) {
        prim::wake_all(futex(visiting_));
    }
    return look_again_at;
}

void notifier::call(slot& s, pressure::availability level) noexcept {
    if (level == pressure::availability::low && relieve_ != nullptr && !has_relieved_) {
        relieve_(relieve_context_);
        has_relieved_ = true;
    }
    const notice news{level, load_of(*accounts_, s.who, *system_)};
    const auto counter = static_cast<unsigned>(level);
    if (image_ != nullptr) {
        image_->notifications[counter].fetch_add(1, std::memory_order_relaxed);
    }
    accounts_->at(s.who).notifications[counter].fetch_add(1, std::memory_order_relaxed);
    if (!s.tell(s.context, news)) {
        s.is_muted = true;
    }
}

void notifier::run_thread(void* self) noexcept { static_cast<notifier*>(self)->run(); }

// Nobody is subscribed any more: the thread's last step. Against start(), which counts itself
// wanted and then reads the state: either it is seen here, or it sees this thread ending.
bool notifier::ends() noexcept {
    if (wanted_.load(std::memory_order_seq_cst) != 0) {
        return false;
    }
    const std::uint32_t process = thread_state_.load(std::memory_order_relaxed) & ~thread_mask;
    thread_state_.store(process | thread_ending, std::memory_order_seq_cst);
    const bool is_over = wanted_.load(std::memory_order_seq_cst) == 0;
    if (is_over) {
        watch_.close();
        thread_id_.store(0, std::memory_order_relaxed);
    }
    thread_state_.store(process | (is_over ? thread_ended : thread_running),
                        std::memory_order_seq_cst);
    prim::wake_all(futex(thread_state_));
    return is_over;
}

void notifier::run() noexcept {
    thread_id_.store(prim::thread_id(), std::memory_order_release);
    if (system_->is_on()) {
        watch_.open(system_->root_prefix(), system_->groups(), prim::now_ns());
    }
    for (;;) {
        const std::uint32_t heard = bell_.load(std::memory_order_seq_cst);
        if (stop_.load(std::memory_order_acquire) != 0) {
            watch_.close();
            return;
        }
        if (ends()) {
            return;
        }
        std::uint64_t look_again_at = pressure::never;
        const std::uint64_t now = prim::now_ns();
        bool has_inside = false;
        has_relieved_ = false;
        watch_.look(now);
        const std::uint32_t high = high_.load(std::memory_order_acquire);
        for (std::uint32_t i = 0; i < high; ++i) {
            look_again_at = std::min(look_again_at, look(i, now, &has_inside));
        }
        // What no charge announces: the system, and room that a guarantee below still gives.
        if (live_.load(std::memory_order_relaxed) != 0 && (system_->is_on() || has_inside)) {
            look_again_at = std::min(look_again_at, now + system_period_ns);
        }
        sleep(heard, look_again_at);
    }
}

// Until the bell rings, or others make pressure; may end early.
void notifier::sleep(std::uint32_t heard, std::uint64_t until) noexcept {
    is_waiting_.store(1, std::memory_order_seq_cst);
    while (bell_.load(std::memory_order_seq_cst) == heard) {
        const std::uint64_t now = prim::now_ns();
        if (until <= now || watch_.look(now)) {
            break;
        }
        if (until == pressure::never) {
            prim::wait_on(futex(bell_), heard, 0);
            break;
        }
        const std::uint64_t most =
            watch_.has_descriptor() ? pressure_watch::look_period_ns : until - now;
        prim::wait_on(futex(bell_), heard, std::min(until - now, most));
    }
    is_waiting_.store(0, std::memory_order_relaxed);
}

result<void> notifier::map_tables() noexcept {
    if (tables_.load(std::memory_order_acquire) != nullptr) {
        return {};
    }
    address at = 0;
    if (const int code = prim::map_records(sizeof(tables), &at); code != 0) {
        return failure{errc::out_of_address_space, code};
    }
    // Zeroed is empty: a slot is set up when it is claimed.
    tables* none = nullptr;
    if (!tables_.compare_exchange_strong(none, reinterpret_cast<tables*>(at),
                                         std::memory_order_acq_rel)) {
        prim::unmap(at, sizeof(tables)); // somebody was faster
    }
    return {};
}

result<void> notifier::start() noexcept {
    const auto process = static_cast<std::uint32_t>(prim::process_id()) << 3;
    for (;;) {
        std::uint32_t state = thread_state_.load(std::memory_order_seq_cst);
        const std::uint32_t phase = state & thread_mask;
        const bool is_here = (state & ~thread_mask) == process;
        if (is_here && phase == thread_running) {
            return {};
        }
        if (is_here && (phase == thread_starting || phase == thread_ending)) {
            prim::wait_on(futex(thread_state_), state, 10'000'000);
            continue;
        }
        if (!thread_state_.compare_exchange_strong(state, process | thread_starting,
                                                   std::memory_order_seq_cst)) {
            continue;
        }
        if (is_here && phase == thread_ended) {
            prim::join_thread(thread_);
        } else if (phase != thread_none) {
            // A fork's child: the thread stayed behind, maybe in the middle of a call.
            visiting_.store(0, std::memory_order_seq_cst);
            ended_inside_ = false;
            watch_.close();
        }
        const int code = prim::start_thread(&notifier::run_thread, this, &thread_);
        thread_state_.store(code == 0 ? process | thread_running : thread_none,
                            std::memory_order_seq_cst);
        prim::wake_all(futex(thread_state_));
        if (code != 0) {
            return failure{errc::out_of_address_space, code};
        }
        return {};
    }
}

// One slot less: after the last the thread ends.
void notifier::leave() noexcept {
    if (wanted_.fetch_sub(1, std::memory_order_seq_cst) == 1) {
        ring();
    }
}

// Is there a thread of this process that may be in a call?
bool notifier::has_thread() const noexcept {
    const std::uint32_t state = thread_state_.load(std::memory_order_acquire);
    return (state & thread_mask) != thread_none &&
           state >> 3 == static_cast<std::uint32_t>(prim::process_id());
}

bool notifier::is_own_thread() const noexcept {
    return thread_id_.load(std::memory_order_acquire) == prim::thread_id();
}

// ---- subscribers -------------------------------------------------------------------------------

void notifier::open(budget::tree& accounts, sensors& system,
                    telemetry::image_record* image) noexcept {
    accounts_ = &accounts;
    system_ = &system;
    image_ = image;
    if (system.is_on()) {
        watch_.wishes().read_environment();
    }
    edges_.open(accounts);
    accounts.set_watcher({&notifier::moved, this});
}

void notifier::close() noexcept {
    if (accounts_ == nullptr) {
        return;
    }
    accounts_->set_watcher({});
    if (has_thread()) {
        stop_.store(1, std::memory_order_release);
        ring();
        prim::join_thread(thread_);
        stop_.store(0, std::memory_order_relaxed);
    }
    thread_state_.store(thread_none, std::memory_order_release);
    edges_.close();
    live_.store(0, std::memory_order_relaxed);
    high_.store(0, std::memory_order_relaxed);
    if (tables* const mapped = tables_.exchange(nullptr, std::memory_order_acq_rel)) {
        prim::unmap(reinterpret_cast<address>(mapped), sizeof(tables));
    }
    accounts_ = nullptr;
}

result<subscription_id> notifier::prepare(owner_id who, deliver function, void* context,
                                          const void* group) noexcept {
    if (auto mapped = map_tables(); !mapped) {
        return mapped.error();
    }
    wanted_.fetch_add(1, std::memory_order_seq_cst);
    if (auto started = start(); !started) {
        leave();
        return started.error();
    }
    for (std::uint32_t i = 0; i < capacity; ++i) {
        slot& s = slot_at(i);
        std::uint64_t word = s.word.load(std::memory_order_relaxed);
        if ((word & state_mask) != slot_free) {
            continue;
        }
        const std::uint64_t mine = (((word >> 2) + 1) << 2) | slot_claimed;
        if (!s.word.compare_exchange_strong(word, mine, std::memory_order_acq_rel)) {
            continue;
        }
        s.who = who;
        s.tell = function;
        s.context = context;
        s.group = group;
        std::uint32_t high = high_.load(std::memory_order_relaxed);
        while (high <= i && !high_.compare_exchange_weak(high, i + 1, std::memory_order_release)) {
        }
        return static_cast<subscription_id>((mine >> 2) * capacity + i);
    }
    leave();
    return errc::out_of_address_space;
}

void notifier::go_live(subscription_id id) noexcept {
    const auto value = static_cast<std::uint64_t>(id);
    const std::uint64_t generation = value / capacity << 2;
    std::uint64_t expected = generation | slot_claimed;
    live_.fetch_add(1, std::memory_order_seq_cst);
    if (!slot_at(value % capacity)
             .word.compare_exchange_strong(expected, generation | slot_live,
                                           std::memory_order_seq_cst)) {
        live_.fetch_sub(1, std::memory_order_relaxed); // ended before it went live
        return;
    }
    ring();
}

result<subscription_id> notifier::subscribe(owner_id who, deliver function,
                                            void* context) noexcept {
    auto id = prepare(who, function, context);
    if (id) {
        go_live(*id);
    }
    return id;
}

void* notifier::unsubscribe(subscription_id id) noexcept {
    if (id == subscription_id::none) {
        return nullptr;
    }
    const auto value = static_cast<std::uint64_t>(id);
    const auto index = static_cast<std::uint32_t>(value % capacity);
    const std::uint64_t generation = value / capacity << 2;
    slot& s = slot_at(index);
    std::uint64_t expected = generation | slot_claimed;
    if (s.word.compare_exchange_strong(expected, generation | slot_closing,
                                       std::memory_order_acq_rel)) {
        void* const unused = s.context; // never went live
        s.word.store(generation | slot_free, std::memory_order_release);
        leave();
        return unused;
    }
    expected = generation | slot_live;
    if (!s.word.compare_exchange_strong(expected, generation | slot_closing,
                                        std::memory_order_seq_cst)) {
        return nullptr;
    }
    void* const context = s.context;
    live_.fetch_sub(1, std::memory_order_relaxed);
    if (has_thread()) {
        if (!is_own_thread()) {
            leaving_.fetch_add(1, std::memory_order_seq_cst);
            while (visiting_.load(std::memory_order_seq_cst) == index + 1) {
                prim::wait_on(futex(visiting_), index + 1, 0);
            }
            leaving_.fetch_sub(1, std::memory_order_relaxed);
        } else if (visiting_.load(std::memory_order_relaxed) == index + 1) {
            ended_inside_ = true;
            return context;
        }
    }
    s.word.store(generation | slot_free, std::memory_order_release);
    leave();
    return context;
}

void notifier::await_calls(const void* group) noexcept {
    if (!has_thread() || is_own_thread()) {
        return;
    }
    leaving_.fetch_add(1, std::memory_order_seq_cst);
    for (;;) {
        const std::uint32_t visited = visiting_.load(std::memory_order_seq_cst);
        if (visited == 0 || visiting_group_.load(std::memory_order_seq_cst) != group) {
            break;
        }
        prim::wait_on(futex(visiting_), visited, 0);
    }
    leaving_.fetch_sub(1, std::memory_order_relaxed);
}

} // namespace memreeve::manager
