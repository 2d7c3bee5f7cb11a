// SPDX-License-Identifier: MIT
// The modelled kernel is worth what it has in common with the real one: the same random calls are
// made on both, and after each the mappings and the results are the same; also at max_map_count.
// (Untouched memory: touched pages add a reason not to merge, see fake.hpp.)
#include "prim/fake/model.hpp"
#include "prim/prim.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace memreeve::prim::fake {
namespace {

// Not reserved here: in these tests the model is used without start().
constexpr address base = universe.begin + (address{1} << 40);

struct line {
    range where;
    access allowed;
    bool operator==(const line&) const = default;
};

std::vector<line> real_mappings(range inside) {
    std::vector<line> list;
    mapping m;
    for (address at = inside.begin; at < inside.end && find_mapping(at, &m) == 0;
         at = m.where.end) {
        if (inside.contains(m.where)) {
            list.push_back({m.where, m.allowed});
        }
    }
    return list;
}

// As the kernel counts them against max_map_count.
std::size_t count_all() {
    std::size_t count = 0;
    mapping m;
    for (address at = 0; find_mapping(at, &m) == 0; at = m.where.end) {
        ++count;
    }
    return count;
}

std::vector<line> model_mappings(const model& m) {
    std::vector<line> list;
    for (const auto& entry : m.all()) {
        list.push_back({entry.second.where, entry.second.allowed});
    }
    return list;
}

// One random call on both; the results as errno values.
struct twin {
    model m;
    std::mt19937_64 random;
    range area;
    std::string what;

    std::pair<int, int> step() {
        const page_count pages = area.pages();
        const page_count first = random() % pages;
        const page_count length =
            1 + random() % std::min<page_count>(pages - first, 1 + random() % 12);
        const range r{area.begin + bytes_of(first), area.begin + bytes_of(first + length)};
        const access wanted =
            std::array{access::none, access::read, access::read_write}[random() % 3];
        const unsigned kind = static_cast<unsigned>(random() % 10);
        char text[120];
        std::snprintf(text, sizeof text, "kind %u pages %lu+%lu access %d", kind, first, length,
                      static_cast<int>(wanted));
        what = text;
        void* p = reinterpret_cast<void*>(r.begin);
        if (kind < 2) {
            vma v;
            v.where = r;
            v.allowed = wanted;
            const int ours = m.map(v);
            const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
            return {ours, mmap(p, r.size(), static_cast<int>(wanted), flags, -1, 0) == MAP_FAILED
                              ? errno
                              : 0};
        }
        if (kind < 4) {
            const int ours = m.unmap(r);
            return {ours, munmap(p, r.size()) != 0 ? errno : 0};
        }
        if (kind < 9) {
            range changed;
            const int ours = m.protect(r, wanted, changed);
            return {ours, mprotect(p, r.size(), static_cast<int>(wanted)) != 0 ? errno : 0};
        }
        const bool whole = m.is_fully_mapped(r);
        return {whole ? 0 : ENOMEM, madvise(p, r.size(), MADV_DONTNEED) != 0 ? errno : 0};
    }
};

TEST(fake_model, has_the_mappings_of_the_kernel) {
    if (mmap(reinterpret_cast<void*>(base), page_size, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) {
        GTEST_SKIP() << "that part of the address space is not free here";
    }
    munmap(reinterpret_cast<void*>(base), page_size);
    std::size_t holes = 0;
    std::size_t most = 0;
    for (unsigned seed = 1; seed <= 20; ++seed) {
        twin t{{}, std::mt19937_64(seed), {base, base + 64 * page_size}, {}};
        t.m.reset({});
        for (int i = 0; i < 1500; ++i) {
            const auto [ours, kernels] = t.step();
            ASSERT_EQ(ours, kernels) << "seed " << seed << " step " << i << " " << t.what;
            holes += kernels == ENOMEM ? 1 : 0;
            ASSERT_EQ(model_mappings(t.m), real_mappings(t.area))
                << "seed " << seed << " step " << i << " " << t.what;
            most = std::max(most, t.m.count());
        }
        munmap(reinterpret_cast<void*>(base), t.area.size());
    }
    EXPECT_GT(holes, 1000u) << "variety: calls over holes";
    EXPECT_GT(most, 20u) << "variety: many mappings at once";
}

// Reliability F3, F4, fact 1: at the limit a split is refused, an end is not, a merge is not.
TEST(fake_model, refuses_at_the_limit_what_the_kernel_refuses) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's own mappings come and go, and at the limit each one counts";
#endif
    std::size_t limit = 0;
    std::ifstream("/proc/sys/vm/max_map_count") >> limit;
    if (limit == 0 || limit > 300000) {
        GTEST_SKIP() << "max_map_count is " << limit << ": filling the process would take too long";
    }
    const pid_t child = fork();
    if (child == 0) {
        const address filler = base + (address{1} << 36);
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
        twin t{{}, std::mt19937_64(7), {base, base + 64 * page_size}, {}};
        if (mmap(reinterpret_cast<void*>(base), t.area.size(), PROT_NONE, flags, -1, 0) ==
                MAP_FAILED ||
            mmap(reinterpret_cast<void*>(filler), (limit + 1000) * page_size, PROT_NONE, flags, -1,
                 0) == MAP_FAILED) {
            _exit(77);
        }
        // Up to eight below the limit, then random calls that move about it.
        std::size_t others = count_all() - 1;
        for (address next = filler + page_size; others + 2 <= limit - 8;
             next += 2 * page_size, others += 2) {
            if (mprotect(reinterpret_cast<void*>(next), page_size, PROT_READ) != 0) {
                _exit(78);
            }
        }
        settings s;
        s.mapping_limit = limit - others;
        t.m.reset(s);
        vma v;
        v.where = t.area;
        (void)t.m.map(v);
        std::size_t refused = 0;
        int allowed = 0;
        int wrong = 0;
        for (int i = 0; i < 5000 && wrong == 0; ++i) {
            const model before = t.m;
            const auto [ours, kernels] = t.step();
            refused += t.m.refused_for_count() - before.refused_for_count();
            allowed += kernels == 0 ? 1 : 0;
            if (ours != kernels || model_mappings(t.m) != real_mappings(t.area)) {
                std::fprintf(stderr, "step %d %s: model %d kernel %d, %zu of %zu mappings\n", i,
                             t.what.c_str(), ours, kernels, before.count(), s.mapping_limit);
                wrong = 1;
            }
            if (i == 0 && count_all() != others + t.m.count()) {
                wrong = 1;
            }
        }
        std::fprintf(stderr, "%d calls allowed, %zu refused by the limit\n", allowed, refused);
        _exit(wrong != 0 ? 1 : refused < 100 || allowed < 500 ? 79 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    if (WEXITSTATUS(status) == 77) {
        GTEST_SKIP() << "that part of the address space is not free here";
    }
    EXPECT_EQ(WEXITSTATUS(status), 0) << "1: model and kernel differ, 79: too little variety";
}

// The back end as a whole: bytes, protection and the model in step, through prim's own functions.
TEST(fake_kernel, keeps_bytes_and_model_in_step) {
    settings s;
    s.mapping_limit = 10;
    if (!start(s)) {
        GTEST_SKIP() << "the universe is not free here";
    }
    address a = 0;
    ASSERT_EQ(reserve(0, 64 * page_size, placement::anywhere, &a), 0);
    EXPECT_EQ(a + 64 * page_size, universe.end) << "deterministic: the highest hole";
    ASSERT_EQ(protect(a + page_size, page_size, access::read_write), 0);
    std::memset(reinterpret_cast<void*>(a + page_size), 7, page_size);
    EXPECT_EQ(mapping_count(), 3u);
    EXPECT_EQ(access_at(a), access::none);
    EXPECT_EQ(access_at(a + page_size), access::read_write);
    mapping m;
    ASSERT_EQ(find_mapping(a + page_size, &m), 0);
    EXPECT_EQ(m.where, (range{a + page_size, a + 2 * page_size}));
    EXPECT_EQ(m.allowed, access::read_write);
    // A hole of the universe is no mapping, though the real kernel has one there.
    ASSERT_EQ(unmap(a + 8 * page_size, page_size), 0);
    ASSERT_EQ(find_mapping(a + 8 * page_size, &m), 0);
    EXPECT_EQ(m.where.begin, a + 9 * page_size);
    address b = 0;
    EXPECT_EQ(reserve(a + page_size, page_size, placement::exactly, &b), EEXIST);
    EXPECT_EQ(reserve(a + 8 * page_size, page_size, placement::exactly, &b), 0);
    // To the limit, and over it.
    ASSERT_EQ(protect(a + 20 * page_size, page_size, access::read), 0);
    ASSERT_EQ(protect(a + 24 * page_size, page_size, access::read), 0);
    ASSERT_EQ(protect(a + 28 * page_size, page_size, access::read), 0);
    EXPECT_EQ(mapping_count(), 9u);
    EXPECT_EQ(protect(a + 32 * page_size, page_size, access::read), ENOMEM);
    EXPECT_EQ(mapping_count(), 10u) << "the first split stays, as in Linux";
    EXPECT_EQ(access_at(a + 32 * page_size), access::none);
    EXPECT_EQ(unmap(a + 40 * page_size, page_size), ENOMEM) << "fact 1: freeing can fail";
    EXPECT_EQ(discard(a + page_size, page_size), 0) << "and dropping the contents cannot";
    EXPECT_EQ(*reinterpret_cast<char*>(a + page_size), 0);
    EXPECT_EQ(protect(a + page_size, page_size, access::none), 0) << "nor what merges";
    EXPECT_GE(refused_for_count(), 2u);
    // The size limit and a planned failure.
    s.mapping_limit = 100;
    s.size_limit = 128 * page_size;
    set_limits(s);
    EXPECT_EQ(reserve(0, 128 * page_size, placement::anywhere, &b), ENOMEM);
    EXPECT_EQ(refused_for_size(), 1u);
    EXPECT_EQ(reserve(0, 16 * page_size, placement::anywhere, &b), 0);
    fail(SYS_mprotect, 2, EACCES);
    EXPECT_EQ(protect(b, page_size, access::read), 0);
    EXPECT_EQ(protect(b, page_size, access::read_write), EACCES);
    EXPECT_EQ(protect(b, page_size, access::read_write), 0);
    // mremap that leaves its source.
    address from = 0;
    address to = 0;
    ASSERT_EQ(map_records(4 * page_size, &from), 0);
    ASSERT_EQ(map_records(4 * page_size, &to), 0);
    std::memset(reinterpret_cast<void*>(from), 9, 4 * page_size);
    ASSERT_EQ(move_pages(from, to, 4 * page_size), 0);
    EXPECT_EQ(*reinterpret_cast<char*>(to), 9);
    EXPECT_EQ(*reinterpret_cast<char*>(from), 0);
    EXPECT_TRUE(is_mapped(from));
    stop();
}

// MADV_GUARD_INSTALL: no mapping is split, an access fails whatever the mapping allows, contents are gone
// afterwards; the same on the real kernel.
TEST(model, guard_markers) {
    if (!start({})) {
        GTEST_SKIP() << "skipped: the universe of the modelled kernel is not free here";
    }
    address a = 0;
    ASSERT_EQ(reserve(0, 8 * page_size, placement::anywhere, &a), 0);
    const auto can_read = [](address page) {
        char byte = 0;
        const iovec to{&byte, 1};
        const iovec from{reinterpret_cast<void*>(page), 1};
        return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
    };
    const std::size_t before = mapping_count();
    if (install_guard(a, 4 * page_size) != 0) {
        stop();
        GTEST_SKIP() << "skipped: this kernel has no guard markers";
    }
    ASSERT_EQ(protect(a, 8 * page_size, access::read_write), 0);
    EXPECT_EQ(mapping_count(), before);
    std::memset(reinterpret_cast<void*>(a + 4 * page_size), 1, 4 * page_size);
    ASSERT_EQ(install_guard(a + 5 * page_size, page_size), 0);
    ASSERT_EQ(remove_guard(a + page_size, page_size), 0);
    for (unsigned i = 0; i < 8; ++i) {
        const address page = a + i * page_size;
        const bool open = i == 1 || i == 4 || i > 5;
        EXPECT_EQ(is_guarded(page), !open) << i;
        EXPECT_EQ(access_at(page), open ? access::read_write : access::none) << i;
        EXPECT_EQ(can_read(page), open) << i;
    }
    ASSERT_EQ(remove_guard(a, 8 * page_size), 0);
    EXPECT_EQ(*reinterpret_cast<char*>(a + 4 * page_size), 1);
    EXPECT_EQ(*reinterpret_cast<char*>(a + 5 * page_size), 0);
    ASSERT_EQ(install_guard(a, page_size), 0);
    ASSERT_EQ(replace_by_reserved(a, page_size), 0);
    EXPECT_FALSE(is_guarded(a));
    settings old;
    old.guards = false;
    set_limits(old);
    EXPECT_EQ(install_guard(a, page_size), EINVAL);
    EXPECT_EQ(unmap(a, 8 * page_size), 0);
    EXPECT_EQ(install_guard(a, page_size), EINVAL);
    set_limits({});
    EXPECT_EQ(install_guard(a, page_size), ENOMEM) << "a hole";
    stop();
}

} // namespace
} // namespace memreeve::prim::fake
