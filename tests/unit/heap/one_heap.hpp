// SPDX-License-Identifier: MIT
// A heap over pages of its own, gone with the test.
#pragma once

#include "heap/heap.hpp"
#include "test_page_source.hpp"

#include <gtest/gtest.h>

namespace memreeve::heap {

constexpr auto task = criticality::task;

struct one_heap : testing::Test {
    test_page_source source;
    class heap* h = nullptr;

    void SetUp() override {
        const auto made = heap::create(source, {});
        ASSERT_TRUE(made);
        h = *made;
    }
    void TearDown() override { h->destroy(); }
    address get(byte_count size) {
        const auto got = h->allocate(size, task);
        EXPECT_TRUE(got) << size;
        return got ? *got : 0;
    }
};

} // namespace memreeve::heap
