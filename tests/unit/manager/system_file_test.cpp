// SPDX-License-Identifier: MIT
// Lines and numbers of the kernel's text files: what is not exactly right is not believed.
#include "manager/system_file.hpp"

#include "support/system_tree.hpp"

#include <sys/stat.h>
#include <unistd.h>

namespace memreeve::manager {
namespace {

using test::system_tree;

TEST(read_number_test, whole_decimal_numbers_only) {
    const auto value = [](const char* text) -> std::int64_t {
        std::uint64_t n = 0;
        return read_number(text, &n) ? static_cast<std::int64_t>(n) : -1;
    };
    EXPECT_EQ(value("0"), 0);
    EXPECT_EQ(value("  \t17"), 17);
    EXPECT_EQ(value("17 kB"), 17);
    EXPECT_EQ(value("00042"), 42);
    for (const char* bad : {"", " ", "max", "-1", "+1", "12x", "1.5", "0x10", "kB 5"}) {
        EXPECT_EQ(value(bad), -1) << bad;
    }
    std::uint64_t most = 0;
    EXPECT_TRUE(read_number("18446744073709551615", &most));
    EXPECT_EQ(most, ~std::uint64_t{0});
    EXPECT_FALSE(read_number("18446744073709551616", &most));
    EXPECT_FALSE(read_number("99999999999999999999999999", &most));
}

class file_lines_test : public ::testing::Test {
protected:
    std::vector<std::string> lines_of(const std::string& text) {
        tree_.put("/f", text);
        file_lines file((tree_ / "/f").c_str());
        EXPECT_TRUE(file.is_open());
        std::vector<std::string> all;
        while (const char* line = file.next()) {
            all.emplace_back(line);
        }
        EXPECT_EQ(file.next(), nullptr) << "the end stays the end";
        return all;
    }
    system_tree tree_;
};

using strings = std::vector<std::string>;

TEST_F(file_lines_test, lines_with_their_end) {
    EXPECT_EQ(lines_of("a\n\nbc\n"), (strings{"a", "", "bc"}));
    EXPECT_EQ(lines_of(""), strings{});
    EXPECT_EQ(lines_of("a\nbc"), strings{"a"}) << "cut off: not believed";
    EXPECT_EQ(lines_of(std::string("12\0003\n", 5)), strings{"12?3"});
}

TEST_F(file_lines_test, the_longest_line_and_one_longer) {
    const std::string longest(file_path::capacity - 1, 'x');
    EXPECT_EQ(lines_of(longest + "\nb\n"), (strings{longest, "b"}));
    EXPECT_EQ(lines_of(longest + "x\nb\n"), strings{"b"});
    EXPECT_EQ(lines_of("a\n" + std::string(100'000, 'x') + "\nb\n"), (strings{"a", "b"}));
}

TEST_F(file_lines_test, a_file_without_end_is_given_up) {
    file_lines zeroes("/dev/zero");
    EXPECT_EQ(zeroes.next(), nullptr);
}

TEST_F(file_lines_test, no_file_a_directory_no_permission) {
    tree_.put_directory("/d");
    file_lines none((tree_ / "/nothing").c_str());
    EXPECT_FALSE(none.is_open());
    EXPECT_EQ(none.next(), nullptr);
    file_lines directory((tree_ / "/d").c_str());
    EXPECT_EQ(directory.next(), nullptr);
}

TEST_F(file_lines_test, a_file_that_may_not_be_read) {
    tree_.put("/secret", "5\n");
    file_path root(tree_.root());
    std::uint64_t n = 7;
    ASSERT_TRUE(file_number(root, "/secret", &n));
    ASSERT_EQ(::chmod((tree_ / "/secret").c_str(), 0), 0);
    const uid_t before = ::geteuid();
    ASSERT_EQ(::seteuid(before == 0 ? 65534 : before), 0); // root may read everything
    n = 7;
    EXPECT_FALSE(file_number(root, "/secret", &n));
    ASSERT_EQ(::seteuid(before), 0);
    EXPECT_EQ(n, 7u);
}

TEST(file_path_test, ascends_to_what_is_kept_and_no_further) {
    file_path p("/tree");
    const std::size_t keep = p.size();
    p += "/a/bc";
    EXPECT_TRUE(p.ascend(keep));
    EXPECT_STREQ(p.text(), "/tree/a");
    EXPECT_TRUE(p.ascend(keep));
    EXPECT_STREQ(p.text(), "/tree");
    EXPECT_FALSE(p.ascend(keep));
    EXPECT_STREQ(p.text(), "/tree");
}

TEST(file_path_test, what_does_not_fit_is_not_used_and_leaves_the_path_as_it_was) {
    file_path p(std::string(file_path::capacity - 5, 'd').c_str());
    EXPECT_TRUE(p.fits());
    std::uint64_t n = 0;
    EXPECT_FALSE(file_number(p, "/memory.max", &n));
    EXPECT_TRUE(p.fits());
    EXPECT_EQ(p.size(), file_path::capacity - 5);
    p += "12345";
    EXPECT_FALSE(p.fits());
    EXPECT_FALSE(file_number(p, "", &n));
    EXPECT_FALSE(p.fits());
}

} // namespace
} // namespace memreeve::manager
