// SPDX-License-Identifier: MIT
#include "prim/fake/model.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace memreeve::prim::fake {

void model::reset(const settings& s) {
    limits_ = s;
    vmas_.clear();
    guards_.clear();
    bytes_ = 0;
    refused_for_count_ = 0;
    refused_for_size_ = 0;
}

const vma* model::find_or_next(address at) const {
    auto i = vmas_.upper_bound(at);
    if (i != vmas_.begin()) {
        const auto before = std::prev(i);
        if (before->second.where.contains(at)) {
            return &before->second;
        }
    }
    return i == vmas_.end() ? nullptr : &i->second;
}

const vma* model::find(address at) const {
    const vma* v = find_or_next(at);
    return v != nullptr && v->where.contains(at) ? v : nullptr;
}

model::iterator model::first_overlapping(range r) {
    auto i = vmas_.upper_bound(r.begin);
    if (i != vmas_.begin() && std::prev(i)->second.where.end > r.begin) {
        --i;
    }
    return i;
}

bool model::is_free(range r) const {
    const vma* v = find_or_next(r.begin);
    return v == nullptr || v->where.begin >= r.end;
}

byte_count model::mapped_in(range r) const {
    byte_count sum = 0;
    for (const vma* v = find_or_next(r.begin); v != nullptr && v->where.begin < r.end;
         v = find_or_next(v->where.end)) {
        sum += std::min(v->where.end, r.end) - std::max(v->where.begin, r.begin);
    }
    return sum;
}

bool model::is_fully_mapped(range r) const { return mapped_in(r) == r.size(); }

std::optional<address> model::find_hole(byte_count size) const {
    address end = universe.end;
    for (auto i = vmas_.rbegin(); i != vmas_.rend(); ++i) {
        if (end - i->second.where.end >= size) {
            return end - size;
        }
        end = i->second.where.begin;
    }
    if (end - universe.begin >= size) {
        return end - size;
    }
    return std::nullopt;
}

bool model::mergeable(const vma& left, const vma& right) const {
    return limits_.merges && left.where.end == right.where.begin && left.allowed == right.allowed &&
           left.wiped_on_fork == right.wiped_on_fork && !left.shared && !right.shared &&
           !left.has_file && !right.has_file;
}

void model::merge_round(iterator at) {
    const auto next = std::next(at);
    if (next != vmas_.end() && mergeable(at->second, next->second)) {
        at->second.where.end = next->second.where.end;
        vmas_.erase(next);
    }
    if (at != vmas_.begin()) {
        const auto before = std::prev(at);
        if (mergeable(before->second, at->second)) {
            before->second.where.end = at->second.where.end;
            vmas_.erase(at);
        }
    }
}

int model::refuse_count() {
    ++refused_for_count_;
    return ENOMEM;
}

int model::split(iterator at, address where, bool limited) {
    if (limited && vmas_.size() >= limits_.mapping_limit) {
        return refuse_count();
    }
    vma upper = at->second;
    upper.where.begin = where;
    at->second.where.end = where;
    vmas_.emplace(where, upper);
    return 0;
}

int model::unmap(range r) {
    auto i = first_overlapping(r);
    if (i == vmas_.end() || i->second.where.begin >= r.end) {
        return 0;
    }
    if (i->second.where.begin < r.begin) {
        // Only the middle of a mapping leaves one more behind.
        if (i->second.where.end > r.end && vmas_.size() >= limits_.mapping_limit) {
            return refuse_count();
        }
        (void)split(i, r.begin, false);
        ++i;
    }
    (void)take_guards(r);
    while (i != vmas_.end() && i->second.where.begin < r.end) {
        if (i->second.where.end > r.end) {
            (void)split(i, r.end, false);
        }
        bytes_ -= i->second.where.size();
        i = vmas_.erase(i);
    }
    return 0;
}

int model::map(vma v) {
    if (vmas_.size() > limits_.mapping_limit) {
        return refuse_count();
    }
    if (bytes_ - mapped_in(v.where) + v.where.size() > limits_.size_limit) {
        ++refused_for_size_;
        return ENOMEM;
    }
    const int r = unmap(v.where);
    if (r != 0) {
        return r;
    }
    bytes_ += v.where.size();
    merge_round(vmas_.emplace(v.where.begin, v).first);
    return 0;
}

int model::change(range r, range& changed, vma (*edit)(vma, access), access argument) {
    changed = {r.begin, r.begin};
    auto i = first_overlapping(r);
    if (i == vmas_.end() || i->second.where.begin > r.begin) {
        return ENOMEM;
    }
    while (changed.end < r.end) {
        if (i == vmas_.end() || i->second.where.begin > changed.end) {
            return ENOMEM; // a hole
        }
        const range part{changed.end, std::min(r.end, i->second.where.end)};
        const vma wanted = edit(i->second, argument);
        if (wanted != i->second) {
            // Whole, or a boundary that moves into a neighbour that already is so: no split.
            const bool at_begin = part.begin == i->second.where.begin;
            const bool at_end = part.end == i->second.where.end;
            vma edited = wanted;
            edited.where = part;
            const bool moves_left =
                at_begin && i != vmas_.begin() && mergeable(std::prev(i)->second, edited);
            const bool moves_right =
                at_end && std::next(i) != vmas_.end() && mergeable(edited, std::next(i)->second);
            const bool limited = !moves_left && !moves_right;
            if (!at_begin) {
                if (const int e = split(i, part.begin, limited); e != 0) {
                    return e;
                }
                ++i;
            }
            if (!at_end) {
                if (const int e = split(i, part.end, limited); e != 0) {
                    return e; // the first split stays, as in Linux
                }
            }
            edited.where = i->second.where;
            i->second = edited;
            merge_round(i);
        }
        changed.end = part.end;
        i = first_overlapping({part.end, part.end + page_size});
    }
    return 0;
}

int model::protect(range r, access allowed, range& changed) {
    return change(
        r, changed,
        [](vma v, access a) {
            v.allowed = a;
            return v;
        },
        allowed);
}

int model::set_wiped_on_fork(range r) {
    range changed;
    const int e = change(
        r, changed,
        [](vma v, access) {
            v.wiped_on_fork = true;
            return v;
        },
        access::none);
    // madvise says that the limit may pass.
    return e == ENOMEM && changed.size() < r.size() && is_fully_mapped(r) ? EAGAIN : e;
}

int model::set_guards(range r, bool on) {
    if (!limits_.guards) {
        return EINVAL;
    }
    // What lies in front of a hole, or of memory that takes none, is done.
    for (address page = r.begin; page < r.end; page += page_size) {
        const vma* v = find(page);
        if (v == nullptr || v->shared || v->has_file) {
            return v == nullptr ? ENOMEM : EINVAL;
        }
        if (on) {
            guards_.insert(page);
        } else {
            guards_.erase(page);
        }
    }
    return 0;
}

std::set<address> model::take_guards(range r) {
    const auto first = guards_.lower_bound(r.begin);
    const auto last = guards_.lower_bound(r.end);
    std::set<address> taken(first, last);
    guards_.erase(first, last);
    return taken;
}

void model::put_guards(const std::set<address>& pages, address from, address to) {
    for (const address page : pages) {
        guards_.insert(page - from + to);
    }
}

int model::move_leaving_source(range from, address to, vma& source) {
    const vma* v = find(from.begin);
    if (v == nullptr || v->where.end < from.end) {
        return EFAULT;
    }
    if (v->has_file || v->shared) {
        return EINVAL;
    }
    // mremap keeps three in hand, and two more for a fixed destination.
    if (vmas_.size() + 2 + 3 >= limits_.mapping_limit) {
        return refuse_count();
    }
    source = *v;
    vma target = source;
    target.where = {to, to + from.size()};
    const std::set<address> guards = take_guards(from);
    const int e = map(target);
    put_guards(guards, from.begin, e == 0 ? to : from.begin);
    return e;
}

int model::move(range from, range to, vma& source) {
    const vma* v = find(from.begin);
    if (v == nullptr || v->where.end < from.end) {
        return EFAULT;
    }
    if (vmas_.size() + 3 >= limits_.mapping_limit) {
        return refuse_count();
    }
    source = *v;
    vma target = source;
    target.where = to;
    const std::set<address> guards = take_guards(from);
    const int e = map(target);
    put_guards(guards, from.begin, e == 0 ? to.begin : from.begin);
    return e != 0 ? e : unmap(from);
}

int model::grow_in_place(range from, byte_count new_size, vma& grown) {
    const vma* v = find(from.begin);
    if (v == nullptr || v->where.end < from.end) {
        return EFAULT;
    }
    const range more{from.end, from.begin + new_size};
    if (v->where.end != from.end || !is_free(more) || !universe.contains(more)) {
        return ENOMEM;
    }
    vma added = *v;
    added.where = more;
    if (bytes_ + more.size() > limits_.size_limit) {
        ++refused_for_size_;
        return ENOMEM;
    }
    bytes_ += more.size();
    const auto at = vmas_.find(v->where.begin);
    at->second.where.end = more.end;
    grown = added;
    merge_round(at);
    return 0;
}

} // namespace memreeve::prim::fake
