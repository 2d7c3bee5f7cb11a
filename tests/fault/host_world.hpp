// SPDX-License-Identifier: MIT
// A host with everything in it (ledger, image, manager, notifier, COM object), which can be pictured and
// checked. For sweeps and for the modelled kernel.
#pragma once

#include "com/host_memory_manager.hpp"
#include "fault/kernel_view.hpp"
#include "fault/picture.hpp"
#include "manager/host.hpp"
#include "memreeve/host_interfaces.h"
#include "support/fault_sweep.hpp"
#include "vm/win32.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace memreeve::test {

namespace w32 = vm::win32;

class host_world {
public:
    manager::host* host = nullptr;
    owner_id owner{};
    std::unique_ptr<com::host_memory_manager> com;
    // For the scripts: addresses they work on, foreign ranges to watch, whatever else.
    address a = 0;
    address b = 0;
    std::vector<range> watched;
    IHostMalloc* heap = nullptr;
    void* block = nullptr;
    std::uint64_t word = 0;

    // Of the worlds made from now on.
    static inline bool guard_pages = true;
    static inline bool relaxed = false;
    static inline bool dense = false; // what is decommitted whole stays warm

    host_world() {
        manager::host::settings settings;
        settings.memory.guard_pages = guard_pages;
        settings.memory.relaxed = relaxed;
        const auto made = manager::host::create(settings);
        if (!made) {
            throw std::string("no host");
        }
        host = *made;
        memory().space().assume_dense(dense);
        const auto opened = host->open_owner(owner_id::none, "script", {});
        if (!opened) {
            throw std::string("no owner");
        }
        owner = *opened;
        com = std::make_unique<com::host_memory_manager>(host->memory(), owner, &host->notices(),
                                                         &host->records());
        (void)hash_of_page(0); // opens its descriptor
    }
    host_world(const host_world&) = delete;
    host_world& operator=(const host_world&) = delete;

    manager::manager& memory() { return host->memory(); }

    // ---- requests, as outcomes; `must` in what a script takes for granted -------------------------
    template <class T>
    static outcome outcome_of(const result<T>& r) {
        return r ? outcome{true, ""}
                 : outcome{false, text_of("%s, os %d", text(r.error().code), r.error().os_code)};
    }
    static void must(const outcome& o, const char* what) {
        if (!o.done) {
            throw std::string(what) + ": " + o.why;
        }
    }
    outcome alloc(address where, byte_count size, std::uint32_t type, std::uint32_t protect,
                  address* out = nullptr) {
        const auto r =
            memory().virtual_alloc(owner, where, size, type, protect, criticality::process);
        if (r && out != nullptr) {
            *out = *r;
        }
        return outcome_of(r);
    }
    outcome free(address where, byte_count size, std::uint32_t type) {
        return outcome_of(memory().virtual_free(where, size, type));
    }
    outcome protect(address where, byte_count size, std::uint32_t wanted) {
        return outcome_of(memory().virtual_protect(where, size, wanted, true));
    }
    address reserved(byte_count size) {
        address at = 0;
        must(alloc(0, size, w32::mem_reserve, w32::page_noaccess, &at), "reserve");
        return at;
    }
    void commit(address where, page_count pages, std::uint32_t wanted = w32::page_readwrite) {
        must(alloc(where, bytes_of(pages), w32::mem_commit, wanted), "commit");
    }
    // Committed read-write, filled with something, then protected.
    void commit_filled(address where, page_count pages,
                       std::uint32_t wanted = w32::page_readwrite) {
        commit(where, pages);
        fill(where, pages);
        if (wanted != w32::page_readwrite) {
            must(protect(where, bytes_of(pages), wanted), "protect");
        }
    }
    static void fill(address where, page_count pages) {
        for (page_count i = 0; i < pages; ++i) {
            std::memset(reinterpret_cast<void*>(where + bytes_of(i)),
                        static_cast<int>(0x41 + i % 50), page_size);
        }
    }
    void release(address where) {
        must(free(where, 0, w32::mem_release), "release");
        settle();
    }
    // What the kernel refused to take back, tried again; as any later request does.
    void settle() {
        memory().space().settle_owed();
        if (memory().space().owed() != 0) {
            throw std::string("something is still owed after the faults ended");
        }
    }

    // ---- what a script's `done` asks ----------------------------------------------------------------
    vm::found at(address where) { return memory().space().find(where); }
    std::string expect_code(address where, page_count pages, vm::page_code code) {
        for (page_count i = 0; i < pages; ++i) {
            const vm::found f = at(where + bytes_of(i));
            if (f.index == 0) {
                return text_of("page %lu is free", i);
            }
            if (f.code != code) {
                return text_of("page %lu has code %d, wanted %d", i, static_cast<int>(f.code),
                               static_cast<int>(code));
            }
        }
        return "";
    }
    static std::string expect_zeroes(address where, page_count pages) {
        for (page_count i = 0; i < pages; ++i) {
            if (hash_of_page(where + bytes_of(i)) != hash_of_zeroes()) {
                return text_of("page %lu is not zero", i);
            }
        }
        return "";
    }
    static std::string expect_filled(address where, page_count pages, page_count first = 0) {
        for (page_count i = 0; i < pages; ++i) {
            unsigned char byte = 0;
            static const int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
            if (pread(fd, &byte, 1, static_cast<off_t>(where + bytes_of(i) + 100)) != 1 ||
                byte != 0x41 + (first + i) % 50) {
                return text_of("page %lu lost its contents", i);
            }
        }
        return "";
    }
    std::string expect_free(address where) {
        return at(where).index == 0 ? "" : std::string("the reservation is still there");
    }

    // ---- the sweep's questions ------------------------------------------------------------------------
    picture capture() {
        picture p;
        host->books().tree().drain();
        const kernel_view kernel;
        for_each_run([&](const vm::found& f, range run) {
            p.runs.push_back({run, f.code, f.whole, f.owner, f.protect, f.tag});
            p.add_kernel(kernel, run);
            if (vm::is_committed(f.code) && f.tag == 0) { // a heap may write in its own pages
                for (address page = run.begin; page < run.end; page += page_size) {
                    p.contents[page] = hash_of_page(page);
                }
            }
        });
        for (const range r : watched) {
            p.add_kernel(kernel, r);
            for (address page = r.begin; page < r.end; page += page_size) {
                p.contents[page] = hash_of_page(page);
            }
        }
        budget::tree& tree = host->books().tree();
        for (std::uint32_t i = 0; i < 64 && i < tree.capacity(); ++i) {
            const auto id = static_cast<owner_id>(i);
            const budget::account& t = tree.at(id);
            books_of_account x;
            x.name = t.name;
            x.state = t.state;
            if (x.state == static_cast<std::uint32_t>(budget::account_state::live)) {
                x.charged = tree.charged(id);
                const budget::book_figures e = tree.entered(id);
                // Open granules stay open when what they were opened for is refused.
                const page_count open = memory().space().open_pages(id);
                x.reserved = e.reserved;
                x.committed = e.committed;
                x.writable = e.writable - open;
                x.slack = e.slack - open;
                x.heap = t.heap;
                x.mapped = t.mapped;
            } else {
                x.name = "";
            }
            p.books.push_back(x);
        }
        memory().known().for_each([&](telemetry::extent& e) {
            const auto kind = static_cast<telemetry::extent_kind>(e.kind.load());
            if (kind != telemetry::extent_kind::arena && kind != telemetry::extent_kind::records) {
                p.extents.push_back({{e.begin, e.end}, e.owner, e.kind, e.charged});
            }
        });
        std::sort(p.extents.begin(), p.extents.end());
        return p;
    }

    static std::string difference(const picture& before, const picture& after, strictness how) {
        return difference_of(before, after, how);
    }

    // I1, I2, I4 of reliability 2.0.
    std::string invariants(strictness how) {
        host->books().tree().drain();
        if (const char* wrong = memory().space().map().check_invariants(); wrong != nullptr) {
            return std::string("region map: ") + wrong;
        }
        const telemetry::image_record& image = host->image();
        if (!telemetry::operations_of(image).is_quiet()) {
            return "an operation was begun and not done";
        }
        std::string wrong = kernel_agrees(how);
        return wrong.empty() ? books_agree() : wrong;
    }

    template <class F>
    void for_each_run(F f) {
        vm::address_space& space = memory().space();
        for (address base = space.next_base(0); base < top_address;) {
            const vm::found first = space.map().find(base); // an area of placeholders as a whole
            if (first.index == 0) {
                throw std::string("next_base names a free page");
            }
            vm::found here = first;
            space.map().for_each_run(first.whole, [&](range run, vm::page_code code, bool) {
                here.code = code; // find() shows all that is reserved as one (Q8)
                f(here, run);
            });
            base = space.next_base(round_up(first.whole.end, granule_size));
        }
    }

private:
    // I1: page by page; and what is in no reservation is closed. Degraded: what is reserved may be
    // readable still, because the kernel would not close it, but never writable unless it says so.
    static bool access_fits(vm::page_code code, bool guarded, access got, strictness how) {
        if (got == vm::kernel_access(code, guarded)) {
            return true;
        }
        if (guarded && code == vm::page_code::reserved_writable) {
            return !allows(got, access::write); // and no access, or a marker
        }
        if (guarded && vm::is_reserved(code)) {
            return how != strictness::as_before;
        }
        if (vm::is_committed(code)) {
            return how == strictness::torn;
        }
        return how != strictness::as_before &&
               (code == vm::page_code::reserved_writable || !allows(got, access::write));
    }
    std::string kernel_agrees(strictness how) {
        const kernel_view kernel;
        std::string wrong;
        for_each_run([&](const vm::found& f, range run) {
            if (f.code == vm::page_code::replaced) {
                return;
            }
            kernel.for_each(run, [&](range piece, const kernel_line* l) {
                if (!wrong.empty()) {
                    return;
                }
                if (l == nullptr || !l->is_private_anonymous ||
                    !access_fits(f.code, is_guarded(f), l->allowed, how)) {
                    wrong = text_of("page %lx: code %d, kernel %s %d", piece.begin,
                                    static_cast<int>(f.code),
                                    l == nullptr              ? "nothing"
                                    : l->is_private_anonymous ? "anonymous"
                                                              : "other",
                                    l == nullptr ? 0 : static_cast<int>(l->allowed));
                }
                // Decided by trying: a marker shows in no list of mappings.
                const bool is_sure =
                    how == strictness::as_before ||
                    (how == strictness::degraded && (f.flags & vm::may_be_open) == 0);
                const bool is_strict = (f.flags & vm::relaxed_space) == 0;
                for (address page = piece.begin;
                     wrong.empty() && is_sure && is_strict && is_guarded(f) && page < piece.end;
                     page += page_size) {
                    const bool readable = can_read(page);
                    if (readable != allows(vm::use_of(f.code), access::read)) {
                        wrong = text_of("page %lx: code %d, %s", page, static_cast<int>(f.code),
                                        readable ? "readable" : "not readable");
                    }
                }
            });
        });
        if (wrong.empty() && memory().space().owed() == 0) {
            page_count open = 0; // by the kernel, and in no reservation
            memory().known().for_each([&](telemetry::extent& e) {
                if (e.kind.load() != static_cast<std::uint32_t>(telemetry::extent_kind::arena)) {
                    return;
                }
                kernel.for_each(range{e.begin, e.end}, [&](range piece, const kernel_line* l) {
                    for (address page = piece.begin; wrong.empty() && page < piece.end;) {
                        const vm::found f = at(page);
                        const bool mapped = l != nullptr;
                        if (!mapped) {
                            wrong = text_of("page %lx of an arena: not mapped", page);
                        } else if (f.index == 0 &&
                                   ((l->allowed != access::none &&
                                     l->allowed != access::read_write) ||
                                    (l->allowed != access::none && !relaxed && can_read(page)) ||
                                    !l->is_private_anonymous)) {
                            wrong =
                                text_of("page %lx of an arena, in no reservation: %s, access %d",
                                        page, l->is_private_anonymous ? "anonymous" : "a file",
                                        static_cast<int>(l->allowed));
                        }
                        const bool is_open = mapped && l->allowed != access::none;
                        const address next = f.index != 0 ? f.run_end
                                             : is_open    ? next_free(page, piece.end)
                                                          : next_in(page, piece.end);
                        open += f.index == 0 && is_open ? pages_of(next - page) : 0;
                        page = next;
                    }
                });
            });
            page_count wanted = 0;
            for (std::uint32_t i = 0; i < 64; ++i) {
                wanted += memory().space().open_pages(static_cast<owner_id>(i));
            }
            for_each_run(
                [&](const vm::found& f, range run) { wanted -= is_guarded(f) ? run.pages() : 0; });
            if (wrong.empty() && open != wanted) {
                wrong = text_of("%lu free pages are open, the arenas say %lu", open, wanted);
            }
        }
        return wrong;
    }
    address next_in(address page, address end) {
        const address base = memory().space().next_base(round_up(page + 1, granule_size), end);
        return std::min(base, end);
    }
    // The rest of a granule whose begin is a reservation's; else granule by granule.
    address next_free(address page, address end) {
        const address next =
            is_aligned(page, granule_size) ? page + granule_size : page + page_size;
        return std::min(next, end);
    }
    static bool is_guarded(const vm::found& f) { return (f.flags & vm::guarded_space) != 0; }
    static bool can_read(address page) {
        char byte = 0;
        const iovec to{&byte, 1};
        const iovec from{reinterpret_cast<void*>(page), 1};
        return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
    }
    // I2: every owner's books are the sum over the map.
    std::string books_agree() {
        struct sums {
            page_count reserved = 0, committed = 0, charged = 0, writable = 0, slack = 0,
                       mapped = 0;
        };
        std::map<std::uint32_t, sums> of;
        address last = 0;
        for_each_run([&](const vm::found& f, range run) {
            sums& s = of[static_cast<std::uint32_t>(f.owner)];
            if (f.whole.begin != last) {
                s.reserved += f.whole.pages();
                last = f.whole.begin;
            }
            s.committed += vm::is_charged(f.code) ? run.pages() : 0;
            s.charged += vm::is_charged(f.code) ? run.pages() : 0;
            const bool guarded = is_guarded(f);
            s.writable += run.pages() * (vm::is_kernel_writable(f.code, guarded) ? 1u : 0u);
            s.slack += run.pages() * (vm::is_slack(f.code, guarded) ? 1u : 0u);
            if (guarded) { // already counted with the open granules
                s.writable -= run.pages();
                s.slack -= run.pages();
            }
        });
        memory().known().for_each([&](telemetry::extent& e) {
            if (e.kind.load() == static_cast<std::uint32_t>(telemetry::extent_kind::acquired)) {
                of[e.owner].mapped += pages_of(e.end - e.begin);
                of[e.owner].charged += e.charged;
            }
        });
        budget::tree& tree = host->books().tree();
        const owner_id process = host->process();
        page_count below = 0;
        for (std::uint32_t i = 1; i < 64; ++i) {
            const auto id = static_cast<owner_id>(i);
            const budget::account& t = tree.at(id);
            if (t.state != static_cast<std::uint32_t>(budget::account_state::live) ||
                id == process) {
                continue;
            }
            sums& s = of[i];
            s.writable += memory().space().open_pages(id);
            s.slack += memory().space().open_pages(id);
            below += tree.charged(id);
            // What is owed may be held in any way; in a guarded arena it counts as open meanwhile.
            const page_count owed = memory().space().owed() * page_count{64};
            const budget::book_figures e = tree.entered(id);
            const bool slack_fits =
                owed != 0 ? e.writable + owed >= s.writable && e.slack + owed >= s.slack
                          : e.writable == s.writable && e.slack == s.slack;
            if (tree.charged(id) != s.charged || e.reserved != s.reserved ||
                e.committed != s.committed || t.mapped != s.mapped || !slack_fits) {
                return text_of("books of %s: charged %lu, map %lu; reserved %lu, %lu; committed "
                               "%lu, %lu; writable "
                               "%lu, %lu; slack %lu, %lu; mapped %lu, %lu",
                               t.name, tree.charged(id), s.charged, e.reserved, s.reserved,
                               e.committed, s.committed, e.writable, s.writable, e.slack, s.slack,
                               t.mapped.load(), s.mapped);
            }
        }
        if (tree.charged(process) != below || tree.charged(owner_id::root) != below) {
            return text_of("owners' charges make %lu, the process has %lu, the root %lu", below,
                           tree.charged(process), tree.charged(owner_id::root));
        }
        return "";
    }
};

using host_script = script<host_world>;

} // namespace memreeve::test
