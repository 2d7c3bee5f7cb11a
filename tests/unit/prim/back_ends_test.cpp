// SPDX-License-Identifier: MIT
// The linked back end (raw, or libc under a sanitizer) and the one over libc's wrappers answer alike:
// the same value, negative errno, errno untouched.
#include "prim/libc/call.hpp"
#include "prim/prim.hpp"

#include <cerrno>
#include <gtest/gtest.h>
#include <vector>

namespace memreeve::prim {
namespace {

struct call {
    const char* what;
    long number, a, b, c, d, e, f;
};

long number(const void* p) { return reinterpret_cast<long>(p); }

TEST(prim_back_ends, give_the_same_results) {
    char buffer[64] = {};
    const long big = long{1} << 62;
    const std::vector<call> calls = {
        {"getpid", SYS_getpid, 0, 0, 0, 0, 0, 0},
        {"gettid", SYS_gettid, 0, 0, 0, 0, 0, 0},
        {"mmap of nothing", SYS_mmap, 0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
        {"mmap of too much", SYS_mmap, 0, big, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
        {"mmap of a bad descriptor", SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, 9999, 0},
        {"munmap unaligned", SYS_munmap, 1, 4096, 0, 0, 0, 0},
        {"mprotect of nothing mapped", SYS_mprotect, 65536, 4096, PROT_READ, 0, 0, 0},
        {"madvise of nothing mapped", SYS_madvise, 65536, 4096, MADV_DONTNEED, 0, 0, 0},
        {"madvise unknown", SYS_madvise, 65536, 4096, 99999, 0, 0, 0},
        {"mremap of nothing mapped", SYS_mremap, 65536, 4096, 8192, MREMAP_MAYMOVE, 0, 0},
        {"openat missing", SYS_openat, AT_FDCWD, number("/no such file"), O_RDONLY, 0, 0, 0},
        {"openat null", SYS_openat, AT_FDCWD, 0, O_RDONLY, 0, 0, 0},
        {"read bad descriptor", SYS_read, 9999, number(buffer), 64, 0, 0, 0},
        {"pread bad descriptor", SYS_pread64, 9999, number(buffer), 64, 0, 0, 0},
        {"write bad descriptor", SYS_write, 9999, number(buffer), 64, 0, 0, 0},
        {"close bad descriptor", SYS_close, 9999, 0, 0, 0, 0, 0},
        {"ftruncate bad descriptor", SYS_ftruncate, 9999, 64, 0, 0, 0, 0},
        {"ioctl bad descriptor", SYS_ioctl, 9999, 0, 0, 0, 0, 0},
        {"unknown call", 9999, 0, 0, 0, 0, 0, 0},
        {"sched_yield", SYS_sched_yield, 0, 0, 0, 0, 0, 0},
    };
    for (const call& k : calls) {
        errno = 12345;
        const long ours = sys(k.number, k.a, k.b, k.c, k.d, k.e, k.f);
        EXPECT_EQ(errno, 12345) << k.what;
        const long libcs = libc_call(k.number, k.a, k.b, k.c, k.d, k.e, k.f);
        EXPECT_EQ(errno, 12345) << k.what;
        EXPECT_EQ(ours, libcs) << k.what;
    }
}

TEST(prim_back_ends, pass_all_six_arguments) {
    const long fd = create_memfd("six");
    ASSERT_GE(fd, 0);
    ASSERT_EQ(resize(static_cast<int>(fd), 8 * page_size), 0);
    const long place =
        sys(SYS_mmap, 0, 4 * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_GT(place, 0);
    // Address, size, protection, flags, descriptor and offset all matter to the outcome.
    for (const bool ours : {true, false}) {
        const long r = ours ? sys(SYS_mmap, place, 2 * page_size, PROT_READ, MAP_SHARED | MAP_FIXED,
                                  fd, 3 * page_size)
                            : libc_call(SYS_mmap, place, 2 * page_size, PROT_READ,
                                        MAP_SHARED | MAP_FIXED, fd, 3 * page_size);
        ASSERT_EQ(r, place);
        mapping m;
        ASSERT_EQ(find_mapping(static_cast<address>(place), &m), 0);
        EXPECT_EQ(m.where, (range{static_cast<address>(place),
                                  static_cast<address>(place) + 2 * page_size}));
        EXPECT_EQ(m.allowed, access::read);
        EXPECT_TRUE(m.shared);
        EXPECT_EQ(m.offset, 3 * page_size);
    }
    EXPECT_EQ(unmap(static_cast<address>(place), 4 * page_size), 0);
    EXPECT_EQ(close(static_cast<int>(fd)), 0);
}

} // namespace
} // namespace memreeve::prim
