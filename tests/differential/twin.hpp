// SPDX-License-Identifier: MIT
// Carries out operations on memreeve and on the model, and compares what came back, what VirtualQuery
// says, what the kernel allows, what is in the pages and what the books say:
//
//   after every operation    the result; the touched range and a page on either side against the
//                            kernel and VirtualQuery; pages that come back for zeroes
//   every `whole_every`th    every region of everything, every page that holds something
//   every `books_every`th    the owner's figures
//   in builds with MEMREEVE_CHECKS, after every operation: the invariants of the region map
//
// Where the kernel must be read as text, it is asked every 256th operation only (decision 33).
#pragma once

#include "kernel_comparison.hpp"
#include "operation.hpp"
#include "page_model.hpp"
#include "variety.hpp"

#include "capi/handles.hpp"
#include "support/guarded_access.hpp"

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

namespace memreeve::differential {

inline constexpr bool checks_invariants = MEMREEVE_CHECKS != 0;

// HRESULTs of the interface as Win32 errors (decision 6: what is not ours is 487).
inline unsigned error_of(HRESULT hr) {
    switch (static_cast<std::uint32_t>(hr)) {
    case 0: return 0;
    case 0x80070057: return 87;
    case 0x800701E7:
    case 0x80131022: return 487;
    case 0x8007000E: return 8;
    case 0x80070018: return 24;
    case 0x800703E6: return 998;
    case 0x80070522: return 1314;
    default: return 0xffff;
    }
}
inline unsigned error_of_status(mrv_status s) {
    switch (s) {
    case MRV_OK: return 0;
    case MRV_E_INVALID_ARGUMENT: return 87;
    case MRV_E_NULL_POINTER: return 998;
    case MRV_E_OUT_OF_MEMORY: return 8;
    default: return 0xfffe;
    }
}
struct test_host {
    test_host() {
        mrv_host_options o{};
        o.size = sizeof o;
        o.pressure_source = MRV_PRESSURE_BUDGET;
        good = mrv_host_create(&o, &host) == MRV_OK &&
               mrv_owner_create(host, nullptr, nullptr, &owner) == MRV_OK &&
               mrv_owner_memory_manager(owner, &manager) == MRV_OK;
        if (!good) {
            return;
        }
        test::touching::install();
        void* p = nullptr;
        watches = manager->VirtualAlloc(nullptr, 0x1000, 0x202000, 4, eTaskCritical, &p) == S_OK;
        if (watches) {
            manager->VirtualFree(p, 0, 0x8000);
        }
    }
    test_host(const test_host&) = delete;
    test_host& operator=(const test_host&) = delete;
    ~test_host() {
        if (manager != nullptr) {
            manager->Release();
        }
        mrv_owner_destroy(owner);
        mrv_host_destroy(host);
    }
    bool good = false;
    bool watches = false; // MEM_WRITE_WATCH (decision 9)
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* manager = nullptr;
};

inline constexpr std::uint64_t window_pages = 2560;

class twin {
public:
    // `which`: one of four windows. The middle of each lies on a boundary of 2 MiB, 256 MiB and
    // 64 GiB at once. `alone`: nobody else uses the owner, so its books are this model's.
    twin(test_host& h, unsigned which, plant mistake, bool alone = true)
        : h_(h), model_(mistake, middle(which) - window_pages / 2 * page,
                        middle(which) + window_pages / 2 * page, h.watches),
          alone_(alone) {}

    std::uint64_t whole_every = 1024;
    std::uint64_t books_every = 4096;

    static std::uint64_t middle(unsigned which) {
        return 0x7e9000000000 + (std::uint64_t{which} << 36);
    }
    page_model& model() { return model_; }
    const std::uint64_t (&slot_bases() const)[slots] { return slot_base_; }
    bool asks_kernel_always() const { return kernel_.is_quick(); }
    variety seen;

    // At the kernel's mapping limit: what needs a mapping may be refused with 8 (a reservation with
    // 487, while its address is owed), and is as before then; what was given up may be open still.
    bool at_limit = false;
    // Where not even contents can be dropped any more.
    bool decommit_may_be_refused = false;
    std::uint64_t refused = 0;
    // Called before and after an operation; what is asked to compare comes outside.
    void (*around)(twin&, bool begins) = nullptr;

    bool is_window_unmapped() { return kernel_.is_window_unmapped(); }

    // Empty, or the first disagreement.
    std::string run(const operation& o) {
        if (around != nullptr) {
            around(*this, true);
        }
        std::string what = carry_out(o);
        if (around != nullptr) {
            around(*this, false);
        }
        if (what.empty()) {
            what = look_round(o);
        }
        return what;
    }

    // Everything goes back, and then everything is free.
    std::string finish() {
        while (!model_.reservations().empty()) {
            const std::uint64_t base = model_.reservations().front()->base;
            if (h_.manager->VirtualFree(pointer(base), 0, 0x8000) != S_OK) {
                return "a reservation of the model is not there";
            }
            (void)model_.free(base, 0, 0x8000);
        }
        // Where they were anybody may be by now: what lay in no arena is gone, and empty arenas may be
        // given back.
        std::fill(std::begin(slot_base_), std::end(slot_base_), 0);
        std::string what = compare_all();
        return what.empty() && alone_ ? compare_books() : what;
    }

private:
    static constexpr std::uint64_t page = page_model::page;

    static void* pointer(std::uint64_t a) { return reinterpret_cast<void*>(a); }
    std::uint64_t address_of(const operation& o) const {
        return o.space == absolute ? o.offset
               : o.space == window ? model_.begin() + o.offset
                                   : slot_base_[(o.space - 2) % slots] + o.offset;
    }
    // May this address be touched, or shown to the system? Ours, or in nobody's address space.
    bool is_ours(const operation& o) {
        if (o.space == absolute) {
            return o.offset < 0x10000 || o.offset >> 63 != 0;
        }
        return o.space == window ? model_.is_in_window(address_of(o))
                                 : slot_base_[(o.space - 2) % slots] != 0;
    }

    bool is_refused_at_limit(unsigned error, bool reserves) {
        const bool is = at_limit && (error == 8 || (reserves && error == 487));
        refused += is ? 1 : 0;
        return is;
    }

    void note(form f, unsigned result, std::uint64_t a, std::uint64_t size) {
        seen.note(f, result, before_, size);
        touch_range(a, size);
    }
    void touch_range(std::uint64_t a, std::uint64_t size) {
        touched_ = {0, 0};
        if (a < page_model::top && size <= page_model::top - a) {
            touched_ = {page_model::down(a), page_model::up(a + (size == 0 ? 1 : size))};
        }
    }

    // ---- operations ------------------------------------------------------------------------------

    std::string carry_out(const operation& o) {
        touched_ = {0, 0};
        const std::uint64_t a = o.what == verb::place ? 0 : address_of(o);
        if (o.space >= 2 && o.what != verb::place && slot_base_[(o.space - 2) % slots] == 0) {
            return {}; // a slot that an operation taken out had filled
        }
        if (!alone_ && o.space >= 2 && o.what != verb::place &&
            model_.find(page_model::down(a)) == nullptr) {
            return {}; // released, or behind its end: another thread's by now
        }
        before_ = state_at(a);
        switch (o.what) {
        case verb::alloc:
        case verb::place: return alloc(o, a);
        case verb::free: return free(o, a);
        case verb::protect: return protect(o, a);
        case verb::query: return query(a, true);
        case verb::read:
        case verb::write:
        case verb::call: return is_ours(o) ? access(o, a) : std::string();
        case verb::fill: return fill(o, a);
        case verb::get_watch: return h_.watches ? get_watch(o, a) : std::string();
        case verb::reset_watch: return h_.watches ? reset_watch(o, a) : std::string();
        case verb::invariants: return invariants();
        case verb::count: break;
        }
        return {};
    }

    page_state state_at(std::uint64_t a) {
        const std::uint64_t p = page_model::down(a);
        const page_model::reservation* r = model_.find(p);
        if (r == nullptr) {
            return model_.tail_of(p) != nullptr                      ? page_state::tail
                   : a >= page_model::top || a < page_model::granule ? page_state::nowhere
                                                                     : page_state::free;
        }
        const std::uint32_t protect = page_model::at(*r, p).protect;
        if ((protect & 0x100) != 0) {
            return page_state::guarded;
        }
        switch (protect & 0xff) {
        case 0: return page_state::reserved;
        case 1: return page_state::noaccess;
        case 2: return page_state::readonly;
        case 4: return page_state::readwrite;
        case 0x10:
        case 0x20: return page_state::executable;
        default: return page_state::everything;
        }
    }

    std::string alloc(const operation& o, std::uint64_t a) {
        // An `a` of 0 in an alloc would be placed where nobody names it.
        const bool into = o.what == verb::place;
        std::uint32_t type = o.type;
        std::uint64_t size = o.size;
        if (a == 0 && !into && type != 0x80000 && type != 0x1000000) {
            type = 0;
        }
        if (!alone_ && a == 0) {
            type &= ~0x100000u; // TOP_DOWN: the highest addresses are what the others name
        }
        if (into && size > 0x40000000 && size <= page_model::top) {
            size = 0x40000000; // what a page array can take
        }
        if (!into && (type & 0x2000) != 0 && a >= 0x10000 && a < page_model::top &&
            size <= page_model::top - a && size != 0 &&
            model_.find(page_model::down(a)) == nullptr &&
            !(model_.is_in_window(a) && a + size <= model_.end())) {
            return {}; // a reservation outside the window
        }
        void* got = nullptr;
        const HRESULT hr =
            h_.manager->VirtualAlloc(pointer(a), size, type, o.value, eTaskCritical, &got);
        if (is_refused_at_limit(error_of(hr), (type & 0x2000) != 0)) {
            note(form_of(type, a == 0), error_of(hr), a, size);
            return got == nullptr ? "" : "the out pointer was not nulled";
        }
        const page_model::outcome expected = model_.alloc(a, size, type, o.value);
        const unsigned error = error_of(hr);
        const bool decided = expected.may_fail_as != 0;
        if (decided) {
            model_.decided(error == 0);
        }
        if (error != expected.error && !(decided && error == expected.may_fail_as)) {
            return differs("error", expected.error, error);
        }
        const auto base = reinterpret_cast<std::uint64_t>(got);
        const form f = form_of(type, a == 0);
        if (error != 0) {
            note(f, error, a, size);
            return base == 0 ? "" : "the out pointer was not nulled";
        }
        note(f, 0, base, size);
        if (expected.anywhere) {
            slot_base_[(o.space - 2) % slots] = base;
            if (std::string what = model_.placed(base); !what.empty()) {
                return what;
            }
        } else if (base != expected.value) {
            return differs("address", expected.value, base);
        }
        if ((type & 0x1000) != 0) {
            return compare_former();
        }
        return {};
    }
    static form form_of(std::uint32_t type, bool anywhere) {
        if ((type & 0x80000) != 0) {
            return form::reset;
        }
        if ((type & 0x1000000) != 0) {
            return form::reset_undo;
        }
        if ((type & 0x200000) != 0) {
            return form::reserve_watched;
        }
        if (anywhere) {
            return (type & 0x1000) != 0 ? form::place_committed : form::place;
        }
        return (type & 0x3000) == 0x3000 ? form::reserve_commit
               : (type & 0x2000) != 0    ? form::reserve
                                         : form::commit;
    }

    std::string free(const operation& o, std::uint64_t a) {
        const page_model::reservation* r = model_.find(page_model::down(a));
        const std::uint64_t whole = r == nullptr ? 0 : r->end - r->base;
        const std::uint64_t base = r == nullptr ? 0 : r->base;
        const bool in_no_arena = r != nullptr && !model_.has_tail(*r);
        const unsigned error = error_of(h_.manager->VirtualFree(pointer(a), o.size, o.type));
        if (decommit_may_be_refused && o.type == 0x4000 && is_refused_at_limit(error, false)) {
            touch_range(a, o.size);
            return {};
        }
        const page_model::outcome expected = model_.free(a, o.size, o.type);
        note(o.type == 0x8000 ? form::release : form::decommit, error, a, o.size);
        if (error != expected.error) {
            return differs("error", expected.error, error);
        }
        if (error == 0 && o.size == 0) {
            touch_range(base, whole);
        }
        if (error == 0 && o.type == 0x8000 && in_no_arena) {
            for (std::uint64_t& s : slot_base_) {
                s = s == base ? 0 : s; // others may get the address
            }
            touched_ = {0, 0};
        }
        return {};
    }

    std::string protect(const operation& o, std::uint64_t a) {
        if (kernel_.may_be_owed(a)) {
            return {}; // what is owed is mapped still, and not ours
        }
        DWORD old = 0;
        const unsigned error = error_of(
            h_.manager->VirtualProtect(pointer(a), o.size, o.value, o.type != 0 ? &old : nullptr));
        if (is_refused_at_limit(error, false)) {
            note(form::protect, error, a, o.size);
            return {};
        }
        const page_model::outcome expected = model_.protect(a, o.size, o.value, o.type != 0);
        note(form::protect, error, a, o.size);
        if (error != expected.error) {
            return differs("error", expected.error, error);
        }
        return error != 0 || old == expected.value ? ""
                                                   : differs("old protection", expected.value, old);
    }

    // `told`: an operation of its own, not a look.
    std::string query(std::uint64_t a, bool told) {
        MEMORY_BASIC_INFORMATION info{};
        SIZE_T got = 0;
        const unsigned error =
            error_of(h_.manager->VirtualQuery(pointer(a), &info, sizeof info, &got));
        if (told) {
            seen.note(form::query, error, before_, page);
        }
        if (told && is_refused_at_limit(error, false)) {
            return {};
        }
        if (a >= page_model::top) {
            return error == 87 ? ""
                               : "VirtualQuery beyond user space: " + differs("error", 87, error);
        }
        if (error != 0 || got != sizeof info) {
            return "VirtualQuery failed";
        }
        const bool inside = model_.is_in_window(a);
        if (kernel_.may_be_owed(a)) {
            return {}; // what the kernel has not taken back shows
        }
        const page_model::region r = model_.query(a, inside ? model_.end() : page_model::top);
        std::uint64_t size = info.RegionSize;
        const auto base = reinterpret_cast<std::uint64_t>(info.BaseAddress);
        const auto allocation = reinterpret_cast<std::uint64_t>(info.AllocationBase);
        const bool is_free = r.state == 0x10000;
        if (is_free && !inside && a < page_model::granule) {
            return {};
        }
        if (is_free && inside && base + size > model_.end()) {
            size = model_.end() - base;
        }
        // Beyond the window a free region ends where the model cannot know.
        const bool size_fits =
            size == r.size || (is_free && !inside && size != 0 && size <= r.size);
        if (info.State == r.state && base == r.base && size_fits && info.Protect == r.protect &&
            info.AllocationProtect == r.allocation_protect && allocation == r.allocation_base &&
            info.Type == (is_free ? 0u : 0x20000u)) {
            return {};
        }
        const std::string at = "VirtualQuery(" + hex(a) + ") ";
        return info.State != r.state       ? at + differs("State", r.state, info.State)
               : base != r.base            ? at + differs("BaseAddress", r.base, base)
               : !size_fits                ? at + differs("RegionSize", r.size, size)
               : info.Protect != r.protect ? at + differs("Protect", r.protect, info.Protect)
               : info.AllocationProtect != r.allocation_protect
                   ? at + differs("AllocationProtect", r.allocation_protect, info.AllocationProtect)
               : allocation != r.allocation_base
                   ? at + differs("AllocationBase", r.allocation_base, allocation)
                   : at + differs("Type", is_free ? 0u : 0x20000u, info.Type);
    }

    std::string access(const operation& o, std::uint64_t a) {
        const char op = o.what == verb::read ? 'R' : o.what == verb::write ? 'W' : 'X';
        if (op == 'X' && !model_.holds_return(a) && (model_.kernel_access_at(a) & 4) != 0) {
            return {};
        }
        if (kernel_.may_be_open(before_)) {
            return {}; // may be open still, or somebody else's
        }
        using end = page_model::access_end;
        const test::touch t = op == 'R'   ? test::touching::read(a)
                              : op == 'W' ? test::touching::write(a, o.value)
                                          : test::touching::call(a);
        const end got = t.how == test::touch::end::ok      ? end::ok
                        : t.how == test::touch::end::guard ? end::guard
                                                           : end::violation;
        if (at_limit && before_ == page_state::guarded && got == end::violation) {
            return {}; // the guard could not be taken away, and stays
        }
        const end expected = model_.access(op, a, o.value);
        note(op == 'R'   ? form::read
             : op == 'W' ? form::write
                         : form::call,
             got == end::ok      ? 0
             : got == end::guard ? result_guard
                                 : result_violation,
             a, 1);
        if (got != expected) {
            return std::string(1, op) + differs(" (0 ok, 1 violation, 2 guard)",
                                                static_cast<unsigned>(expected),
                                                static_cast<unsigned>(got));
        }
        const unsigned kind = op == 'R' ? 0 : op == 'W' ? 1 : 8;
        if (got != end::ok && (t.kind != kind || t.address != a)) {
            return "a fault of kind " + hex(t.kind) + " at " + hex(t.address); // G1
        }
        if (got != end::ok) {
            return {};
        }
        if (op == 'R' && !model_.may_read(a, t.value)) {
            return "read " + hex(t.value) + ", which was never there";
        }
        if (op == 'W' && model_.is_undefined(a)) {
            const std::uint64_t p = page_model::down(a);
            return test::touching::copy_page(p, bytes_) && model_.settle_reset(a, bytes_)
                       ? ""
                       : "a page written after MEM_RESET is neither old nor zero";
        }
        return op == 'W' ? compare_contents(page_model::down(a)) : std::string();
    }

    std::string fill(const operation& o, std::uint64_t a) {
        const std::uint64_t p = page_model::down(a);
        if ((model_.kernel_access_at(p) & 2) == 0) {
            return {};
        }
        std::uint64_t x = o.value * 0x9e3779b97f4a7c15u + 1;
        for (std::uint64_t i = 0; i < page; i += 8) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            const std::uint64_t word = x ^ x >> 29;
            for (unsigned k = 0; k < 8; ++k) {
                bytes_[i + k] = static_cast<unsigned char>(word >> (8 * k));
            }
        }
        bytes_[0] = 0xc3; // returns, when called
        model_.fill(p, bytes_);
        note(form::fill, 0, p, page);
        return test::touching::paste_page(p, bytes_) ? compare_contents(p)
                                                     : "a page could not be filled";
    }

    std::string get_watch(const operation& o, std::uint64_t a) {
        std::vector<void*> pages(o.value + 1);
        std::size_t count = o.value;
        std::uint32_t granularity = 0;
        const unsigned error = error_of_status(mrv_get_write_watch(
            h_.host, o.type, pointer(a), o.size, pages.data(), &count, &granularity));
        if (is_refused_at_limit(error, false)) {
            return {};
        }
        std::vector<std::uint64_t> expected;
        const page_model::outcome e = model_.written_pages(o.type, a, o.size, o.value, expected);
        note(form::get_watch, error, a, o.size);
        if (error != e.error) {
            return differs("error", e.error, error);
        }
        if (error != 0) {
            return {};
        }
        if (count != expected.size() || granularity != page) {
            return differs("written pages", expected.size(), count);
        }
        for (std::size_t i = 0; i < count; ++i) {
            if (reinterpret_cast<std::uint64_t>(pages[i]) != expected[i]) {
                return differs("written page", expected[i],
                               reinterpret_cast<std::uint64_t>(pages[i]));
            }
        }
        return {};
    }
    std::string reset_watch(const operation& o, std::uint64_t a) {
        const unsigned error = error_of_status(mrv_reset_write_watch(h_.host, pointer(a), o.size));
        if (is_refused_at_limit(error, false)) {
            return {};
        }
        const page_model::outcome e = model_.reset_written(a, o.size);
        note(form::reset_watch, error, a, o.size);
        return error == e.error ? "" : differs("error", e.error, error);
    }

    std::string invariants() {
        const char* wrong = h_.host->core->memory().space().map().check_invariants();
        return wrong == nullptr || !alone_ ? "" : std::string("broken invariant: ") + wrong;
    }

    // ---- the other witnesses ----------------------------------------------------------------------

    std::string look_round(const operation& o) {
        const std::uint64_t i = done_++;
        std::string what;
        if (checks_invariants && alone_ && o.what != verb::invariants) {
            what = invariants();
        }
        if (what.empty() && touched_.second != 0) {
            what = compare_touched(i % 8 == 0);
        }
        if (what.empty() && i % whole_every == whole_every - 1) {
            what = compare_all();
        }
        if (what.empty() && alone_ && i % books_every == books_every - 1) {
            what = compare_books();
        }
        return what;
    }

    std::string compare_touched(bool everywhere) {
        const auto [begin, end] = touched_;
        for (const std::uint64_t a : {begin, end}) {
            // A free page costs the implementation several system calls.
            if (is_known(a) && (everywhere || model_.find(a) != nullptr)) {
                if (std::string what = query(a, false); !what.empty()) {
                    return what;
                }
            }
        }
        if (!kernel_.is_quick() && done_ % 256 != 0) {
            return {};
        }
        return kernel_.compare_round(begin, end);
    }
    // Does the model know what is there?
    bool is_known(std::uint64_t a) {
        return model_.is_in_window(a) || model_.find(a) != nullptr || model_.tail_of(a) != nullptr;
    }

    std::string compare_contents(std::uint64_t p) {
        if ((model_.kernel_access_at(p) & 1) == 0) {
            return {};
        }
        if (!test::touching::copy_page(p, bytes_)) {
            return "page " + hex(p) + " cannot be read";
        }
        return model_.may_hold(p, bytes_) ? "" : "the contents of page " + hex(p);
    }
    // S2: what comes back is zero.
    std::string compare_former() {
        std::string what;
        model_.for_each_former(touched_.first, touched_.second, [&](std::uint64_t p) {
            what = what.empty() ? compare_contents(p) : what;
        });
        return what;
    }

    std::string compare_all() {
        const bool quick = kernel_.is_quick();
        for (std::uint64_t a = model_.begin(); a < model_.end();) {
            if (std::string what = query(a, false); !what.empty()) {
                return what;
            }
            const page_model::region r = model_.query(a, model_.end());
            a = r.base + r.size > a ? r.base + r.size : a + page;
        }
        std::string what = kernel_.compare(model_.begin(), model_.end());
        for (std::size_t i = 0; what.empty() && i < model_.reservations().size(); ++i) {
            const page_model::reservation& v = *model_.reservations()[i];
            for (std::uint64_t a = v.base;
                 !model_.is_in_window(v.base) && a < v.end && what.empty();) {
                what = query(a, false);
                const page_model::region r = model_.query(a, page_model::top);
                a = r.base + r.size > a ? r.base + r.size : a + page;
            }
            if (what.empty() && !model_.is_in_window(v.base) && (quick || i == 0)) {
                what = kernel_.compare(v.base, v.end);
            }
            for (std::size_t k = 0; what.empty() && k < v.pages.size(); ++k) {
                if (v.pages[k].shadow != 0) {
                    what = compare_contents(v.base + k * page);
                }
            }
        }
        return what;
    }

    std::string compare_books() {
        mrv_owner_figures s{};
        s.size = sizeof s;
        if (mrv_owner_stats(h_.owner, &s) != MRV_OK) {
            return "no statistics";
        }
        const page_model::totals t = model_.count();
        if (s.reserved_bytes != t.reserved * page) {
            return differs("reserved_bytes", t.reserved * page, s.reserved_bytes);
        }
        if (s.committed_bytes != t.committed * page) {
            return differs("committed_bytes", t.committed * page, s.committed_bytes);
        }
        if (s.charged_bytes != t.committed * page) {
            return differs("charged_bytes", t.committed * page, s.charged_bytes);
        }
        // Slack: writable for the kernel and not committed so.
        return s.mapped_writable_bytes == t.writable * page + s.slack_bytes
                   ? ""
                   : differs("mapped_writable_bytes without slack", t.writable * page,
                             s.mapped_writable_bytes - s.slack_bytes);
    }

    test_host& h_;
    page_model model_;
    kernel_comparison kernel_{model_, at_limit};
    bool alone_;
    std::uint64_t slot_base_[slots] = {};
    std::uint64_t done_ = 0;
    std::pair<std::uint64_t, std::uint64_t> touched_;
    page_state before_ = page_state::free;
    alignas(16) unsigned char bytes_[page];
};

} // namespace memreeve::differential
