// SPDX-License-Identifier: MIT
// find_mapping against /proc/self/maps read with the C++ library, by both of its ways (decision 15).
#include "prim/linux/mapping.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace memreeve::prim {
namespace {

std::vector<mapping> parsed_maps() {
    std::vector<mapping> list;
    list.reserve(4096); // so that reading does not change much
    std::ifstream in("/proc/self/maps");
    std::string line;
    while (std::getline(in, line)) {
        unsigned long begin = 0;
        unsigned long end = 0;
        unsigned long offset = 0;
        unsigned long inode = 0;
        unsigned major = 0;
        unsigned minor = 0;
        char perms[8] = {};
        if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx %x:%x %lu", &begin, &end, perms, &offset,
                        &major, &minor, &inode) != 7 ||
            begin >= top_address + granule_size) {
            continue;
        }
        mapping m;
        m.where = {begin, end};
        m.allowed = static_cast<access>((perms[0] == 'r' ? 1 : 0) | (perms[1] == 'w' ? 2 : 0) |
                                        (perms[2] == 'x' ? 4 : 0));
        m.shared = perms[3] == 's';
        m.offset = offset;
        m.inode = inode;
        m.device = major << 20 | minor;
        m.has_file = inode != 0 || major != 0 || minor != 0;
        list.push_back(m);
    }
    return list;
}

bool same(const mapping& a, const mapping& b) {
    return a.where == b.where && a.allowed == b.allowed && a.shared == b.shared &&
           a.has_file == b.has_file && a.offset == b.offset && a.inode == b.inode &&
           a.device == b.device;
}

class find : public testing::TestWithParam<bool> {
protected:
    void SetUp() override { use_maps_text_only(GetParam()); }
    void TearDown() override { use_maps_text_only(false); }
};

TEST_P(find, agrees_with_proc_maps_everywhere) {
    // Variety beyond what every process has: shared, file offset, device, write-only, no access.
    const int fd = memfd_create("find_test", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(fd, 1 << 20), 0);
    void* shared =
        mmap(nullptr, 3 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 5 * page_size);
    void* anonymous_shared = mmap(nullptr, page_size, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void* write_only = mmap(nullptr, page_size, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void* executable =
        mmap(nullptr, page_size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const std::vector<mapping> maps = parsed_maps();
    ASSERT_GT(maps.size(), 10u);
    struct answer {
        address at;
        const mapping* wanted;
        int code;
        mapping got;
    };
    std::vector<answer> answers;
    answers.reserve(4 * maps.size());
    for (std::size_t i = 0; i < maps.size(); ++i) {
        const range r = maps[i].where;
        for (const address at : {r.begin, r.begin + r.size() / 2, r.end - 1}) {
            answers.push_back({at, &maps[i], -1, {}});
        }
        if (i + 1 < maps.size() && maps[i + 1].where.begin > r.end) {
            answers.push_back({r.end, &maps[i + 1], -1, {}}); // in a gap: the next above
        }
    }
    errno = 12345;
    for (answer& a : answers) {
        a.code = find_mapping(a.at, &a.got);
    }
    EXPECT_EQ(errno, 12345);
    // What the test's own allocations (or a sanitizer's) moved meanwhile is left out.
    const std::vector<mapping> later = parsed_maps();
    const auto stayed = [&](const mapping& m) {
        return std::any_of(later.begin(), later.end(),
                           [&](const mapping& l) { return same(l, m); });
    };
    std::size_t compared = 0;
    std::size_t shared_seen = 0;
    std::size_t files_seen = 0;
    for (const answer& a : answers) {
        if (!stayed(*a.wanted)) {
            continue;
        }
        ++compared;
        shared_seen += a.wanted->shared ? 1 : 0;
        files_seen += a.wanted->has_file ? 1 : 0;
        EXPECT_EQ(a.code, 0);
        EXPECT_TRUE(same(a.got, *a.wanted))
            << std::hex << a.at << " wanted " << a.wanted->where.begin << " got "
            << a.got.where.begin;
    }
    EXPECT_GT(compared, answers.size() / 2);
    EXPECT_GE(shared_seen, 2u);
    EXPECT_GE(files_seen, 5u);
    for (void* p : {anonymous_shared, write_only, executable}) {
        munmap(p, page_size);
    }
    munmap(shared, 3 * page_size);
    close(fd);
}

TEST_P(find, says_enoent_above_everything) {
    mapping got;
    EXPECT_EQ(find_mapping(top_address + 2 * granule_size, &got), ENOENT);
    EXPECT_EQ(find_mapping(0, &got), 0) << "the lowest mapping";
    EXPECT_GT(got.where.begin, 0u);
}

TEST_P(find, works_with_many_mappings) {
    // More text than any buffer of the reader, and lines cut at every place.
    constexpr std::size_t count = 400;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* block = mmap(nullptr, 2 * count * page_size, PROT_NONE, flags, -1, 0);
    ASSERT_NE(block, MAP_FAILED);
    const address base = reinterpret_cast<address>(block);
    for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(protect(base + 2 * i * page_size, page_size, access::read_write), 0);
    }
    for (std::size_t i = 0; i + 1 < 2 * count; ++i) {
        mapping got;
        ASSERT_EQ(find_mapping(base + i * page_size + 17, &got), 0);
        EXPECT_EQ(got.where.begin, base + i * page_size);
        EXPECT_EQ(got.allowed, i % 2 == 0 ? access::read_write : access::none);
    }
    munmap(block, 2 * count * page_size);
}

// F39: a program may have used up its descriptors. The answer is then a code, not a guess.
TEST_P(find, reports_when_no_descriptor_is_left) {
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit none = before;
    none.rlim_cur = 3;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    mapping got;
    const int r = find_mapping(0, &got);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(r, EMFILE);
}

TEST_P(find, leaves_no_descriptor_open) {
    const int first = dup(0);
    for (int i = 0; i < 100; ++i) {
        mapping got;
        ASSERT_EQ(find_mapping(0, &got), 0);
        (void)find_mapping(top_address + 2 * granule_size, &got);
    }
    const int second = dup(0);
    EXPECT_EQ(second, first + 1);
    close(first);
    close(second);
}

INSTANTIATE_TEST_SUITE_P(prim_mapping, find, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "by_text" : "by_ioctl"; });

} // namespace
} // namespace memreeve::prim
