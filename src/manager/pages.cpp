// SPDX-License-Identifier: MIT
#include "manager/pages.hpp"

#include "vm/win32.hpp"

namespace memreeve::manager {

result<address> manager_pages::take(byte_count size, bool executable, criticality level,
                                    std::uint64_t tag) noexcept {
    return manager_->take_pages(who_, size, executable, level, tag);
}

void manager_pages::give_back(address begin) noexcept { manager_->give_back_pages(begin); }

std::uint64_t manager_pages::tag_of(address where, address* begin) noexcept {
    const vm::found f = manager_->space().find(where);
    if (f.index == 0 || f.tag == 0) {
        return 0;
    }
    *begin = f.whole.begin;
    return f.tag;
}

} // namespace memreeve::manager
