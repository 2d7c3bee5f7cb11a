// SPDX-License-Identifier: MIT
#include "manager/control_group.hpp"

#include <algorithm>

namespace memreeve::manager {

namespace {

struct group_files {
    const char* limit;
    const char* second_limit; // null: none
    const char* usage;
    const char* cache_field;     // in memory.stat: file pages that can go at once
    const char* hierarchy_field; // in memory.stat: the tightest limit, hidden levels included
};
// memory.high counts too: above it the kernel stops the process rather than give it memory.
constexpr group_files files_of_2{"/memory.max", "/memory.high", "/memory.current", "inactive_file ",
                                 nullptr};
constexpr group_files files_of_1{"/memory.limit_in_bytes", nullptr, "/memory.usage_in_bytes",
                                 "total_inactive_file ", "hierarchical_memory_limit "};
// Version 1 says "no limit" by the largest multiple of a page below 2^63.
constexpr byte_count no_group_limit = byte_count{1} << 62;

// The fields of memory.stat that are asked for; those that are not there stay as they are.
void read_stat(file_path& directory, const group_files& names, byte_count* cache,
               byte_count* hierarchy) noexcept {
    const std::size_t keep = directory.size();
    directory += "/memory.stat";
    if (directory.fits()) {
        file_lines file(directory.text());
        while (const char* line = file.next()) {
            if (const char* value = after(line, names.cache_field)) {
                read_number(value, cache);
            } else if (names.hierarchy_field != nullptr) {
                if (const char* limit = after(line, names.hierarchy_field)) {
                    read_number(limit, hierarchy);
                }
            }
        }
    }
    directory.cut(keep);
}

// What bounds one level; no_group_limit when nothing does.
byte_count limit_of(file_path& directory, const group_files& names) noexcept {
    byte_count limit = no_group_limit;
    byte_count second = no_group_limit;
    file_number(directory, names.limit, &limit);
    if (names.second_limit != nullptr) {
        file_number(directory, names.second_limit, &second);
    }
    return std::min({limit, second, no_group_limit});
}

// The tightest group from `directory` up to its first `keep` characters.
pressure::room tightest_of(file_path& directory, std::size_t keep, const group_files& names,
                           pressure::room tightest) noexcept {
    // Only the lowest level is asked for levels above what is visible: those between are read.
    bool ask_hierarchy = names.hierarchy_field != nullptr;
    do {
        byte_count limit = limit_of(directory, names);
        byte_count usage = 0;
        if ((limit == no_group_limit && !ask_hierarchy) ||
            !file_number(directory, names.usage, &usage)) {
            continue;
        }
        byte_count hierarchy = no_group_limit;
        byte_count cache = 0;
        read_stat(directory, names, &cache, &hierarchy);
        limit = std::min(limit, ask_hierarchy ? hierarchy : no_group_limit);
        ask_hierarchy = false;
        if (limit == no_group_limit) {
            continue;
        }
        const byte_count used = usage - std::min(cache, usage);
        // A limit of nothing still binds: one byte with nothing left.
        const pressure::room here{std::max<byte_count>(limit, 1), limit - std::min(used, limit)};
        if (!tightest.is_known() || here.available < tightest.available) {
            tightest = here;
        }
    } while (directory.ascend(keep));
    return tightest;
}

// The smallest limit on the same way, whatever is used of it.
byte_count smallest_limit(file_path& directory, std::size_t keep,
                          const group_files& names) noexcept {
    byte_count smallest = no_group_limit;
    byte_count cache = 0;
    if (names.hierarchy_field != nullptr) {
        read_stat(directory, names, &cache, &smallest);
    }
    do {
        smallest = std::min(smallest, limit_of(directory, names));
    } while (directory.ascend(keep));
    return smallest;
}

// ---- text -----------------------------------------------------------------------------------------

const char* find(const char* text, char wanted) noexcept {
    while (*text != '\0' && *text != wanted) {
        ++text;
    }
    return text;
}

// Is `word` one of the names between commas in [text, end)?
bool has_word(const char* text, const char* end, const char* word) noexcept {
    while (text < end) {
        const char* rest = after(text, word);
        if (rest != nullptr && (rest == end || *rest == ',')) {
            return true;
        }
        text = std::min(find(text, ','), end) + 1;
    }
    return false;
}

bool is_octal(char c) noexcept { return c >= '0' && c <= '7'; }

// Empty and false when it does not fit. In mountinfo (`escaped`) blanks and the like are written as
// a backslash and three octal digits.
template <std::size_t N>
bool copy(const char* from, const char* end, bool escaped, char (&to)[N]) noexcept {
    std::size_t size = 0;
    while (from < end && size + 1 < N) {
        char c = *from++;
        if (escaped && c == '\\' && end - from >= 3 && is_octal(from[0]) && is_octal(from[1]) &&
            is_octal(from[2])) {
            c = static_cast<char>((from[0] - '0') * 64 + (from[1] - '0') * 8 + (from[2] - '0'));
            from += 3;
        }
        to[size++] = c;
    }
    to[from < end ? 0 : size] = '\0';
    return to[0] != '\0';
}

// What follows `top` in `path`, "" when they are the same; null when `path` does not lie below.
const char* below(const char* path, const char* top) noexcept {
    if (top[0] == '/' && top[1] == '\0') {
        return path;
    }
    const char* rest = after(path, top);
    return rest != nullptr && (*rest == '\0' || *rest == '/') ? rest : nullptr;
}

bool leads_outside(const char* path) noexcept {
    for (const char* at = path; *at != '\0'; ++at) {
        const char* rest = after(at, "/..");
        if (rest != nullptr && (*rest == '/' || *rest == '\0')) {
            return true;
        }
    }
    return false;
}

std::size_t length(const char* text) noexcept {
    return static_cast<std::size_t>(find(text, '\0') - text);
}

} // namespace

// Lines are "number:controllers:path"; version 2 has number 0 and no controllers.
bool control_groups::read_membership(membership& out) const noexcept {
    out.version_1[0] = '\0';
    out.version_2[0] = '\0';
    file_path name(root_);
    name += "/proc/self/cgroup";
    if (!name.fits()) {
        return false;
    }
    file_lines file(name.text());
    while (const char* line = file.next()) {
        const char* controllers = find(line, ':');
        if (*controllers == '\0') {
            continue;
        }
        ++controllers;
        const char* group = find(controllers, ':');
        if (group[0] == '\0' || group[1] != '/') {
            continue;
        }
        const char* const end = find(group, '\0');
        if (group == controllers && line[0] == '0' && line[1] == ':') {
            copy(group + 1, end, false, out.version_2);
        } else if (has_word(controllers, group, "memory")) {
            copy(group + 1, end, false, out.version_1);
        }
    }
    return out.version_1[0] != '\0' || out.version_2[0] != '\0';
}

// "id parent major:minor root point options [optional...] - type source super-options"
void control_groups::take_mount(const char* line, const membership& own, mounts& out) noexcept {
    const char* field[6]{};
    const char* at = line;
    for (const char*& f : field) {
        f = at;
        at = find(at, ' ');
        if (*at == '\0') {
            return;
        }
        ++at;
    }
    while (after(at, "- ") == nullptr) {
        at = find(at, ' ');
        if (*at == '\0') {
            return;
        }
        ++at;
    }
    const char* const type = at + 2;
    const char* const type_end = find(type, ' ');
    const char* super = type_end;
    for (const char* c = type_end; *c != '\0'; ++c) {
        super = *c == ' ' ? c + 1 : super;
    }
    const bool is_version_2 = after(type, "cgroup2") == type_end;
    if (!is_version_2 &&
        (after(type, "cgroup") != type_end || !has_word(super, find(super, '\0'), "memory"))) {
        return;
    }
    mount found;
    if (!copy(field[3], field[4] - 1, true, found.top) ||
        !copy(field[4], field[5] - 1, true, found.point)) {
        return;
    }
    // Mounted more than once: the one that shows most of the way from the group to the root. Of
    // equals the later one, which may hide the other.
    mount& known = is_version_2 ? out.version_2[0] : out.version_1;
    const char* const group = is_version_2 ? own.version_2 : own.version_1;
    const bool shows_less =
        known.is_there() && below(group, known.top) != nullptr &&
        (below(group, found.top) == nullptr || length(found.top) > length(known.top));
    if (!shows_less) {
        known = found;
    }
}

void control_groups::find_mounts(const membership& own, mounts& out) const noexcept {
    out = {};
    file_path name(root_);
    name += "/proc/self/mountinfo";
    if (name.fits()) {
        file_lines file(name.text());
        if (file.is_open()) {
            bool has_lines = false;
            while (const char* line = file.next()) {
                has_lines = true;
                take_mount(line, own, out);
            }
            if (has_lines) {
                return;
            }
        }
    }
    const auto assume = [](mount& m, const char* point) {
        copy(point, find(point, '\0'), false, m.point);
        m.top[0] = '/';
    };
    assume(out.version_1, "/sys/fs/cgroup/memory");
    assume(out.version_2[0], "/sys/fs/cgroup");
    assume(out.version_2[1], "/sys/fs/cgroup/unified");
}

template <class Visit>
void control_groups::visit_mounts(const membership& own, const mounts& where,
                                  Visit& visit) const noexcept {
    const auto show = [&](const mount& m, const char* group, bool is_version_2) {
        if (!m.is_there() || group[0] == '\0' || leads_outside(group)) {
            return;
        }
        file_path directory(root_);
        directory += m.point;
        const auto trim = [&directory] {
            while (directory.size() != 0 && directory.text()[directory.size() - 1] == '/') {
                directory.cut(directory.size() - 1);
            }
        };
        trim();
        const std::size_t keep = directory.size();
        if (const char* rest = below(group, m.top)) {
            directory += rest;
        }
        if (directory.fits()) {
            trim();
            visit(directory, keep, is_version_2);
        }
    };
    show(where.version_2[0], own.version_2, true);
    show(where.version_2[1], own.version_2, true);
    show(where.version_1, own.version_1, false);
}

template <class Visit>
void control_groups::for_each(Visit visit) noexcept {
    membership own;
    if (!read_membership(own)) {
        return;
    }
    std::uint32_t state = mounts_unknown;
    if (state_.load(std::memory_order_acquire) != mounts_known) {
        mounts found;
        find_mounts(own, found);
        if (state_.compare_exchange_strong(state, mounts_being_found, std::memory_order_acquire)) {
            mounts_ = found;
            state_.store(mounts_known, std::memory_order_release);
        } else if (state != mounts_known) {
            // Another thread writes them down, and may be stopped while it does.
            visit_mounts(own, found, visit);
            return;
        }
    }
    visit_mounts(own, mounts_, visit);
}

pressure::room control_groups::room() noexcept {
    pressure::room tightest;
    for_each([&tightest](file_path& directory, std::size_t keep, bool is_version_2) {
        tightest = tightest_of(directory, keep, is_version_2 ? files_of_2 : files_of_1, tightest);
    });
    return tightest;
}

byte_count control_groups::limit() noexcept {
    byte_count smallest = no_group_limit;
    for_each([&smallest](file_path& directory, std::size_t keep, bool is_version_2) {
        const group_files& names = is_version_2 ? files_of_2 : files_of_1;
        smallest = std::min(smallest, smallest_limit(directory, keep, names));
    });
    return smallest < no_group_limit ? std::max<byte_count>(smallest, 1) : 0;
}

bool control_groups::own_directory(file_path& out) noexcept {
    bool found = false;
    for_each([&](file_path& directory, std::size_t, bool is_version_2) {
        if (is_version_2 && !found) {
            out = directory;
            found = true;
        }
    });
    return found;
}

bool control_groups::limit_hits(std::uint64_t* out) noexcept {
    bool found = false;
    *out = 0;
    for_each([&](file_path& directory, std::size_t keep, bool is_version_2) {
        if (!is_version_2) {
            return;
        }
        do {
            for (const char* field : {"high ", "max ", "oom "}) {
                std::uint64_t n = 0;
                if (file_field(directory, "/memory.events", field, &n)) {
                    *out += n;
                    found = true;
                }
            }
        } while (directory.ascend(keep));
    });
    return found;
}

} // namespace memreeve::manager
