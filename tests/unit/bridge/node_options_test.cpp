// SPDX-License-Identifier: MIT
// Decision 31: what the user has said to Node about V8's heap.
#include "bridge/node_options.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace {

using namespace memreeve;
using namespace memreeve::bridge;

constexpr byte_count mib = byte_count{1} << 20;

node_options read(std::vector<std::string> words, const char* variable = nullptr) {
    std::vector<char*> arguments;
    for (std::string& w : words) {
        arguments.push_back(w.data());
    }
    return read_node_options(variable, static_cast<int>(arguments.size()), arguments.data());
}

TEST(node_options, sizes_however_they_are_written) {
    for (const char* word :
         {"--max-old-space-size=50", "--max_old_space_size=50", "--max-heap-size=50",
          "--max_heap-size=50", "-max-old-space-size=50"}) {
        const node_options o = read({"node", word, "a.js"});
        EXPECT_EQ(o.heap.bytes, 50 * mib) << word;
        EXPECT_STREQ(o.heap.word, word);
        EXPECT_FALSE(o.semi_space.is_there);
    }
    EXPECT_EQ(read({"node", "--max-semi-space-size=2"}).semi_space.bytes, 2 * mib);
    EXPECT_EQ(read({"node", "--max-heap-size=3", "--max-heap-size=4"}).heap.bytes, 4 * mib);
    EXPECT_TRUE(read({"node", "--max-old-space-size-percentage=50"}).heap.is_there);
    EXPECT_FALSE(read({"node", "--max-old-space-sizes=50", "--max-lazy"}).heap.is_there);
    EXPECT_EQ(read({"node", "--max-heap-size=99999999999999999999"}).heap.bytes,
              ~byte_count{0} >> 20 << 20);
    EXPECT_EQ(read({"node", "--max-heap-size=17592186044416"}).heap.bytes,
              ~byte_count{0} >> 20 << 20)
        << "2^64 bytes";
}

TEST(node_options, the_scripts_own_arguments_are_not_nodes) {
    EXPECT_FALSE(read({"node", "a.js", "--max-heap-size=4"}).heap.is_there);
    EXPECT_FALSE(read({"node", "--inspect=1", "a.js", "--max-heap-size=4"}).heap.is_there);
    EXPECT_FALSE(read({"node", "--", "a.js", "--max-heap-size=4"}).heap.is_there);
    EXPECT_FALSE(read({"node", "-", "--max-heap-size=4"}).heap.is_there);
    EXPECT_TRUE(read({"node", "-r", "m", "--max-heap-size=4", "a.js"}).heap.is_there);
    EXPECT_TRUE(read({"node", "-e", "0", "--max-heap-size=4"}).heap.is_there);
}

TEST(node_options, the_variable_as_node_takes_it_apart) {
    EXPECT_EQ(read({"node"}, "--no-warnings  --max-heap-size=4").heap.bytes, 4 * mib);
    EXPECT_EQ(read({"node"}, "\"--max-heap-size=4\"").heap.bytes, 4 * mib);
    EXPECT_EQ(read({"node"}, "--max-heap\"-size=\"4").heap.bytes, 4 * mib);
    EXPECT_FALSE(read({"node"}, "\"--title=a --max-heap-size=4\"").heap.is_there);
    EXPECT_FALSE(read({"node"}, "\"--title=a\\\" --max-heap-size=4\"").heap.is_there);
    EXPECT_EQ(read({"node"}, "\"--title=a\\\\\" --max-heap-size=4").heap.bytes, 4 * mib);
    EXPECT_EQ(read({"node", "--max-heap-size=5"}, "--max-heap-size=4").heap.bytes, 5 * mib);
    EXPECT_FALSE(read({"node"}, "\"\\").heap.is_there);
    EXPECT_FALSE(read({}, "").heap.is_there);
}

} // namespace
