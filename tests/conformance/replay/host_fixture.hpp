// SPDX-License-Identifier: MIT
// A host with one owner, made through the public interface, that must be left empty.
#pragma once

#include "machine.hpp"

#include <gtest/gtest.h>

namespace memreeve::replay {

struct host_fixture {
    explicit host_fixture(std::uint64_t limit = 0, std::uint64_t reserve = 0,
                          std::uint32_t flags = 0) {
        mrv_host_options o{};
        o.size = sizeof o;
        o.limit_bytes = limit;
        o.reserve_bytes = reserve;
        o.flags = flags;
        EXPECT_EQ(mrv_host_create(&o, &host), MRV_OK);
        EXPECT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
        EXPECT_EQ(mrv_owner_memory_manager(owner, &manager), MRV_OK);
        install_fault_handler();
    }
    host_fixture(const host_fixture&) = delete;
    host_fixture& operator=(const host_fixture&) = delete;
    ~host_fixture() {
        EXPECT_EQ(manager->Release(), 1u) << "the owner's handle keeps one";
        EXPECT_EQ(mrv_owner_destroy(owner), MRV_OK);
        EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
    }
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* manager = nullptr;
};

} // namespace memreeve::replay
