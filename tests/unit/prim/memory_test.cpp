// SPDX-License-Identifier: MIT
// prim/linux/memory.cpp against the real kernel: each function does what prim.hpp says, reports the
// kernel's code on failure, and leaves errno alone.
#include "prim/prim.hpp"

#include <cerrno>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace memreeve::prim {
namespace {

constexpr byte_count size = 16 * page_size;
constexpr int marker = 12345; // no errno has this value

class prim_memory : public testing::Test {
protected:
    void SetUp() override { errno = marker; }
    void TearDown() override { EXPECT_EQ(errno, marker) << "errno was touched"; }
};

char* bytes(address a) { return reinterpret_cast<char*>(a); }

mapping mapping_at(address a) {
    mapping m;
    EXPECT_EQ(find_mapping(a, &m), 0);
    return m;
}

// Dies by SIGSEGV (or a sanitizer's report of it) in a child.
template <class F>
bool faults(F touch) {
    const int kept = errno;
    const pid_t child = fork();
    if (child == 0) {
        ::close(2);
        touch();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = kept;
    return status != 0;
}

TEST_F(prim_memory, reserve_anywhere_is_inaccessible_private_memory) {
    address a = 0;
    ASSERT_EQ(reserve(0, size, placement::anywhere, &a), 0);
    EXPECT_TRUE(is_aligned(a, page_size));
    const mapping m = mapping_at(a);
    EXPECT_LE(m.where.begin, a);
    EXPECT_GE(m.where.end, a + size);
    EXPECT_EQ(m.allowed, access::none);
    EXPECT_FALSE(m.shared);
    EXPECT_FALSE(m.has_file);
    EXPECT_TRUE(faults([&] { *bytes(a) = 1; }));
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, reserve_exactly_never_replaces) {
    address a = 0;
    ASSERT_EQ(reserve(0, size, placement::anywhere, &a), 0);
    ASSERT_EQ(protect(a, size, access::read_write), 0);
    *bytes(a + size - page_size) = 7;
    address b = 42;
    EXPECT_EQ(reserve(a + size - page_size, page_size, placement::exactly, &b), EEXIST);
    EXPECT_EQ(b, 42u) << "the out parameter is set on success only";
    EXPECT_EQ(*bytes(a + size - page_size), 7);
    ASSERT_EQ(unmap(a, size), 0);
    EXPECT_EQ(reserve(a, size, placement::exactly, &b), 0);
    EXPECT_EQ(a, b);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, reserve_low_lies_below_two_gib) {
    address a = 0;
    ASSERT_EQ(reserve(0, size, placement::low, &a), 0);
    EXPECT_LE(a + size, address{1} << 31);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, reserve_refuses_what_does_not_fit) {
    address a = 42;
    EXPECT_EQ(reserve(0, byte_count{1} << 62, placement::anywhere, &a), ENOMEM);
    EXPECT_EQ(a, 42u);
}

TEST_F(prim_memory, far_more_than_the_machine_has_may_be_reserved) {
#ifdef __SANITIZE_THREAD__
    constexpr byte_count very_large = byte_count{1} << 36; // its shadow leaves no whole tebibyte
#else
    constexpr byte_count very_large = byte_count{1} << 40;
#endif
    address a = 0;
    ASSERT_EQ(reserve(0, very_large, placement::anywhere, &a), 0);
    EXPECT_EQ(unmap(a, very_large), 0);
}

TEST_F(prim_memory, records_are_zeroed_and_writable) {
    address a = 0;
    ASSERT_EQ(map_records(size, &a), 0);
    for (byte_count i = 0; i < size; ++i) {
        ASSERT_EQ(bytes(a)[i], 0);
    }
    std::memset(bytes(a), 1, size);
    EXPECT_EQ(mapping_at(a).allowed, access::read_write);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, protect_sets_each_access) {
    address a = 0;
    ASSERT_EQ(reserve(0, size, placement::anywhere, &a), 0);
    for (const access wanted :
         {access::read, access::read_write, access::execute, access::read_execute,
          access::read_write_execute, access::none, access::write}) {
        ASSERT_EQ(protect(a + page_size, page_size, wanted), 0);
        EXPECT_EQ(mapping_at(a + page_size).allowed, wanted) << static_cast<int>(wanted);
        EXPECT_EQ(mapping_at(a).allowed, access::none);
        EXPECT_EQ(mapping_at(a + 2 * page_size).allowed, access::none);
    }
    EXPECT_EQ(unmap(a, size), 0);
}

// reliability.md fact 2: the header promises no atomicity because the kernel has none.
TEST_F(prim_memory, protect_over_a_hole_changes_the_prefix) {
    address a = 0;
    ASSERT_EQ(reserve(0, size, placement::anywhere, &a), 0);
    ASSERT_EQ(unmap(a + 2 * page_size, page_size), 0);
    EXPECT_EQ(protect(a, 4 * page_size, access::read_write), ENOMEM);
    EXPECT_EQ(mapping_at(a).allowed, access::read_write);
    EXPECT_EQ(mapping_at(a + 3 * page_size).allowed, access::none);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, discard_makes_zeroes) {
    address a = 0;
    ASSERT_EQ(map_records(size, &a), 0);
    std::memset(bytes(a), 5, size);
    EXPECT_EQ(discard(a + page_size, page_size), 0);
    EXPECT_EQ(*bytes(a), 5);
    EXPECT_EQ(*bytes(a + page_size), 0);
    EXPECT_EQ(*bytes(a + 2 * page_size), 5);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, discard_works_on_locked_pages) {
    address a = 0;
    ASSERT_EQ(map_records(size, &a), 0);
    if (mlock(bytes(a), size) != 0) {
        errno = marker;
        (void)unmap(a, size);
        GTEST_SKIP() << "mlock is not allowed here";
    }
    std::memset(bytes(a), 5, size);
    EXPECT_EQ(discard(a, size), 0);
    EXPECT_EQ(*bytes(a), 0);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, discard_lazily_keeps_or_zeroes_each_page) {
    address a = 0;
    ASSERT_EQ(map_records(size, &a), 0);
    std::memset(bytes(a), 5, size);
    EXPECT_EQ(discard_lazily(a, size), 0);
    for (byte_count i = 0; i < size; i += page_size) {
        EXPECT_TRUE(bytes(a)[i] == 5 || bytes(a)[i] == 0);
    }
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, discard_of_unmapped_pages_reports) {
    address a = 0;
    ASSERT_EQ(reserve(0, size, placement::anywhere, &a), 0);
    ASSERT_EQ(unmap(a, size), 0);
    EXPECT_EQ(discard(a, size), ENOMEM);
}

TEST_F(prim_memory, replace_by_reserved_drops_everything) {
    address a = 0;
    ASSERT_EQ(map_records(size, &a), 0);
    std::memset(bytes(a), 5, size);
    EXPECT_EQ(replace_by_reserved(a, page_size), 0);
    EXPECT_EQ(mapping_at(a).allowed, access::none);
    EXPECT_EQ(protect(a, page_size, access::read), 0);
    EXPECT_EQ(*bytes(a), 0);
    EXPECT_EQ(*bytes(a + page_size), 5);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, replace_by_anonymous_gives_zeroes_with_the_access) {
    const long fd = create_memfd("prim_memory_test");
    ASSERT_EQ(resize(static_cast<int>(fd), size), 0);
    address a = 0;
    ASSERT_EQ(map_shared(static_cast<int>(fd), size, true, &a), 0);
    EXPECT_EQ(close(static_cast<int>(fd)), 0);
    std::memset(bytes(a), 5, size);
    EXPECT_EQ(replace_by_anonymous(a, 2 * page_size, access::read_write), 0);
    EXPECT_EQ(*bytes(a), 0);
    EXPECT_EQ(bytes(a)[2 * page_size], 5);
    EXPECT_FALSE(mapping_at(a).has_file);
    EXPECT_FALSE(mapping_at(a).shared);
    EXPECT_EQ(mapping_at(a).allowed, access::read_write);
    EXPECT_EQ(replace_by_anonymous(a, page_size, access::read_execute), 0);
    EXPECT_EQ(mapping_at(a).allowed, access::read_execute);
    EXPECT_EQ(unmap(a, size), 0);
}

TEST_F(prim_memory, wipe_on_fork_zeroes_in_the_child_only) {
    address a = 0;
    ASSERT_EQ(map_records(size, &a), 0);
    std::memset(bytes(a), 5, size);
    ASSERT_EQ(wipe_on_fork(a, page_size), 0);
    const pid_t child = fork();
    if (child == 0) {
        _exit(*bytes(a) == 0 && *bytes(a + page_size) == 5 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    errno = marker;
    EXPECT_EQ(status, 0);
    EXPECT_EQ(*bytes(a), 5);
    EXPECT_EQ(unmap(a, size), 0);
}

// Decision 24: arena space is never unmapped by a move.
TEST_F(prim_memory, move_pages_leaves_the_source_mapped_and_empty) {
    address from = 0;
    address to = 0;
    ASSERT_EQ(map_records(size, &from), 0);
    ASSERT_EQ(map_records(size, &to), 0);
    std::memset(bytes(from), 5, size);
    std::memset(bytes(to), 6, size);
    ASSERT_EQ(move_pages(from, to, 4 * page_size), 0);
    EXPECT_EQ(*bytes(to), 5);
    EXPECT_EQ(bytes(to)[4 * page_size], 6);
    EXPECT_EQ(*bytes(from), 0);
    EXPECT_EQ(bytes(from)[4 * page_size], 5);
    EXPECT_EQ(mapping_at(from).allowed, access::read_write);
    EXPECT_EQ(unmap(from, size), 0);
    EXPECT_EQ(unmap(to, size), 0);
}

TEST_F(prim_memory, shared_view_of_a_memfd) {
    const long fd = create_memfd("prim_memory_test");
    ASSERT_GE(fd, 0);
    ASSERT_EQ(resize(static_cast<int>(fd), size), 0);
    address writer = 0;
    address reader = 0;
    ASSERT_EQ(map_shared(static_cast<int>(fd), size, true, &writer), 0);
    ASSERT_EQ(map_shared(static_cast<int>(fd), size, false, &reader), 0);
    *bytes(writer) = 9;
    EXPECT_EQ(*bytes(reader), 9);
    EXPECT_TRUE(mapping_at(writer).shared);
    EXPECT_TRUE(mapping_at(writer).has_file);
    EXPECT_EQ(mapping_at(reader).allowed, access::read);
    EXPECT_EQ(unmap(writer, size), 0);
    EXPECT_EQ(unmap(reader, size), 0);
    EXPECT_EQ(close(static_cast<int>(fd)), 0);
    EXPECT_EQ(map_shared(static_cast<int>(fd), size, true, &writer), EBADF);
}

// What the bridge passes on keeps the kernel's own conventions, odd arguments included.
TEST_F(prim_memory, passed_calls_answer_as_the_kernel) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    const long r = pass_mmap(0, 5000, PROT_READ | PROT_WRITE, flags, -1, 0);
    ASSERT_GT(r, 0);
    const address a = static_cast<address>(r);
    *bytes(a + 5000) = 3;
    EXPECT_EQ(pass_mmap(0, 0, PROT_READ, flags, -1, 0), -EINVAL);
    EXPECT_EQ(pass_mmap(0, 4096, PROT_READ, MAP_PRIVATE, 99999, 0), -EBADF);
    EXPECT_EQ(pass_mprotect(a + 1, 4096, PROT_READ), -EINVAL);
    EXPECT_EQ(pass_mprotect(a, 5000, PROT_READ), 0);
    EXPECT_EQ(mapping_at(a + page_size).allowed, access::read);
    EXPECT_EQ(pass_madvise(a, 4096, 12345), -EINVAL);
    const long grown = pass_mremap(a, 8192, 65536, MREMAP_MAYMOVE, 0);
    ASSERT_GT(grown, 0);
    EXPECT_EQ(bytes(static_cast<address>(grown))[5000], 3);
    EXPECT_EQ(pass_munmap(static_cast<address>(grown) + 1, 4096), -EINVAL);
    EXPECT_EQ(pass_munmap(static_cast<address>(grown), 65536), 0);
    const long end = pass_brk(0);
    EXPECT_GT(end, 0);
    EXPECT_EQ(pass_brk(1), end) << "a refused break is answered by the one in force";
}

} // namespace
} // namespace memreeve::prim
