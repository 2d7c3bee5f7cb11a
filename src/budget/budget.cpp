// SPDX-License-Identifier: MIT
// How a charge climbs the tree. Each account holds, in one word, guaranteed << 32 | held. A step of
// n pages at an account makes its parent hold
//   max(new held, guaranteed) - max(old held, guaranteed)
// more pages: n, or less while the account lives inside its guarantee, or 0. Every step is one
// compare-and-swap that admits or refuses; after a refusal what was climbed is climbed down again.
// The steps of all threads telescope, so held stays the sum of the claims below it.
#include "budget/budget.hpp"

#include "budget/charge.hpp"

#include <algorithm>

namespace memreeve::budget {

namespace {

constexpr page_count credit_batch = 64;       // 256 KiB: one climb for many small commits
constexpr page_count credit_request_max = 16; // larger requests climb for themselves
// What comes back in small pieces is kept up to here; then all but half a batch goes home in one climb.
constexpr page_count credit_most = credit_batch + 2 * credit_request_max;
constexpr unsigned credit_shift = 48;
constexpr std::uint64_t credit_pages_mask = (std::uint64_t{1} << credit_shift) - 1;

constexpr page_count guaranteed_of(std::uint64_t usage) noexcept { return usage >> 32; }
constexpr page_count claim_of(std::uint64_t usage) noexcept {
    return std::max(held_of(usage), guaranteed_of(usage));
}
constexpr page_count limit_pages(byte_count bytes) noexcept {
    return bytes >= bytes_of(held_mask) ? no_limit : pages_of(bytes);
}

page_count ceiling(const account& a, page_count used, criticality level) noexcept {
    const page_count limit = a.limit.load(std::memory_order_relaxed);
    if (limit >= no_limit) {
        return no_limit;
    }
    const page_count reserve = std::min(a.reserve.load(std::memory_order_relaxed), limit);
    switch (level) {
    case criticality::task: return limit - reserve;
    case criticality::domain: return limit - reserve / 2;
    case criticality::process: break;
    }
    return used <= limit
               ? limit
               : std::max(limit, std::min(a.grace.load(std::memory_order_relaxed), used + reserve));
}

void raise_to(std::atomic<page_count>& word, page_count value) noexcept {
    page_count seen = word.load(std::memory_order_relaxed);
    while (seen < value && !word.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
}

// What is only touched counts beside what is held (decision 2), but takes no more than its excess over
// the reserve from requests of process level: who makes them does not survive a refusal (Mono: "Could
// not allocate 128 bytes" while stacks had been sampled above the limit).
page_count touched_against(const account& a, criticality level) noexcept {
    const page_count touched = a.touched.load(std::memory_order_relaxed);
    const page_count forgiven =
        level == criticality::process ? a.reserve.load(std::memory_order_relaxed) : 0;
    return touched - std::min(touched, forgiven);
}

// Room for `pages` more under the ceiling of this level, given what is held and touched.
bool has_room(const account& a, page_count held, page_count touched, page_count pages,
              criticality level) noexcept {
    const page_count used = held + touched;
    const page_count top = ceiling(a, used, level);
    if (top >= no_limit) {
        return held + pages <= held_mask;
    }
    return used <= top && pages <= top - used;
}

// Who alone may pass a lowered limit, process level, narrows what it may pass it by.
void narrow_grace(account& a, page_count used) noexcept {
    page_count seen = a.grace.load(std::memory_order_relaxed);
    if (seen == 0) {
        return;
    }
    const page_count limit = a.limit.load(std::memory_order_relaxed);
    const page_count top = used <= limit ? 0 : ceiling(a, used, criticality::process);
    while (top < seen && !a.grace.compare_exchange_weak(seen, top, std::memory_order_relaxed)) {
    }
}

} // namespace

byte_count default_reserve(byte_count limit) noexcept {
    constexpr byte_count floor = byte_count{8} << 20;
    return std::min(std::max(limit / 20, floor), limit / 4);
}

tree::tree(account* accounts, std::uint32_t capacity, credit_slot* credits,
           std::uint32_t credit_count, book_entries* entries, byte_count lane_bytes) noexcept
    : accounts_(accounts), capacity_(capacity), credits_(credits), credit_count_(credit_count),
      entries_(entries), lane_bytes_(lane_bytes) {}

owner_id tree::parent_of(owner_id who) const noexcept {
    return static_cast<owner_id>(at(who).parent.load(std::memory_order_relaxed));
}

// Unconditional: what is held already moves (a guarantee set up, a refused climb settled).
void tree::raise_held(owner_id who, page_count pages) noexcept {
    for (owner_id id = who; id != owner_id::none && pages != 0; id = parent_of(id)) {
        const std::uint64_t before = at(id).usage.fetch_add(pages, std::memory_order_acq_rel);
        pages = claim_of(before + pages) - claim_of(before);
    }
}

void tree::lower_held(owner_id who, page_count pages) noexcept {
    for (owner_id id = who; id != owner_id::none && pages != 0; id = parent_of(id)) {
        const std::uint64_t before = at(id).usage.fetch_sub(pages, std::memory_order_acq_rel);
        pages = claim_of(before) - claim_of(before - pages);
    }
}

bool tree::climb(owner_id who, page_count pages, criticality level) noexcept {
    if (!hold(who, pages, level)) {
        return false;
    }
    for (owner_id up = who; up != owner_id::none; up = parent_of(up)) {
        account& a = at(up);
        const page_count now = a.charged.fetch_add(pages, std::memory_order_acq_rel) + pages;
        raise_to(a.peak, now);
    }
    if (watcher_.moved != nullptr) {
        watcher_.moved(watcher_.context, who);
    }
    return true;
}

bool tree::hold(owner_id who, page_count pages, criticality level) noexcept {
    page_count step = pages;
    owner_id id = who;
    for (; id != owner_id::none; id = parent_of(id)) {
        account& a = at(id);
        const page_count limit = a.limit.load(std::memory_order_relaxed);
        std::uint64_t seen = a.usage.load(std::memory_order_relaxed);
        bool admitted = false;
        do {
            const page_count touched = touched_against(a, level);
            if (level == criticality::process) {
                narrow_grace(a, held_of(seen) + touched);
            }
            if (step != 0 && !has_room(a, held_of(seen), touched, step, level)) {
                break;
            }
            admitted = a.usage.compare_exchange_weak(seen, seen + step, std::memory_order_seq_cst);
        } while (!admitted);
        if (!admitted) {
            break;
        }
        const page_count claimed = claim_of(seen + step) - claim_of(seen);
        // Whoever lowers the limit stores it and then reads what is held: either our step is seen
        // there, or the new limit here.
        if (step != 0 && a.limit.load(std::memory_order_seq_cst) != limit &&
            !has_room(a, held_of(seen), touched_against(a, level), step, level)) {
            const std::uint64_t before = a.usage.fetch_sub(step, std::memory_order_acq_rel);
            const page_count unclaimed = claim_of(before) - claim_of(before - step);
            if (claimed > unclaimed) {
                raise_held(parent_of(id), claimed - unclaimed);
            } else {
                lower_held(parent_of(id), unclaimed - claimed);
            }
            break;
        }
        step = claimed;
    }
    if (id == owner_id::none) {
        return true;
    }
    // Climb down to the account below the one that refused. A concurrent refund below may have made
    // the claim move by less than `step`; the account that refused gets the difference.
    page_count down = pages;
    for (owner_id up = who; up != id; up = parent_of(up)) {
        const std::uint64_t before = at(up).usage.fetch_sub(down, std::memory_order_acq_rel);
        down = claim_of(before) - claim_of(before - down);
    }
    if (who == id) {
        return false;
    }
    if (step > down) {
        raise_held(id, step - down);
    } else {
        lower_held(id, down - step);
    }
    return false;
}

result<void> tree::take(owner_id who, page_count pages, criticality level, charge& out) noexcept {
    const auto r = try_take(who, pages, level, out);
    if (!r) {
        count_refusal(who, level);
    }
    return r;
}

result<void> tree::try_take(owner_id who, page_count pages, criticality level,
                            charge& out) noexcept {
    if (pages == 0) {
        return {};
    }
    if (is_within(who, level) && take_credit(who, pages)) {
        out.arm(this, who, pages);
        return {};
    }
    if (credit_count_ != 0 && pages <= credit_request_max &&
        climb(who, pages + credit_batch, level)) {
        park_credit(who, credit_batch);
        out.arm(this, who, pages);
        return {};
    }
    if (climb(who, pages, level)) {
        out.arm(this, who, pages);
        return {};
    }
    drain();
    if (climb(who, pages, level)) {
        out.arm(this, who, pages);
        return {};
    }
    return errc::over_budget;
}

// Credit is charged already, but maybe at a level that may have more (decision 3).
bool tree::is_within(owner_id who, criticality level) const noexcept {
    for (owner_id up = who; up != owner_id::none; up = parent_of(up)) {
        const account& a = at(up);
        const page_count held = held_of(a.usage.load(std::memory_order_relaxed));
        if (!has_room(a, held, touched_against(a, level), 0, level)) {
            return false;
        }
    }
    return true;
}

result<void> tree::admit(owner_id who, page_count pages, criticality level) noexcept {
    // Not by credit, which is charged already and so says nothing about what is touched.
    const auto fits = [&]() noexcept {
        page_count step = pages;
        for (owner_id up = who; up != owner_id::none && step != 0; up = parent_of(up)) {
            const account& a = at(up);
            const std::uint64_t seen = a.usage.load(std::memory_order_acquire);
            if (!has_room(a, held_of(seen), a.touched.load(std::memory_order_relaxed), step,
                          level)) {
                return false;
            }
            step = claim_of(seen + step) - claim_of(seen);
        }
        return true;
    };
    if (fits()) {
        return {};
    }
    drain();
    if (fits()) {
        return {};
    }
    count_refusal(who, level);
    return errc::over_budget;
}

void tree::refund(owner_id who, page_count pages) noexcept {
    if (pages == 0 || (pages <= credit_request_max && return_to_credit(who, pages))) {
        return;
    }
    give_back(who, pages);
}

// Down the tree, past the credit.
void tree::give_back(owner_id who, page_count pages) noexcept {
    for (owner_id up = who; up != owner_id::none; up = parent_of(up)) {
        at(up).charged.fetch_sub(pages, std::memory_order_acq_rel);
    }
    lower_held(who, pages);
    if (watcher_.moved != nullptr) {
        watcher_.moved(watcher_.context, who);
    }
}

// From `who` to the root while f(account) is true. What a dead process left may name accounts that do
// not exist, and parents in a ring: the way ends there, or when as many were seen as there are.
template <class F>
void tree::go_up(owner_id who, F at_each) noexcept {
    std::uint32_t left = capacity_;
    for (owner_id up = who; static_cast<std::uint32_t>(up) < capacity_ && left != 0; --left) {
        account& a = at(up);
        if (!at_each(a)) {
            return;
        }
        up = static_cast<owner_id>(a.parent.load(std::memory_order_relaxed));
    }
}

void tree::lower_held_doubting(owner_id who, page_count pages) noexcept {
    go_up(who, [&pages](account& a) noexcept {
        const std::uint64_t before = a.usage.fetch_sub(pages, std::memory_order_acq_rel);
        pages = claim_of(before) - claim_of(before - pages);
        return pages != 0;
    });
}

void tree::give_back_doubting(owner_id who, page_count pages) noexcept {
    go_up(who, [pages](account& a) noexcept {
        a.charged.fetch_sub(pages, std::memory_order_acq_rel);
        return true;
    });
    lower_held_doubting(who, pages);
    if (watcher_.moved != nullptr && static_cast<std::uint32_t>(who) < capacity_) {
        watcher_.moved(watcher_.context, who);
    }
}

// ---- credit ---------------------------------------------------------------------------------
// A slot is chosen by the thread's own address, not owned by it: two threads that share one lose
// nothing but time, and a thread that ends leaves nothing to clean up.

credit_slot& tree::slot_of_this_thread() noexcept {
    const auto self = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
    const std::uint64_t mixed = (self >> 6) * 0x9e3779b97f4a7c15ULL;
    return credits_[(mixed >> 40) & (credit_count_ - 1)];
}

bool tree::take_credit(owner_id who, page_count pages) noexcept {
    if (credit_count_ == 0 || pages > credit_request_max) {
        return false;
    }
    std::atomic<std::uint64_t>& word = slot_of_this_thread().word;
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while (seen >> credit_shift == static_cast<std::uint64_t>(who) &&
           (seen & credit_pages_mask) >= pages) {
        if (word.compare_exchange_weak(seen, seen - pages, std::memory_order_acq_rel)) {
            return true;
        }
    }
    return false;
}

// False: `pages` are to be given back, more than came in when the slot was full.
bool tree::return_to_credit(owner_id who, page_count& pages) noexcept {
    if (credit_count_ == 0) {
        return false;
    }
    std::atomic<std::uint64_t>& word = slot_of_this_thread().word;
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while (seen >> credit_shift == static_cast<std::uint64_t>(who) &&
           (seen & credit_pages_mask) != 0) {
        const page_count held = (seen & credit_pages_mask) + pages;
        const page_count kept = held <= credit_most ? held : credit_batch / 2;
        if (word.compare_exchange_weak(seen, (seen & ~credit_pages_mask) | kept,
                                       std::memory_order_acq_rel)) {
            pages = held - kept;
            return pages == 0;
        }
    }
    return false;
}

void tree::park_credit(owner_id who, page_count pages) noexcept {
    const std::uint64_t mine = static_cast<std::uint64_t>(who) << credit_shift | pages;
    const std::uint64_t old = slot_of_this_thread().word.exchange(mine, std::memory_order_acq_rel);
    if ((old & credit_pages_mask) != 0) {
        give_back(static_cast<owner_id>(old >> credit_shift), old & credit_pages_mask);
    }
}

void tree::drain() noexcept {
    if (credit_count_ == 0) {
        return;
    }
    credits_[0].draining.fetch_add(1, std::memory_order_acq_rel);
    for (std::uint32_t i = 0; i < credit_count_; ++i) {
        std::atomic<std::uint64_t>& word = credits_[i].word;
        if ((word.load(std::memory_order_relaxed) & credit_pages_mask) == 0) {
            continue;
        }
        const std::uint64_t old = word.exchange(0, std::memory_order_acq_rel);
        if ((old & credit_pages_mask) != 0) {
            give_back_doubting(static_cast<owner_id>(old >> credit_shift), old & credit_pages_mask);
        }
    }
    credits_[0].draining.fetch_sub(1, std::memory_order_acq_rel);
}

bool tree::is_draining() const noexcept { return draining() != 0; }

std::uint32_t tree::draining() const noexcept {
    return credit_count_ == 0 ? 0 : credits_[0].draining.load(std::memory_order_acquire);
}

// ---- accounts -------------------------------------------------------------------------------

result<owner_id> tree::open_account(owner_id parent, const char* name, limits l,
                                    std::uint32_t image) noexcept {
    if (l.guaranteed >= bytes_of(held_mask) || l.guaranteed > l.hard) {
        return errc::invalid_argument;
    }
    const bool is_root = parent == owner_id::none;
    for (std::uint32_t i = is_root ? 0 : 1; i < capacity_; ++i) {
        account& a = accounts_[i];
        std::uint32_t expected = static_cast<std::uint32_t>(account_state::free);
        if (a.state.load(std::memory_order_relaxed) != expected ||
            !a.state.compare_exchange_strong(expected,
                                             static_cast<std::uint32_t>(account_state::claimed),
                                             std::memory_order_acq_rel)) {
            continue;
        }
        a.parent.store(static_cast<std::uint32_t>(parent), std::memory_order_relaxed);
        a.image.store(image, std::memory_order_relaxed);
        a.limit.store(limit_pages(l.hard), std::memory_order_relaxed);
        a.soft.store(limit_pages(l.soft), std::memory_order_relaxed);
        a.reserve.store(pages_of(l.reserve), std::memory_order_relaxed);
        a.highest_limit.store(limit_pages(l.hard), std::memory_order_relaxed);
        a.grace.store(0, std::memory_order_relaxed);
        for (auto* word : {&a.charged, &a.touched, &a.peak, &a.overshoot, &a.heap, &a.mapped}) {
            word->store(0, std::memory_order_relaxed);
        }
        if ((a.flags.fetch_or(was_open, std::memory_order_relaxed) & was_open) != 0) {
            clear_entries(static_cast<owner_id>(i));
        }
        for (auto& n : a.refusals) {
            n.store(0, std::memory_order_relaxed);
        }
        for (auto& n : a.notifications) {
            n.store(0, std::memory_order_relaxed);
        }
        a.usage.store(0, std::memory_order_relaxed);
        std::size_t k = 0;
        for (; name != nullptr && name[k] != '\0' && k + 1 < sizeof a.name; ++k) {
            a.name[k] = name[k];
        }
        a.name[k] = '\0';
        const auto id = static_cast<owner_id>(i);
        if (l.guaranteed != 0 && !is_root) {
            const page_count pages = pages_of(l.guaranteed);
            if (!hold(parent, pages, criticality::process)) {
                a.state.store(static_cast<std::uint32_t>(account_state::free),
                              std::memory_order_release);
                return errc::over_budget;
            }
            a.usage.store(pages << 32, std::memory_order_relaxed);
        }
        a.state.store(static_cast<std::uint32_t>(account_state::live), std::memory_order_release);
        return id;
    }
    return errc::out_of_address_space;
}

void tree::clear_entries(owner_id who) noexcept {
    for (std::uint32_t lane = 0; entries_ != nullptr && lane < lanes_with_shared; ++lane) {
        book_entries& e = entries_of(who, lane);
        for (auto* word : {&e.reserved, &e.committed, &e.writable, &e.slack}) {
            word->store(0, std::memory_order_relaxed);
        }
    }
}

void tree::enter(owner_id who, std::uint32_t lane, const book_figures& more) noexcept {
    book_entries& e = entries_of(who, lane);
    const auto add = [lane](std::atomic<page_count>& word, page_count n) noexcept {
        if (n != 0) {
            add_in_lane(word, lane, n);
        }
    };
    add(e.reserved, more.reserved);
    add(e.committed, more.committed);
    add(e.writable, more.writable);
    add(e.slack, more.slack);
}

book_figures tree::entered(owner_id who) const noexcept {
    book_figures sum;
    for (std::uint32_t lane = 0; entries_ != nullptr && lane < lanes_with_shared; ++lane) {
        const book_entries& e = entries_of(who, lane);
        sum.reserved += e.reserved.load(std::memory_order_acquire);
        sum.committed += e.committed.load(std::memory_order_acquire);
        sum.writable += e.writable.load(std::memory_order_acquire);
        sum.slack += e.slack.load(std::memory_order_acquire);
    }
    return sum;
}

void tree::close_account(owner_id who) noexcept {
    drain();
    account& a = at(who);
    // The claim above becomes exactly what is still charged here; the parent keeps that charge.
    const std::uint64_t usage = a.usage.exchange(0, std::memory_order_acq_rel);
    const page_count unused = claim_of(usage) - held_of(usage);
    if (unused != 0) {
        lower_held_doubting(parent_of(who), unused);
    }
    a.state.store(static_cast<std::uint32_t>(account_state::free), std::memory_order_release);
}

result<void> tree::set_limits(owner_id who, limits l) noexcept {
    if (l.guaranteed >= bytes_of(held_mask) || l.guaranteed > l.hard) {
        return errc::invalid_argument;
    }
    account& a = at(who);
    const page_count wanted = pages_of(l.guaranteed);
    std::uint64_t seen = a.usage.load(std::memory_order_relaxed);
    if (parent_of(who) != owner_id::none && guaranteed_of(seen) != wanted) {
        for (;;) {
            const std::uint64_t next = wanted << 32 | held_of(seen);
            const page_count more =
                claim_of(next) > claim_of(seen) ? claim_of(next) - claim_of(seen) : 0;
            if (more != 0 && !hold(parent_of(who), more, criticality::process)) {
                return errc::over_budget;
            }
            const page_count before = claim_of(seen);
            if (a.usage.compare_exchange_strong(seen, next, std::memory_order_acq_rel)) {
                if (claim_of(next) < before) {
                    lower_held(parent_of(who), before - claim_of(next));
                }
                break;
            }
            lower_held(parent_of(who), more);
        }
    }
    a.soft.store(limit_pages(l.soft), std::memory_order_relaxed);
    static_cast<void>(change_ceiling(who, l.hard, l.reserve, lowering::refuses_all));
    return {};
}

page_count tree::change_ceiling(owner_id who, byte_count hard, byte_count reserve,
                                lowering how) noexcept {
    account& a = at(who);
    const page_count limit = limit_pages(hard);
    const page_count kept = pages_of(reserve);
    const page_count old = a.limit.load(std::memory_order_relaxed);
    const auto used = [&a]() noexcept {
        return held_of(a.usage.load(std::memory_order_seq_cst)) +
               touched_against(a, criticality::process);
    };
    raise_to(a.highest_limit, limit);
    // In an order in which no ceiling is ever below both that there were and that there will be.
    if (limit < old) {
        const page_count now = used();
        const page_count top = ceiling(a, now, criticality::process);
        a.reserve.store(kept, std::memory_order_relaxed);
        const bool spares = how == lowering::spares_process_level && now > limit;
        a.grace.store(spares ? std::min(top, now + kept) : 0, std::memory_order_relaxed);
    }
    const page_count before = a.limit.exchange(limit, std::memory_order_seq_cst);
    a.reserve.store(kept, std::memory_order_relaxed);
    if (used() <= limit) {
        a.grace.store(0, std::memory_order_relaxed);
    }
    if (watcher_.moved != nullptr) {
        watcher_.moved(watcher_.context, who);
    }
    return before;
}

// A process killed between two steps of a climb may have raised itself and not its parents: what
// leaves the parents is therefore never more than they hold.
void tree::fold(owner_id who) noexcept {
    const auto leave = [](std::atomic<std::uint64_t>& word, std::uint64_t pages,
                          std::uint64_t mask) {
        std::uint64_t seen = word.load(std::memory_order_relaxed);
        while (!word.compare_exchange_weak(seen, seen - std::min(pages, seen & mask),
                                           std::memory_order_acq_rel)) {
        }
    };
    account& a = at(who);
    const page_count charged = a.charged.exchange(0, std::memory_order_acq_rel);
    const std::uint64_t usage = a.usage.exchange(0, std::memory_order_acq_rel);
    go_up(parent_of(who), [&](account& up) noexcept {
        leave(up.charged, charged, ~std::uint64_t{0});
        leave(up.usage, claim_of(usage), held_mask);
        return true;
    });
    if (watcher_.moved != nullptr) {
        watcher_.moved(watcher_.context, parent_of(who));
    }
}

void tree::count_refusal(owner_id who, criticality level) noexcept {
    for (owner_id up = who; up != owner_id::none; up = parent_of(up)) {
        at(up).refusals[static_cast<unsigned>(level)].fetch_add(1, std::memory_order_relaxed);
    }
}

page_count tree::charged(owner_id who) const noexcept {
    return at(who).charged.load(std::memory_order_acquire);
}

page_count tree::guaranteed(owner_id who) const noexcept {
    return guaranteed_of(at(who).usage.load(std::memory_order_acquire));
}

page_count tree::available(owner_id who, criticality level) const noexcept {
    page_count least = no_limit;
    page_count inside = 0; // what the accounts below may still use inside their guarantees
    for (owner_id up = who; up != owner_id::none; up = parent_of(up)) {
        const account& a = at(up);
        const std::uint64_t usage = a.usage.load(std::memory_order_acquire);
        const page_count used = held_of(usage) + touched_against(a, level);
        const page_count top = ceiling(a, used, level);
        if (top < no_limit) {
            least = std::min(least, (used < top ? top - used : 0) + inside);
        }
        inside += claim_of(usage) - held_of(usage);
    }
    return least;
}

} // namespace memreeve::budget
