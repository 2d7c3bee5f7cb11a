// SPDX-License-Identifier: MIT
#include "bridge/file_pages.hpp"

#include "bridge/levels.hpp"
#include "bridge/posix.hpp"
#include "bridge/text.hpp"
#include "budget/charge.hpp"
#include "prim/file_view.hpp"
#include "prim/prim.hpp"

namespace memreeve::bridge {

using telemetry::extent_kind;
using telemetry::owner_kind;
using telemetry::runtime_kind;

namespace {

constexpr byte_count files_size = file_pages::capacity * sizeof(memory_file);
constexpr byte_count fixed_size =
    (files_size + shared_views::spans_size + page_size - 1) & ~(page_size - 1);
constexpr byte_count nodes_size = byte_count{64} << 20; // of address space
constexpr address being_made = 1;
constexpr std::uint64_t patience_ns = 1'000'000'000;

// memory_file::word
constexpr std::uint64_t state_mask = 0xff;
constexpr std::uint64_t is_free = 0;
constexpr std::uint64_t is_claimed = 1; // being filled or given up
constexpr std::uint64_t is_live = 2;
constexpr std::uint64_t one_user = 1 << 8;
constexpr std::uint64_t users_mask = 0xffffff00;
constexpr std::uint64_t one_life = std::uint64_t{1} << 32;

constexpr const char* object_directory = "/dev/shm/";

constinit file_pages the_files{};

int make_memory(address begin, byte_count size) noexcept {
    return prim::protect(begin, size, access::read_write);
}

constexpr page_span within(page_span where) noexcept {
    return {where.begin < file_pages_max ? where.begin : file_pages_max,
            where.end < file_pages_max ? where.end : file_pages_max};
}

// Whose memory such a file is, as far as the call tells.
owner_kind owner_of(state& s, const memory_file& f, bool executable) noexcept {
    if (executable || f.is(memory_file::is_code)) {
        return owner_kind::code;
    }
    const auto runtime =
        static_cast<runtime_kind>(s.image().runtime.load(std::memory_order_relaxed));
    return runtime == runtime_kind::other ? owner_kind::runtime : owner_kind::gc;
}

// For the picture: what `who` pays for without a private mapping. An embedding host's owners have
// no kinds.
void enter_in_books(state& s, owner_id who, std::int64_t pages) noexcept {
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        if (s.image().owner_account[k].load(std::memory_order_relaxed) ==
            static_cast<std::uint32_t>(who)) {
            s.image().file_pages[k].fetch_add(static_cast<std::uint64_t>(pages),
                                              std::memory_order_relaxed);
            return;
        }
    }
}

bool is_segment(const memory_file& f) noexcept {
    return f.kind.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(file_kind::segment);
}

} // namespace

file_pages& files() noexcept { return the_files; }

void file_use::end() noexcept {
    if (file_ != nullptr) {
        file_->word.fetch_sub(one_user, std::memory_order_acq_rel);
    }
}

// ---- the table --------------------------------------------------------------------------------------

bool file_pages::open(state& s) noexcept {
    address base = base_.load(std::memory_order_acquire);
    if (base > being_made) {
        return true;
    }
    if (base == being_made ||
        !base_.compare_exchange_strong(base, being_made, std::memory_order_acq_rel)) {
        // Another thread is at it: its few system calls are waited for, not for ever.
        const std::uint64_t since = prim::now_ns();
        while (base_.load(std::memory_order_acquire) == being_made &&
               prim::now_ns() - since < patience_ns) {
            prim::yield();
        }
        return base_.load(std::memory_order_acquire) > being_made;
    }
    address memory = 0;
    if (prim::reserve(0, fixed_size + shared_views::slots_size + nodes_size,
                      prim::placement::anywhere, &memory) != 0) {
        base_.store(0, std::memory_order_release);
        return false;
    }
    const address slots = memory + fixed_size;
    const address nodes = slots + shared_views::slots_size;
    const range whole{memory, nodes + nodes_size};
    if (prim::protect(memory, fixed_size, access::read_write) != 0) {
        static_cast<void>(prim::unmap(memory, whole.size()));
        base_.store(0, std::memory_order_release);
        return false;
    }
    files_ = reinterpret_cast<memory_file*>(memory); // zeroes are an empty file
    views_.open(reinterpret_cast<void*>(memory + files_size), slots, make_memory);
    nodes_.open(nodes, nodes_size, make_memory);
    static_cast<void>(s.memory().known().add(whole, owner_id::none, extent_kind::records, 0));
    base_.store(memory, std::memory_order_release);
    s.memory().ask_before_refusal([]() noexcept {
        state* const now = holding();
        return now != nullptr && the_files.give_back_gone(*now, false);
    });
    return true;
}

file_use file_pages::of_index(std::uint32_t index) noexcept {
    if (index >= used_.load(std::memory_order_acquire)) {
        return {};
    }
    memory_file& f = file(index);
    std::uint64_t w = f.word.load(std::memory_order_acquire);
    while ((w & state_mask) == is_live) {
        if (f.word.compare_exchange_weak(w, w + one_user, std::memory_order_acq_rel)) {
            return file_use(&f, index);
        }
    }
    return {};
}

file_use file_pages::find(std::uint32_t device, std::uint64_t inode, bool segment) noexcept {
    const std::uint32_t used = used_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < used; ++i) {
        const auto matches = [&](const memory_file& f) {
            return f.inode.load(std::memory_order_relaxed) == inode &&
                   f.device.load(std::memory_order_relaxed) == device && is_segment(f) == segment;
        };
        if (!matches(file(i))) {
            continue;
        }
        file_use f = of_index(i);
        if (f && matches(*f)) {
            return f;
        }
    }
    return {};
}

file_use file_pages::enter(state& s, file_kind kind, std::uint32_t device, std::uint64_t inode,
                           int handle, const char* name) noexcept {
    if (!open(s)) {
        return {};
    }
    for (std::uint32_t i = 0; i < capacity; ++i) {
        memory_file& f = file(i);
        std::uint64_t w = f.word.load(std::memory_order_relaxed);
        if ((w & state_mask) != is_free ||
            !f.word.compare_exchange_strong(w, w + is_claimed, std::memory_order_acq_rel)) {
            continue;
        }
        f.inode.store(inode, std::memory_order_relaxed);
        f.device.store(device, std::memory_order_relaxed);
        f.kind.store(static_cast<std::uint32_t>(kind), std::memory_order_relaxed);
        f.handle.store(handle, std::memory_order_relaxed);
        f.flags.store(0, std::memory_order_relaxed);
        f.end.store(0, std::memory_order_relaxed);
        f.view_pages.store(0, std::memory_order_relaxed);
        for (auto& p : f.payers) {
            p.store(0, std::memory_order_relaxed);
        }
        std::size_t n = 0;
        for (; name[n] != '\0' && n + 1 < sizeof f.name; ++n) {
            f.name[n] = name[n];
        }
        f.name[n] = '\0';
        std::uint32_t used = used_.load(std::memory_order_relaxed);
        while (used < i + 1 &&
               !used_.compare_exchange_weak(used, i + 1, std::memory_order_acq_rel)) {
        }
        f.word.store(w + is_live + one_user, std::memory_order_release);
        return file_use(&f, i);
    }
    return {};
}

file_use file_pages::of_descriptor(state& s, int fd) noexcept {
    prim::file_description about;
    if (prim::describe_file(fd, &about) != 0 || !about.is_regular) {
        return {};
    }
    file_use f = is_in_use() ? find(about.device, about.inode, false) : file_use{};
    if (!f && about.links == 0 && prim::lies_in_memory(fd)) {
        f = enter(s, file_kind::memfd, about.device, about.inode, fd, "");
    }
    if (f) {
        f->end.store(pages_of(round_up(about.size, page_size)), std::memory_order_relaxed);
    }
    return f;
}

file_use file_pages::of_segment(int id) noexcept {
    return is_in_use() ? find(0, static_cast<std::uint64_t>(id), true) : file_use{};
}

file_use file_pages::take_up(state& s, int fd, file_kind kind, const char* name) noexcept {
    prim::file_description about;
    if (prim::describe_file(fd, &about) != 0) {
        return {};
    }
    if (is_in_use()) {
        static_cast<void>(give_back_gone(s, false));
    }
    file_use f = is_in_use() ? find(about.device, about.inode, false) : file_use{};
    if (!f) {
        f = enter(s, kind, about.device, about.inode, fd, name);
    }
    if (f) {
        f->end.store(pages_of(round_up(about.size, page_size)), std::memory_order_relaxed);
    }
    return f;
}

file_use file_pages::take_up_segment(state& s, int id, byte_count size) noexcept {
    file_use f = of_segment(id);
    if (!f) {
        if (is_in_use()) {
            static_cast<void>(give_back_gone(s, false));
        }
        f = enter(s, file_kind::segment, 0, static_cast<std::uint64_t>(id), id, "");
    }
    if (f) {
        f->end.store(pages_of(round_up(size, page_size)), std::memory_order_relaxed);
    }
    return f;
}

void file_pages::add_view(range where, const file_use& f, page_count first) noexcept {
    f->view_pages.fetch_add(where.pages(), std::memory_order_acq_rel);
    if (!views_.add({where, first, f.index()})) {
        f->flags.fetch_or(memory_file::lost_views, std::memory_order_relaxed);
    }
}

// ---- charge -----------------------------------------------------------------------------------------

// A file's pages have three payers at most (a program under `memreeve run` has no more that could
// be); in an embedding host a fourth owner's are paid by the first.
payer file_pages::payer_for(memory_file& f, owner_id who) noexcept {
    const auto account = static_cast<std::uint32_t>(who) + 1;
    for (payer p = 1; p < payer_count; ++p) {
        std::uint32_t seen = 0;
        if (f.payers[p].compare_exchange_strong(seen, account, std::memory_order_acq_rel) ||
            seen == account) {
            return p;
        }
    }
    return 1;
}

charge_outcome file_pages::charge(state& s, memory_file& f, page_span where,
                                  use_of_pages use) noexcept {
    where = within(where);
    if (where.size() == 0) {
        return charge_outcome::charged;
    }
    if (use.executable && !f.is(memory_file::is_code)) {
        f.flags.fetch_or(memory_file::is_code, std::memory_order_relaxed);
    }
    const owner_kind kind = owner_of(s, f, use.executable);
    const payer p = payer_for(f, s.owner(kind));
    const auto who = static_cast<owner_id>(f.payers[p].load(std::memory_order_relaxed) - 1);
    criticality level =
        level_for(s, kind == owner_kind::code ? telemetry::purpose::code : telemetry::purpose::file,
                  bytes_of(where.size()));
    if (use.is_view && f.is(memory_file::cleared_to_free)) {
        level = criticality::process; // CoreCLR ends itself when it cannot write its code
    }
    constexpr int patience = 64; // others charge and clear the same pages: a race in the program
    for (int tries = 0; tries < patience; ++tries) {
        const page_count free = f.marks.count_free(nodes_, where);
        if (free == 0) {
            return charge_outcome::charged;
        }
        budget::charge taken;
        if (!s.memory().charge_acquired(who, free, level, taken)) {
            undo(s, f, where);
            return charge_outcome::over_budget;
        }
        bool full = false;
        const page_count marked = f.marks.set(nodes_, where, p, free, full);
        taken.keep();
        enter_in_books(s, who, static_cast<std::int64_t>(free));
        payer_pages rest;
        rest.of[p] = free - marked;
        refund(s, f, rest);
        if (full) {
            undo(s, f, where);
            return charge_outcome::no_memory;
        }
    }
    return charge_outcome::charged;
}

void file_pages::keep(memory_file& f, page_span where) noexcept {
    f.marks.keep(nodes_, within(where));
}

void file_pages::undo(state& s, memory_file& f, page_span where) noexcept {
    refund(s, f, f.marks.undo(nodes_, within(where)));
}

void file_pages::clear(state& s, memory_file& f, page_span where) noexcept {
    refund(s, f, f.marks.clear(nodes_, within(where)));
}

void file_pages::refund(state& s, memory_file& f, const payer_pages& gone) noexcept {
    for (payer p = 1; p < payer_count; ++p) {
        if (gone.of[p] != 0) {
            const auto who = static_cast<owner_id>(f.payers[p].load(std::memory_order_relaxed) - 1);
            enter_in_books(s, who, -static_cast<std::int64_t>(gone.of[p]));
            s.books().tree().refund(who, gone.of[p]);
        }
    }
}

// ---- the end of a file ------------------------------------------------------------------------------

bool file_pages::is_gone(memory_file& f) noexcept {
    if (f.view_pages.load(std::memory_order_acquire) != 0 || f.is(memory_file::lost_views)) {
        return false;
    }
    const std::int32_t handle = f.handle.load(std::memory_order_relaxed);
    const std::uint64_t inode = f.inode.load(std::memory_order_relaxed);
    const std::uint32_t device = f.device.load(std::memory_order_relaxed);
    if (is_segment(f)) {
        std::uint64_t size = 0;
        const int e = prim::describe_segment(handle, &size);
        return e == EINVAL || e == EIDRM;
    }
    prim::file_description about;
    const auto is_the_file = [&] { return about.inode == inode && about.device == device; };
    if (prim::describe_file(handle, &about) == 0 && is_the_file()) {
        return false;
    }
    if (f.name[0] != '\0') {
        char path[sizeof f.name + 16]{};
        std::size_t n = 0;
        for (const char* part : {object_directory, static_cast<const char*>(f.name)}) {
            for (; *part != '\0'; ++part) {
                path[n++] = *part;
            }
        }
        if (prim::describe_path(path, &about) == 0 && is_the_file()) {
            return false;
        }
    }
    const int other = prim::find_descriptor(device, inode);
    if (other >= 0) {
        f.handle.store(other, std::memory_order_relaxed);
    }
    return other == -1;
}

// Only when nobody is inside.
bool file_pages::give_up(state& s, memory_file& f) noexcept {
    std::uint64_t w = f.word.load(std::memory_order_acquire);
    if ((w & state_mask) != is_live || (w & users_mask) != 0) {
        return false;
    }
    if (!f.word.compare_exchange_strong(w, w - is_live + is_claimed, std::memory_order_acq_rel)) {
        return false;
    }
    if (f.view_pages.load(std::memory_order_acquire) != 0) {
        f.word.store(w, std::memory_order_release);
        return false;
    }
    const payer_pages gone = f.marks.give_up(nodes_);
    refund(s, f, gone);
    f.inode.store(0, std::memory_order_relaxed);
    f.word.store((w & ~(state_mask | users_mask)) + one_life + is_free, std::memory_order_release);
    return true;
}

bool file_pages::give_back_gone(state& s, bool at_once) noexcept {
    constexpr std::uint64_t pause_ns = 1'000'000;
    constexpr std::uint32_t few = 16;
    const std::uint32_t used = used_.load(std::memory_order_acquire);
    if (used == 0) {
        return false;
    }
    const std::uint64_t now = prim::now_ns();
    if (!at_once && looked_at_.load(std::memory_order_relaxed) > few &&
        now - looked_at_ns_.load(std::memory_order_relaxed) < pause_ns) {
        return false;
    }
    bool any = false;
    std::uint32_t without_views = 0;
    for (std::uint32_t i = 0; i < used; ++i) {
        memory_file& f = file(i);
        without_views += f.view_pages.load(std::memory_order_relaxed) == 0 ? 1U : 0U;
        if ((f.word.load(std::memory_order_acquire) & state_mask) == is_live && is_gone(f)) {
            any = give_up(s, f) || any;
        }
    }
    looked_at_ns_.store(now, std::memory_order_relaxed);
    looked_at_.store(without_views, std::memory_order_relaxed);
    return any;
}

void file_pages::settle_after_fork() noexcept {
    if (base_.load(std::memory_order_relaxed) == being_made) {
        base_.store(0, std::memory_order_relaxed);
    }
    const std::uint32_t used = used_.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < used; ++i) {
        memory_file& f = file(i);
        const std::uint64_t w = f.word.load(std::memory_order_relaxed);
        if ((w & state_mask) == is_free) {
            continue;
        }
        f.marks.inherit(nodes_);
        for (auto& p : f.payers) {
            p.store(0, std::memory_order_relaxed);
        }
        // The parent's other threads are not here; what one was entering is nobody's yet.
        const std::uint64_t now = (w & state_mask) == is_live ? is_live : is_free;
        f.word.store((w & ~(state_mask | users_mask)) + now, std::memory_order_relaxed);
    }
    views_.settle_after_fork();
}

} // namespace memreeve::bridge
