// SPDX-License-Identifier: MIT
// What a program that has both headers does.
#pragma once

#include <memreeve/memreeve.h>

#include <gtest/gtest.h>

#include <cstring>

inline void use_both() {
    static_assert(MSCOREE_STANDIN == 1);
    static_assert(sizeof(MEMORY_BASIC_INFORMATION) == 48);
    EXPECT_EQ(std::memcmp(&IID_IHostMemoryManager, &MRV_IID_IHostMemoryManager, sizeof(GUID)), 0);
    EXPECT_EQ(std::memcmp(&IID_IHostMalloc, &MRV_IID_IHostMalloc, sizeof(GUID)), 0);
    EXPECT_EQ(std::memcmp(&IID_IHostControl, &MRV_IID_IHostControl, sizeof(GUID)), 0);
    EXPECT_EQ(std::memcmp(&IID_ICLRMemoryNotificationCallback,
                          &MRV_IID_ICLRMemoryNotificationCallback, sizeof(GUID)),
              0);
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* memory = nullptr;
    ASSERT_EQ(mrv_host_create(nullptr, &host), MRV_OK);
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(owner, &memory), MRV_OK);
    void* same = nullptr;
    EXPECT_EQ(memory->QueryInterface(IID_IHostMemoryManager, &same), S_OK);
    EXPECT_EQ(same, memory);
    memory->Release();
    void* p = nullptr;
    EXPECT_EQ(memory->VirtualAlloc(nullptr, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                   eTaskCritical, &p),
              S_OK);
    memory->Release();
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
}
