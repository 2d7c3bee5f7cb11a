// SPDX-License-Identifier: MIT
#include "manager/host.hpp"

#include "prim/prim.hpp"

#include <cstddef>
#include <new>

namespace memreeve::manager {

namespace {

constexpr byte_count host_bytes = round_up(sizeof(host), page_size);
byte_count mapped_bytes() noexcept { return host_bytes + ledger::size_for(private_shape); }

} // namespace

result<host*> host::create(const settings& s) noexcept {
    std::size_t prefix = 0;
    while (s.memory.root_prefix != nullptr && s.memory.root_prefix[prefix] != '\0') {
        if (++prefix >= sizeof(host::root_prefix_)) {
            return errc::invalid_argument;
        }
    }
    address at = 0;
    if (const int code = prim::map_records(mapped_bytes(), &at); code != 0) {
        return failure{errc::out_of_address_space, code};
    }
    auto* const made = new (reinterpret_cast<void*>(at)) host;
    for (std::size_t i = 0; i < prefix; ++i) {
        made->root_prefix_[i] = s.memory.root_prefix[i];
    }
    for (record_pool::storage& record : made->first_records_) {
        made->records_.lend(record);
    }
    options memory = s.memory;
    memory.root_prefix = made->root_prefix_;

    budget::tree::limits root;
    root.hard = s.limit;
    root.reserve = s.reserve;
    made->books_.format(reinterpret_cast<void*>(at + host_bytes), private_shape, root);
    // No launcher looks into it: the start time that would tell a later process of this number is
    // not asked for.
    const auto image = made->books_.begin_image(prim::process_id(), 0, false);
    failure failed{};
    if (image) {
        made->image_ = *image;
        const auto opened = made->manager_.open(made->books_, *made->image_, memory);
        if (opened) {
            made->notices_.open(made->books_.tree(), made->manager_.system(), made->image_);
            made->notices_.relieve_first(
                [](void* self) noexcept {
                    static_cast<void>(static_cast<manager*>(self)->relieve());
                },
                &made->manager_);
            return made;
        }
        failed = opened.error();
    } else {
        failed = image.error();
    }
    prim::unmap(at, mapped_bytes());
    return failed;
}

void host::destroy() noexcept {
    notices_.close();
    manager_.close();
    records_.close();
    prim::unmap(reinterpret_cast<address>(this), mapped_bytes());
}

result<owner_id> host::open_owner(owner_id parent, const char* name,
                                  const budget::tree::limits& l) noexcept {
    return books_.tree().open_account(parent == owner_id::none ? process() : parent, name, l,
                                      books_.index_of(*image_));
}

bool host::close_owner(owner_id who) noexcept {
    static_cast<void>(manager_.relieve());
    books_.tree().drain();
    const budget::account& a = books_.tree().at(who);
    for (const auto* held : {&a.mapped, &a.heap, &a.charged}) {
        if (held->load(std::memory_order_acquire) != 0) {
            return false;
        }
    }
    // Its arenas' slack is in its books.
    if (books_.tree().entered(who).reserved != 0 || !manager_.space().give_back_arenas_of(who)) {
        return false;
    }
    // What the kernel would not take back is in them until it is settled, and would be the next owner's.
    const budget::book_figures left = books_.tree().entered(who);
    if (left.writable != 0 || left.slack != 0) {
        return false;
    }
    books_.tree().close_account(who);
    return true;
}

result<void> host::set_limits(owner_id who, const budget::tree::limits& l) noexcept {
    auto done = books_.tree().set_limits(who, l);
    notices_.ring();
    return done;
}

} // namespace memreeve::manager
