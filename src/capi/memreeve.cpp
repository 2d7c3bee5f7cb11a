// SPDX-License-Identifier: MIT
// The C interface: checks pointers and option structures, forwards, translates.
#include "capi/handles.hpp"
#include "capi/status.hpp"
#include "com/host_control.hpp"
#include "manager/owner_heap.hpp"
#include "manager/thread_owner.hpp"

#include <memreeve/memreeve.h>
#include <memreeve/version.h>

#include <algorithm>
#include <new>

using namespace memreeve;
using capi::to_status;

namespace {

constexpr std::size_t largest_structure = 4096; // a `size` beyond it is a mistake

mrv_status status_of(const result<void>& r) noexcept { return r ? MRV_OK : to_status(r.error()); }

// A copy of the caller's options with what it does not have as zero. False when `size` makes no
// sense, or the caller sets something that this version does not know.
template <class Options>
bool read_options(const Options* given, Options* out) noexcept {
    *out = {};
    if (given == nullptr) {
        return true;
    }
    const std::size_t size = given->size;
    if (size < sizeof given->size || size > largest_structure) {
        return false;
    }
    __builtin_memcpy(out, given, std::min(size, sizeof *out));
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    for (std::size_t i = sizeof *out; i < size; ++i) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

// Writes as much as the caller has room for; `size` itself stays the caller's.
template <class Figures>
void write_figures(Figures* to, Figures& from) noexcept {
    from.size = to->size;
    __builtin_memcpy(to, &from, std::min(to->size, sizeof from));
}

template <class Figures>
bool has_room(const Figures* to) noexcept {
    return to->size >= sizeof to->size && to->size <= largest_structure;
}

byte_count limit_of(std::uint64_t bytes) noexcept { return bytes != 0 ? bytes : MRV_NO_LIMIT; }
std::uint64_t bytes_of_limit(page_count pages) noexcept {
    return pages >= budget::no_limit ? MRV_NO_LIMIT : bytes_of(pages);
}

bool host_limits(const mrv_host_options& o, budget::tree::limits* out) noexcept {
    out->hard = limit_of(o.limit_bytes);
    if (o.reserve_bytes == MRV_NO_RESERVE || (o.reserve_bytes == 0 && out->hard == MRV_NO_LIMIT)) {
        out->reserve = 0;
    } else {
        out->reserve = o.reserve_bytes != 0 ? o.reserve_bytes : budget::default_reserve(out->hard);
    }
    return out->reserve <= out->hard;
}

bool owner_limits(const mrv_owner_options& o, budget::tree::limits* out) noexcept {
    out->hard = limit_of(o.hard_limit_bytes);
    out->soft = limit_of(o.soft_limit_bytes);
    out->guaranteed = o.guaranteed_bytes;
    out->reserve = o.reserve_bytes == MRV_NO_RESERVE ? 0 : o.reserve_bytes;
    return out->reserve <= out->hard;
}

// Runs `read` with no operation on the address space in flight, else, after 100 tries, all the same.
template <class Read>
void while_quiet(mrv_host& h, Read read) noexcept {
    telemetry::image_record& image = h.core->image();
    for (unsigned tries = 0; tries < 100; ++tries) {
        const telemetry::operation_counts before = telemetry::operations_of(image);
        if (!before.is_quiet() && tries < 99) {
            continue;
        }
        read();
        std::atomic_thread_fence(std::memory_order_acquire);
        if (before.is_quiet() && telemetry::operations_begun(image) == before.begun) {
            return;
        }
    }
}

template <class Function>
void for_each_owner(mrv_host& h, Function visit) noexcept {
    budget::tree& accounts = h.core->books().tree();
    for (std::uint32_t i = 1; i < accounts.capacity(); ++i) {
        const budget::account& a = accounts.at(static_cast<owner_id>(i));
        if (a.state.load(std::memory_order_acquire) ==
            static_cast<std::uint32_t>(budget::account_state::live)) {
            visit(a, accounts.entered(static_cast<owner_id>(i)));
        }
    }
}

std::uint64_t bytes_in(const std::atomic<page_count>& pages) noexcept {
    return bytes_of(pages.load(std::memory_order_relaxed));
}

void give_back_record(void* host, void* storage) noexcept {
    static_cast<mrv_host*>(host)->core->records().give_back(storage);
}

} // namespace

extern "C" {

const char* mrv_version(void) noexcept { return MEMREEVE_VERSION; }

// ---- host ----------------------------------------------------------------------------------------

mrv_status mrv_host_create(const mrv_host_options* options, mrv_host** out) noexcept {
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    mrv_host_options o;
    budget::tree::limits limits;
    constexpr std::uint32_t known_flags = MRV_HOST_FORBID_WRITE_EXECUTE | MRV_HOST_LENIENT_LEVELS |
                                          MRV_HOST_NO_GUARD_PAGES | MRV_HOST_WATCH_BY_FAULTS;
    if (!read_options(options, &o) || !host_limits(o, &limits) ||
        o.pressure_source > MRV_PRESSURE_BUDGET || o.faulting > MRV_FAULTING_RELAXED ||
        (o.flags & ~known_flags) != 0 || o.reserved != 0) {
        return MRV_E_INVALID_ARGUMENT;
    }
    manager::host::settings s;
    s.limit = limits.hard;
    s.reserve = limits.reserve;
    s.memory.allow_write_execute = (o.flags & MRV_HOST_FORBID_WRITE_EXECUTE) == 0;
    s.memory.watch_by_faults = (o.flags & MRV_HOST_WATCH_BY_FAULTS) != 0;
    s.memory.strict_levels = (o.flags & MRV_HOST_LENIENT_LEVELS) == 0;
    s.memory.relaxed = o.faulting == MRV_FAULTING_RELAXED;
    s.memory.guard_pages = (o.flags & MRV_HOST_NO_GUARD_PAGES) == 0;
    s.memory.watch_system = o.pressure_source == MRV_PRESSURE_ALL;
    s.memory.root_prefix = o.system_root;
    s.memory.report = o.report;
    s.memory.report_context = o.report_context;
    const auto made = capi::create_host(s);
    if (!made) {
        return to_status(made.error());
    }
    *out = *made;
    return MRV_OK;
}

mrv_status mrv_host_destroy(mrv_host* host) noexcept {
    return host == nullptr ? MRV_OK : status_of(capi::destroy_host(*host));
}

mrv_status mrv_host_set_limits(mrv_host* host, const mrv_host_options* options) noexcept {
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    mrv_host_options o;
    budget::tree::limits limits;
    if (!read_options(options, &o) || !host_limits(o, &limits)) {
        return MRV_E_INVALID_ARGUMENT;
    }
    return status_of(host->core->set_limits(owner_id::root, limits));
}

// ---- owners --------------------------------------------------------------------------------------

mrv_status mrv_owner_create(mrv_host* host, mrv_owner* parent, const mrv_owner_options* options,
                            mrv_owner** out) noexcept {
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    mrv_owner_options o;
    budget::tree::limits limits;
    if (!read_options(options, &o) || !owner_limits(o, &limits)) {
        return MRV_E_INVALID_ARGUMENT;
    }
    const auto made =
        capi::create_owner(*host, parent, o.name != nullptr ? o.name : "owner", limits);
    if (!made) {
        return to_status(made.error());
    }
    *out = *made;
    return MRV_OK;
}

mrv_status mrv_owner_destroy(mrv_owner* owner) noexcept {
    if (owner != nullptr) {
        capi::destroy_owner(*owner);
    }
    return MRV_OK;
}

mrv_status mrv_owner_set_limits(mrv_owner* owner, const mrv_owner_options* options) noexcept {
    if (owner == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    mrv_owner_options o;
    budget::tree::limits limits;
    if (!read_options(options, &o) || !owner_limits(o, &limits)) {
        return MRV_E_INVALID_ARGUMENT;
    }
    return status_of(owner->host->core->set_limits(owner->id, limits));
}

mrv_status mrv_owner_memory_manager(mrv_owner* owner, IHostMemoryManager** out) noexcept {
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    if (owner == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    const auto manager = capi::manager_of(*owner);
    if (!manager) {
        return to_status(manager.error());
    }
    (*manager)->AddRef();
    *out = *manager;
    return MRV_OK;
}

mrv_status mrv_host_control(mrv_host* host, mrv_owner* owner, IHostControl** out) noexcept {
    return mrv_host_control_with(host, owner, nullptr, out);
}

mrv_status mrv_host_control_with(mrv_host* host, mrv_owner* owner, IHostControl* others,
                                 IHostControl** out) noexcept {
    static_assert(sizeof(com::host_control) <= manager::record_pool::record_size);
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    if (host == nullptr || owner == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    if (owner->host != host) {
        return MRV_E_INVALID_ARGUMENT;
    }
    const auto manager = capi::manager_of(*owner);
    if (!manager) {
        return to_status(manager.error());
    }
    void* const storage = host->core->records().take();
    if (storage == nullptr) {
        return MRV_E_OUT_OF_MEMORY;
    }
    *out = new (storage) com::host_control(**manager, others, {&give_back_record, host});
    return MRV_OK;
}

mrv_status mrv_thread_push_owner(mrv_owner* owner) noexcept {
    if (owner == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    return status_of(manager::push_thread_owner(owner->host->core->memory(), owner->id));
}

mrv_status mrv_thread_pop_owner(void) noexcept { return status_of(manager::pop_thread_owner()); }

// ---- figures -------------------------------------------------------------------------------------

mrv_status mrv_owner_stats(mrv_owner* owner, mrv_owner_figures* out) noexcept {
    if (owner == nullptr || out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    if (!has_room(out)) {
        return MRV_E_INVALID_ARGUMENT;
    }
    budget::tree& accounts = owner->host->core->books().tree();
    const budget::account& a = accounts.at(owner->id);
    mrv_owner_figures f{};
    accounts.drain();
    while_quiet(*owner->host, [&]() noexcept {
        __builtin_memcpy(f.name, a.name, sizeof f.name);
        const budget::book_figures entered = accounts.entered(owner->id);
        f.reserved_bytes = bytes_of(entered.reserved);
        f.committed_bytes = bytes_of(entered.committed);
        f.charged_bytes = bytes_of(accounts.charged(owner->id));
        f.peak_charged_bytes = bytes_in(a.peak);
        f.heap_bytes = bytes_in(a.heap);
        f.mapped_bytes = bytes_in(a.mapped);
        f.mapped_writable_bytes = bytes_of(entered.writable);
        f.slack_bytes = bytes_of(entered.slack);
        f.touched_bytes = bytes_in(a.touched);
        f.warm_bytes = bytes_of(owner->host->core->memory().space().warm_pages(owner->id));
        f.heap_warm_bytes = bytes_of(owner->host->core->memory().warm_pages(owner->id));
        f.limit_bytes = bytes_of_limit(a.limit.load(std::memory_order_relaxed));
        f.soft_limit_bytes = bytes_of_limit(a.soft.load(std::memory_order_relaxed));
        f.guaranteed_bytes = bytes_of(accounts.guaranteed(owner->id));
        for (unsigned i = 0; i < 3; ++i) {
            f.refusals[i] = a.refusals[i].load(std::memory_order_relaxed);
            f.notifications[i] = a.notifications[i].load(std::memory_order_relaxed);
        }
    });
    write_figures(out, f);
    return MRV_OK;
}

mrv_status mrv_host_trim(mrv_host* host, std::uint64_t* bytes_given_back) noexcept {
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    const byte_count given = host->core->memory().relieve();
    if (bytes_given_back != nullptr) {
        *bytes_given_back = given;
    }
    return MRV_OK;
}

mrv_status mrv_host_snapshot(mrv_host* host, mrv_host_figures* out) noexcept {
    if (host == nullptr || out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    if (!has_room(out)) {
        return MRV_E_INVALID_ARGUMENT;
    }
    manager::host& core = *host->core;
    budget::tree& accounts = core.books().tree();
    const budget::account& root = accounts.at(owner_id::root);
    const telemetry::image_record& image = core.image();
    const auto load = core.memory().load(core.process());
    mrv_host_figures f{};
    accounts.drain();
    core.memory().heaps().for_each([](manager::owner_heap& h) noexcept {
        h.tell_requests();
        return true;
    });
    while_quiet(*host, [&]() noexcept {
        f = {};
        f.limit_bytes = bytes_of_limit(root.limit.load(std::memory_order_relaxed));
        f.reserve_bytes = bytes_in(root.reserve);
        f.charged_bytes = bytes_of(accounts.charged(owner_id::root));
        f.given_back_bytes = core.memory().given_back();
        f.peak_charged_bytes = bytes_in(root.peak);
        for_each_owner(
            *host, [&f](const budget::account& a, const budget::book_figures& entered) noexcept {
                ++f.owners;
                f.reserved_bytes += bytes_of(entered.reserved);
                f.committed_bytes += bytes_of(entered.committed);
                f.heap_bytes += bytes_in(a.heap);
                f.mapped_bytes += bytes_in(a.mapped);
                f.mapped_writable_bytes += bytes_of(entered.writable);
                f.slack_bytes += bytes_of(entered.slack);
                f.touched_bytes += bytes_in(a.touched);
            });
        for (unsigned i = 0; i < 3; ++i) {
            f.refusals[i] = image.refusals[i].load(std::memory_order_relaxed);
            f.notifications[i] = image.notifications[i].load(std::memory_order_relaxed);
        }
        for (unsigned i = 0; i < telemetry::request_kind_count; ++i) {
            f.requests[i] = telemetry::requests_of(image, static_cast<telemetry::request_kind>(i));
        }
    });
    f.load_percent = load ? load->percent : 0;
    f.available_bytes = load ? load->available : MRV_NO_LIMIT;
    write_figures(out, f);
    return MRV_OK;
}

// ---- what is still live ----------------------------------------------------------------------------

mrv_status mrv_owner_leaks(mrv_owner* owner, mrv_live_block_fn function, void* context) noexcept {
    if (owner == nullptr || function == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    struct listing {
        mrv_live_block_fn function;
        void* context;
        std::uint32_t heap;
    } to{function, context, 0};
    const auto tell = [](void* listing_of, const heap::live_block& b) noexcept {
        const auto& l = *static_cast<const listing*>(listing_of);
        mrv_live_block out{};
        out.size = sizeof out;
        out.address = reinterpret_cast<void*>(b.where);
        out.bytes = b.size;
        out.file = b.file;
        out.line = b.line;
        out.heap = l.heap;
        return l.function(l.context, &out) == 0;
    };
    owner->host->core->memory().heaps().for_each([&](manager::owner_heap& h) noexcept {
        to.heap = h.number();
        return h.owner() != owner->id || h.list_live(tell, &to);
    });
    return MRV_OK;
}

// ---- pressure ------------------------------------------------------------------------------------

static mrv_status subscribe(mrv_host* host, mrv_owner* owner, mrv_pressure_fn function,
                            void* context, mrv_subscription** out) noexcept {
    const auto made = capi::subscribe(*host, owner, function, context);
    if (!made) {
        return to_status(made.error());
    }
    *out = *made; // before the first call, which may end it
    host->core->notices().go_live((*made)->id);
    return MRV_OK;
}

mrv_status mrv_host_subscribe(mrv_host* host, mrv_pressure_fn function, void* context,
                              mrv_subscription** out) noexcept {
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    if (host == nullptr || function == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    return subscribe(host, nullptr, function, context, out);
}

mrv_status mrv_owner_subscribe(mrv_owner* owner, mrv_pressure_fn function, void* context,
                               mrv_subscription** out) noexcept {
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    if (owner == nullptr || function == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    return subscribe(owner->host, owner, function, context, out);
}

mrv_status mrv_host_watch(mrv_host* host, mrv_owner* owner, mrv_pressure_fn function, void* context,
                          mrv_subscription** out) noexcept {
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    if (host == nullptr || function == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    if (owner != nullptr && owner->host != host) {
        return MRV_E_INVALID_ARGUMENT;
    }
    const auto made = capi::watch(*host, owner, function, context);
    if (!made) {
        return to_status(made.error());
    }
    *out = *made;
    return MRV_OK;
}

mrv_status mrv_host_unsubscribe(mrv_subscription* subscription) noexcept {
    if (subscription != nullptr) {
        capi::unsubscribe(*subscription);
    }
    return MRV_OK;
}

} // extern "C"
