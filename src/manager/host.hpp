// SPDX-License-Identifier: MIT
// What an embedder's host consists of: a ledger in private memory, this process's image in it, the
// manager over both, the notifier, and records for the edges' objects. One mapping holds it all,
// zeroed by the kernel; parts that are not used are not touched and cost no memory.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "manager/ledger.hpp"
#include "manager/manager.hpp"
#include "manager/notifier.hpp"
#include "manager/record_pool.hpp"

namespace memreeve::manager {

inline constexpr byte_count unlimited = ~byte_count{0};

class host {
public:
    struct settings {
        byte_count limit = unlimited;
        byte_count reserve = 0; // part of the limit for higher levels only
        options memory{};       // root_prefix is copied
    };

    // Errors: out_of_address_space (os_code), invalid_argument (a prefix too long to keep).
    static result<host*> create(const settings& s) noexcept;
    // Unmaps everything. Nobody may be inside, no COM object of the host may be left.
    void destroy() noexcept;
    host(const host&) = delete;
    host& operator=(const host&) = delete;

    // Below `parent` (owner_id::none: the host itself).
    result<owner_id> open_owner(owner_id parent, const char* name,
                                const budget::tree::limits& l) noexcept;
    // False while memory is still reserved, recorded or charged under it: the id must stay then.
    bool close_owner(owner_id who) noexcept;
    // New limits are looked at by the notifier at once.
    result<void> set_limits(owner_id who, const budget::tree::limits& l) noexcept;

    // The account that every owner of this process lies below.
    owner_id process() const noexcept {
        return static_cast<owner_id>(image_->process_account.load(std::memory_order_relaxed));
    }
    manager& memory() noexcept { return manager_; }
    ledger& books() noexcept { return books_; }
    telemetry::image_record& image() noexcept { return *image_; }
    notifier& notices() noexcept { return notices_; }
    record_pool& records() noexcept { return records_; }

private:
    host() noexcept = default;

    ledger books_{};
    telemetry::image_record* image_ = nullptr;
    manager manager_{};
    notifier notices_{};
    record_pool records_{};
    // The first objects of every host: its handle, an owner, a memory manager and the like.
    static constexpr std::uint32_t first_records = 6;
    record_pool::storage first_records_[first_records];
    char root_prefix_[256]{};
};

} // namespace memreeve::manager
