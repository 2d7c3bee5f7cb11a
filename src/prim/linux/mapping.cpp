// SPDX-License-Identifier: MIT
// The descriptor is opened per query (decision 15): one that is kept shows the parent after fork,
// and the program may close it.
#include "prim/linux/mapping.hpp"

#include <atomic>
#include <cerrno>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace memreeve::prim {
namespace {

// <linux/fs.h> of 6.11; Debian 12's is older. Kernel ABI.
struct procmap_query {
    std::uint64_t size;
    std::uint64_t query_flags;
    std::uint64_t query_addr;
    std::uint64_t vma_start;
    std::uint64_t vma_end;
    std::uint64_t vma_flags;
    std::uint64_t vma_page_size;
    std::uint64_t vma_offset;
    std::uint64_t inode;
    std::uint32_t dev_major;
    std::uint32_t dev_minor;
    std::uint32_t vma_name_size;
    std::uint32_t build_id_size;
    std::uint64_t vma_name_addr;
    std::uint64_t build_id_addr;
};
static_assert(sizeof(procmap_query) == 104);

constexpr unsigned long query_request = _IOWR('f', 17, procmap_query);
constexpr std::uint64_t vma_shared = 0x08;
constexpr std::uint64_t covering_or_next = 0x10;
constexpr std::uint64_t access_bits = 0x07; // readable 1, writable 2, executable 4: as in `access`
static_assert(static_cast<int>(access::read) == 1 && static_cast<int>(access::write) == 2 &&
              static_cast<int>(access::execute) == 4);

constinit std::atomic<bool> text_only{false};

constexpr std::uint32_t device_of(std::uint64_t major, std::uint64_t minor) noexcept {
    return static_cast<std::uint32_t>(major << 20 | minor);
}

int ask(int fd, address at, mapping* out) noexcept {
    procmap_query q{};
    q.size = sizeof q;
    q.query_flags = covering_or_next;
    q.query_addr = at;
    const long r = sys(SYS_ioctl, fd, static_cast<long>(query_request), reinterpret_cast<long>(&q));
    if (r < 0) {
        return static_cast<int>(-r);
    }
    out->where = {q.vma_start, q.vma_end};
    out->allowed = static_cast<access>(q.vma_flags & access_bits);
    out->shared = (q.vma_flags & vma_shared) != 0;
    out->offset = q.vma_offset;
    out->inode = q.inode;
    out->device = device_of(q.dev_major, q.dev_minor);
    // The first SysV segment has number 0, but a device.
    out->has_file = q.inode != 0 || out->device != 0;
    return 0;
}

// One line of maps, fed a character at a time:
//   begin-end rwxp offset major:minor inode  path
class line_reader {
public:
    // True when `c` ended a line, which is then in value().
    bool feed(char c) noexcept {
        if (c == '\n') {
            finish_line();
            return true;
        }
        if (field_ >= fields) {
            return false; // the path
        }
        if (ends_field(c)) {
            if (started_) {
                numbers_[field_] = number_;
                ++field_;
                number_ = 0;
                started_ = false;
            }
            return false;
        }
        started_ = true;
        if (field_ == permissions) {
            number_ |= permission_bit(c);
        } else {
            number_ = number_ * (field_ == inode ? 10u : 16u) + digit(c);
        }
        return false;
    }
    const mapping& value() const noexcept { return value_; }

private:
    enum : unsigned { begin, end, permissions, offset, major, minor, inode, fields };
    static constexpr std::uint64_t shared_bit = 8;

    bool ends_field(char c) const noexcept {
        return c == ' ' || (field_ == begin && c == '-') || (field_ == major && c == ':');
    }
    static std::uint64_t permission_bit(char c) noexcept {
        switch (c) {
        case 'r': return 1;
        case 'w': return 2;
        case 'x': return 4;
        case 's': return shared_bit;
        default: return 0;
        }
    }
    static std::uint64_t digit(char c) noexcept {
        return static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    void finish_line() noexcept {
        if (started_ && field_ < fields) {
            numbers_[field_] = number_;
        }
        value_.where = {numbers_[begin], numbers_[end]};
        value_.allowed = static_cast<access>(numbers_[permissions] & access_bits);
        value_.shared = (numbers_[permissions] & shared_bit) != 0;
        value_.offset = numbers_[offset];
        value_.inode = numbers_[inode];
        value_.device = device_of(numbers_[major], numbers_[minor]);
        value_.has_file = value_.inode != 0 || value_.device != 0;
        field_ = 0;
        number_ = 0;
        started_ = false;
    }

    std::uint64_t numbers_[fields]{};
    std::uint64_t number_ = 0;
    unsigned field_ = 0;
    bool started_ = false;
    mapping value_{};
};

int search_text(int fd, address at, mapping* out) noexcept {
    // Small, because runtimes ask on threads with little stack.
    char text[1024];
    line_reader line;
    for (std::uint64_t offset = 0;;) {
        const long length = read_at(fd, text, sizeof text, offset);
        if (length < 0) {
            return static_cast<int>(-length);
        }
        if (length == 0) {
            return ENOENT;
        }
        offset += static_cast<std::uint64_t>(length);
        for (long i = 0; i < length; ++i) {
            if (!line.feed(text[i]) || line.value().where.end <= at) {
                continue;
            }
            // [vsyscall] lies in the kernel's half and is no mapping of this process.
            if (line.value().where.begin >= top_address + granule_size) {
                return ENOENT;
            }
            *out = line.value();
            return 0;
        }
    }
}

} // namespace

void use_maps_text_only(bool on) noexcept { text_only.store(on, std::memory_order_relaxed); }

int try_mapping_query() noexcept {
    const long fd = open_mappings();
    if (fd < 0) {
        return static_cast<int>(-fd);
    }
    mapping found{};
    const int r = ask(static_cast<int>(fd), 0, &found);
    (void)close(static_cast<int>(fd));
    return r;
}

long open_mappings() noexcept { return open_read("/proc/self/maps"); }

int find_mapping_in(int mappings, address at, mapping* out) noexcept {
    int r = ENOTTY;
    if (!text_only.load(std::memory_order_relaxed)) {
        r = ask(mappings, at, out);
        if (r == ENOTTY) {
            use_maps_text_only(true);
        }
    }
    return r != 0 && r != ENOENT ? search_text(mappings, at, out) : r;
}

int find_mapping(address at, mapping* out) noexcept {
    const long fd = open_mappings();
    if (fd < 0) {
        return static_cast<int>(-fd);
    }
    const int r = find_mapping_in(static_cast<int>(fd), at, out);
    (void)close(static_cast<int>(fd));
    return r;
}

} // namespace memreeve::prim
