// SPDX-License-Identifier: MIT
#include "manager/pressure_stall.hpp"

#include "manager/system_file.hpp"

namespace memreeve::manager {

int set_stall_trigger(const prim::watched& file) noexcept {
    constexpr int not_this_window = 22; // EINVAL
    // The kernel puts its terminator over the last byte it is given: that must be ours.
    static constexpr char one_second[] = "some 150000 1000000";
    static constexpr char two_seconds[] = "some 300000 2000000";
    const int e = prim::tell_watched(file, one_second, sizeof one_second);
    return e == not_this_window ? prim::tell_watched(file, two_seconds, sizeof two_seconds) : e;
}

bool read_stall(const char* path, std::uint64_t* total_us) noexcept {
    file_lines file(path);
    while (const char* line = file.next()) {
        if (after(line, "some ") == nullptr) {
            continue;
        }
        for (const char* at = line; *at != '\0'; ++at) {
            if (const char* value = after(at, " total=")) {
                return *value >= '0' && *value <= '9' && read_number(value, total_us);
            }
        }
    }
    return false;
}

bool growth_meter::update(std::uint64_t value, std::uint64_t now_ns) noexcept {
    const bool is_new = !has_base_ || value < base_; // another group, or counted anew
    const bool has_grown = !is_new && value - base_ >= enough_;
    if (is_new || has_grown || now_ns - base_at_ >= stall_window_ns) {
        base_ = value;
        base_at_ = now_ns;
        has_base_ = true;
    }
    return has_grown;
}

} // namespace memreeve::manager
