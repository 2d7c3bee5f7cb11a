// SPDX-License-Identifier: MIT
// address_space: guards that are met.
#include "vm/address_space.hpp"

#include "prim/prim.hpp"

namespace memreeve::vm {

bool address_space::clear_guard(address a, differences& diff, owner_id& owner) noexcept {
    const range page = span_of(a, 1);
    const found f = map_.find(page.begin);
    if (f.index == 0 || !is_guarded(f.code)) {
        return false;
    }
    switch (map_.claim(f.index, f.life, page)) {
    case claim_outcome::claimed: break;
    case claim_outcome::busy: return true; // being changed right now: let the access try again
    case claim_outcome::changed:
    case claim_outcome::no_memory: return false;
    }
    planned p;
    p.begin(this, planned::kind::commit, f, page, page_code::outside);
    page_code code = f.code;
    map_.for_each_run(page, [&](range, page_code c, bool) { code = c; });
    if (!is_guarded(code)) {
        return true; // somebody else met the guard first; p gives up the claim
    }
    p.target_ = without_guard(code);
    p.kernel_ = use_of(p.target_);
    count(p);
    if (!apply_access(p)) {
        return false;
    }
    diff = p.diff_;
    owner = f.owner;
    keep(p);
    return true;
}

// Only reserved pages carry markers, so that what this says of a committed page holds in the kernel.
bool address_space::permits(address a, access tried) const noexcept {
    const found f = find(round_down(a, page_size));
    prim::mapping m;
    return f.index != 0 && is_charged(f.code) && allows(use_of(f.code), tried) &&
           prim::find_mapping(f.at, &m) == 0 && m.where.contains(f.at) && allows(m.allowed, tried);
}

} // namespace memreeve::vm
