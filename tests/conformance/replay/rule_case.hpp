// SPDX-License-Identifier: MIT
// A rule as a script in the language of the recorded sequences, and what follows it line by line.
#pragma once

#include "host_fixture.hpp"

#include <gtest/gtest.h>

#include <cctype>
#include <ostream>
#include <string>

namespace memreeve::replay {

struct rule_case {
    const char* rule; // number and what the case shows
    const char* script;
};

// Failures name the case.
inline void PrintTo(const rule_case& c, std::ostream* out) { *out << c.rule; }

inline std::string case_name(const testing::TestParamInfo<rule_case>& info) {
    std::string name;
    for (const char* c = info.param.rule; *c != '\0'; ++c) {
        name += std::isalnum(static_cast<unsigned char>(*c)) != 0 ? *c : '_';
    }
    return name;
}

inline std::string trimmed(const std::string& line) {
    const std::size_t begin = line.find_first_not_of(' ');
    return begin == std::string::npos ? "" : line.substr(begin);
}

// After every refusal and access violation the whole map must be what it was, and at the end empty.
inline void follow(const rule_case& c, std::uint32_t host_flags = 0) {
    host_fixture f(0, 0, host_flags);
    machine m(f.host, f.manager);
    m.owner = f.owner;
    const std::string empty = m.map();
    const std::string script = c.script;
    unsigned lines = 0;
    for (std::size_t at = 0; at < script.size();) {
        std::size_t end = script.find('\n', at);
        end = end == std::string::npos ? script.size() : end;
        const std::string line = trimmed(script.substr(at, end - at));
        at = end + 1;
        if (line.empty()) {
            continue;
        }
        const std::size_t equals = line.find(" = ");
        ASSERT_NE(equals, std::string::npos) << line;
        const std::string expected = line.substr(equals + 3);
        const std::string before = m.map();
        const std::string got = m.execute(words_of(line.substr(0, equals)));
        if (expected == "v?") {
            EXPECT_EQ(got.size(), 3u) << line << ", got " << got;
        } else {
            EXPECT_EQ(got, expected) << line;
        }
        if (expected[0] == 'e' || expected.rfind("fAV", 0) == 0) {
            EXPECT_EQ(m.map(), before) << line << " changed something";
        }
        ++lines;
    }
    EXPECT_GT(lines, 0u);
    m.clear();
    EXPECT_EQ(m.map(), empty);
}

// Are writes to watched memory remembered here (decision 9), by the kernel or by faults?
inline bool can_watch_writes() {
    host_fixture f(0, 0, MRV_HOST_WATCH_BY_FAULTS);
    machine m(f.host, f.manager);
    const bool can = m.execute(words_of("A A+0 1000 202000 4")) == "ok A+0";
    m.clear();
    return can;
}

} // namespace memreeve::replay
