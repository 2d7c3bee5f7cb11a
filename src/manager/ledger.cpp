// SPDX-License-Identifier: MIT
#include "manager/ledger.hpp"

#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <algorithm>

namespace memreeve::manager {

using telemetry::image_end;
using telemetry::image_record;
using telemetry::image_state;

namespace {

constexpr std::uint64_t drain_patience_ns = 100'000'000;

constexpr byte_count accounts_at() noexcept { return page_size; }
constexpr byte_count credits_at(std::uint32_t accounts) noexcept {
    return accounts_at() + round_up(accounts * sizeof(budget::account), page_size);
}
constexpr byte_count entries_at(std::uint32_t accounts, std::uint32_t credits) noexcept {
    return credits_at(accounts) + round_up(credits * sizeof(budget::credit_slot), page_size);
}
constexpr byte_count lane_bytes(std::uint32_t accounts) noexcept {
    return round_up(accounts * sizeof(budget::book_entries), page_size);
}
constexpr byte_count images_at(std::uint32_t accounts, std::uint32_t credits) noexcept {
    return entries_at(accounts, credits) + lanes_with_shared * lane_bytes(accounts);
}
constexpr byte_count record_stride = round_up(sizeof(image_record), 64);
static_assert(sizeof(image_record) == record_stride, "records stand side by side as an array");

template <class T>
T now_in(T& shared) noexcept {
    return std::atomic_ref<T>(shared).load(std::memory_order_relaxed);
}

void store_state(image_record& r, image_state s) noexcept {
    r.state.store(static_cast<std::uint32_t>(s), std::memory_order_release);
}

void copy_text(char* to, std::size_t size, const char* from) noexcept {
    std::size_t i = 0;
    for (; from != nullptr && from[i] != '\0' && i + 1 < size; ++i) {
        to[i] = from[i];
    }
    to[i] = '\0';
}

} // namespace

void write_holders(const budget::tree& tree, const image_record& image,
                   telemetry::last_words& words) noexcept {
    const budget::account& root = tree.at(owner_id::root);
    const page_count limit = root.limit.load(std::memory_order_relaxed);
    words.limit = limit >= budget::no_limit ? ~byte_count{0} : bytes_of(limit);
    words.reserve = bytes_of(root.reserve.load(std::memory_order_relaxed));
    words.charged = bytes_of(root.charged.load(std::memory_order_relaxed));
    words.touched = bytes_of(root.touched.load(std::memory_order_relaxed));
    const std::uint64_t now = prim::now_ns();
    const telemetry::growth::sample* const base = image.grown.base(now);
    const std::uint64_t since = base != nullptr
                                    ? base->at_ns.load(std::memory_order_relaxed)
                                    : image.attached_at_ns.load(std::memory_order_relaxed);
    words.grown_over = now > since ? now - since : 0;
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        const owner_id account =
            tree.below_root(image.owner_account[k].load(std::memory_order_relaxed));
        if (account == owner_id::none) {
            continue;
        }
        const budget::account& a = tree.at(account);
        const page_count charged = a.charged.load(std::memory_order_relaxed);
        const page_count before =
            base != nullptr ? base->charged[k].load(std::memory_order_relaxed) : 0;
        words.owner_charged[k] = bytes_of(charged);
        words.owner_touched[k] = bytes_of(a.touched.load(std::memory_order_relaxed));
        words.owner_grown[k] = static_cast<std::int64_t>(bytes_of(charged - before));
    }
}

byte_count ledger::size_for(ledger_shape shape) noexcept {
    return round_up(images_at(shape.accounts, shape.credits) + shape.images * sizeof(image_record),
                    page_size);
}

void ledger::format(void* memory, ledger_shape shape, budget::tree::limits root) noexcept {
    auto* header = static_cast<ledger_header*>(memory);
    header->version = ledger_version;
    header->account_capacity = shape.accounts;
    header->credit_capacity = shape.credits;
    header->image_capacity = shape.images;
    header->size = size_for(shape);
    header->magic = ledger_magic;
    static_cast<void>(attach(memory, header->size));
    // Written before they are read: one page fault each instead of two.
    tree_.at(owner_id::root).flags.store(0, std::memory_order_relaxed);
    store_state(images_[0], image_state::free);
    static_cast<void>(tree_.open_account(owner_id::none, "root", root, 0));
}

result<void> ledger::attach(void* memory, byte_count size) noexcept {
    auto* header = static_cast<ledger_header*>(memory);
    if (size < page_size || header->magic != ledger_magic || header->version != ledger_version ||
        header->size > size) {
        return errc::invalid_argument;
    }
    auto* bytes = static_cast<unsigned char*>(memory);
    // Each read once: the next time it may be another.
    const std::uint32_t accounts = now_in(header->account_capacity);
    const std::uint32_t credits = now_in(header->credit_capacity);
    const std::uint32_t images = now_in(header->image_capacity);
    if (accounts == 0 || images == 0 || (credits & (credits - 1)) != 0 ||
        size_for({accounts, credits, images}) > size) {
        return errc::invalid_argument;
    }
    header_ = header;
    image_capacity_ = images;
    credit_capacity_ = credits;
    images_ = reinterpret_cast<image_record*>(bytes + images_at(accounts, credits));
    tree_ =
        budget::tree(reinterpret_cast<budget::account*>(bytes + accounts_at()), accounts,
                     reinterpret_cast<budget::credit_slot*>(bytes + credits_at(accounts)), credits,
                     reinterpret_cast<budget::book_entries*>(bytes + entries_at(accounts, credits)),
                     lane_bytes(accounts));
    return {};
}

void ledger::ring() noexcept {
    header_->bell.fetch_add(1, std::memory_order_acq_rel);
    if (header_->launcher_pid.load(std::memory_order_relaxed) == 0) {
        return; // a private ledger: nobody waits
    }
    prim::wake_all(reinterpret_cast<const std::uint32_t*>(&header_->bell));
}

void ledger::note_look(std::uint64_t next_ns) noexcept {
    header_->next_look_ns.store(next_ns, std::memory_order_relaxed);
    header_->looks.fetch_add(1, std::memory_order_release);
    prim::wake_all(reinterpret_cast<const std::uint32_t*>(&header_->looks));
}

void ledger::await_look() noexcept {
    constexpr std::uint64_t late_ns = 25'000'000; // a look itself takes some milliseconds
    constexpr std::uint64_t patience_ns = 250'000'000;
    constexpr std::uint64_t pause_ns = 1'000'000'000;
    const std::uint32_t looks = header_->looks.load(std::memory_order_acquire);
    if (looks == 0) {
        return;
    }
    const std::uint64_t begun = prim::now_ns();
    if (begun < header_->next_look_ns.load(std::memory_order_relaxed) + late_ns ||
        begun < header_->awaited_in_vain_ns.load(std::memory_order_relaxed) + pause_ns) {
        return;
    }
    for (std::uint64_t now = begun; header_->looks.load(std::memory_order_acquire) == looks;
         now = prim::now_ns()) {
        if (now - begun >= patience_ns) {
            header_->awaited_in_vain_ns.store(now, std::memory_order_relaxed);
            return;
        }
        prim::wait_on(reinterpret_cast<const std::uint32_t*>(&header_->looks), looks,
                      begun + patience_ns - now);
    }
}

ledger::changed_limit ledger::change_limit(byte_count limit, byte_count reserve) noexcept {
    const page_count before = tree_.change_ceiling(owner_id::root, limit, reserve,
                                                   budget::tree::lowering::spares_process_level);
    const auto bytes = [](page_count pages) noexcept {
        return pages >= budget::no_limit ? ~byte_count{0} : bytes_of(pages);
    };
    const changed_limit done{bytes(before), bytes_of(tree_.charged(owner_id::root))};
    const std::uint32_t n = header_->limit_changes.load(std::memory_order_relaxed);
    limit_change& entry = header_->changes[n % limit_changes_kept];
    entry.at_ns.store(prim::now_ns(), std::memory_order_relaxed);
    entry.from.store(done.from, std::memory_order_relaxed);
    entry.to.store(bytes(tree_.at(owner_id::root).limit.load(std::memory_order_relaxed)),
                   std::memory_order_relaxed);
    entry.charged.store(done.charged, std::memory_order_relaxed);
    header_->limit_changes.store(n + 1, std::memory_order_release);
    wake_askers();
    ring();
    return done;
}

void ledger::note_pressure() noexcept {
    header_->pressure_notices.fetch_add(1, std::memory_order_acq_rel);
    wake_askers();
}

void ledger::wake_askers() noexcept {
    if ((header_->flags.load(std::memory_order_relaxed) & flag_no_ask) != 0) {
        return;
    }
    for (std::uint32_t i = 0; i < images_seen(); ++i) {
        image_record& r = images_[i];
        if (r.state.load(std::memory_order_acquire) ==
            static_cast<std::uint32_t>(image_state::live)) {
            r.asker_bell.fetch_add(1, std::memory_order_acq_rel);
            prim::wake_all(reinterpret_cast<const std::uint32_t*>(&r.asker_bell));
        }
    }
}

std::uint32_t ledger::images_seen() const noexcept {
    return std::min(header_->images_high.load(std::memory_order_acquire), image_capacity_);
}

image_record* ledger::claim_record() noexcept {
    for (std::uint32_t i = 0; i < image_capacity_; ++i) {
        image_record& r = images_[i];
        std::uint32_t expected = static_cast<std::uint32_t>(image_state::free);
        if (r.state.load(std::memory_order_relaxed) == expected &&
            r.state.compare_exchange_strong(expected,
                                            static_cast<std::uint32_t>(image_state::claimed),
                                            std::memory_order_acq_rel)) {
            std::uint32_t high = header_->images_high.load(std::memory_order_relaxed);
            while (high < i + 1 && !header_->images_high.compare_exchange_weak(
                                       high, i + 1, std::memory_order_acq_rel)) {
            }
            return &r;
        }
    }
    return nullptr;
}

result<image_record*> ledger::begin_image(int pid, std::uint64_t start_time, bool forked,
                                          const char* path) noexcept {
    for (std::uint32_t i = 0; i < images_seen(); ++i) {
        image_record& r = images_[i];
        if (r.state.load(std::memory_order_acquire) ==
                static_cast<std::uint32_t>(image_state::live) &&
            r.pid.load(std::memory_order_relaxed) == pid) {
            const bool same = r.start_time.load(std::memory_order_relaxed) == start_time;
            end_image(r, same ? image_end::exec : image_end::killed);
        }
    }
    image_record* r = claim_record();
    if (r == nullptr) {
        header_->images_refused.fetch_add(1, std::memory_order_relaxed);
        return errc::out_of_address_space;
    }
    const std::uint32_t index = index_of(*r);
    const auto process = tree_.open_account(owner_id::root, "process", {}, index);
    bool complete = process.has_value();
    owner_id opened[telemetry::owner_kind_count];
    std::uint32_t count = 0;
    for (; complete && count < telemetry::owner_kind_count; ++count) {
        const auto owner = tree_.open_account(*process, telemetry::owner_names[count], {}, index);
        complete = owner.has_value();
        if (!complete) {
            break;
        }
        opened[count] = *owner;
        r->owner_account[count].store(static_cast<std::uint32_t>(*owner),
                                      std::memory_order_relaxed);
    }
    if (!complete) {
        while (count > 0) {
            tree_.close_account(opened[--count]);
        }
        if (process) {
            tree_.close_account(*process);
        }
        store_state(*r, image_state::free);
        header_->images_refused.fetch_add(1, std::memory_order_relaxed);
        return errc::out_of_address_space;
    }
    r->process_account.store(static_cast<std::uint32_t>(*process), std::memory_order_relaxed);
    r->pid.store(pid, std::memory_order_relaxed);
    r->start_time.store(start_time, std::memory_order_relaxed);
    r->attached_at_ns.store(prim::now_ns(), std::memory_order_relaxed);
    r->forked.store(forked, std::memory_order_relaxed);
    r->governed.store(1, std::memory_order_relaxed);
    r->end.store(static_cast<std::uint32_t>(image_end::running), std::memory_order_relaxed);
    copy_text(r->path, sizeof r->path, path);
    store_state(*r, image_state::live);
    ring();
    return r;
}

void ledger::end_image(image_record& image, image_end how) noexcept {
    std::uint32_t live = static_cast<std::uint32_t>(image_state::live);
    if (!image.state.compare_exchange_strong(live, static_cast<std::uint32_t>(image_state::claimed),
                                             std::memory_order_acq_rel)) {
        return; // somebody else ends it
    }
    // Credit of the dead goes home first, also what others are carrying there just now.
    tree_.drain();
    await_drains();
    fold(image);
    image.end.store(static_cast<std::uint32_t>(how), std::memory_order_relaxed);
    store_state(image, image_state::ended);
    ring();
}

void ledger::fold(const image_record& image) noexcept {
    if (const owner_id process = process_of(image); process != owner_id::none) {
        tree_.fold(process);
    }
}

// A drain that whoever made it did not live to end is waited for once, not at each end to come.
void ledger::await_drains() noexcept {
    std::uint32_t dead = std::min(dead_drains_.load(std::memory_order_relaxed), tree_.draining());
    for (const std::uint64_t since = prim::now_ns(); tree_.draining() > dead;) {
        if (prim::now_ns() - since >= drain_patience_ns) {
            dead = tree_.draining();
            break;
        }
        prim::yield();
    }
    dead_drains_.store(dead, std::memory_order_relaxed);
}

void ledger::close_accounts(image_record& image) noexcept {
    const auto close = [this](owner_id account) noexcept {
        if (account != owner_id::none) {
            tree_.close_account(account);
        }
    };
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        close(owner_of(image, k));
    }
    close(process_of(image));
}

bool ledger::has_damaged_accounts(const image_record& image) const noexcept {
    const auto is_of_image = [&](owner_id account, owner_id parent) noexcept {
        if (account == owner_id::none) {
            return false;
        }
        const budget::account& a = tree_.at(account);
        return a.state.load(std::memory_order_relaxed) ==
                   static_cast<std::uint32_t>(budget::account_state::live) &&
               a.parent.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(parent) &&
               a.image.load(std::memory_order_relaxed) == index_of(image);
    };
    constexpr auto live = static_cast<std::uint32_t>(image_state::live);
    if (image.state.load(std::memory_order_acquire) != live) {
        return false;
    }
    const std::uint64_t since = image.attached_at_ns.load(std::memory_order_acquire);
    const owner_id process = process_of(image);
    bool is_sound = is_of_image(process, owner_id::root);
    for (std::uint32_t k = 0; is_sound && k < telemetry::owner_kind_count; ++k) {
        is_sound = is_of_image(owner_of(image, k), process);
    }
    // Unless another image has its place meanwhile.
    std::atomic_thread_fence(std::memory_order_acquire);
    return !is_sound && image.state.load(std::memory_order_relaxed) == live &&
           image.attached_at_ns.load(std::memory_order_relaxed) == since;
}

bool ledger::is_damaged() const noexcept {
    const ledger_header& h = *header_;
    const budget::account& root = tree_.at(owner_id::root);
    const page_count limit = root.limit.load(std::memory_order_relaxed);
    // Or a little below zero: who was killed between two steps of a charge may leave that (tree::fold).
    const auto is_possible = [](const std::atomic<page_count>& pages) noexcept {
        return pages.load(std::memory_order_relaxed) + budget::held_mask <= 2 * budget::held_mask;
    };
    if (h.magic != ledger_magic || h.version != ledger_version ||
        h.account_capacity != tree_.capacity() || h.credit_capacity != credit_capacity_ ||
        h.image_capacity != image_capacity_ ||
        h.images_high.load(std::memory_order_relaxed) > image_capacity_ ||
        root.state.load(std::memory_order_relaxed) !=
            static_cast<std::uint32_t>(budget::account_state::live) ||
        root.parent.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(owner_id::none) ||
        (limit != budget::no_limit && limit > budget::held_mask) || !is_possible(root.charged) ||
        !is_possible(root.touched) || !is_possible(root.peak)) {
        return true;
    }
    for (std::uint32_t i = 0; i < images_seen(); ++i) {
        if (has_damaged_accounts(images_[i])) {
            return true;
        }
    }
    return false;
}

void ledger::turn_away(image_record& image, const char* reason) noexcept {
    std::uint32_t live = static_cast<std::uint32_t>(image_state::live);
    if (!image.state.compare_exchange_strong(live, static_cast<std::uint32_t>(image_state::claimed),
                                             std::memory_order_acq_rel)) {
        return;
    }
    tree_.drain();
    fold(image);
    close_accounts(image);
    image.governed.store(0, std::memory_order_relaxed);
    copy_text(image.reason, sizeof image.reason, reason);
    store_state(image, image_state::ended);
    ring();
}

bool ledger::fold_dead() noexcept {
    constexpr std::uint64_t period_ns = 1'000'000;
    if (header_->launcher_pid.load(std::memory_order_relaxed) == 0) {
        return false;
    }
    const std::uint64_t now = prim::now_ns();
    std::uint64_t before = header_->looked_for_dead_ns.load(std::memory_order_relaxed);
    if (now - before < period_ns || !header_->looked_for_dead_ns.compare_exchange_strong(
                                        before, now, std::memory_order_acq_rel)) {
        return false;
    }
    constexpr auto live = static_cast<std::uint32_t>(image_state::live);
    constexpr auto claimed = static_cast<std::uint32_t>(image_state::claimed);
    bool folded = false;
    for (std::uint32_t i = 0; i < images_seen(); ++i) {
        image_record& r = images_[i];
        const std::uint32_t state = r.state.load(std::memory_order_acquire);
        if ((state != live && state != claimed) ||
            prim::process_exists(r.pid.load(std::memory_order_relaxed))) {
            continue;
        }
        end_image(r, r.leaves.load(std::memory_order_relaxed) != 0 ? image_end::exited
                                                                   : image_end::killed);
        // Somebody else, the launcher most likely, may be at it: its charge is about to come back.
        while (r.state.load(std::memory_order_acquire) == claimed &&
               prim::now_ns() - now < drain_patience_ns) {
            prim::yield();
        }
        folded = true;
    }
    if (folded) {
        header_->looked_for_dead_ns.store(0, std::memory_order_relaxed); // the next may be as lucky
    }
    return folded;
}

void ledger::free_image(image_record& image) noexcept {
    if (image.governed.load(std::memory_order_relaxed) != 0) {
        close_accounts(image);
    }
    telemetry::forget_activity(image);
    for (auto& n : image.refusals) {
        n.store(0, std::memory_order_relaxed);
    }
    for (auto& n : image.notifications) {
        n.store(0, std::memory_order_relaxed);
    }
    for (auto* n : {&image.asked.times, &image.asked.before, &image.asked.after, &image.asked.ns,
                    &image.asked.over_limit, &image.asked.pressed}) {
        n->store(0, std::memory_order_relaxed);
    }
    image.smallest_refused.store(0, std::memory_order_relaxed);
    image.first_refused_at_ns.store(0, std::memory_order_relaxed);
    const std::uint32_t extents =
        std::min(image.extents_used.load(std::memory_order_relaxed), telemetry::extent_capacity);
    for (std::uint32_t i = 0; i < extents; ++i) {
        image.extents[i].begin.store(0, std::memory_order_relaxed);
    }
    image.extents_used.store(0, std::memory_order_relaxed);
    image.extents_lost.store(0, std::memory_order_relaxed);
    image.stacks.clear();
    image.words.state.store(telemetry::last_words::none, std::memory_order_relaxed);
    image.grown.clear();
    image.heirs.store(0, std::memory_order_relaxed);
    image.last_fork_ns.store(0, std::memory_order_relaxed);
    image.held_until_ns.store(0, std::memory_order_relaxed);
    image.picture_wanted.store(0, std::memory_order_relaxed);
    image.picture_served.store(0, std::memory_order_relaxed);
    image.last.sequence.store(0, std::memory_order_relaxed);
    image.last.value = {};
    image.runtime.store(0, std::memory_order_relaxed);
    image.governed.store(0, std::memory_order_relaxed);
    image.leaves.store(0, std::memory_order_relaxed);
    for (auto& pages : image.file_pages) {
        pages.store(0, std::memory_order_relaxed);
    }
    image.path[0] = image.reason[0] = image.settings[0] = image.users_settings[0] = image.note[0] =
        '\0';
    store_state(image, image_state::free);
}

void ledger::note_ungoverned(int pid, std::uint64_t start_time, const char* path,
                             const char* reason) noexcept {
    image_record* r = claim_record();
    if (r == nullptr) {
        header_->images_refused.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    r->pid.store(pid, std::memory_order_relaxed);
    r->start_time.store(start_time, std::memory_order_relaxed);
    r->attached_at_ns.store(prim::now_ns(), std::memory_order_relaxed);
    r->governed.store(0, std::memory_order_relaxed);
    r->end.store(static_cast<std::uint32_t>(image_end::running), std::memory_order_relaxed);
    copy_text(r->path, sizeof r->path, path);
    copy_text(r->reason, sizeof r->reason, reason);
    store_state(*r, image_state::ended);
    ring();
}

} // namespace memreeve::manager
