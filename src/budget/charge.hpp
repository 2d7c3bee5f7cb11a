// SPDX-License-Identifier: MIT
// Pages taken from an owner that refund themselves unless the operation they were taken for is kept.
#pragma once

#include "budget/budget.hpp"

namespace memreeve::budget {

class [[nodiscard]] charge {
public:
    charge() noexcept = default;
    charge(const charge&) = delete;
    charge& operator=(const charge&) = delete;
    ~charge() { give_back(); }

    void keep() noexcept { pages_ = 0; }
    page_count pages() const noexcept { return pages_; }

private:
    friend class tree;
    void arm(tree* from, owner_id who, page_count pages) noexcept {
        give_back();
        from_ = from;
        who_ = who;
        pages_ = pages;
    }
    void give_back() noexcept {
        if (pages_ != 0) {
            from_->refund(who_, pages_);
            pages_ = 0;
        }
    }

    tree* from_ = nullptr;
    owner_id who_ = owner_id::none;
    page_count pages_ = 0;
};

} // namespace memreeve::budget
