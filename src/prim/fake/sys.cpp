// SPDX-License-Identifier: MIT
#include "prim/fake/model.hpp"
#include "prim/libc/call.hpp"
#include "prim/prim.hpp"

#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace memreeve::prim {
namespace fake {
namespace {

constexpr long procmap_request = 0xc0686611; // PROCMAP_QUERY

std::mutex mutex;
std::atomic<bool> running{false};
bool universe_is_reserved = false;
model kernel;

struct planned_failure {
    long number = -1;
    long nth = 0;
    int error = 0;
} planned;
bool protect_is_refused = false;
byte_count done_before_refusal = 0;

struct call {
    long number, a, b, c, d, e, f;

    range target() const noexcept {
        const address begin = static_cast<address>(a);
        return {begin, begin + round_up(static_cast<byte_count>(b), page_size)};
    }
};

long real(const call& k) noexcept { return libc_call(k.number, k.a, k.b, k.c, k.d, k.e, k.f); }

bool give_back_to_universe(range r) noexcept {
    const long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return libc_call(SYS_mmap, static_cast<long>(r.begin), static_cast<long>(r.size()), PROT_NONE,
                     flags, -1, 0) == static_cast<long>(r.begin);
}

// The model has accepted the call, so the real kernel must: a test whose model and kernel differ
// proves nothing.
long insist(long result) noexcept {
    if (result < 0 && result >= -4095) {
        say("fake kernel: the real kernel refused what the model allows");
        __builtin_trap();
    }
    return result;
}

access access_of(long prot) noexcept { return static_cast<access>(prot & 7); }
static_assert(PROT_READ == 1 && PROT_WRITE == 2 && PROT_EXEC == 4);

bool in_universe(range r) noexcept { return universe.overlaps(r); }

long model_mmap(call k) {
    range r = k.target();
    const bool fixed = (k.d & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    const bool anonymous = (k.d & MAP_ANONYMOUS) != 0;
    if (fixed ? !in_universe(r) : !anonymous) {
        return real(k);
    }
    if (r.is_empty()) {
        return -EINVAL;
    }
    if (fixed) {
        if (!universe.contains(r)) {
            return -ENOMEM;
        }
        if ((k.d & MAP_FIXED_NOREPLACE) != 0 && !kernel.is_free(r)) {
            return -EEXIST;
        }
    } else {
#ifdef MAP_32BIT
        if ((k.d & MAP_32BIT) != 0) {
            return -ENOMEM;
        }
#endif
        const bool hint_works = r.begin != 0 && universe.contains(r) && kernel.is_free(r);
        if (!hint_works) {
            const auto hole = kernel.find_hole(r.size());
            if (!hole) {
                return -ENOMEM;
            }
            r = {*hole, *hole + r.size()};
        }
    }
    vma v;
    v.where = r;
    v.allowed = access_of(k.c);
    v.shared = (k.d & MAP_SHARED) != 0;
    v.has_file = !anonymous || v.shared;
    if (const int e = kernel.map(v); e != 0) {
        return -e;
    }
    k.a = static_cast<long>(r.begin);
    k.d = (k.d & ~static_cast<long>(MAP_FIXED_NOREPLACE)) | MAP_FIXED;
    return insist(real(k));
}

long model_munmap(const call& k) {
    const range r = k.target();
    if (!in_universe(r)) {
        return real(k);
    }
    if (!is_aligned(r.begin, page_size) || r.is_empty()) {
        return -EINVAL;
    }
    if (const int e = kernel.unmap(r); e != 0) {
        return -e;
    }
    return insist(give_back_to_universe(r) ? 0 : -ENOMEM);
}

long model_mprotect(call k) {
    const range r = k.target();
    if (!in_universe(r)) {
        return real(k);
    }
    if (!is_aligned(r.begin, page_size)) {
        return -EINVAL;
    }
    if (r.is_empty()) {
        return 0;
    }
    range changed;
    const int e = kernel.protect(r, access_of(k.c), changed);
    if (!changed.is_empty()) {
        k.b = static_cast<long>(changed.size());
        (void)insist(real(k));
    }
    return -e;
}

long model_madvise(const call& k) {
    const range r = k.target();
    if (!in_universe(r)) {
        return real(k);
    }
    if (k.c == MADV_WIPEONFORK) {
        if (const int e = kernel.set_wiped_on_fork(r); e != 0) {
            return -e;
        }
        return insist(real(k));
    }
    constexpr long guard_install = 102;
    constexpr long guard_remove = 103;
    if (k.c == guard_install || k.c == guard_remove) {
        const int e = kernel.set_guards(r, k.c == guard_install);
        if (e != 0) {
            return -e;
        }
        const long result = real(k);
        if (result != 0) { // a kernel before 6.13 below the model
            (void)kernel.set_guards(r, false);
        }
        return result;
    }
    // The mapped parts are dealt with and the hole reported; holes are mapped in reality.
    const bool whole = kernel.is_fully_mapped(r);
    const long result = real(k);
    return result == 0 && !whole ? -ENOMEM : result;
}

long model_mremap(call k) {
    const range from = k.target();
    if (!in_universe(from)) {
        return real(k);
    }
    const byte_count new_size = round_up(static_cast<byte_count>(k.c), page_size);
    const address wanted = static_cast<address>(k.e);
    vma source;
    if ((k.d & MREMAP_DONTUNMAP) != 0) {
        const bool fixed = (k.d & MREMAP_FIXED) != 0;
        const auto hole = fixed ? std::optional<address>(wanted) : kernel.find_hole(from.size());
        if (new_size != from.size() || !hole ||
            !universe.contains(range{*hole, *hole + new_size})) {
            return new_size != from.size() ? -EINVAL : -ENOMEM;
        }
        if (const int e = kernel.move_leaving_source(from, *hole, source); e != 0) {
            return -e;
        }
        k.d |= MREMAP_FIXED;
        k.e = static_cast<long>(*hole);
        return insist(real(k));
    }
    if ((k.d & MREMAP_FIXED) == 0) {
        if (new_size <= from.size()) {
            const range rest{from.begin + new_size, from.end};
            if (rest.is_empty()) {
                return k.a;
            }
            const int e = kernel.unmap(rest);
            return e != 0 ? -e : insist(give_back_to_universe(rest) ? k.a : -ENOMEM);
        }
        if (kernel.grow_in_place(from, new_size, source) == 0) {
            const long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
            (void)insist(libc_call(SYS_mmap, static_cast<long>(source.where.begin),
                                   static_cast<long>(source.where.size()),
                                   static_cast<long>(source.allowed), flags, -1, 0));
            return k.a;
        }
        if ((k.d & MREMAP_MAYMOVE) == 0) {
            return -ENOMEM;
        }
    }
    const bool fixed = (k.d & MREMAP_FIXED) != 0;
    const auto hole = fixed ? std::optional<address>(wanted) : kernel.find_hole(new_size);
    if (!hole || !universe.contains(range{*hole, *hole + new_size})) {
        return -ENOMEM;
    }
    if (const int e = kernel.move(from, {*hole, *hole + new_size}, source); e != 0) {
        return -e;
    }
    k.d |= MREMAP_MAYMOVE | MREMAP_FIXED;
    k.e = static_cast<long>(*hole);
    const long result = insist(real(k));
    (void)insist(give_back_to_universe(from) ? 0 : -ENOMEM);
    return result;
}

// The head of the kernel's struct procmap_query.
struct procmap_query {
    std::uint64_t size, flags, at, begin, end, vma_flags, vma_page_size, offset, inode;
    std::uint32_t major, minor;
};

// The universe as the model has it, the rest as the kernel has it.
long model_procmap(const call& k) {
    auto* q = static_cast<procmap_query*>(as_pointer(k.c));
    if (q->at < universe.begin) {
        const long r = real(k);
        if (r != 0 || q->begin < universe.begin) {
            return r;
        }
    }
    if (q->at < universe.end) {
        const vma* v = kernel.find_or_next(q->at < universe.begin ? universe.begin : q->at);
        if (v != nullptr) {
            q->begin = v->where.begin;
            q->end = v->where.end;
            q->vma_flags = static_cast<std::uint64_t>(v->allowed) | (v->shared ? 8u : 0u);
            q->offset = 0;
            q->inode = v->has_file ? 1 : 0;
            q->major = 0;
            q->minor = 0;
            return 0;
        }
        const std::uint64_t asked = q->at;
        q->at = universe.end;
        const long r = real(k);
        q->at = asked;
        return r;
    }
    return real(k);
}

bool is_modelled(const call& k) noexcept {
    switch (k.number) {
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_mremap: return true;
    case SYS_ioctl: return static_cast<unsigned>(k.b) == static_cast<unsigned>(procmap_request);
    default: return false;
    }
}

long carry_out(const call& k) {
    if (k.number == planned.number && planned.nth > 0 && --planned.nth == 0) {
        return -planned.error;
    }
    if (k.number == SYS_mprotect && protect_is_refused) {
        call begun = k;
        begun.b = static_cast<long>(std::exchange(done_before_refusal, 0));
        if (begun.b != 0) {
            (void)model_mprotect(begun);
        }
        return -ENOMEM;
    }
    switch (k.number) {
    case SYS_mmap: return model_mmap(k);
    case SYS_munmap: return model_munmap(k);
    case SYS_mprotect: return model_mprotect(k);
    case SYS_madvise: return model_madvise(k);
    case SYS_mremap: return model_mremap(k);
    default: return model_procmap(k);
    }
}

} // namespace

bool start(const settings& s) noexcept {
    const std::lock_guard lock(mutex);
    const long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
                       (universe_is_reserved ? MAP_FIXED : MAP_FIXED_NOREPLACE);
    const long r = libc_call(SYS_mmap, static_cast<long>(universe.begin),
                             static_cast<long>(universe.size()), PROT_NONE, flags, -1, 0);
    if (r != static_cast<long>(universe.begin)) {
        return false;
    }
    universe_is_reserved = true;
    kernel.reset(s);
    planned = {};
    protect_is_refused = false;
    running.store(true);
    return true;
}

void stop() noexcept { running.store(false); }

void set_limits(const settings& s) noexcept {
    const std::lock_guard lock(mutex);
    kernel.set_limits(s);
}

std::size_t mapping_count() noexcept {
    const std::lock_guard lock(mutex);
    return kernel.count();
}

byte_count mapped_bytes() noexcept {
    const std::lock_guard lock(mutex);
    return kernel.bytes();
}

std::vector<vma> mappings() {
    const std::lock_guard lock(mutex);
    std::vector<vma> list;
    for (const auto& entry : kernel.all()) {
        list.push_back(entry.second);
    }
    return list;
}

access access_at(address page) noexcept {
    const std::lock_guard lock(mutex);
    const vma* v = kernel.find(page);
    return v == nullptr || kernel.is_guarded(page) ? access::none : v->allowed;
}

bool is_mapped(address page) noexcept {
    const std::lock_guard lock(mutex);
    return kernel.find(page) != nullptr;
}

bool is_guarded(address page) noexcept {
    const std::lock_guard lock(mutex);
    return kernel.is_guarded(page);
}

void refuse_protect(byte_count done) noexcept {
    const std::lock_guard lock(mutex);
    protect_is_refused = true;
    done_before_refusal = done;
}

void allow_protect() noexcept {
    const std::lock_guard lock(mutex);
    protect_is_refused = false;
}

void fail(long number, long nth, int error) noexcept {
    const std::lock_guard lock(mutex);
    planned = {number, nth, error};
}

std::size_t refused_for_count() noexcept {
    const std::lock_guard lock(mutex);
    return kernel.refused_for_count();
}

std::size_t refused_for_size() noexcept {
    const std::lock_guard lock(mutex);
    return kernel.refused_for_size();
}

} // namespace fake

long sys(long number, long a, long b, long c, long d, long e, long f) noexcept {
    const fake::call k{number, a, b, c, d, e, f};
    if (fake::running.load() && number == SYS_userfaultfd) {
        return -ENOSYS; // no memory of its marks
    }
    if (!fake::running.load() || !fake::is_modelled(k)) {
        return fake::real(k);
    }
    const std::lock_guard lock(fake::mutex);
    return fake::carry_out(k);
}

} // namespace memreeve::prim
