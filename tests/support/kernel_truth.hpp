// SPDX-License-Identifier: MIT
// What this process may do with a page, asked of the kernel: the access of the mapping there, and
// none where the page carries a guard marker (MADV_GUARD_INSTALL), however it came to be. Valid
// whichever way memory is made inaccessible.
//
//   question      asked of                                    without it
//   access        PROCMAP_QUERY (6.11), about a microsecond   the text of /proc/self/maps
//   guard marker  PAGEMAP_SCAN with PAGE_IS_GUARD (6.15)      process_vm_readv on ourselves: a page
//                                                             with access that cannot be read
//
// One per thread; not across fork (its descriptors show the process that opened them).
#pragma once

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace memreeve::test {

class kernel_truth {
public:
    static constexpr std::uint64_t page = 4096;

    struct piece {
        std::uint64_t begin = 0, end = 0;
        unsigned access = 0; // effective: 1 read, 2 write, 4 execute
        bool mapped = false;
        bool anonymous = false; // private, no file
    };

    // `plain`: as on a kernel that has neither request.
    explicit kernel_truth(bool plain = std::getenv("MEMREEVE_PLAIN_TRUTH") != nullptr)
        : maps_(open("/proc/self/maps", O_RDONLY | O_CLOEXEC)),
          pagemap_(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {
        procmap_query q{};
        q.query_address = 0x1000;
        has_query_ = !plain && ioctl(maps_, query_request, &q) == 0;
        void* probe = mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        constexpr int guard_install = 102;
        if (probe != MAP_FAILED && madvise(probe, page, guard_install) == 0) {
            const auto at = reinterpret_cast<std::uint64_t>(probe);
            has_guards_ = true;
            has_scan_ = !plain;
            std::vector<guard_run> found;
            has_scan_ = !plain && scan(at, at + page, found) && found.size() == 1;
        }
        if (probe != MAP_FAILED) {
            munmap(probe, page);
        }
    }
    kernel_truth(const kernel_truth&) = delete;
    kernel_truth& operator=(const kernel_truth&) = delete;
    ~kernel_truth() {
        close(maps_);
        close(pagemap_);
    }

    // One question costs microseconds, so that every operation can ask.
    bool is_quick() const { return has_query_ && (!has_guards_ || has_scan_); }

    // The pieces of [begin, end), ascending and without gaps: page aligned, each of one access.
    // The answer is valid until the next call.
    const std::vector<piece>& look(std::uint64_t begin, std::uint64_t end) {
        pieces_.clear();
        has_query_ ? by_query(begin, end) : by_text(begin, end);
        if (has_guards_) {
            apply_guards();
        }
        return pieces_;
    }
    piece at(std::uint64_t a) {
        a &= ~(page - 1);
        return look(a, a + page).front();
    }
    // Lines of /proc/self/maps.
    static std::size_t mapping_count() {
        std::ifstream in("/proc/self/maps");
        std::size_t n = 0;
        for (std::string line; std::getline(in, line);) {
            ++n;
        }
        return n;
    }

private:
    // <linux/fs.h> of 6.11 and 6.15; Debian 12's is older. Kernel ABI.
    struct procmap_query {
        std::uint64_t size = sizeof(procmap_query);
        std::uint64_t query_flags = 0x10; // covering or next
        std::uint64_t query_address = 0;
        std::uint64_t begin = 0, end = 0, flags = 0, page_size = 0, offset = 0, inode = 0;
        std::uint32_t major = 0, minor = 0, name_size = 0, build_id_size = 0;
        std::uint64_t name = 0, build_id = 0;
    };
    static_assert(sizeof(procmap_query) == 104);
    static constexpr unsigned long query_request = _IOWR('f', 17, procmap_query);

    struct guard_run {
        std::uint64_t begin = 0, end = 0, categories = 0;
    };
    struct scan_request_body {
        std::uint64_t size = sizeof(scan_request_body);
        std::uint64_t flags = 0, start = 0, end = 0, walk_end = 0, vec = 0, vec_len = 0,
                      max_pages = 0, inverted = 0, mask = 0, any_of = 0, wanted = 0;
    };
    static constexpr unsigned long scan_request = _IOWR('f', 16, scan_request_body);
    static constexpr std::uint64_t page_is_guard = 1 << 8;

    bool scan(std::uint64_t begin, std::uint64_t end, std::vector<guard_run>& found) const {
        guard_run runs[64];
        while (begin < end) {
            scan_request_body s{};
            s.start = begin;
            s.end = end;
            s.vec = reinterpret_cast<std::uint64_t>(runs);
            s.vec_len = 64;
            s.mask = page_is_guard;
            s.wanted = page_is_guard;
            const int n = ioctl(pagemap_, scan_request, &s);
            if (n < 0) {
                return false;
            }
            found.insert(found.end(), runs, runs + n);
            begin = s.walk_end > begin ? s.walk_end : end;
        }
        return true;
    }
    void by_query(std::uint64_t begin, std::uint64_t end) {
        for (std::uint64_t a = begin; a < end;) {
            procmap_query q{};
            q.query_address = a;
            if (ioctl(maps_, query_request, &q) != 0 || q.begin >= end) {
                pieces_.push_back({a, end, 0, false, false});
                return;
            }
            if (q.begin > a) {
                pieces_.push_back({a, q.begin, 0, false, false});
                a = q.begin;
            }
            const std::uint64_t stop = q.end < end ? q.end : end;
            const bool anonymous =
                (q.flags & 8) == 0 && q.inode == 0 && q.major == 0 && q.minor == 0;
            pieces_.push_back({a, stop, static_cast<unsigned>(q.flags & 7), true, anonymous});
            a = stop;
        }
    }
    void by_text(std::uint64_t begin, std::uint64_t end) {
        std::ifstream in("/proc/self/maps");
        std::uint64_t a = begin;
        for (std::string line; a < end && std::getline(in, line);) {
            unsigned long from = 0;
            unsigned long to = 0;
            unsigned long inode = 0;
            char perms[8] = {};
            if (std::sscanf(line.c_str(), "%lx-%lx %7s %*s %*s %lu", &from, &to, perms, &inode) !=
                    4 ||
                to <= a) {
                continue;
            }
            if (from >= end) {
                break;
            }
            if (from > a) {
                pieces_.push_back({a, from, 0, false, false});
                a = from;
            }
            const unsigned access = (perms[0] == 'r' ? 1u : 0u) | (perms[1] == 'w' ? 2u : 0u) |
                                    (perms[2] == 'x' ? 4u : 0u);
            const std::uint64_t stop = to < end ? to : end;
            pieces_.push_back({a, stop, access, true, perms[3] == 'p' && inode == 0});
            a = stop;
        }
        if (a < end) {
            pieces_.push_back({a, end, 0, false, false});
        }
    }
    bool can_read(std::uint64_t a) const {
        char byte = 0;
        iovec to{&byte, 1};
        iovec from{reinterpret_cast<void*>(a), 1};
        return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
    }
    void apply_guards() {
        bool any = false;
        for (const piece& p : pieces_) {
            any = any || (p.access != 0 && p.anonymous);
        }
        if (!any) {
            return;
        }
        runs_.clear();
        if (has_scan_) {
            scan(pieces_.front().begin, pieces_.back().end, runs_);
        } else {
            for (const piece& p : pieces_) {
                for (std::uint64_t a = p.begin; p.access != 0 && p.anonymous && a < p.end;
                     a += page) {
                    if (!can_read(a)) {
                        runs_.push_back({a, a + page, page_is_guard});
                    }
                }
            }
        }
        if (runs_.empty()) {
            return;
        }
        split_.clear();
        std::size_t next = 0;
        for (const piece& p : pieces_) {
            std::uint64_t a = p.begin;
            while (next < runs_.size() && runs_[next].end <= a) {
                ++next;
            }
            for (std::size_t i = next; i < runs_.size() && runs_[i].begin < p.end; ++i) {
                const std::uint64_t from = runs_[i].begin > a ? runs_[i].begin : a;
                const std::uint64_t to = runs_[i].end < p.end ? runs_[i].end : p.end;
                if (from > a) {
                    split_.push_back({a, from, p.access, p.mapped, p.anonymous});
                }
                split_.push_back({from, to, 0, p.mapped, p.anonymous});
                a = to;
            }
            if (a < p.end) {
                split_.push_back({a, p.end, p.access, p.mapped, p.anonymous});
            }
        }
        pieces_.swap(split_);
    }

    int maps_;
    int pagemap_;
    bool has_query_ = false;
    bool has_guards_ = false;
    bool has_scan_ = false;
    std::vector<piece> pieces_, split_;
    std::vector<guard_run> runs_;
};

} // namespace memreeve::test
