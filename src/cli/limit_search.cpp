// SPDX-License-Identifier: MIT
#include "cli/limit_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace memreeve::cli {

namespace {

constexpr std::array larger_ones = {1.1, 1.25, 1.5, 2.0, 3.0}; // times the answer
constexpr double growth = 1.5;                                 // where nothing works yet
constexpr unsigned most_limits = 200;

byte_count whole_pages(double bytes) {
    return std::max<byte_count>(static_cast<byte_count>(bytes) / page_size, 1) * page_size;
}

} // namespace

limit_search::limit_search(const search_bounds& b) : bounds_(b) {
    bounds_.from = std::max(bounds_.from, page_size) / page_size * page_size;
    bounds_.to = std::max(bounds_.to / page_size * page_size, bounds_.from);
    bounds_.guess = std::clamp(bounds_.guess / page_size * page_size, bounds_.from, bounds_.to);
}

void limit_search::note(byte_count limit, bool worked) {
    ++(worked ? tried_[limit].worked : tried_[limit].failed);
}

byte_count limit_search::largest_failure() const {
    for (auto at = tried_.rbegin(); at != tried_.rend(); ++at) {
        if (!at->second.works()) {
            return at->first;
        }
    }
    return 0;
}

std::optional<byte_count> limit_search::answer() const {
    const auto at = tried_.upper_bound(largest_failure());
    return at == tried_.end() ? std::nullopt : std::optional(at->first);
}

std::vector<byte_count> limit_search::islands() const {
    std::vector<byte_count> out;
    for (const auto& [limit, t] : tried_) {
        if (t.works() && limit < largest_failure()) {
            out.push_back(limit);
        }
    }
    return out;
}

std::optional<byte_count> limit_search::next_upwards() const {
    if (tried_.empty()) {
        return bounds_.guess;
    }
    const byte_count largest = tried_.rbegin()->first;
    if (largest >= bounds_.to) {
        return std::nullopt;
    }
    return std::min(bounds_.to, whole_pages(static_cast<double>(largest) * growth));
}

std::optional<byte_count> limit_search::next() const {
    if (tried_.size() >= most_limits) {
        return std::nullopt;
    }
    const std::optional<byte_count> works = answer();
    if (!works) {
        return next_upwards();
    }
    const byte_count fails = largest_failure();
    if (fails == 0 && *works > bounds_.from) {
        return bounds_.from;
    }
    const auto low = static_cast<double>(fails);
    const auto high = static_cast<double>(*works);
    if (fails != 0 && high > low * (1 + bounds_.tolerance)) {
        const byte_count middle = whole_pages(std::sqrt(low * high));
        if (middle > fails && middle < *works) {
            return middle;
        }
    }
    if (tried_.at(*works).worked < bounds_.repeat) {
        return works;
    }
    for (const double times : larger_ones) {
        const byte_count limit = whole_pages(high * times);
        const auto near = tried_.lower_bound(whole_pages(high * (1 + (times - 1) * 0.7)));
        const bool is_known = near != tried_.end() &&
                              static_cast<double>(near->first) <= high * (1 + (times - 1) * 1.2);
        if (limit <= bounds_.to && !is_known) {
            return limit;
        }
    }
    return std::nullopt;
}

} // namespace memreeve::cli
