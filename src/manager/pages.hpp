// SPDX-License-Identifier: MIT
// Pages for heaps, from the manager, charged to one owner.
#pragma once

#include "heap/page_source.hpp"

namespace memreeve::manager {

class manager;

class manager_pages final : public heap::page_source {
public:
    constexpr manager_pages() noexcept = default;
    manager_pages(manager& m, owner_id who) noexcept : manager_(&m), who_(who) {}

    // Whom further pages are charged to: after fork the child's own account.
    void change_owner(owner_id who) noexcept { who_ = who; }

    result<heap::taken> take(const heap::wish& w) noexcept override;
    void give_back(address begin) noexcept override;
    byte_count trim() noexcept override;
    result<void> resize(address begin, range now, byte_count size, bool executable,
                        criticality level) noexcept override;
    result<heap::taken> move(address begin, range now, const heap::wish& w) noexcept override;
    heap::tally take_tally(bool alone) noexcept override;
    void give_back_tally(const heap::tally& t) noexcept override;
    std::uint64_t this_thread() noexcept override;
    bool is_gone(std::uint64_t thread) noexcept override;
    // No block of anybody else's heap lies there: an address range of the manager's.
    bool is_ours(address where) noexcept;
    std::uint64_t tag_of(address where, address* begin) noexcept override;

    peeked peek(address from, void* to, byte_count size) noexcept override;

private:
    manager* manager_ = nullptr;
    owner_id who_ = owner_id::none;
};

} // namespace memreeve::manager
