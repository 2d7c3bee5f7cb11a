// SPDX-License-Identifier: MIT
// A directory that imitates /proc and /sys/fs/cgroup; removed in the end.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace memreeve::test {

class system_tree {
public:
    system_tree() {
        std::string name = ::testing::TempDir() + "system-XXXXXX";
        root_ = ::mkdtemp(name.data()) != nullptr ? name : std::string();
        EXPECT_FALSE(root_.empty());
    }
    ~system_tree() {
        if (!root_.empty()) {
            std::filesystem::remove_all(root_);
        }
    }
    system_tree(const system_tree&) = delete;
    system_tree& operator=(const system_tree&) = delete;

    // In one step, as the kernel's files change: a reader sees the old text or the new.
    void put(const std::string& path, const std::string& text) const {
        const std::filesystem::path full = root_ + path;
        std::filesystem::create_directories(full.parent_path());
        std::ofstream(full.string() + ".new", std::ios::binary) << text;
        std::filesystem::rename(full.string() + ".new", full);
    }
    void put_directory(const std::string& path) const {
        std::filesystem::create_directories(root_ + path);
    }
    void remove(const std::string& path) const { std::filesystem::remove_all(root_ + path); }
    void put_meminfo(std::uint64_t total_kib, std::uint64_t available_kib) const {
        put("/proc/meminfo", "MemTotal:       " + std::to_string(total_kib) +
                                 " kB\nMemFree:              1 kB\n" +
                                 "MemAvailable:   " + std::to_string(available_kib) +
                                 " kB\nBuffers:              7 kB\n");
    }
    const char* root() const { return root_.c_str(); }
    std::string operator/(const std::string& path) const { return root_ + path; }

private:
    std::string root_;
};

} // namespace memreeve::test
