// SPDX-License-Identifier: MIT
#include "bridge/shared_files.hpp"

#include "bridge/text.hpp"
#include "prim/file_view.hpp"
#include "prim/prim.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>

namespace memreeve::bridge {

namespace {

constexpr page_count page_of_offset(std::int64_t offset) noexcept {
    return static_cast<page_count>(offset) / page_size;
}

// The pages of a view up to the end of the file: what lies beyond cannot be touched.
page_span up_to_the_end(const memory_file& f, page_span pages) noexcept {
    const page_count end = f.end.load(std::memory_order_relaxed);
    return {pages.begin, pages.end < end ? pages.end : end};
}

page_span pages_of_view(const shared_views::view& v) noexcept {
    return {v.first, v.first + v.where.pages()};
}

// Another process, or write(), may have made it longer.
void look_at_end(memory_file& f, page_span pages) noexcept {
    prim::file_description about;
    if (pages.end > f.end.load(std::memory_order_relaxed) &&
        f.kind.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(file_kind::segment) &&
        prim::describe_file(f.handle.load(std::memory_order_relaxed), &about) == 0 &&
        about.inode == f.inode.load(std::memory_order_relaxed) &&
        about.device == f.device.load(std::memory_order_relaxed)) {
        f.end.store(pages_of(round_up(about.size, page_size)), std::memory_order_relaxed);
    }
}

bool is_cleared_to_free(state& s, const memory_file& f) noexcept {
    return f.is(memory_file::cleared_to_free) && s.books().tree().at(owner_id::root).is_limited() &&
           f.end.load(std::memory_order_relaxed) > pages_of(clearing_size);
}

// CoreCLR hands out its file from the beginning and never comes there (24 GB with .NET 10).
page_span last_block(const memory_file& f) noexcept {
    const page_count end = f.end.load(std::memory_order_relaxed);
    return {end - pages_of(clearing_size), end};
}

// f(page_span) for every accessible stretch of this process's views of file `index` in `pages`.
template <class F>
void for_each_accessible(std::uint32_t index, page_span pages, F&& f) noexcept {
    files().views().for_each({lowest_address, top_address}, [&](const shared_views::view& v) {
        const page_span have = pages_of_view(v);
        const page_count first = have.begin > pages.begin ? have.begin : pages.begin;
        const page_count last = have.end < pages.end ? have.end : pages.end;
        if (v.file != index || first >= last) {
            return;
        }
        address at = v.where.begin + bytes_of(first - have.begin);
        const address end = v.where.begin + bytes_of(last - have.begin);
        prim::mapping m;
        for (; at < end; at = m.where.end) {
            const int e = prim::find_mapping(at, &m);
            if (e == ENOENT) {
                break;
            }
            if (e != 0) { // not to be told: as if it were
                m.where = {at, end};
                m.allowed = access::read;
            }
            const address from = m.where.begin > at ? m.where.begin : at;
            const address to = m.where.end < end ? m.where.end : end;
            if (from < to && m.allowed != access::none) {
                const page_count skipped = pages_of(from - v.where.begin);
                f(page_span{have.begin + skipped, have.begin + skipped + pages_of(to - from)});
            }
        }
    });
}

} // namespace

// ---- files --------------------------------------------------------------------------------------------

long create_memory_file(state& s, const char* name, unsigned flags) noexcept {
    const long fd = prim::pass_memfd_create(name, flags);
    if (fd >= 0) {
        const file_use f = files().take_up(s, static_cast<int>(fd), file_kind::memfd, "");
        if (f && same_text(name, "doublemapper")) { // CoreCLR's generated code
            f->flags.fetch_or(memory_file::is_code | memory_file::cleared_to_free,
                              std::memory_order_relaxed);
        }
    }
    return fd;
}

void note_posix_object(state& s, int fd, const char* name) noexcept {
    while (*name == '/') {
        ++name;
    }
    static_cast<void>(files().take_up(s, fd, file_kind::posix_object, name));
}

bool is_memory_file(state& s, int fd) noexcept {
    return static_cast<bool>(files().of_descriptor(s, fd));
}

long resize_file(state& s, int fd, std::int64_t size) noexcept {
    const file_use f = files().is_in_use() && size >= 0 ? files().of_descriptor(s, fd) : file_use{};
    if (!f) {
        return prim::pass_ftruncate(fd, size);
    }
    const page_count old_end = f->end.load(std::memory_order_relaxed);
    const page_count new_end = pages_of(round_up(static_cast<byte_count>(size), page_size));
    const page_span grown{old_end, new_end};
    bool refused = false;
    if (grown.size() != 0 && f->view_pages.load(std::memory_order_relaxed) != 0) {
        for_each_accessible(f.index(), grown, [&](page_span pages) {
            refused = refused || files().charge(s, *f, pages) != charge_outcome::charged;
        });
    }
    const long r = refused ? -ENOSPC : prim::pass_ftruncate(fd, size);
    if (r < 0) {
        files().undo(s, *f, grown);
        return r;
    }
    f->end.store(new_end, std::memory_order_relaxed);
    files().keep(*f, grown);
    files().clear(s, *f, {new_end, file_pages_max});
    return r;
}

long allocate_file(state& s, int fd, int mode, std::int64_t offset, std::int64_t size) noexcept {
    const bool gives = (mode & ~FALLOC_FL_KEEP_SIZE) == 0;
    const bool takes = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    std::int64_t end = 0;
    const bool valid =
        (gives || takes) && offset >= 0 && size > 0 && !__builtin_add_overflow(offset, size, &end);
    const file_use f = valid ? files().of_descriptor(s, fd) : file_use{};
    if (!f) {
        return prim::pass_fallocate(fd, mode, offset, size);
    }
    if (takes) {
        const long r = prim::pass_fallocate(fd, mode, offset, size);
        if (r >= 0) {
            // Pages at the borders keep what lies outside the hole.
            files().clear(s, *f,
                          {pages_of(round_up(static_cast<byte_count>(offset), page_size)),
                           page_of_offset(end)});
        }
        return r;
    }
    const page_span pages{page_of_offset(offset),
                          pages_of(round_up(static_cast<byte_count>(end), page_size))};
    if (files().charge(s, *f, pages) != charge_outcome::charged) {
        return -ENOSPC;
    }
    const long r = prim::pass_fallocate(fd, mode, offset, size);
    if (r < 0) {
        files().undo(s, *f, pages);
        return r;
    }
    files().keep(*f, pages);
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && f->end.load(std::memory_order_relaxed) < pages.end) {
        f->end.store(pages.end, std::memory_order_relaxed);
    }
    return r;
}

// ---- SysV segments --------------------------------------------------------------------------------------

long attach_segment(state& s, int id, address where, int flags) noexcept {
    std::uint64_t size = 0;
    if (prim::describe_segment(id, &size) != 0) {
        return prim::pass_shmat(id, where, flags); // the kernel says what is wrong
    }
    const byte_count bytes = round_up(size, page_size);
    const address base = (flags & SHM_RND) != 0 ? round_down(where, page_size) : where;
    if ((flags & SHM_REMAP) != 0 && fits_user_space(base, bytes) &&
        (s.memory().space().find(base).index != 0 ||
         !s.memory().space().arena_at(base).is_empty() ||
         s.memory().space().next_base(base, base + bytes) < base + bytes)) {
        return -EINVAL; // over memory of ours
    }
    coming_view view(s);
    view.file_ = files().take_up_segment(s, id, size);
    if (view.file_) {
        view.pages_ = {0, pages_of(bytes)};
        if (view.charge(view.pages_, true, (flags & SHM_EXEC) != 0) != 0) {
            return -ENOMEM;
        }
    }
    const long got = prim::pass_shmat(id, where, flags);
    if (got >= 0) {
        const auto begin = static_cast<address>(got);
        if ((flags & SHM_REMAP) != 0) {
            s.memory().forget_acquired({begin, begin + bytes});
        }
        const leaving_views under(s, {begin, begin + bytes});
        view.keep(begin);
        telemetry::count_request(s.image(), telemetry::request_kind::acquired);
    }
    return got;
}

long detach_segment(state& s, address where) noexcept {
    // All parts of the segment that was attached there go, and nothing else.
    range all{where, where};
    files().views().for_each({where, where + page_size}, [&](const shared_views::view& v) {
        const file_use f = files().of_index(v.file);
        if (f && f->kind.load(std::memory_order_relaxed) ==
                     static_cast<std::uint32_t>(file_kind::segment)) {
            all.end = where + bytes_of(f->end.load(std::memory_order_relaxed) - v.first);
        }
    });
    if (all.is_empty()) {
        return prim::pass_shmdt(where);
    }
    leaving_views views(s, all);
    const long r = prim::pass_shmdt(where);
    if (r < 0) {
        views.put_back();
    } else {
        telemetry::count_request(s.image(), telemetry::request_kind::released);
    }
    return r;
}

void after_removal(state& s) noexcept {
    if (files().is_in_use()) {
        static_cast<void>(files().give_back_gone(s, true));
    }
}

// ---- views ----------------------------------------------------------------------------------------------

int coming_view::begin(byte_count size, int prot, int flags, int fd, std::int64_t offset) noexcept {
    if ((flags & MAP_ANONYMOUS) != 0 || (flags & MAP_SHARED) == 0 || fd < 0) {
        return 0;
    }
    file_ = files().of_descriptor(state_, fd);
    if (!file_) {
        return 0;
    }
    const page_count first = page_of_offset(offset);
    pages_ = {first, first + pages_of(size)};
    if (prot == PROT_NONE && is_cleared_to_free(state_, *file_)) {
        // Paid for while there is room.
        const page_span last = last_block(*file_);
        if (files().charge(state_, *file_, last) == charge_outcome::charged) {
            files().keep(*file_, last);
        }
    }
    return charge(pages_, prot != PROT_NONE, (prot & PROT_EXEC) != 0);
}

int coming_view::begin_clearing(byte_count size, int fd, std::int64_t offset) noexcept {
    file_ = files().of_descriptor(state_, fd);
    if (!file_) {
        return ENOMEM;
    }
    const page_count first = page_of_offset(offset);
    pages_ = {first, first + pages_of(size)};
    return charge(last_block(*file_), true, false);
}

int coming_view::pay_for(byte_count from) noexcept {
    const page_span own = up_to_the_end(*file_, {pages_.begin + pages_of(from), pages_.end});
    if (files().charge(state_, *file_, own, {false, true}) != charge_outcome::charged) {
        return ENOMEM;
    }
    files().keep(*file_, own);
    return 0;
}

int coming_view::charge(page_span pages, bool accessible, bool executable) noexcept {
    if (!files().views().make_room()) {
        return ENOMEM;
    }
    if (!accessible) {
        return 0;
    }
    on_trial_ = up_to_the_end(*file_, pages);
    if (files().charge(state_, *file_, on_trial_, {executable, true}) != charge_outcome::charged) {
        on_trial_ = {};
        return ENOMEM;
    }
    return 0;
}

void coming_view::keep(address where) noexcept {
    if (file_) {
        files().keep(*file_, on_trial_);
        on_trial_ = {};
        files().add_view({where, where + bytes_of(pages_.size())}, file_, pages_.begin);
    }
}

coming_view::~coming_view() {
    if (file_ && on_trial_.size() != 0) {
        files().undo(state_, *file_, on_trial_);
    }
}

std::int64_t clearing_block(state& s, range part, int prot, int flags, int fd,
                            std::int64_t offset) noexcept {
    constexpr int kinds = MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE;
    if (prot != (PROT_READ | PROT_WRITE) || (flags & kinds) != (MAP_SHARED | MAP_FIXED) ||
        files().views().is_empty()) {
        return -1;
    }
    const file_use f = files().of_descriptor(s, fd);
    if (!f || !is_cleared_to_free(s, *f)) {
        return -1;
    }
    page_count there = 0;
    files().views().for_each(part, [&](const shared_views::view& v) {
        const page_count here = page_of_offset(offset) + pages_of(v.where.begin - part.begin);
        there += v.file == f.index() && v.first == here ? v.where.pages() : 0;
    });
    return there == part.pages() ? static_cast<std::int64_t>(bytes_of(last_block(*f).begin)) : -1;
}

void free_contents(state& s, int fd, std::int64_t offset, byte_count size) noexcept {
    static_cast<void>(allocate_file(s, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                                    static_cast<std::int64_t>(size)));
}

template <class F>
void opening_views::for_each(F&& f) noexcept {
    if (files().views().is_empty()) {
        return;
    }
    files().views().for_each(part_, [&](const shared_views::view& v) {
        if (const file_use file = files().of_index(v.file)) {
            f(*file, pages_of_view(v));
        }
    });
}

int opening_views::begin(int prot) noexcept {
    if (prot == PROT_NONE) {
        return 0;
    }
    bool refused = false;
    for_each([&](memory_file& f, page_span pages) {
        look_at_end(f, pages);
        is_open_ = true;
        refused =
            refused || files().charge(state_, f, up_to_the_end(f, pages),
                                      {(prot & PROT_EXEC) != 0, false}) != charge_outcome::charged;
    });
    return refused ? ENOMEM : 0;
}

void opening_views::keep() noexcept {
    if (is_open_) {
        for_each([](memory_file& f, page_span pages) { files().keep(f, pages); });
        is_open_ = false;
    }
}

opening_views::~opening_views() {
    if (is_open_) {
        for_each([&](memory_file& f, page_span pages) { files().undo(state_, f, pages); });
    }
}

leaving_views::leaving_views(state& s, range part) noexcept : state_(s) {
    last_ = files().cut_views(part, [&](const shared_views::view& v) {
        if (count_ < most) {
            gone_[count_] = v;
        }
        ++count_;
    });
}

void leaving_views::put_back() noexcept {
    last_ = false;
    for (std::uint32_t i = 0; i < count_ && i < most; ++i) {
        if (const file_use f = files().of_index(gone_[i].file)) {
            files().add_view(gone_[i].where, f, gone_[i].first);
        }
    }
}

leaving_views::~leaving_views() {
    if (last_) {
        static_cast<void>(files().give_back_gone(state_, true));
    }
}

void contents_removed(state& s, range part) noexcept {
    if (files().views().is_empty()) {
        return;
    }
    files().views().for_each(part, [&](const shared_views::view& v) {
        if (const file_use f = files().of_index(v.file)) {
            files().clear(s, *f, pages_of_view(v));
        }
    });
}

long remap_view(state& s, address where, byte_count old_size, byte_count new_size, int flags,
                address to) noexcept {
    constexpr int dont_unmap = 4;
    if (files().views().is_empty() || !is_aligned(where, page_size) || new_size == 0 ||
        new_size > top_address || !fits_user_space(where, old_size)) {
        return no_such_view;
    }
    shared_views::view at{};
    files().views().for_each({where, where + page_size},
                             [&](const shared_views::view& v) { at = v; });
    const file_use f = at.where.is_empty() ? file_use{} : files().of_index(at.file);
    if (!f) {
        return no_such_view;
    }
    const byte_count old_bytes = round_up(old_size, page_size);
    const byte_count new_bytes = round_up(new_size, page_size);
    const page_span grown{at.first + pages_of(old_bytes), at.first + pages_of(new_bytes)};
    prim::mapping m;
    const bool accessible = prim::find_mapping(where, &m) != 0 || // not to be told: as if it were
                            (m.where.contains(where) && m.allowed != access::none);
    look_at_end(*f, grown);
    const page_span to_charge = accessible ? up_to_the_end(*f, grown) : page_span{};
    if (!files().views().make_room() ||
        files().charge(s, *f, to_charge) != charge_outcome::charged) {
        return -ENOMEM;
    }
    const long got = prim::pass_mremap(where, old_size, new_size, flags, to);
    if (got < 0) {
        files().undo(s, *f, to_charge);
        return got;
    }
    files().keep(*f, to_charge);
    const auto begin = static_cast<address>(got);
    const range now{begin, begin + new_bytes};
    if (old_size != 0 && (flags & dont_unmap) == 0) { // old size 0: a second view
        const leaving_views old(s, {where, where + old_bytes});
    }
    s.memory().forget_acquired(now);
    {
        const leaving_views under(s, now);
        files().add_view(now, f, at.first);
    }
    return got;
}

} // namespace memreeve::bridge
