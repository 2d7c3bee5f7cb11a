// SPDX-License-Identifier: MIT
#include "manager/pages.hpp"

#include "budget/charge.hpp"
#include "heap/poison.hpp"
#include "manager/manager.hpp"
#include "manager/operation.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"
#include "vm/win32.hpp"

namespace memreeve::manager {

namespace {

constexpr unsigned number_bits = 22; // the kernel's largest process number is 2^22
static_assert(2 * number_bits == heap::page_source::thread_bits);

} // namespace

result<heap::taken> manager_pages::take(const heap::wish& w) noexcept {
    if (w.beside_others && !w.executable && w.room <= w.size) {
        const result<heap::taken> run = manager_->take_run(who_, w);
        if (run || run.error().code != errc::out_of_address_space) {
            return run;
        }
    }
    return manager_->take_pages(who_, w);
}

void manager_pages::give_back(address begin) noexcept {
    if (const page_run r = manager_->run_at(begin); r.pages != 0) {
        heap::close_to_use(manager_->address_of(r), bytes_of(r.pages));
        manager_->give_back_run(r);
    } else if (!manager_->keep_warm(begin)) {
        manager_->give_back_pages(begin);
    }
}

byte_count manager_pages::trim() noexcept { return manager_->drop_warm(); }

result<void> manager_pages::resize(address begin, range now, byte_count size, bool executable,
                                   criticality level) noexcept {
    if (const page_run r = manager_->run_at(begin); r.pages != 0) {
        return manager_->resize_run(r, pages_of(round_up(size, page_size)), level);
    }
    return manager_->resize_pages(begin, now, size, executable, level);
}

result<heap::taken> manager_pages::move(address begin, range now, const heap::wish& w) noexcept {
    return manager_->move_pages(who_, begin, now, w);
}

std::uint64_t manager_pages::tag_of(address where, address* begin) noexcept {
    if (const page_run r = manager_->run_at(where); r.pages != 0) {
        *begin = manager_->address_of(r);
        return manager_->tag_of(r);
    }
    const vm::found f = manager_->space().find_owner(where);
    if (f.index == 0 || f.tag == 0) {
        return 0;
    }
    *begin = f.whole.begin;
    return f.tag;
}

bool manager_pages::is_ours(address where) noexcept {
    return manager_->space().find(where).index != 0 ||
           !manager_->space().arena_at(where).is_empty();
}

heap::page_source::peeked manager_pages::peek(address from, void* to, byte_count size) noexcept {
    constexpr int no_memory = 14; // EFAULT
    const int e = prim::peek(from, to, size);
    return e == 0 ? peeked::copied : e == no_memory ? peeked::gone : peeked::not_allowed;
}

heap::tally manager_pages::take_tally(bool alone) noexcept {
    telemetry::image_record& image = manager_->image();
    if (alone) {
        for (std::uint32_t i = 0; i < telemetry::heap_counts_capacity; ++i) {
            telemetry::heap_counts& own = image.heap_requests[i];
            std::uint32_t free = 0;
            if (own.taken.load(std::memory_order_relaxed) == 0 &&
                own.taken.compare_exchange_strong(free, 1, std::memory_order_acq_rel)) {
                return {&own.allocations, &own.frees, false};
            }
        }
    }
    telemetry::heap_counts& shared = telemetry::shared_heap_counts_of_this_thread(image);
    return {&shared.allocations, &shared.frees, true};
}

void manager_pages::give_back_tally(const heap::tally& t) noexcept {
    if (t.is_shared) {
        return;
    }
    for (telemetry::heap_counts& own : manager_->image().heap_requests) {
        if (&own.allocations == t.allocations) {
            own.taken.store(0, std::memory_order_release);
        }
    }
}

std::uint64_t manager_pages::this_thread() noexcept {
    const int process = prim::process_id();
    const int thread = prim::thread_id();
    return process > 0 && thread > 0 ? static_cast<std::uint64_t>(process) << number_bits |
                                           static_cast<std::uint32_t>(thread)
                                     : 0;
}

bool manager_pages::is_gone(std::uint64_t thread) noexcept {
    const auto process = static_cast<int>(thread >> number_bits);
    return process == prim::process_id() &&
           !prim::thread_exists(process, static_cast<int>(thread & ((1U << number_bits) - 1)));
}

// ---- warm ranges -----------------------------------------------------------------------------------

namespace {

// What the heap's tag becomes: no heap's, and not 0, so that the interface leaves the pages alone.
constexpr std::uint64_t warm_tag = ~std::uint64_t{0};
constexpr page_count most_warm = pages_of(32 << 20);
constexpr page_count warm_share = 64; // of the smallest limit

} // namespace

page_count manager::warm_bound(owner_id who) noexcept {
    page_count bound = most_warm;
    for (owner_id id = who; id != owner_id::none;
         id = static_cast<owner_id>(tree().at(id).parent.load(std::memory_order_relaxed))) {
        const page_count limit = tree().at(id).limit.load(std::memory_order_relaxed);
        bound = limit / warm_share < bound ? limit / warm_share : bound;
    }
    return bound;
}

// The range at `begin` is kept instead of given back. Only what is of one piece and plain.
bool manager::keep_warm(address begin) noexcept {
    const vm::found f = space_.find(begin);
    const page_count pages = f.whole.pages();
    if (f.index == 0 || f.whole.begin != begin || pages < warm_ranges::least ||
        pages > warm_ranges::largest || f.code != vm::page_code::rw || f.run_end != f.whole.end ||
        (vm::only_flags(f.flags) & ~(vm::guarded_space | vm::relaxed_space)) != 0) {
        return false;
    }
    page_count bound = warm_bound(f.owner);
    const page_count in_runs = runs_.is_open() ? runs_.warm_of(f.owner) : 0;
    bound = in_runs < bound ? bound - in_runs : 0;
    if (pages > bound) {
        return false;
    }
    std::atomic<std::uint64_t>& tag = space_.map().at(f.index).tag;
    const std::uint64_t before = tag.exchange(warm_tag, std::memory_order_acq_rel);
    // The newest are the likeliest to be wanted again.
    for (int i = 0; i < 4 && warm_.pages() + pages > bound; ++i) {
        if (const warm_range old = warm_.take_any(); old.begin != 0) {
            heap::open_to_use(old.begin, bytes_of(old.pages));
            if (!give_back_pages(old.begin)) {
                heap::close_to_use(old.begin, bytes_of(old.pages));
                static_cast<void>(warm_.keep(old, ~page_count{0}));
            }
        }
    }
    heap::close_to_use(begin, bytes_of(pages));
    if (warm_.keep({begin, pages, f.owner}, bound)) {
        return true;
    }
    heap::open_to_use(begin, bytes_of(pages));
    tag.store(before, std::memory_order_release);
    return false;
}

warm_range manager::take_warm(owner_id who, page_count from, page_count to,
                              std::uint64_t tag) noexcept {
    if (warm_.is_empty()) {
        return {};
    }
    const warm_range r = warm_.take(who, from, to);
    if (r.begin != 0) {
        heap::open_to_use(r.begin, bytes_of(r.pages));
        space_.map().at(space_.find(r.begin).index).tag.store(tag, std::memory_order_release);
    }
    return r;
}

byte_count manager::drop_warm() noexcept {
    byte_count dropped = space_.drop_loose() + bytes_of(drop_runs(owner_id::none, ~page_count{0}));
    while (!warm_.is_empty()) {
        const warm_range r = warm_.take_any();
        if (r.begin == 0) {
            break; // another thread has it in hand
        }
        heap::open_to_use(r.begin, bytes_of(r.pages));
        if (!give_back_pages(r.begin)) {
            heap::close_to_use(r.begin, bytes_of(r.pages));
            static_cast<void>(warm_.keep(r, ~page_count{0})); // for the next who tries
            break;
        }
        dropped += bytes_of(r.pages);
    }
    return dropped;
}

// ---- the manager's half ---------------------------------------------------------------------------

namespace {

// Moves the pages of `from` to `to`. The kernel moves one of its mappings at a time, and a range that
// has grown where it was may be several.
int move_mappings(range from, address to) noexcept {
    int e = prim::move_pages(from.begin, to, from.size());
    if (e == 0) {
        return 0;
    }
    address done = from.begin;
    while (done < from.end) {
        prim::mapping m;
        e = prim::find_mapping(done, &m);
        const address end = m.where.end < from.end ? m.where.end : from.end;
        e = e == 0 && !m.where.contains(done) ? 14 /* EFAULT */ : e;
        e = e == 0 ? prim::move_pages(done, to + (done - from.begin), end - done) : e;
        if (e != 0) {
            break;
        }
        done = end;
    }
    // Not all of it: what went over comes back to where it was.
    for (address back = from.begin; e != 0 && back < done;) {
        prim::mapping m;
        const address at = to + (back - from.begin);
        if (prim::find_mapping(at, &m) != 0) {
            break;
        }
        const address end = m.where.end - at < done - back ? back + (m.where.end - at) : done;
        static_cast<void>(prim::move_pages(at, back, end - back));
        back = end;
    }
    return e;
}

} // namespace

result<heap::taken> manager::take_pages(owner_id who, const heap::wish& w) noexcept {
    if (w.executable && !options_.allow_write_execute) {
        return errc::forbidden; // decision 10
    }
    if (w.size == 0 || w.size > top_address || w.room > top_address || w.alignment > top_address) {
        return errc::out_of_address_space;
    }
    const byte_count size = round_up(w.size, page_size);
    const byte_count lead = w.alignment > granule_size ? w.alignment - granule_size : 2 * w.guard;
    const byte_count room = round_up(w.room > size ? w.room : size, page_size) + lead;
    const bool all = room == size;
    const std::uint32_t protect =
        w.executable ? vm::win32::page_execute_readwrite : vm::win32::page_readwrite;
    const auto q = vm::decode_alloc(
        0, room, vm::win32::mem_reserve | (all ? vm::win32::mem_commit : 0), protect);
    if (!q) {
        return errc::out_of_address_space;
    }
    const operation inside(*this);
    if (all && w.may_be_used && !w.executable) {
        const page_count most = pages_of(w.most > size ? w.most : size);
        if (const warm_range r = take_warm(who, pages_of(size), most, w.tag); r.begin != 0) {
            return heap::taken{r.begin, r.begin, bytes_of(r.pages)};
        }
    }
    vm::planned p;
    if (auto r = space_.plan_reserve(*q, who, w.tag, p); !r) {
        return r.error();
    }
    if (auto r = carry_out(p, w.level); !r) {
        if (w.room > w.size && r.error().code == errc::out_of_address_space) {
            heap::wish less = w;
            less.room = w.size;
            return take_pages(who, less);
        }
        return r.error();
    }
    const address begin = p.span().begin;
    const address pages =
        w.alignment > granule_size ? round_up(begin, w.alignment) : begin + w.guard;
    if (!all) {
        const auto committed = [&]() -> result<void> {
            vm::planned commit;
            auto r = space_.plan_commit({pages, pages + size}, q->protect, commit);
            return r ? carry_out(commit, w.level) : r;
        }(); // its claims have ended
        if (!committed) {
            give_back_pages(begin);
            return committed.error();
        }
    }
    tree().at(who).heap.fetch_add(pages_of(size), std::memory_order_relaxed);
    return heap::taken{begin, pages, size};
}

bool manager::give_back_pages(address begin) noexcept {
    const operation inside(*this);
    vm::free_request q;
    q.release = true;
    q.whole = true;
    q.where = begin;
    vm::planned p;
    if (!space_.plan_free(q, false, p)) {
        return false;
    }
    const auto pages = static_cast<page_count>(-p.diff().committed);
    const owner_id who = p.owner();
    if (!carry_out(p, criticality::process)) {
        return false;
    }
    tree().at(who).heap.fetch_sub(pages, std::memory_order_relaxed);
    return true;
}

result<void> manager::resize_pages(address begin, range now, byte_count size, bool executable,
                                   criticality level) noexcept {
    const operation inside(*this);
    const vm::found f = space_.find(begin);
    const address end = now.begin + round_up(size, page_size);
    if (f.index == 0 || f.whole.begin != begin || end > f.whole.end) {
        return errc::out_of_address_space;
    }
    vm::planned p;
    result<void> r{};
    if (end > now.end) {
        const auto protect = vm::decode_protection(executable ? vm::win32::page_execute_readwrite
                                                              : vm::win32::page_readwrite);
        r = space_.plan_commit({now.end, end}, *protect, p);
    } else {
        vm::free_request q;
        q.where = end;
        q.span = {end, now.end};
        r = space_.plan_free(q, false, p);
    }
    if (r) {
        r = carry_out(p, level);
    }
    if (r) {
        tree().at(f.owner).heap.fetch_add(static_cast<page_count>(p.diff().committed),
                                          std::memory_order_relaxed);
    }
    return r;
}

// The old pages are claimed throughout, so that nobody changes them on their way.
result<heap::taken> manager::move_pages(owner_id who, address begin, range now,
                                        const heap::wish& w) noexcept {
    const operation inside(*this);
    const std::uint32_t protect =
        w.executable ? vm::win32::page_execute_readwrite : vm::win32::page_readwrite;
    const auto q =
        vm::decode_alloc(0, w.room > w.size ? w.room : w.size, vm::win32::mem_reserve, protect);
    if (!q) {
        return errc::out_of_address_space;
    }
    vm::planned space;
    if (auto r = space_.plan_reserve(*q, who, w.tag, space); !r) {
        return r.error();
    }
    if (auto r = carry_out(space, w.level); !r) {
        return r.error();
    }
    const address to = space.span().begin;
    const page_run run = run_at(begin);
    const auto moved = [&]() -> result<void> {
        vm::free_request all;
        all.release = run.pages == 0;
        all.whole = run.pages == 0;
        all.where = begin;
        all.span = now;
        vm::planned old;
        if (auto r = space_.plan_free(all, false, old); !r) {
            return r;
        }
        vm::planned fresh;
        if (auto r = space_.plan_commit({to, to + round_up(w.size, page_size)}, q->protect, fresh);
            !r) {
            return r;
        }
        // What is charged for the old pages pays for as many of the new ones.
        const page_count paid = old.owner() == who ? old.diff().to_refund : 0;
        const page_count more = fresh.to_charge() > paid ? fresh.to_charge() - paid : 0;
        budget::charge taken;
        if (auto r = take(who, more, w.level, taken); !r) {
            count_refusal(who, w.level, more);
            return r;
        }
        if (auto r = space_.apply(fresh); !r) {
            return r;
        }
        // The kernel joins moved pages with no neighbour: when the new reservation ends its space is
        // to be mapped anew.
        std::atomic<std::uint32_t>& flags = space_.map().at(space_.find(to).index).flags;
        flags.fetch_or(vm::holds_mappings, std::memory_order_acq_rel);
        if (const int e = move_mappings(now, to); e != 0) {
            flags.fetch_or(vm::may_be_open, std::memory_order_acq_rel);
            static_cast<void>(prim::replace_by_reserved(to, round_up(w.size, page_size)));
            return failure{errc::out_of_address_space, e};
        }
        const page_count kept = fresh.to_charge() - more;
        const page_count before = static_cast<page_count>(-old.diff().committed);
        space_.keep(fresh);
        taken.keep();
        enter(who, fresh.diff());
        tree().at(who).heap.fetch_add(static_cast<page_count>(fresh.diff().committed),
                                      std::memory_order_relaxed);
        const owner_id payer = old.owner();
        if (run.pages != 0) {
            space_.keep_emptied(old);
        } else {
            space_.keep(old);
        }
        enter(payer, old.diff());
        tree().refund(payer, old.diff().to_refund - kept);
        if (run.pages != 0) {
            runs_.retract(run);
            heap::close_to_use(now.begin, now.size());
            runs_.let_go_cold(run);
        }
        tree().at(payer).heap.fetch_sub(before, std::memory_order_relaxed);
        return {};
    }();
    if (!moved) {
        give_back_pages(to);
        return moved.error();
    }
    if (space_.owed() != 0) {
        space_.settle_owed();
    }
    return heap::taken{to, to, round_up(w.size, page_size)};
}

} // namespace memreeve::manager
