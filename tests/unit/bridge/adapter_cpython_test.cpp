// SPDX-License-Identifier: MIT
// CPython's adapter against a queue of pending calls of our own, as a child of fork inherits it.
#include <gtest/gtest.h>
#include <memreeve/adapters/cpython.h>
#include <utility>
#include <vector>

namespace {

struct fake_python {
    std::vector<std::pair<int (*)(void*), void*>> pending;
    int collections = 0;
    bool is_full = false;
    void run() {
        for (const auto& [function, argument] : std::exchange(pending, {})) {
            EXPECT_EQ(function(argument), 0);
        }
    }
};
fake_python python;

int add(int (*function)(void*), void* argument) {
    if (python.is_full) {
        return -1;
    }
    python.pending.emplace_back(function, argument);
    return 0;
}
ptrdiff_t collect() { return ++python.collections; }
int yes() { return 1; }

class adapter_cpython : public testing::Test {
protected:
    void SetUp() override {
        python = {};
        adapter_.add_pending_call = add;
        adapter_.collect = collect;
        adapter_.is_initialized = yes;
    }
    mrv_cpython adapter_{};
};

TEST_F(adapter_cpython, is_asked_again_when_it_has_come_to_the_last_time) {
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
    EXPECT_FALSE(mrv_cpython_is_done(&adapter_));
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 0) << "it has not come to it";
    python.run();
    EXPECT_TRUE(mrv_cpython_is_done(&adapter_));
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
    python.run();
    EXPECT_EQ(python.collections, 2);
}

TEST_F(adapter_cpython, what_could_not_be_asked_is_not_waited_for) {
    python.is_full = true;
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 0);
    EXPECT_TRUE(mrv_cpython_is_done(&adapter_));
    python.is_full = false;
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
}

TEST_F(adapter_cpython, a_child_of_fork_runs_what_its_parent_has_asked) {
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
    mrv_cpython_forget(&adapter_); // the child begins
    EXPECT_TRUE(mrv_cpython_is_done(&adapter_));
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
    python.run(); // the parent's and its own
    EXPECT_TRUE(mrv_cpython_is_done(&adapter_));
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
    python.run();
    EXPECT_TRUE(mrv_cpython_is_done(&adapter_));
    EXPECT_EQ(python.collections, 3);

    // It comes to the parent's when nothing of its own is under way.
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
    mrv_cpython_forget(&adapter_);
    python.run();
    EXPECT_EQ(mrv_cpython_collect(&adapter_), 1);
}

} // namespace
