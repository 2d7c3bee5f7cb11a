// SPDX-License-Identifier: MIT
#include "capi/handles.hpp"

#include "com/clr_callback.hpp"

#include <new>

namespace memreeve::capi {

namespace {

static_assert(sizeof(mrv_host) <= manager::record_pool::record_size);
static_assert(sizeof(mrv_owner) <= manager::record_pool::record_size);
static_assert(sizeof(mrv_subscription) <= manager::record_pool::record_size);
static_assert(sizeof(com::host_memory_manager) <= manager::record_pool::record_size);

// So that a fault handler finds every host.
constexpr std::size_t host_capacity = 64;
constinit std::atomic<mrv_host*> hosts[host_capacity]{};

template <class T>
T* make_record(manager::record_pool& records) noexcept {
    void* const storage = records.take();
    return storage != nullptr ? new (storage) T{} : nullptr;
}

bool move_state(mrv_owner& o, mrv_owner::state from, mrv_owner::state to) noexcept {
    std::uint32_t expected = from;
    return o.state_word.compare_exchange_strong(expected, to, std::memory_order_acq_rel);
}

void set_state(mrv_owner& o, mrv_owner::state to) noexcept {
    o.state_word.store(to, std::memory_order_release);
}

void close_if_idle(mrv_owner& o) noexcept {
    if (!move_state(o, mrv_owner::closing, mrv_owner::claimed)) {
        return;
    }
    if (!o.host->core->close_owner(o.id)) {
        set_state(o, mrv_owner::closing);
        return;
    }
    mrv_owner* const parent = o.parent;
    set_state(o, mrv_owner::vacant);
    if (parent != nullptr) {
        leave(*parent);
    }
}

void close_idle_owners(mrv_host& h) noexcept {
    for (mrv_owner* o = h.owners.load(std::memory_order_acquire); o != nullptr; o = o->next) {
        close_if_idle(*o);
    }
}

// A record that no account uses any more, or a new one in the host's list.
mrv_owner* take_owner_record(mrv_host& h) noexcept {
    for (mrv_owner* o = h.owners.load(std::memory_order_acquire); o != nullptr; o = o->next) {
        if (move_state(*o, mrv_owner::vacant, mrv_owner::claimed)) {
            return o;
        }
    }
    auto* const made = make_record<mrv_owner>(h.core->records());
    if (made != nullptr) {
        made->host = &h;
        made->next = h.owners.load(std::memory_order_relaxed);
        while (!h.owners.compare_exchange_weak(made->next, made, std::memory_order_acq_rel)) {
        }
    }
    return made;
}

// com::home::take_back of a memory manager.
void manager_is_gone(void* owner, void* storage) noexcept {
    auto& o = *static_cast<mrv_owner*>(owner);
    o.manager.store(nullptr, std::memory_order_release);
    o.host->core->records().give_back(storage);
    leave(o);
}

// manager::notifier::deliver. The call may end the subscription, and its record with it: nothing of
// it is read afterwards.
bool tell_native(void* context, const manager::notice& n) noexcept {
    const auto& s = *static_cast<const mrv_subscription*>(context);
    mrv_pressure_event event{};
    event.size = sizeof event;
    event.availability = static_cast<std::uint32_t>(com::to_memory_available(n.level));
    event.load_percent = n.load.percent;
    event.available_bytes = n.load.available;
    s.function(s.context, &event);
    return true;
}

// manager::edge_watch::tell.
void tell_edge(void* context, pressure::availability level, const pressure::load& load) noexcept {
    const auto& s = *static_cast<const mrv_subscription*>(context);
    mrv_pressure_event event{};
    event.size = sizeof event;
    event.availability = static_cast<std::uint32_t>(com::to_memory_available(level));
    event.load_percent = load.percent;
    event.available_bytes = load.available;
    s.function(s.context, &event);
}

} // namespace

// ---- hosts ---------------------------------------------------------------------------------------

result<mrv_host*> create_host(const manager::host::settings& s) noexcept {
    const auto core = manager::host::create(s);
    if (!core) {
        return core.error();
    }
    auto* const h = make_record<mrv_host>((*core)->records());
    if (h != nullptr) {
        h->core = *core;
        for (auto& entry : hosts) {
            mrv_host* expected = nullptr;
            if (entry.compare_exchange_strong(expected, h, std::memory_order_acq_rel)) {
                return h;
            }
        }
    }
    (*core)->destroy();
    return errc::out_of_address_space;
}

result<void> destroy_host(mrv_host& h) noexcept {
    for (mrv_owner* o = h.owners.load(std::memory_order_acquire); o != nullptr; o = o->next) {
        const com::host_memory_manager* const m = o->manager.load(std::memory_order_acquire);
        if (m != nullptr &&
            m->references() > (o->has_handle.load(std::memory_order_acquire) ? 1u : 0u)) {
            return errc::busy;
        }
    }
    // The last reference of each is ours: a callback that is still registered ends with it.
    for (mrv_owner* o = h.owners.load(std::memory_order_acquire); o != nullptr; o = o->next) {
        if (com::host_memory_manager* const m = o->manager.load(std::memory_order_acquire)) {
            m->Release();
        }
    }
    for (auto& entry : hosts) {
        mrv_host* expected = &h;
        if (entry.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) {
            break;
        }
    }
    h.core->destroy();
    return {};
}

bool any_host(bool (*visit)(mrv_host& h, std::uintptr_t argument) noexcept,
              std::uintptr_t argument) noexcept {
    for (auto& entry : hosts) {
        mrv_host* const h = entry.load(std::memory_order_acquire);
        if (h != nullptr && visit(*h, argument)) {
            return true;
        }
    }
    return false;
}

// ---- owners --------------------------------------------------------------------------------------

result<mrv_owner*> create_owner(mrv_host& h, mrv_owner* parent, const char* name,
                                const budget::tree::limits& l) noexcept {
    if (parent != nullptr && parent->host != &h) {
        return errc::invalid_argument;
    }
    close_idle_owners(h);
    mrv_owner* const o = take_owner_record(h);
    if (o == nullptr) {
        return errc::out_of_address_space;
    }
    const auto id = h.core->open_owner(parent != nullptr ? parent->id : owner_id::none, name, l);
    if (!id) {
        set_state(*o, mrv_owner::vacant);
        return id.error();
    }
    if (parent != nullptr) {
        use(*parent);
    }
    o->parent = parent;
    o->id = *id;
    o->users.store(1, std::memory_order_relaxed);
    o->has_handle.store(true, std::memory_order_relaxed);
    set_state(*o, mrv_owner::live);
    return o;
}

void destroy_owner(mrv_owner& o) noexcept {
    mrv_host& h = *o.host;
    o.has_handle.store(false, std::memory_order_release);
    if (com::host_memory_manager* const m = o.manager.load(std::memory_order_acquire)) {
        m->Release();
    }
    leave(o);
    close_idle_owners(h);
}

void use(mrv_owner& o) noexcept { o.users.fetch_add(1, std::memory_order_relaxed); }

void leave(mrv_owner& o) noexcept {
    if (o.users.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        set_state(o, mrv_owner::closing);
        close_if_idle(o);
    }
}

result<com::host_memory_manager*> manager_of(mrv_owner& o) noexcept {
    com::host_memory_manager* m = o.manager.load(std::memory_order_acquire);
    if (m != nullptr) {
        return m;
    }
    manager::host& core = *o.host->core;
    void* const storage = core.records().take();
    if (storage == nullptr) {
        return errc::out_of_address_space;
    }
    auto* const made = new (storage) com::host_memory_manager(
        core.memory(), o.id, &core.notices(), &core.records(), {&manager_is_gone, &o});
    if (o.manager.compare_exchange_strong(m, made, std::memory_order_acq_rel)) {
        use(o);
        return made;
    }
    core.records().give_back(storage); // somebody was faster; nobody has seen ours
    return m;
}

// ---- subscriptions -------------------------------------------------------------------------------

result<mrv_subscription*> subscribe(mrv_host& h, mrv_owner* o, mrv_pressure_fn function,
                                    void* context) noexcept {
    manager::host& core = *h.core;
    auto* const s = make_record<mrv_subscription>(core.records());
    if (s == nullptr) {
        return errc::out_of_address_space;
    }
    s->host = &h;
    s->owner = o;
    s->function = function;
    s->context = context;
    const auto id = core.notices().prepare(o != nullptr ? o->id : core.process(), &tell_native, s);
    if (!id) {
        core.records().give_back(s);
        return id.error();
    }
    s->id = *id;
    if (o != nullptr) {
        use(*o);
    }
    return s;
}

result<mrv_subscription*> watch(mrv_host& h, mrv_owner* o, mrv_pressure_fn function,
                                void* context) noexcept {
    manager::host& core = *h.core;
    auto* const s = make_record<mrv_subscription>(core.records());
    if (s == nullptr) {
        return errc::out_of_address_space;
    }
    s->host = &h;
    s->owner = o;
    s->function = function;
    s->context = context;
    s->is_watch = true;
    if (o != nullptr) {
        use(*o);
    }
    const auto index =
        core.notices().edges().add(o != nullptr ? o->id : core.process(), &tell_edge, s);
    if (!index) {
        core.records().give_back(s);
        if (o != nullptr) {
            leave(*o);
        }
        return index.error();
    }
    s->watch = *index;
    return s;
}

void unsubscribe(mrv_subscription& s) noexcept {
    mrv_host& h = *s.host;
    mrv_owner* const o = s.owner;
    if (s.is_watch) {
        static_cast<void>(h.core->notices().edges().remove(s.watch));
    } else {
        h.core->notices().unsubscribe(s.id);
    }
    h.core->records().give_back(&s);
    if (o != nullptr) {
        leave(*o);
    }
}

} // namespace memreeve::capi
