// SPDX-License-Identifier: MIT
// MEMORY_PRESSURE_WATCH and MEMORY_PRESSURE_WRITE, as a service manager sets them.
#include "manager/service_watch.hpp"

#include "support/system_tree.hpp"

#include <cstdio>
#include <optional>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

namespace memreeve::manager {
namespace {

std::optional<std::string> decoded(const char* text, std::size_t capacity = 64) {
    std::uint8_t out[64];
    const long n = decode_base64(text, out, capacity);
    if (n < 0) {
        return std::nullopt;
    }
    return std::string(reinterpret_cast<const char*>(out), static_cast<std::size_t>(n));
}

TEST(decode_base64_test, the_examples_of_the_standard) {
    EXPECT_EQ(decoded(""), "");
    EXPECT_EQ(decoded("Zg=="), "f");
    EXPECT_EQ(decoded("Zm8="), "fo");
    EXPECT_EQ(decoded("Zm9v"), "foo");
    EXPECT_EQ(decoded("Zm9vYg=="), "foob");
    EXPECT_EQ(decoded("Zm9vYmE="), "fooba");
    EXPECT_EQ(decoded("Zm9vYmFy"), "foobar");
    EXPECT_EQ(decoded("AP/+"), std::string("\0\xff\xfe", 3));
    EXPECT_EQ(decoded("c29tZSAyMDAwMDAgMjAwMDAwMAA="), std::string("some 200000 2000000\0", 20));
}

TEST(decode_base64_test, malformed_text_is_refused) {
    for (const char* bad :
         {"Z", "Zg", "Zg=", "Zm9", "Zg===", "====", "=Zg=", "Z=g=", "Zm9v=", "Zm9v ", " Zm9v",
          "Zm9v\n", "Zm-v", "Zm_v", "Zg==Zg==", "Zh==", "Zm9=", "Zm9vZ"}) {
        EXPECT_EQ(decoded(bad), std::nullopt) << '"' << bad << '"';
    }
}

TEST(decode_base64_test, never_more_than_there_is_room_for) {
    EXPECT_EQ(decoded("Zm9vYmFy", 6), "foobar");
    EXPECT_EQ(decoded("Zm9vYmFy", 5), std::nullopt);
    EXPECT_EQ(decoded("Zg==", 0), std::nullopt);
}

TEST(service_watch_test, a_path_and_what_to_write) {
    service_watch w;
    w.set("/run/pressure", "Zm9v");
    EXPECT_FALSE(w.is_off);
    EXPECT_TRUE(w.names_file());
    EXPECT_STREQ(w.path, "/run/pressure");
    EXPECT_EQ(std::string(reinterpret_cast<char*>(w.text), w.text_size), "foo");
    w.set("/dev/null", "Zm9v");
    EXPECT_TRUE(w.is_off);
    EXPECT_FALSE(w.names_file());
    EXPECT_EQ(w.text_size, 0u);
    w.set("/dev/nullnull", nullptr);
    EXPECT_FALSE(w.is_off);
    EXPECT_TRUE(w.names_file());
}

TEST(service_watch_test, what_cannot_be_followed_is_not) {
    service_watch w;
    for (const char* bad : {"", "relative/path", "dev/null"}) {
        w.set(bad, "Zm9v");
        EXPECT_FALSE(w.names_file()) << bad;
        EXPECT_FALSE(w.is_off) << bad;
    }
    w.set(nullptr, "Zm9v");
    EXPECT_FALSE(w.names_file());
    w.set(("/" + std::string(file_path::capacity, 'x')).c_str(), nullptr);
    EXPECT_FALSE(w.names_file());
    w.set("/run/pressure", "not base64!");
    EXPECT_TRUE(w.names_file());
    EXPECT_EQ(w.text_size, 0u);
    w.set("/run/pressure", std::string(4000, 'A').c_str());
    EXPECT_EQ(w.text_size, 0u) << "more than there is room for";
}

TEST(service_watch_test, read_from_the_environment) {
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", "/run/of-the-environment", 1), 0);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WRITE", "Zm9v", 1), 0);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH_NOT", "/run/longer-name", 1), 0);
    service_watch w;
    w.read_environment();
    EXPECT_STREQ(w.path, "/run/of-the-environment");
    EXPECT_EQ(w.text_size, 3u);
    ASSERT_EQ(::unsetenv("MEMORY_PRESSURE_WATCH"), 0);
    ASSERT_EQ(::unsetenv("MEMORY_PRESSURE_WRITE"), 0);
    EXPECT_STREQ(w.path, "/run/of-the-environment") << "a copy";
    w.read_environment();
    EXPECT_FALSE(w.names_file());
}

// Run by the test below in a copy of this program that changes the user.
TEST(service_watch_test, privileged_copy) {
    if (std::getenv("MEMREEVE_PRIVILEGED_COPY") == nullptr) {
        GTEST_SKIP() << "skipped: is for the next test to run";
    }
    ASSERT_STREQ(std::getenv("MEMORY_PRESSURE_WATCH"), "/run/of-the-environment");
    service_watch w;
    w.read_environment();
    EXPECT_EQ(w.names_file(), ::getauxval(AT_SECURE) == 0);
    std::printf(::getauxval(AT_SECURE) == 0 ? "not privileged\n" : "privileged\n");
}

TEST(service_watch_test, a_privileged_process_takes_nothing_from_its_environment) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "skipped: making a program that changes the user needs root";
    }
    const test::system_tree tree;
    const std::string copy = tree / "/copy";
    std::filesystem::copy_file("/proc/self/exe", copy);
    ASSERT_EQ(::chown(copy.c_str(), 65534, 65534), 0);
    ASSERT_EQ(::chmod(copy.c_str(), 04755), 0);
    ASSERT_EQ(::chmod(tree.root(), 0755), 0);
    const std::string said = tree / "/said";
    const std::string command =
        "MEMREEVE_PRIVILEGED_COPY=1 MEMORY_PRESSURE_WATCH=/run/of-the-environment '" + copy +
        "' --gtest_filter=service_watch_test.privileged_copy > '" + said + "' 2>&1";
    // Not judged by its status: LeakSanitizer fails in a program that changes the user.
    static_cast<void>(std::system(command.c_str()));
    std::ifstream file(said);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_NE(text.find("[  PASSED  ] 1 test."), std::string::npos) << text;
    if (text.find("not privileged") != std::string::npos) {
        GTEST_SKIP() << "skipped: the file system of " << tree.root()
                     << " changes no user (nosuid)";
    }
    EXPECT_NE(text.find("privileged\n"), std::string::npos) << text;
}

} // namespace
} // namespace memreeve::manager
