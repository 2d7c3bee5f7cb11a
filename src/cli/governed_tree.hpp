// SPDX-License-Identifier: MIT
// The ledger of somebody else's `memreeve run`, found by the id of any process of it: its own
// descriptor for the launcher, MEMREEVE_LEDGER in the environment of what it started, an ancestor's
// descriptor where a program has written over its environment.
#pragma once

#include "manager/ledger.hpp"

#include <string>

namespace memreeve::cli {

class governed_tree {
public:
    governed_tree() = default;
    ~governed_tree();
    governed_tree(const governed_tree&) = delete;
    governed_tree& operator=(const governed_tree&) = delete;

    // False: `why` is a sentence about the process without its subject ("is not governed; ...").
    bool open(int pid, std::string& why);
    // Nobody else changes the limit until this object ends. False: somebody has it for seconds.
    bool lock();

    int launcher() const { return launcher_; }
    manager::ledger& books() { return books_; }

private:
    bool attach(const std::string& path, int launcher, int* error);
    bool is_damaged();

    int fd_ = -1;
    address memory_ = 0;
    byte_count size_ = 0;
    int launcher_ = 0;
    manager::ledger books_;
};

} // namespace memreeve::cli
