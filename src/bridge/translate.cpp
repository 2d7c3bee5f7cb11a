// SPDX-License-Identifier: MIT
#include "bridge/translate.hpp"

#include "bridge/acquired.hpp"
#include "bridge/asking.hpp"
#include "bridge/levels.hpp"
#include "bridge/posix.hpp"
#include "bridge/refused_once.hpp"
#include "bridge/shared_files.hpp"
#include "budget/charge.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <atomic>

namespace memreeve::bridge {

using telemetry::owner_kind;
using telemetry::purpose;
using telemetry::runtime_kind;

namespace {

void* pointer(address a) noexcept { return reinterpret_cast<void*>(a); }

runtime_kind runtime_in(state& s) noexcept {
    return static_cast<runtime_kind>(s.image().runtime.load(std::memory_order_relaxed));
}

// CoreCLR (seen in .NET 10) puts code, and what its loader keeps beside it, into one reservation of
// 2 GiB less 16 MiB, 128 MiB less where that finds no place near the library, or 2 GiB anywhere; always
// less 64 KiB. Its collector's may be of any size (1920 MiB under a limit of 512), small ones serve threads.
bool is_for_loaders(byte_count reserved) noexcept {
    constexpr byte_count most = 0x7fff0000;
    constexpr byte_count near = most - (byte_count{16} << 20);
    return reserved == near || reserved == near - (byte_count{128} << 20) || reserved == most;
}
bool is_for_collector(byte_count reserved) noexcept {
    return reserved >= byte_count{4} << 20 && !is_for_loaders(reserved);
}

// Whose memory an anonymous mapping is, as far as the call itself tells.
owner_kind owner_of(state& s, int prot, byte_count size = 0) noexcept {
    const runtime_kind runtime = runtime_in(s);
    if ((prot & PROT_EXEC) != 0 || (runtime == runtime_kind::coreclr && is_for_loaders(size))) {
        return owner_kind::code;
    }
    return runtime == runtime_kind::other ? owner_kind::runtime : owner_kind::gc;
}

EMemoryCriticalLevel level_of(state& s, int prot, byte_count size) noexcept {
    return encode(level_for(s, purpose_of(s, prot), size));
}

// CoreCLR's collector collects and throws when a commit is refused; whatever else of the runtime
// meets a refusal ends the process. So the collector's is refused first, and the reserve stays for
// the rest (decision 29). But not for ever: finalizers that allocate try again until they succeed, so
// refusals without end would be collections without end (seen: 1 run in 5 of generated code). After
// 128 in a row, more than a program meets on its way to its exception, a commit may use half of the
// reserve, after 256 all of it.
constinit std::atomic<std::uint32_t> collectors_refusals{0}; // in a row

EMemoryCriticalLevel collectors_level(state& s) noexcept {
    constexpr std::uint32_t patience = 128;
    if (the_refused_once.is_being_handled(s.books().tree().at(owner_id::root))) {
        return eProcessCritical; // an exception on its way through native code is not to meet another
    }
    const std::uint32_t refusals = collectors_refusals.load(std::memory_order_relaxed);
    return refusals < patience       ? eTaskCritical
           : refusals < 2 * patience ? eAppDomainCritical
                                     : eProcessCritical;
}

bool commit(state& s, range part, int prot) noexcept {
    IHostMemoryManager& host = s.host(owner_kind::gc);
    void* got = nullptr;
    const auto commit_at = [&](EMemoryCriticalLevel level) {
        return host.VirtualAlloc(pointer(part.begin), part.size(), MEM_COMMIT, page_of(prot), level,
                                 &got) == S_OK;
    };
    if (runtime_in(s) != runtime_kind::coreclr) {
        return commit_at(level_of(s, prot, part.size()));
    }
    asking::is_for((prot & PROT_EXEC) != 0 ? purpose::code : purpose::gc_heap);
    if (!is_for_collector(s.memory().space().find(part.begin).whole.size())) {
        return commit_at(eProcessCritical);
    }
    const bool done = commit_at(collectors_level(s));
    if (done) {
        collectors_refusals.store(0, std::memory_order_relaxed);
    } else {
        collectors_refusals.fetch_add(1, std::memory_order_relaxed);
    }
    return done;
}

// What the interface has no word for is counted as the request it stands for.
void count(state& s, telemetry::request_kind kind) noexcept {
    telemetry::count_request(s.image(), kind);
}

bool retire(state& s, range part) noexcept {
    count(s, telemetry::request_kind::virtual_free);
    return s.memory().retire(part).has_value();
}

// The largest part of [at, end) that begins at `at` and lies in one reservation of ours, in an arena
// outside any reservation ("hole"), or outside all we know.
struct piece {
    range part{};
    vm::found ours{}; // ours.index != 0: of ours
    bool hole = false;
};

piece next_piece(state& s, address at, address end) noexcept {
    piece p;
    p.ours = s.memory().space().find(at);
    if (p.ours.index != 0) {
        p.part = {at, p.ours.whole.end < end ? p.ours.whole.end : end};
        return p;
    }
    address stop = s.memory().space().next_base(at, end);
    const range home = s.memory().space().arena_at(at);
    p.hole = !home.is_empty();
    if (p.hole) {
        stop = stop < home.end ? stop : home.end;
    } else {
        stop = s.memory().space().next_arena(at, stop);
    }
    p.part = {at, stop};
    return p;
}

long from(HRESULT hr, long otherwise) noexcept { return hr == E_OUTOFMEMORY ? -ENOMEM : otherwise; }

// ---- mmap ------------------------------------------------------------------------------------------

// At an address that is free in our eyes, or anywhere (0). Negative errno; -EEXIST: taken.
long allocate(state& s, address where, byte_count size, int prot,
              EMemoryCriticalLevel level) noexcept {
    IHostMemoryManager& host = s.host(owner_of(s, prot, size));
    const DWORD type = prot == PROT_NONE ? DWORD{MEM_RESERVE} : DWORD{MEM_RESERVE | MEM_COMMIT};
    void* got = nullptr;
    const HRESULT hr = host.VirtualAlloc(pointer(where), size, type, page_of(prot), level, &got);
    return hr == S_OK ? static_cast<long>(reinterpret_cast<address>(got)) : from(hr, -EEXIST);
}

// MAP_FIXED without a file over pages of one reservation of ours: they read as zeroes afterwards, or
// nothing has changed (decision 24). Dead pages revive.
long renew(state& s, range part, int prot) noexcept {
    IHostMemoryManager& host = s.host(owner_of(s, prot));
    if (prot == PROT_NONE) {
        return host.VirtualFree(pointer(part.begin), part.size(), MEM_DECOMMIT) == S_OK ? 0
                                                                                        : -ENOMEM;
    }
    const EMemoryCriticalLevel level = level_of(s, prot, part.size());
    void* got = nullptr;
    HRESULT hr =
        host.VirtualAlloc(pointer(part.begin), part.size(), MEM_COMMIT, page_of(prot), level, &got);
    if (hr == S_OK) {
        hr = host.VirtualAlloc(pointer(part.begin), part.size(), MEM_RESET, page_of(prot), level,
                               &got);
    }
    return hr == S_OK ? 0 : -ENOMEM;
}

// MAP_FIXED into a hole of an arena: a reservation of the granules round it, of which only the part
// asked for lives.
long fill_hole(state& s, range part, int prot) noexcept {
    const address base = round_down(part.begin, granule_size);
    const address end = round_up(part.end, granule_size);
    IHostMemoryManager& host = s.host(owner_of(s, prot));
    const EMemoryCriticalLevel level = level_of(s, prot, part.size());
    void* got = nullptr;
    HRESULT hr =
        host.VirtualAlloc(pointer(base), end - base, MEM_RESERVE, page_of(prot), level, &got);
    if (hr != S_OK) {
        return -ENOMEM;
    }
    if (prot != PROT_NONE) {
        hr = host.VirtualAlloc(pointer(part.begin), part.size(), MEM_COMMIT, page_of(prot), level,
                               &got);
    }
    if (hr != S_OK) {
        static_cast<void>(host.VirtualFree(pointer(base), 0, MEM_RELEASE));
        return -ENOMEM;
    }
    for (const range rest : {range{base, part.begin}, range{part.end, end}}) {
        if (!rest.is_empty()) {
            static_cast<void>(retire(s, rest));
        }
    }
    return 0;
}

struct file_mapping {
    range part;
    int prot, flags, fd;
    std::int64_t offset;
    std::int64_t clearing; // mapped all over the part instead (clearing_block); -1: nothing
    long got;
    range bare; // of the part: where that could not be mapped
};

int map_file_there(void* context) noexcept {
    auto& m = *static_cast<file_mapping*>(context);
    const bool in_pieces = m.clearing >= 0 && m.part.size() > clearing_size;
    // What takes several mappings is made in the program's own way first, which one call does or refuses:
    // at the mapping limit, where the second piece is refused, the block is not left in halves.
    m.got = prim::pass_mmap(m.part.begin, m.part.size(), m.prot, m.flags, m.fd,
                            m.clearing < 0 || in_pieces ? m.offset : m.clearing);
    if (m.got < 0) {
        return static_cast<int>(-m.got);
    }
    for (address at = m.part.begin; in_pieces && at < m.part.end; at += clearing_size) {
        const byte_count size = m.part.end - at < clearing_size ? m.part.end - at : clearing_size;
        if (prim::pass_mmap(at, size, m.prot, m.flags, m.fd, m.clearing) < 0) {
            m.bare = {at, m.part.end};
            break;
        }
    }
    return 0;
}

// What the program had mapped itself over pages of ours goes out of the records with them.
void forget_mappings(state& s, const vm::found& ours, range part) noexcept {
    if ((ours.flags & vm::holds_mappings) != 0) {
        s.memory().forget_acquired(part);
    }
}

// A file, or shared anonymous memory, which is charged like any other it gets from the kernel.
long put_over_ours(state& s, file_mapping m) noexcept {
    const bool anonymous = (m.flags & MAP_ANONYMOUS) != 0;
    const owner_id who = s.owner(owner_of(s, m.prot));
    coming_view view(s);
    if ((m.clearing < 0 ? view.begin(m.part.size(), m.prot, m.flags, m.fd, m.offset)
                        : view.begin_clearing(m.part.size(), m.fd, m.offset)) != 0) {
        return -ENOMEM;
    }
    budget::charge taken;
    if (anonymous && m.prot != PROT_NONE &&
        !s.memory().charge_acquired(who, m.part.pages(),
                                    level_for(s, purpose_of(s, m.prot), m.part.size()), taken)) {
        return -ENOMEM;
    }
    if (!s.memory().replace(m.part, map_file_there, &m)) {
        return m.got < 0 ? m.got : -ENOMEM;
    }
    // Refused as well: the caller puts the view's record back, and its pages are mapped again as they lay
    // there, contents and all; writable, which they may have been before or not. Should the kernel refuse
    // even that, the pieces stay: the contents are in the file, asking again does the rest, and CoreCLR,
    // which is done with the block, ends itself over the ENOMEM.
    if (!m.bare.is_empty() && view.pay_for(m.bare.begin - m.part.begin) != 0) {
        static_cast<void>(
            prim::pass_mmap(m.part.begin, m.part.size(), m.prot, m.flags, m.fd, m.offset));
        return -ENOMEM;
    }
    if (anonymous && s.memory().record_acquired(who, m.part, taken.pages())) {
        taken.keep();
    }
    view.keep(m.part.begin);
    const byte_count covered = m.bare.is_empty() ? m.part.size() : m.bare.begin - m.part.begin;
    if (m.clearing >= 0 && covered != 0) {
        free_contents(s, m.fd, m.offset, covered);
    }
    return 0;
}

long map_fixed(state& s, range whole, int prot, int flags, int fd, std::int64_t offset) noexcept {
    const bool has_file = (flags & MAP_ANONYMOUS) == 0;
    const bool plain = !has_file && is_plain_anonymous(flags, prot);
    // Over memory of ours also what asks to be lazy is committed: it is charged either way.
    const bool plain_over_ours = !has_file && is_plain_anonymous(flags & ~MAP_NORESERVE, prot);
    for (address at = whole.begin; at < whole.end;) {
        const piece p = next_piece(s, at, whole.end);
        long r = p.hole ? fill_hole(s, p.part, PROT_NONE) : 0;
        if (r != 0) {
            return r;
        }
        if (p.ours.index != 0 || p.hole) {
            s.deferred().forget(p.part);
            forget_mappings(s, p.ours, p.part);
            const std::int64_t from = offset + static_cast<std::int64_t>(at - whole.begin);
            const std::int64_t clearing =
                has_file ? clearing_block(s, p.part, prot, flags, fd, from) : -1;
            leaving_views views(s, p.part);
            if (plain_over_ours) {
                r = renew(s, p.part, prot);
            } else {
                r = put_over_ours(s, {p.part, prot, flags, fd, from, clearing, 0, {}});
            }
            if (r != 0) {
                views.put_back();
            }
        } else if (plain && is_aligned(p.part.begin, granule_size) &&
                   allocate(s, p.part.begin, p.part.size(), prot,
                            level_of(s, prot, p.part.size())) > 0) {
            r = 0;
        } else {
            r = map_acquired(s, p.part, prot, flags, fd,
                             offset + static_cast<std::int64_t>(at - whole.begin),
                             has_file ? owner_kind::files : owner_of(s, prot));
            r = r < 0 ? r : 0;
        }
        if (r != 0) {
            return r;
        }
        at = p.part.end;
    }
    return static_cast<long>(whole.begin);
}

long map_anonymous(state& s, address hint, byte_count size, int prot, int flags,
                   EMemoryCriticalLevel level) noexcept {
    long got = -ENOMEM;
    if ((flags & MAP_32BIT) != 0) {
        for (int attempt = 0; attempt < 4 && got < 0; ++attempt) {
            const address low = s.memory().space().look_low(s.owner(owner_of(s, prot)), size);
            if (low == 0) {
                break;
            }
            got = allocate(s, low, size, prot, level);
            if (got == -ENOMEM) {
                return got;
            }
        }
        return got > 0 ? got : map_acquired(s, {0, size}, prot, flags, -1, 0, owner_of(s, prot));
    }
    if ((flags & MAP_FIXED_NOREPLACE) != 0 || hint != 0) {
        // Given back before, in a reservation that still lives: it revives.
        const vm::found f = s.memory().space().find(hint);
        const range wanted{hint, hint + size};
        if (f.index != 0 && f.code == vm::page_code::dead && f.whole.contains(wanted) &&
            s.memory().space().run_end(hint, wanted.end) == wanted.end) {
            s.deferred().forget(wanted);
            return renew(s, wanted, prot) == 0 ? static_cast<long>(hint) : -ENOMEM;
        }
        got = is_aligned(hint, granule_size) ? allocate(s, hint, size, prot, level) : -EEXIST;
        if (got > 0 || got == -ENOMEM || (flags & MAP_FIXED_NOREPLACE) != 0) {
            return got;
        }
    }
    return allocate(s, 0, size, prot, level);
}

} // namespace

long map_memory(state& s, address where, byte_count size, int prot, int flags, int fd,
                std::int64_t offset) noexcept {
    const bool fixed = (flags & MAP_FIXED) != 0;
    const bool no_replace = (flags & MAP_FIXED_NOREPLACE) == MAP_FIXED_NOREPLACE;
    const bool has_file = (flags & MAP_ANONYMOUS) == 0;
    prot &= known_prot; // the kernel ignores the rest here
    if (size == 0 || size > top_address || (flags & (MAP_SHARED | MAP_PRIVATE)) == 0 ||
        ((fixed || no_replace) &&
         (!is_aligned(where, page_size) || !fits_user_space(where, size)))) {
        return prim::pass_mmap(where, size, prot, flags, fd,
                               offset); // the kernel says what is wrong
    }
    const byte_count asked = size;
    size = round_up(size, page_size);
    if (fixed && !no_replace && where >= lowest_address) {
        const long got = map_fixed(s, {where, where + size}, prot, flags, fd, offset);
        if (got > 0 && (flags & MAP_POPULATE) != 0 && prot != PROT_NONE) {
            prim::populate(where, size);
        }
        return got;
    }
    const auto is_hole_of_ours = [&]() noexcept {
        const vm::found f = s.memory().space().find(where);
        return f.index != 0 && f.code == vm::page_code::dead;
    };
    if (!has_file && is_plain_anonymous(flags, prot) &&
        (where == 0 || is_aligned(where, granule_size) || (flags & MAP_32BIT) != 0 ||
         (no_replace && is_hole_of_ours())) &&
        fits_user_space(where, size)) {
        const long got = map_anonymous(s, where, size, prot, flags, level_of(s, prot, asked));
        if (got > 0) {
            if ((flags & MAP_LOCKED) != 0 &&
                prim::lock_in_memory(static_cast<address>(got), size) != 0) {
                static_cast<void>(unmap_memory(s, static_cast<address>(got), size));
                return -EAGAIN;
            }
            if ((flags & MAP_POPULATE) != 0 && prot != PROT_NONE) {
                prim::populate(static_cast<address>(got), size);
            }
        }
        return got;
    }
    return map_acquired(s, {where, where + size}, prot, flags, fd, offset,
                        has_file ? owner_kind::files : owner_of(s, prot));
}

// ---- munmap ----------------------------------------------------------------------------------------

namespace {

// Memory of one reservation of ours goes back; false only while another request holds its pages.
bool give_back(state& s, const vm::found& f, range part) noexcept {
    forget_mappings(s, f, part);
    const leaving_views views(s, part);
    if (part == f.whole) {
        return s.host(owner_kind::gc).VirtualFree(pointer(part.begin), 0, MEM_RELEASE) == S_OK;
    }
    return retire(s, part);
}

} // namespace

long unmap_memory(state& s, address where, byte_count size) noexcept {
    if (!is_aligned(where, page_size) || size == 0 || !fits_user_space(where, size)) {
        return prim::pass_munmap(where, size);
    }
    if (!s.deferred().is_empty()) {
        s.deferred().settle([&](range part) {
            const vm::found f = s.memory().space().find(part.begin);
            return f.index == 0 || give_back(s, f, part);
        });
    }
    const address end = round_up(where + size, page_size);
    for (address at = where; at < end;) {
        const piece p = next_piece(s, at, end);
        if (p.ours.index != 0) {
            if (!give_back(s, p.ours, p.part) && !s.deferred().add(p.part)) {
                return -ENOMEM;
            }
        } else if (!p.hole) {
            if (const long r = unmap_acquired(s, p.part); r < 0) {
                return r;
            }
        }
        at = p.part.end;
    }
    return 0;
}

// ---- mprotect --------------------------------------------------------------------------------------

namespace {

// One run of like pages of ours.
long protect_run(state& s, range part, vm::page_code code, int prot) noexcept {
    IHostMemoryManager& host = s.host(owner_kind::gc);
    if (code == vm::page_code::dead) {
        return -ENOMEM; // POSIX: not mapped
    }
    if (code == vm::page_code::replaced) {
        // The program's own mapping: the map of pages has nothing to note, and the kernel's call
        // gives the kernel's errors.
        count(s, telemetry::request_kind::virtual_protect);
        return protect_acquired(s, part, prot);
    }
    if (vm::is_committed(code)) {
        DWORD old = 0;
        return host.VirtualProtect(pointer(part.begin), part.size(), page_of(prot), &old) == S_OK
                   ? 0
                   : -ENOMEM;
    }
    if (prot == PROT_NONE) {
        return 0;
    }
    return commit(s, part, prot) ? 0 : -ENOMEM;
}

// Part after part until one fails; `past_holes`: unmapped parts are an error at the end only, as
// madvise has it.
template <class Ours, class Foreign>
long for_each_piece(state& s, address where, address end, bool past_holes, Ours ours,
                    Foreign foreign) noexcept {
    long hole = 0;
    for (address at = where; at < end;) {
        const piece p = next_piece(s, at, end);
        long r = p.hole ? -ENOMEM : 0;
        address stop = p.part.end;
        if (p.ours.index != 0) {
            stop = p.ours.run_end < p.part.end ? p.ours.run_end : p.part.end;
            // find() joins reserved and dead pages; here they differ.
            if (vm::is_reserved(p.ours.code)) {
                stop = s.memory().space().run_end(at, stop);
            }
            r = ours(range{at, stop}, p.ours.code);
        } else if (!p.hole) {
            r = foreign(p.part);
        }
        if (r == -ENOMEM && past_holes) {
            hole = r;
        } else if (r != 0) {
            return r;
        }
        at = stop;
    }
    return hole;
}

} // namespace

long protect_memory(state& s, address where, byte_count size, int prot) noexcept {
    constexpr int semaphores = 0x8; // PROT_SEM: accepted and without effect
    if (!is_aligned(where, page_size) || size == 0 || !fits_user_space(where, size) ||
        (prot & ~(known_prot | semaphores)) != 0) {
        return prim::pass_mprotect(where, size, prot);
    }
    prot &= known_prot;
    const address end = round_up(where + size, page_size);
    return for_each_piece(
        s, where, end, false,
        [&](range part, vm::page_code code) { return protect_run(s, part, code, prot); },
        [&](range part) { return protect_acquired(s, part, prot); });
}

// ---- madvise ---------------------------------------------------------------------------------------

namespace {

constexpr int guard_install = 102; // MADV_GUARD_INSTALL, MADV_GUARD_REMOVE: Linux 6.13
constexpr int guard_remove = 103;

// The kernel keeps these with its mapping, and so beyond the end of our reservation.
constexpr bool is_kept_by_mapping(int advice) noexcept {
    switch (advice) {
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_MERGEABLE:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP:
    case MADV_WIPEONFORK: return true;
    default: return false;
    }
}

// Then the space is to be mapped anew before somebody else gets it.
long advise_ours(state& s, range part, int advice) noexcept {
    if (advice == guard_install || advice == guard_remove) {
        return -EINVAL; // markers are ours to put on and take off; a kernel before 6.13 says the same
    }
    if (is_kept_by_mapping(advice)) {
        vm::address_space& space = s.memory().space();
        if (const std::uint32_t index = space.find(part.begin).index; index != 0) {
            space.map().at(index).flags.fetch_or(vm::altered_mapping, std::memory_order_acq_rel);
        }
    }
    return prim::pass_madvise(part.begin, part.size(), advice);
}

} // namespace

long advise_memory(state& s, address where, byte_count size, int advice) noexcept {
    constexpr int dontneed_locked = 24;
    if (!is_aligned(where, page_size) || size == 0 || !fits_user_space(where, size)) {
        return prim::pass_madvise(where, size, advice);
    }
    const bool drops = advice == MADV_DONTNEED || advice == dontneed_locked;
    const auto pass = [&](range part) {
        const long r = prim::pass_madvise(part.begin, part.size(), advice);
        if (r == 0 && advice == MADV_REMOVE) {
            contents_removed(s, part);
        }
        return r;
    };
    const auto ours = [&](range part, vm::page_code code) -> long {
        if (code == vm::page_code::dead) {
            return -ENOMEM;
        }
        if (advice == MADV_DONTFORK) {
            return 0; // a child that lacked these pages would contradict its own map
        }
        if (code == vm::page_code::replaced) {
            return pass(part); // the program's own mapping
        }
        if (!vm::is_charged(code)) {
            return drops || advice == MADV_FREE ? 0 : advise_ours(s, part, advice);
        }
        IHostMemoryManager& host = s.host(owner_kind::gc);
        if (drops && code == vm::page_code::noaccess) {
            return host.VirtualFree(pointer(part.begin), part.size(), MEM_DECOMMIT) == S_OK
                       ? 0
                       : -ENOMEM;
        }
        if (drops) {
            void* got = nullptr;
            return host.VirtualAlloc(pointer(part.begin), part.size(), MEM_RESET, PAGE_READWRITE,
                                     eProcessCritical, &got) == S_OK
                       ? 0
                       : -ENOMEM;
        }
        return advise_ours(s, part, advice);
    };
    return for_each_piece(s, where, round_up(where + size, page_size), true, ours, pass);
}

// ---- mremap, brk -----------------------------------------------------------------------------------

long remap_memory(state& s, address where, byte_count old_size, byte_count new_size, int flags,
                  address to) noexcept {
    const bool valid = is_aligned(where, page_size) && new_size != 0 && new_size <= top_address &&
                       fits_user_space(where, old_size);
    const vm::found f = valid ? s.memory().space().find(where) : vm::found{};
    const range old{where, where + (valid ? round_up(old_size, page_size) : 0)};
    const piece first = old.is_empty() ? piece{} : next_piece(s, old.begin, old.end);
    if (first.hole) {
        return -EFAULT; // not mapped, as far as the program knows
    }
    // Of several reservations, or partly the kernel's own.
    const bool spans = !old.is_empty() && first.part != old;
    if (!old.is_empty() && (flags & ~MREMAP_MAYMOVE) == 0 && new_size <= old_size &&
        (f.index != 0 || spans)) {
        // The kernel looks at the first page alone, and unmaps what is too much.
        const bool exists = f.index != 0 ? f.code != vm::page_code::dead
                                         : prim::pass_mremap(where, page_size, page_size, 0, 0) > 0;
        new_size = round_up(new_size, page_size);
        const long r = !exists ? -EFAULT
                       : new_size < old.size()
                           ? unmap_memory(s, where + new_size, old.size() - new_size)
                           : 0;
        return r != 0 ? r : static_cast<long>(where);
    }
    if (f.index == 0) {
        if (spans) {
            // Where our memory lies against the program's own, the kernel sees one mapping; it must
            // not move what is ours, nor may that be recorded and charged a second time.
            return -EFAULT;
        }
        const bool onto_ours =
            (flags & MREMAP_FIXED) != 0 && fits_user_space(to, new_size) &&
            (s.memory().space().find(to).index != 0 ||
             !s.memory().space().arena_at(to).is_empty() ||
             s.memory().space().next_base(to, to + round_up(new_size, page_size)) < to + new_size);
        if (onto_ours) {
            return -ENOMEM;
        }
        const long got = remap_view(s, where, old_size, new_size, flags, to);
        return got != no_such_view ? got : remap_acquired(s, where, old_size, new_size, flags, to);
    }
    old_size = round_up(old_size, page_size);
    new_size = round_up(new_size, page_size);
    constexpr int dont_unmap = 4;
    if ((flags & (MREMAP_FIXED | dont_unmap)) != 0 || old_size == 0) {
        return -ENOMEM; // our addresses never become anybody else's (decision 24)
    }
    if (!f.whole.contains(old) || f.run_end < old.end || !vm::is_charged(f.code)) {
        return -EFAULT;
    }
    // In place when what follows is ours, dead or reserved, and of the same reservation.
    const range more{old.end, where + new_size};
    if (f.whole.contains(more)) {
        const vm::found next = s.memory().space().find(more.begin);
        if (next.code == vm::page_code::dead &&
            s.memory().space().run_end(more.begin, more.end) == more.end) {
            void* got = nullptr;
            const HRESULT hr =
                s.host(owner_kind::gc)
                    .VirtualAlloc(pointer(more.begin), more.size(), MEM_COMMIT,
                                  vm::encode_protection(f.code, 0),
                                  level_of(s, PROT_READ | PROT_WRITE, more.size()), &got);
            return hr == S_OK ? static_cast<long>(where) : -ENOMEM;
        }
    }
    if ((flags & MREMAP_MAYMOVE) == 0) {
        return -ENOMEM;
    }
    count(s, telemetry::request_kind::virtual_alloc);
    count(s, telemetry::request_kind::virtual_free);
    const auto moved = s.memory().move(
        f.owner, old, new_size, level_for(s, purpose_of(s, PROT_READ | PROT_WRITE), new_size));
    return moved ? static_cast<long>(*moved) : -ENOMEM;
}

bool may_grow_break(state& s, byte_count more) noexcept {
    const page_count pages = pages_of(round_up(more, page_size));
    const criticality level = level_for(s, purpose::malloc, more);
    const bool admitted =
        s.books().tree().admit(s.owner(owner_kind::malloc), pages, level).has_value();
    if (!admitted) {
        s.memory().count_refusal(s.owner(owner_kind::malloc), level, pages);
    }
    return admitted;
}

} // namespace memreeve::bridge
