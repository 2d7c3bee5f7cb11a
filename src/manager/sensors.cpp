// SPDX-License-Identifier: MIT
#include "manager/sensors.hpp"

#include "prim/prim.hpp"

#include <algorithm>
#include <cstddef>

namespace memreeve::manager {

namespace {

constexpr std::size_t path_capacity = 512; // a longer control group path is not followed

// A path put together on the stack; one that does not fit is not used.
class path {
public:
    explicit path(const char* prefix) noexcept { *this += prefix; }
    path& operator+=(const char* text) noexcept {
        while (*text != '\0' && fits_) {
            push(*text++);
        }
        return *this;
    }
    // To the directory above; false at the root of `keep` characters.
    bool ascend(std::size_t keep) noexcept {
        if (size_ <= keep) {
            return false;
        }
        while (size_ > keep && text_[size_ - 1] != '/') {
            --size_;
        }
        if (size_ > keep) {
            --size_; // the slash
        }
        text_[size_] = '\0';
        return true;
    }
    void push(char c) noexcept {
        if (size_ + 1 >= path_capacity) {
            fits_ = false;
            return;
        }
        text_[size_++] = c;
        text_[size_] = '\0';
    }
    void cut(std::size_t size) noexcept {
        size_ = size;
        text_[size_] = '\0';
    }
    bool fits() const noexcept { return fits_; }
    std::size_t size() const noexcept { return size_; }
    const char* text() const noexcept { return text_; }

private:
    char text_[path_capacity]{};
    std::size_t size_ = 0;
    bool fits_ = true;
};

// Lines of a small file; what is beyond `capacity` in a line is dropped.
class lines {
public:
    explicit lines(const char* name) noexcept : file_(static_cast<int>(prim::open_read(name))) {}
    lines(const lines&) = delete;
    lines& operator=(const lines&) = delete;
    ~lines() {
        if (file_ >= 0) {
            prim::close(file_);
        }
    }
    bool is_open() const noexcept { return file_ >= 0; }
    // The next line, NUL-terminated, without its end; null at the end of the file.
    const char* next() noexcept {
        std::size_t size = 0;
        for (;;) {
            if (at_ == filled_) {
                const long n = file_ >= 0 ? prim::read(file_, buffer_, sizeof buffer_) : 0;
                if (n <= 0) {
                    line_[size] = '\0';
                    return size != 0 ? line_ : nullptr;
                }
                at_ = 0;
                filled_ = static_cast<std::size_t>(n);
            }
            const char c = buffer_[at_++];
            if (c == '\n') {
                line_[size] = '\0';
                return line_;
            }
            if (size + 1 < sizeof line_) {
                line_[size++] = c;
            }
        }
    }

private:
    int file_;
    std::size_t at_ = 0;
    std::size_t filled_ = 0;
    char buffer_[512];
    char line_[path_capacity];
};

// `text` after `word`, or null when it does not begin with it.
const char* after(const char* text, const char* word) noexcept {
    for (; *word != '\0'; ++word, ++text) {
        if (*text != *word) {
            return nullptr;
        }
    }
    return text;
}

// A decimal number after blanks; false when there is none ("max").
bool number(const char* text, byte_count* out) noexcept {
    while (*text == ' ' || *text == '\t') {
        ++text;
    }
    if (*text < '0' || *text > '9') {
        return false;
    }
    byte_count value = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        if (value > (~byte_count{0} - 9) / 10) {
            return false;
        }
        value = value * 10 + static_cast<byte_count>(*text - '0');
    }
    *out = value;
    return true;
}

bool file_number(path& directory, const char* name, byte_count* out) noexcept {
    const std::size_t keep = directory.size();
    directory += name;
    bool found = false;
    if (directory.fits()) {
        lines file(directory.text());
        const char* line = file.next();
        found = line != nullptr && number(line, out);
    }
    directory.cut(keep);
    return found;
}

bool file_field(path& directory, const char* name, const char* field, byte_count* out) noexcept {
    const std::size_t keep = directory.size();
    directory += name;
    bool found = false;
    if (directory.fits()) {
        lines file(directory.text());
        while (const char* line = file.next()) {
            const char* value = after(line, field);
            if (value != nullptr && number(value, out)) {
                found = true;
                break;
            }
        }
    }
    directory.cut(keep);
    return found;
}

pressure::room machine_room(const char* root) noexcept {
    path name(root);
    name += "/proc/meminfo";
    byte_count total = 0;
    byte_count available = 0;
    bool has_available = false;
    lines file(name.text());
    while (const char* line = file.next()) {
        if (const char* value = after(line, "MemTotal:")) {
            number(value, &total);
        } else if (const char* left = after(line, "MemAvailable:")) {
            has_available = number(left, &available);
            break;
        }
    }
    if (total == 0 || !has_available) {
        return {};
    }
    return {total * 1024, std::min(available, total) * 1024};
}

struct group_files {
    const char* limit;
    const char* second_limit; // null: none
    const char* usage;
    const char* cache_field; // in memory.stat: file pages that can go at once
};
// memory.high counts too: above it the kernel stops the process rather than give it memory.
constexpr group_files version_2{"/memory.max", "/memory.high", "/memory.current", "inactive_file "};
constexpr group_files version_1{"/memory.limit_in_bytes", nullptr, "/memory.usage_in_bytes",
                                "total_inactive_file "};
// Version 1 says "no limit" by the largest multiple of a page.
constexpr byte_count no_group_limit = byte_count{1} << 62;

// The tightest group from `directory` up to its first `keep` characters.
pressure::room group_room(path directory, std::size_t keep, const group_files& names,
                          pressure::room tightest) noexcept {
    if (!directory.fits()) {
        return tightest;
    }
    if (directory.size() > keep && directory.text()[directory.size() - 1] == '/') {
        directory.cut(directory.size() - 1);
    }
    do {
        byte_count limit = no_group_limit;
        byte_count second = no_group_limit;
        file_number(directory, names.limit, &limit);
        if (names.second_limit != nullptr) {
            file_number(directory, names.second_limit, &second);
        }
        limit = std::min(limit, second);
        byte_count usage = 0;
        if (limit >= no_group_limit || limit == 0 || !file_number(directory, names.usage, &usage)) {
            continue;
        }
        byte_count cache = 0;
        file_field(directory, "/memory.stat", names.cache_field, &cache);
        const byte_count used = usage - std::min(cache, usage);
        const pressure::room here{limit, limit - std::min(used, limit)};
        if (!tightest.is_known() || here.available < tightest.available) {
            tightest = here;
        }
    } while (directory.ascend(keep));
    return tightest;
}

// Lines are "number:controllers:path"; version 2 has number 0 and no controllers.
bool names_memory(const char* controllers, const char* end) noexcept {
    while (controllers < end) {
        const char* rest = after(controllers, "memory");
        if (rest != nullptr && (*rest == ',' || *rest == ':')) {
            return true;
        }
        while (controllers < end && *controllers != ',') {
            ++controllers;
        }
        ++controllers;
    }
    return false;
}

pressure::room container_room(const char* root) noexcept {
    path list(root);
    list += "/proc/self/cgroup";
    pressure::room tightest;
    lines file(list.text());
    while (const char* line = file.next()) {
        const char* controllers = line;
        while (*controllers != '\0' && *controllers != ':') {
            ++controllers;
        }
        if (*controllers == '\0') {
            continue;
        }
        ++controllers;
        const char* where = controllers;
        while (*where != '\0' && *where != ':') {
            ++where;
        }
        if (*where == '\0') {
            continue;
        }
        const bool is_version_2 = where == controllers && line[0] == '0';
        const bool is_version_1 = names_memory(controllers, where);
        ++where;
        if (is_version_2) {
            for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
                path directory(root);
                directory += mount;
                const std::size_t keep = directory.size();
                directory += where;
                tightest = group_room(directory, keep, version_2, tightest);
            }
        } else if (is_version_1) {
            path directory(root);
            directory += "/sys/fs/cgroup/memory";
            const std::size_t keep = directory.size();
            directory += where;
            tightest = group_room(directory, keep, version_1, tightest);
        }
    }
    return tightest;
}

} // namespace

void sensors::open(const char* root_prefix, bool with_system) noexcept {
    root_ = root_prefix != nullptr ? root_prefix : "";
    with_system_ = with_system;
}

void sensors::refresh() noexcept {
    const pressure::room machine = machine_room(root_);
    const pressure::room container = container_room(root_);
    machine_.available.store(machine.available, std::memory_order_relaxed);
    machine_.total.store(machine.total, std::memory_order_relaxed);
    container_.available.store(container.available, std::memory_order_relaxed);
    container_.total.store(container.total, std::memory_order_relaxed);
    has_sample_.store(true, std::memory_order_release);
}

sensors::sample sensors::read() noexcept {
    if (!with_system_) {
        return {};
    }
    const std::uint64_t now = prim::now_ns();
    std::uint64_t taken = taken_at_.load(std::memory_order_acquire);
    const bool is_stale = taken == 0 || now - taken >= fresh_ns;
    const bool mine =
        is_stale && (taken_at_.compare_exchange_strong(taken, now, std::memory_order_acq_rel));
    if (mine || !has_sample_.load(std::memory_order_acquire)) {
        refresh();
    }
    return {{machine_.total.load(std::memory_order_relaxed),
             machine_.available.load(std::memory_order_relaxed)},
            {container_.total.load(std::memory_order_relaxed),
             container_.available.load(std::memory_order_relaxed)}};
}

pressure::room budget_room(const budget::tree& accounts, owner_id who) noexcept {
    pressure::room tightest;
    page_count inside = 0; // what the accounts below may still use inside their guarantees
    for (owner_id id = who; id != owner_id::none;) {
        const budget::account& a = accounts.at(id);
        const std::uint64_t usage = a.usage.load(std::memory_order_acquire);
        const page_count held = usage & 0xffffffffULL;
        const page_count guaranteed = usage >> 32;
        const page_count limit = a.limit.load(std::memory_order_relaxed);
        if (limit < budget::no_limit) {
            const page_count top =
                limit - std::min(a.reserve.load(std::memory_order_relaxed), limit);
            const page_count used = held + a.touched.load(std::memory_order_relaxed);
            const page_count left = std::min((used < top ? top - used : 0) + inside, top);
            // A limit of less than a page still binds: a total of 1 byte with nothing left.
            const pressure::room here{std::max<byte_count>(bytes_of(top), 1), bytes_of(left)};
            if (!tightest.is_known() || here.available < tightest.available) {
                tightest = here;
            }
        }
        inside += std::max(held, guaranteed) - held;
        id = static_cast<owner_id>(a.parent.load(std::memory_order_relaxed));
    }
    return tightest;
}

pressure::load load_of(const budget::tree& accounts, owner_id who, sensors& system) noexcept {
    const sensors::sample sample = system.read();
    const pressure::room rooms[] = {budget_room(accounts, who), sample.container, sample.machine};
    return pressure::load_of(rooms);
}

} // namespace memreeve::manager
