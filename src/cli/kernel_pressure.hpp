// SPDX-License-Identifier: MIT
// Under `run --ask` the launcher watches the kernel's memory pressure for all processes of the run (it
// lives in their control group, and one watcher is enough) and counts notices in the ledger, where the
// threads that ask runtimes to collect see them (bridge/early_collection.hpp).
#pragma once

#include "manager/control_group.hpp"
#include "manager/ledger.hpp"
#include "manager/pressure_watch.hpp"

namespace memreeve::cli {

class kernel_pressure {
public:
    explicit kernel_pressure(manager::ledger& books) : books_(books) {}
    ~kernel_pressure() { watch_.close(); }
    kernel_pressure(const kernel_pressure&) = delete;
    kernel_pressure& operator=(const kernel_pressure&) = delete;

    // Until then nothing is watched. Follows MEMORY_PRESSURE_WATCH as a service does.
    void start();
    // Monotonic: when look() has something to do; never, when nothing is watched.
    std::uint64_t next_look() const { return next_look_; }
    // One notice when pressure begins, then one every pressure_watch::hold_ns while it lasts.
    void look(std::uint64_t now_ns);

private:
    manager::ledger& books_;
    manager::control_groups groups_;
    manager::pressure_watch watch_;
    std::uint64_t next_look_ = ~std::uint64_t{0};
    std::uint64_t told_at_ = 0;
};

} // namespace memreeve::cli
