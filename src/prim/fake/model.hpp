// SPDX-License-Identifier: MIT
// The mappings of the universe as the kernel would hold them; no system call, no lock.
// Every function returns 0 or the errno value. Addresses are page aligned.
#pragma once

#include "prim/fake/fake.hpp"

#include <map>
#include <optional>
#include <set>

namespace memreeve::prim::fake {

class model {
public:
    void reset(const settings& s);
    void set_limits(const settings& s) { limits_ = s; }

    // The highest hole of this size; nothing when there is none.
    std::optional<address> find_hole(byte_count size) const;
    bool is_free(range r) const;
    // Puts one mapping at v.where, in the place of whatever is there.
    int map(vma v);
    int unmap(range r);
    // `changed` is the prefix that has the new access when it stops half-way.
    int protect(range r, access allowed, range& changed);
    int set_wiped_on_fork(range r);
    // Every page mapped? madvise(MADV_DONTNEED) and its like.
    bool is_fully_mapped(range r) const;
    // MADV_GUARD_INSTALL, MADV_GUARD_REMOVE.
    int set_guards(range r, bool on);
    bool is_guarded(address page) const { return guards_.count(page) != 0; }
    // mremap(MAYMOVE | FIXED | DONTUNMAP); `source` receives what moved.
    int move_leaving_source(range from, address to, vma& source);
    // mremap without DONTUNMAP, to a place that is free or to be replaced.
    int move(range from, range to, vma& source);
    int grow_in_place(range from, byte_count new_size, vma& grown);

    const vma* find(address at) const; // that contains `at`
    const vma* find_or_next(address at) const;
    std::size_t count() const { return vmas_.size(); }
    byte_count bytes() const { return bytes_; }
    const std::map<address, vma>& all() const { return vmas_; }
    std::size_t refused_for_count() const { return refused_for_count_; }
    std::size_t refused_for_size() const { return refused_for_size_; }

private:
    using iterator = std::map<address, vma>::iterator;

    iterator first_overlapping(range r);
    bool mergeable(const vma& left, const vma& right) const;
    // Merges the mapping with its neighbours where they agree.
    void merge_round(iterator at);
    int split(iterator at, address where, bool limited);
    int refuse_count();
    int change(range r, range& changed, vma (*edit)(vma, access), access argument);
    byte_count mapped_in(range r) const;
    std::set<address> take_guards(range r);
    void put_guards(const std::set<address>& pages, address from, address to);

    settings limits_;
    std::map<address, vma> vmas_; // by begin
    std::set<address> guards_;    // pages
    byte_count bytes_ = 0;
    std::size_t refused_for_count_ = 0;
    std::size_t refused_for_size_ = 0;
};

} // namespace memreeve::prim::fake
