// SPDX-License-Identifier: MIT
// Decision 20: what MEMREEVE_LEDGER says, as launchers write it and as anybody may.
#include "manager/ledger_name.hpp"

#include <gtest/gtest.h>

#include <string>

namespace {

using memreeve::manager::ledger_name;

TEST(ledger_name, path_launcher_and_start_time) {
    const ledger_name one("/proc/7/fd/5:123456789012");
    EXPECT_TRUE(one.is_complete());
    EXPECT_STREQ(one.path(), "/proc/7/fd/5");
    EXPECT_EQ(one.launcher(), 7);
    EXPECT_EQ(one.launcher_start_time(), 123456789012u);
    const ledger_name longest("/proc/1073741824/fd/2147483647:18446744073709551615");
    EXPECT_TRUE(longest.is_complete());
    EXPECT_STREQ(longest.path(), "/proc/1073741824/fd/2147483647");
    EXPECT_EQ(longest.launcher(), 1 << 30);
    EXPECT_EQ(longest.launcher_start_time(), ~std::uint64_t{0});
}

TEST(ledger_name, anything_else_is_none) {
    const std::string far(100, '1');
    for (const std::string& text :
         {std::string(), std::string(":"), std::string("/proc/7/fd/5"),
          std::string("/proc/7/fd/5:"), std::string("/proc/7/fd/5:x"),
          std::string("/proc/7/fd/5:1x"), std::string("/proc/7/fd/5:-1"),
          std::string("/proc//fd/5:1"), std::string("/proc/self/fd/5:1"),
          std::string("/proc/4294967303/fd/5:1"), std::string("/proc/" + far + "/fd/5:1"),
          std::string("/proc/7/fd/" + far + ":1"), std::string("proc/7/fd/5:1"),
          std::string("/tmp/7/fd/5:1"), std::string("/proc/7:1")}) {
        const ledger_name name(text.c_str());
        EXPECT_FALSE(name.is_complete()) << text;
        EXPECT_EQ(name.launcher(), 0) << text;
    }
}

} // namespace
