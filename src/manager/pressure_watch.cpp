// SPDX-License-Identifier: MIT
#include "manager/pressure_watch.hpp"

#include "manager/system_file.hpp"

#include <algorithm>
#include <cstddef>

namespace memreeve::manager {

namespace {

constexpr int would_wait = 11; // EAGAIN: another process has read it
constexpr int not_ours = 9;    // EBADF: the program has closed it

std::uint64_t mark_of(const char* text) noexcept {
    std::uint64_t mark = 0xcbf29ce484222325;
    for (; *text != '\0'; ++text) {
        mark = (mark ^ static_cast<unsigned char>(*text)) * 0x100000001b3;
    }
    return mark;
}

} // namespace

void pressure_watch::open(const char* root_prefix, control_groups& groups,
                          std::uint64_t now_ns) noexcept {
    root_ = root_prefix;
    groups_ = &groups;
    is_open_ = !wishes_.is_off;
    pressed_until_ = 0;
    read_at_ = now_ns;
    review_at_ = now_ns + review_period_ns;
    if (is_open_) {
        review();
    }
}

void pressure_watch::close() noexcept {
    close_source(named_);
    close_own();
    is_open_ = false;
    pressed_until_ = 0;
}

void pressure_watch::close_source(source& s) noexcept {
    prim::close_watched(s.told);
    s = {};
}

bool pressure_watch::open_named() noexcept {
    prim::watched file;
    if (!wishes_.names_file() || prim::open_watched(wishes_.path, &file) != 0) {
        return false;
    }
    has_echo_ = false;
    const int told =
        wishes_.text_size != 0 ? prim::tell_watched(file, wishes_.text, wishes_.text_size) : 0;
    if (file.kind == prim::watched_kind::pressure_file) {
        // Without a trigger of its own the kernel reports nothing but an error.
        if ((wishes_.text_size == 0 || told != 0) && set_stall_trigger(file) != 0) {
            prim::close_watched(file);
            return false;
        }
    } else {
        has_echo_ = file.kind == prim::watched_kind::fifo && wishes_.text_size != 0 && told == 0;
    }
    named_.told = file;
    return true;
}

bool pressure_watch::machine_path(file_path& out) const noexcept {
    out += "/proc/pressure/memory";
    return out.fits();
}

// Names the file for good: 0 when there is no group.
std::uint64_t pressure_watch::find_group(file_path& out) noexcept {
    if (!groups_->own_directory(out)) {
        return 0;
    }
    out += "/memory.pressure";
    return out.fits() ? mark_of(out.text()) : 0;
}

void pressure_watch::open_stall_file(source& s, const char* path) noexcept {
    close_source(s);
    if (prim::open_watched(path, &s.told) == 0) {
        if (s.told.kind == prim::watched_kind::pressure_file && set_stall_trigger(s.told) == 0) {
            return;
        }
        prim::close_watched(s.told);
    }
    std::uint64_t total = 0;
    s.is_metered = read_stall(path, &total);
}

// Opens what is not open, and follows this process into another group.
void pressure_watch::open_own() noexcept {
    file_path machine(root_);
    if (!machine_.is_used() && machine_path(machine)) {
        open_stall_file(machine_, machine.text());
    }
    file_path group("");
    const std::uint64_t mark = find_group(group);
    if (mark != group_mark_) {
        close_source(group_);
        hits_.reset();
        group_mark_ = mark;
    }
    if (!group_.is_used() && mark != 0) {
        open_stall_file(group_, group.text());
    }
    counts_hits_ = !machine_.is_used() && !group_.is_used();
}

void pressure_watch::close_own() noexcept {
    close_source(machine_);
    close_source(group_);
    group_mark_ = 0;
    counts_hits_ = false;
    hits_.reset();
}

// Once a second: what was not there may be there now, what was there may be gone.
void pressure_watch::review() noexcept {
    if (named_.is_used()) {
        return;
    }
    if (open_named()) {
        close_own();
    } else {
        open_own();
    }
}

// Reads what a readable stream holds. That it was readable is the notice, unless it is only the end
// or what was written there.
bool pressure_watch::drain(source& s) noexcept {
    bool is_notice = true;
    for (int rounds = 0; rounds < 16; ++rounds) { // a flood is read in turns
        std::uint8_t buffer[service_watch::write_capacity];
        const long n = prim::read_watched(s.told, buffer, sizeof buffer);
        if (n <= 0) {
            is_notice = is_notice && (rounds != 0 || (n != 0 && n != -not_ours));
            if (n != -would_wait) {
                close_source(s);
            }
            break;
        }
        const auto size = static_cast<std::size_t>(n);
        const bool is_echo = has_echo_ && size >= wishes_.text_size &&
                             std::equal(wishes_.text, wishes_.text + wishes_.text_size, buffer);
        is_notice = !is_echo || size > wishes_.text_size;
        has_echo_ = false;
        if (is_notice && size < sizeof buffer) {
            break;
        }
    }
    return is_notice;
}

bool pressure_watch::take(source& s, std::uint64_t now_ns) noexcept {
    if (s.told.fd < 0 || now_ns < s.quiet_until) {
        return false;
    }
    const prim::readiness r = prim::poll_watched(s.told);
    if (r.has_ended) {
        close_source(s);
        return false;
    }
    if (!r.is_told) {
        return false;
    }
    s.quiet_until = now_ns + read_period_ns;
    return s.told.kind == prim::watched_kind::pressure_file || drain(s);
}

bool pressure_watch::read_meters(std::uint64_t now_ns) noexcept {
    bool has_grown = false;
    std::uint64_t value = 0;
    file_path machine(root_);
    if (machine_.is_metered && machine_path(machine) && read_stall(machine.text(), &value)) {
        has_grown = machine_.meter.update(value, now_ns) || has_grown;
    }
    file_path group("");
    if (group_.is_metered || counts_hits_) {
        if (find_group(group) != group_mark_) { // numbers of two groups say nothing together
            open_own();
        }
    }
    if (group_.is_metered && read_stall(group.text(), &value)) {
        has_grown = group_.meter.update(value, now_ns) || has_grown;
    }
    if (counts_hits_ && groups_->limit_hits(&value)) {
        has_grown = hits_.update(value, now_ns) || has_grown;
    }
    return has_grown;
}

bool pressure_watch::look(std::uint64_t now_ns) noexcept {
    if (!is_open_) {
        return false;
    }
    bool is_told = take(named_, now_ns);
    is_told = take(machine_, now_ns) || is_told;
    is_told = take(group_, now_ns) || is_told;
    if (now_ns >= read_at_) {
        read_at_ = now_ns + read_period_ns;
        is_told = read_meters(now_ns) || is_told;
    }
    if (now_ns >= review_at_) {
        review_at_ = now_ns + review_period_ns;
        review();
    }
    if (!is_told) {
        return false;
    }
    const bool is_news = !is_pressed(now_ns);
    pressed_until_ = now_ns + hold_ns;
    return is_news;
}

} // namespace memreeve::manager
