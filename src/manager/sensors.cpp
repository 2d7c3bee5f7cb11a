// SPDX-License-Identifier: MIT
#include "manager/sensors.hpp"

#include "manager/system_file.hpp"
#include "prim/prim.hpp"

#include <algorithm>

namespace memreeve::manager {

namespace {

pressure::room machine_room(const char* root) noexcept {
    constexpr byte_count most_kib = byte_count{1} << 53; // more is no memory size
    file_path name(root);
    name += "/proc/meminfo";
    if (!name.fits()) {
        return {};
    }
    byte_count total = 0;
    byte_count available = 0;
    bool has_available = false;
    file_lines file(name.text());
    while (const char* line = total == 0 || !has_available ? file.next() : nullptr) {
        if (const char* value = after(line, "MemTotal:")) {
            read_number(value, &total);
        } else if (const char* left = after(line, "MemAvailable:")) {
            has_available = read_number(left, &available);
        }
    }
    if (total == 0 || total > most_kib || !has_available) {
        return {};
    }
    return {total * 1024, std::min(available, total) * 1024};
}

} // namespace

void sensors::open(const char* root_prefix, bool with_system) noexcept {
    root_ = root_prefix != nullptr ? root_prefix : "";
    groups_.open(root_);
    with_system_ = with_system;
}

void sensors::refresh() noexcept {
    const pressure::room machine = machine_room(root_);
    const pressure::room container = groups_.room();
    machine_.available.store(machine.available, std::memory_order_relaxed);
    machine_.total.store(machine.total, std::memory_order_relaxed);
    container_.available.store(container.available, std::memory_order_relaxed);
    container_.total.store(container.total, std::memory_order_relaxed);
    has_sample_.store(true, std::memory_order_release);
}

sensors::sample sensors::read() noexcept {
    if (!with_system_) {
        return {};
    }
    const std::uint64_t now = prim::now_ns();
    std::uint64_t taken = taken_at_.load(std::memory_order_acquire);
    const bool is_stale = taken == 0 || now - taken >= fresh_ns;
    const bool mine =
        is_stale && (taken_at_.compare_exchange_strong(taken, now, std::memory_order_acq_rel));
    if (mine || !has_sample_.load(std::memory_order_acquire)) {
        refresh();
    }
    return {{machine_.total.load(std::memory_order_relaxed),
             machine_.available.load(std::memory_order_relaxed)},
            {container_.total.load(std::memory_order_relaxed),
             container_.available.load(std::memory_order_relaxed)}};
}

byte_count sensors::total() noexcept {
    if (!with_system_) {
        return 0;
    }
    const byte_count machine = machine_room(root_).total;
    const byte_count limit = groups_.limit();
    return machine == 0 || limit == 0 ? std::max(machine, limit) : std::min(machine, limit);
}

pressure::room budget_room(const budget::tree& accounts, owner_id who) noexcept {
    pressure::room tightest;
    page_count inside = 0; // what the accounts below may still use inside their guarantees
    for (owner_id id = who; id != owner_id::none;) {
        const budget::account& a = accounts.at(id);
        const std::uint64_t usage = a.usage.load(std::memory_order_acquire);
        const page_count held = usage & 0xffffffffULL;
        const page_count guaranteed = usage >> 32;
        const page_count limit = a.limit.load(std::memory_order_relaxed);
        if (limit < budget::no_limit) {
            const page_count top =
                limit - std::min(a.reserve.load(std::memory_order_relaxed), limit);
            const page_count used = held + a.touched.load(std::memory_order_relaxed);
            const page_count left = std::min((used < top ? top - used : 0) + inside, top);
            // A limit of less than a page still binds: a total of 1 byte with nothing left.
            const pressure::room here{std::max<byte_count>(bytes_of(top), 1), bytes_of(left)};
            if (!tightest.is_known() || here.available < tightest.available) {
                tightest = here;
            }
        }
        inside += std::max(held, guaranteed) - held;
        id = static_cast<owner_id>(a.parent.load(std::memory_order_relaxed));
    }
    return tightest;
}

pressure::load load_of(const budget::tree& accounts, owner_id who, sensors& system) noexcept {
    const sensors::sample sample = system.read();
    const pressure::room rooms[] = {budget_room(accounts, who), sample.container, sample.machine};
    return pressure::load_of(rooms);
}

} // namespace memreeve::manager
