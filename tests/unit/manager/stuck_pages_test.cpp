// SPDX-License-Identifier: MIT
// A thread is stopped while it changes the access of a page that a heap keeps (a program may protect what
// is not its own): what holds that page cannot be given back meanwhile, and is later, without a loss.
#include "com/host_malloc.hpp"
#include "manager/host.hpp"
#include "vm/win32.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace memreeve::manager {
namespace {

constexpr auto task = criticality::task;

struct stuck_pages : testing::TestWithParam<byte_count> {};

TEST_P(stuck_pages, go_back_later) {
    host::settings settings;
    settings.memory.watch_system = false;
    host* const made = *host::create(settings);
    const owner_id owner = *made->open_owner(owner_id::none, "stuck", {});
    auto com = std::make_unique<com::host_memory_manager>(made->memory(), owner, &made->notices(),
                                                          &made->records());
    IHostMalloc* heap = nullptr;
    ASSERT_EQ(com->CreateMalloc(MALLOC_THREADSAFE, &heap), S_OK);
    owner_heap& blocks = static_cast<com::host_malloc*>(heap)->blocks();
    class manager& memory = made->memory();
    budget::tree& tree = made->books().tree();
    const auto reserved = [&] { return tree.entered(owner).reserved; };
    const auto charged = [&] {
        tree.drain();
        return tree.charged(owner);
    };
    // A chunk and its records are there already.
    ASSERT_TRUE(blocks.free(*blocks.allocate(GetParam(), task)));
    blocks.trim();
    const page_count reserved_before = reserved();
    const page_count charged_before = charged();

    const address block = *blocks.allocate(GetParam(), task);
    const page_count with_block = charged();
    ASSERT_GE(reserved(), reserved_before + pages_of(GetParam()));
    {
        vm::planned stopped;
        const address page = block + 3 * page_size;
        ASSERT_TRUE(memory.space().plan_protect(
            {page, page + page_size}, *vm::decode_protection(vm::win32::page_readonly), stopped));
        ASSERT_TRUE(blocks.free(block));
        blocks.trim();
        EXPECT_GT(reserved(), reserved_before) << "it went although a page of it was being changed";
        EXPECT_LE(charged(), with_block);
    }
    // What was kept serves again, and goes.
    const address again = *blocks.allocate(GetParam(), task);
    EXPECT_EQ(charged(), with_block);
    ASSERT_TRUE(blocks.free(again));
    blocks.trim();
    EXPECT_EQ(reserved(), reserved_before);
    EXPECT_EQ(charged(), charged_before);
    EXPECT_EQ(heap->Release(), 0u);
    memory.drop_warm();
    EXPECT_EQ(reserved(), 0u);
    EXPECT_EQ(charged(), 0u);
    com.reset();
    made->destroy();
}

// In a chunk of runs, and a range of its own.
INSTANTIATE_TEST_SUITE_P(of, stuck_pages,
                         testing::Values(byte_count{1} << 20, byte_count{12} << 20));

} // namespace
} // namespace memreeve::manager
