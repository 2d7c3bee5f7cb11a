// SPDX-License-Identifier: MIT
// The figures of requests are asked for at each instruction of each request (support/stepping.hpp). What
// is told in between may be off; after each request every one was counted once.
#include "one_heap.hpp"
#include "support/stepping.hpp"

namespace memreeve::heap {
namespace {

#if MEMREEVE_CAN_STEP

using test::stepping;

// The life of a cache: its magazine of this size is made, filled, enlarged, emptied; then it overflows.
TEST(heap_counts_steps, whoever_asks_in_between_is_set_right) {
    constexpr std::size_t most = 80;
    for (const byte_count size : {byte_count{64}, byte_count{2000}, byte_count{50000}}) {
        test_page_source source;
        const auto made = heap::create(source, {});
        ASSERT_TRUE(made);
        class heap& h = **made;
        address live[most]{};
        std::size_t allocated = 0;
        std::size_t freed = 0;
        const auto ask = [&] { h.tell_requests(); };
        for (std::size_t i = 0; i < most; ++i) {
            stepping::all_along(
                [&] {
                    live[i] = *h.allocate(size, task);
                    ++allocated;
                },
                ask);
            h.tell_requests();
            ASSERT_EQ(source.allocations(), allocated) << size;
        }
        for (std::size_t i = most; i-- != 0;) {
            stepping::all_along([&] { freed += h.free(live[i]) ? 1u : 0u; }, ask);
            h.tell_requests();
            ASSERT_EQ(source.frees(), most - i) << size;
            ASSERT_EQ(source.allocations(), allocated) << size;
        }
        EXPECT_EQ(freed, most);
        h.trim();
        h.tell_requests();
        EXPECT_EQ(source.allocations(), allocated) << size;
        h.destroy();
    }
}

#endif

} // namespace
} // namespace memreeve::heap
