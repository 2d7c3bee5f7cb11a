// SPDX-License-Identifier: MIT
// Attack A9: nothing a program is called can drive a terminal.
#include "cli/text.hpp"

#include <gtest/gtest.h>

namespace {

using namespace memreeve::cli;

TEST(text, control_characters_and_broken_utf8_are_shown_not_sent) {
    EXPECT_EQ(printable("plain"), "plain");
    EXPECT_EQ(printable("größe €"), "größe €");
    EXPECT_EQ(printable("a\x1b[31mb\n\r\t\x7f"), "a\\x1b[31mb\\x0a\\x0d\\x09\\x7f");
    EXPECT_EQ(printable("\xc2\x9b"
                        "31m"),
              "\\xc2\\x9b31m"); // CSI as a C1 control
    EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
    EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80"); // a surrogate
    EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");          // overlong
}

TEST(text, words_are_quoted_when_a_shell_would_need_it) {
    EXPECT_EQ(shell_word("/usr/bin/mono"), "/usr/bin/mono");
    EXPECT_EQ(shell_word("two words"), "'two words'");
    EXPECT_EQ(shell_word(""), "''");
    EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
    EXPECT_EQ(shell_word("a\\b c"), "'a\\b c'");
    EXPECT_EQ(shell_word("a\x1b"), "$'a\\x1b'");
    EXPECT_EQ(shell_word("it's\n\\"), "$'it\\'s\\x0a\\\\'");
}

} // namespace
