// SPDX-License-Identifier: MIT
// Decision 30: what the user has said to a JVM is found wherever the JVM reads it.
#include "bridge/java_options.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

namespace fs = std::filesystem;
using namespace memreeve;
using namespace memreeve::bridge;

constexpr byte_count mib = byte_count{1} << 20;

class java_options_of : public testing::Test {
protected:
    void SetUp() override {
        char pattern[] = "/tmp/memreeve-unit-XXXXXX";
        folder = mkdtemp(pattern);
        forget_variables();
    }
    void TearDown() override {
        forget_variables();
        fs::remove_all(folder);
    }
    static void forget_variables() {
        unsetenv("JDK_JAVA_OPTIONS");
        unsetenv("_JAVA_OPTIONS");
    }
    static java_options read(std::vector<std::string> words, const char* tool_options = nullptr,
                             const char* program = "/jdk/bin/java", bool is_launcher = true) {
        std::vector<char*> arguments;
        for (std::string& w : words) {
            arguments.push_back(w.data());
        }
        return read_java_options(tool_options, is_launcher, program,
                                 static_cast<int>(arguments.size()), arguments.data());
    }
    std::string file(const std::string& name, const std::string& text) const {
        std::ofstream((folder / name).string(), std::ios::binary) << text;
        return (folder / name).string();
    }
    fs::path folder;
};

TEST_F(java_options_of, the_command_line) {
    const java_options o = read({"java", "-Xmx300m", "-Xms64M", "-XX:MaxMetaspaceSize=1g",
                                 "-XX:ReservedCodeCacheSize=2048k", "-XX:MaxDirectMemorySize=7",
                                 "-XX:+UseParallelGC", "Main"});
    EXPECT_EQ(o.heap.bytes, 300 * mib);
    EXPECT_STREQ(o.heap.word, "-Xmx300m");
    EXPECT_EQ(o.initial.bytes, 64 * mib);
    EXPECT_EQ(o.metaspace.bytes, 1024 * mib);
    EXPECT_EQ(o.code_cache.bytes, 2 * mib);
    EXPECT_EQ(o.direct.bytes, 7u);
    EXPECT_TRUE(o.has_collector);
    EXPECT_EQ(o.collector, java_collector::parallel);
    EXPECT_FALSE(o.share.is_there);
}

TEST_F(java_options_of, nothing) {
    const java_options o = read({"java", "-cp", "-Xmx1g", "Main"});
    EXPECT_FALSE(o.heap.is_there || o.initial.is_there || o.share.is_there || o.machine.is_there ||
                 o.metaspace.is_there || o.code_cache.is_there || o.direct.is_there ||
                 o.has_collector);
}

TEST_F(java_options_of, the_programs_own_arguments_are_not_the_jvms) {
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"java", "Main", "-Xmx1g"},
          {"java", "-jar", "a.jar", "-Xmx1g"},
          {"java", "-m", "a/b", "-Xmx1g"},
          {"java", "--module-path", "p", "--module", "a/b", "-Xmx1g"},
          {"java", "--class-path", "-Xmx1g", "Main"}}) {
        EXPECT_FALSE(read(words).heap.is_there) << words[1];
    }
    EXPECT_FALSE(read({"java", "--module=a/b", "-Xmx1g"}).heap.is_there);
    EXPECT_FALSE(read({"java", "-jar", "-Xms1m", "a.jar", "-Xmx1g"}).heap.is_there);
    EXPECT_TRUE(read({"java", "-jar", "-Xmx1g", "a.jar"}).heap.is_there) << "before the file";
    EXPECT_TRUE(read({"java", "-p", "p", "-Xmx1g", "Main"}).heap.is_there);
    EXPECT_TRUE(read({"java", "--class-path=p", "-Xmx1g", "Main"}).heap.is_there);
}

TEST_F(java_options_of, other_launchers_take_them_behind_a_j) {
    EXPECT_FALSE(read({"javac", "-Xlint", "-xmx1g"}, nullptr, "/jdk/bin/javac").heap.is_there);
    EXPECT_TRUE(read({"service", "-Xmx1g", "Main"}, nullptr, "/opt/service").heap.is_there)
        << "java by another name";
    EXPECT_TRUE(read({"javac", "A.java", "-J-Xmx1g"}, nullptr, "/jdk/bin/javac").heap.is_there);
    EXPECT_FALSE(read({"host", "-Xmx1g", "-J-Xmx1g"}, nullptr, "/opt/host", false).heap.is_there);
}

TEST_F(java_options_of, variables_in_the_jvms_order) {
    EXPECT_EQ(read({"java", "Main"}, "-Dx=y  '-Xmx5m'").heap.bytes, 5 * mib);
    setenv("JDK_JAVA_OPTIONS", "-Xmx6m -XX:MaxRAMPercentage=50", 1);
    EXPECT_EQ(read({"java", "Main"}, "-Xmx5m").heap.bytes, 6 * mib);
    EXPECT_TRUE(read({"java", "Main"}).share.is_there);
    EXPECT_FALSE(read({"javac"}, nullptr, "/jdk/bin/javac").heap.is_there) << "java's alone";
    EXPECT_EQ(read({"java", "-Xmx7m", "Main"}, "-Xmx5m").heap.bytes, 7 * mib);
    setenv("_JAVA_OPTIONS", "-XX:MaxHeapSize=8m", 1);
    EXPECT_EQ(read({"java", "-Xmx7m", "Main"}).heap.bytes, 8 * mib);
    EXPECT_EQ(read({"host"}, nullptr, "/opt/host", false).heap.bytes, 8 * mib);
}

TEST_F(java_options_of, files_that_are_named) {
    const std::string arguments = file("args", "-cp \"x y\"\n# a comment\n-Xmx9m\nMain");
    EXPECT_EQ(read({"java", "@" + arguments}).heap.bytes, 9 * mib);
    EXPECT_FALSE(read({"java", "@@" + arguments}).heap.is_there);
    EXPECT_FALSE(read({"java", "@" + (folder / "absent").string(), "Main"}).heap.is_there);
    setenv("JDK_JAVA_OPTIONS", ("@" + arguments).c_str(), 1);
    EXPECT_EQ(read({"java", "Main"}).heap.bytes, 9 * mib);
    unsetenv("JDK_JAVA_OPTIONS");
    const std::string options = file("options", "-XX:+UseZGC -Xms3m\n");
    const java_options o = read({"java", "-XX:VMOptionsFile=" + options, "Main"});
    EXPECT_EQ(o.collector, java_collector::z);
    EXPECT_EQ(o.initial.bytes, 3 * mib);
    const std::string flags = file("flags", "MaxHeapSize=10m\n+UseSerialGC\n");
    const java_options f = read({"java", "-XX:Flags=" + flags, "Main"});
    EXPECT_EQ(f.heap.bytes, 10 * mib);
    EXPECT_TRUE(f.has_collector);
    EXPECT_FALSE(read({"java", "--disable-@files", "@" + arguments, "Main"}).heap.is_there);
    // The file may name the program too; what follows is the program's.
    const std::string whole = file("whole", "-Xms2m -jar a.jar -Xmx3g");
    EXPECT_TRUE(read({"java", "@" + whole, "-Xmx1g"}).initial.is_there);
    EXPECT_FALSE(read({"java", "@" + whole, "-Xmx1g"}).heap.is_there);
    // Where a value is due as well; but a file names none.
    const std::string path = file("path", "\"x:y z\" -Xmx12m");
    EXPECT_EQ(read({"java", "-cp", "@" + path, "Main", "-Xmx1g"}).heap.bytes, 12 * mib);
    EXPECT_EQ(read({"java", "-cp", "@@" + path, "-Xms2m", "Main"}).initial.bytes, 2 * mib);
    const std::string itself =
        file("itself", "-Xms2m @" + (folder / "itself").string() + " -Xmx1g");
    EXPECT_TRUE(read({"java", "@" + itself}).initial.is_there);
    EXPECT_FALSE(read({"java", "@" + itself}).heap.is_there) << "it is the program's name";
    EXPECT_FALSE(read({"java", "@", "-Xmx1g"}).heap.is_there) << "so is this";
    // Across a part read at a time.
    const std::string large =
        file("large", std::string(1020, ' ') + "-Xmx11m " + std::string(5000, 'x'));
    EXPECT_EQ(read({"java", "@" + large}).heap.bytes, 11 * mib);
}

TEST_F(java_options_of, a_file_names_no_files) {
    const std::string inner = file("inner", "-Xmx12m");
    const std::string outer = file("outer", "-Xms3m @" + inner + " -Xmx13m");
    const java_options o = read({"java", "@" + outer, "Main"});
    EXPECT_EQ(o.initial.bytes, 3 * mib);
    EXPECT_FALSE(o.heap.is_there) << "@NAME is the program's name there: " << o.heap.word;
    const std::string itself = (folder / "itself").string();
    EXPECT_EQ(read({"java", "@" + file("itself", "-Xmx14m @" + itself)}).heap.bytes, 14 * mib);
}

TEST_F(java_options_of, names_that_only_launchers_know) {
    EXPECT_EQ(read({"java", "-mx15m", "-ms4m", "Main"}).heap.bytes, 15 * mib);
    EXPECT_EQ(read({"java", "-mx15m", "-ms4m", "Main"}).initial.bytes, 4 * mib);
    EXPECT_EQ(read({"javac", "-J-mx16m"}, nullptr, "/jdk/bin/javac").heap.bytes, 16 * mib);
    EXPECT_FALSE(read({"java", "Main"}, "-mx15m").heap.is_there) << "the VM does not";
}

TEST_F(java_options_of, comments_are_no_options) {
    const std::string arguments =
        file("args", "# -Xmx1g was too much\n-cp . # -Xmx2g\n-Da=b#c -Xmx3g\n-Xms4m\n");
    const java_options o = read({"java", "@" + arguments, "Main"});
    EXPECT_FALSE(o.heap.is_there) << o.heap.word;
    EXPECT_EQ(o.initial.bytes, 4 * mib);
    const std::string flags = file("flags", "MaxRAM=60m # MaxHeapSize=70m\n#MaxHeapSize=80m\n");
    EXPECT_FALSE(read({"java", "-XX:Flags=" + flags, "Main"}).heap.is_there);
    EXPECT_EQ(read({"java", "-XX:Flags=" + flags, "Main"}).machine.bytes, 60 * mib);
}

TEST_F(java_options_of, a_quoted_blank_does_not_end_a_word) {
    EXPECT_FALSE(read({"java"}, "-Dx=\"a -Xmx5m\" '-Dy= -Xmx6m'").heap.is_there);
    EXPECT_EQ(read({"java"}, "-Dx=\"it's\" -Xmx7m").heap.bytes, 7 * mib);
    const std::string arguments = file("args", "\"-Dx=# -Xmx1g\" \"-Dq=a\\\" -Xmx2g\"\n-Xms4m\n");
    const java_options o = read({"java", "@" + arguments, "Main"});
    EXPECT_FALSE(o.heap.is_there) << o.heap.word;
    EXPECT_EQ(o.initial.bytes, 4 * mib);
}

TEST_F(java_options_of, a_pipe_is_left_to_the_jvm) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    ASSERT_EQ(write(ends[1], "-Xmx5m\n", 7), 7);
    close(ends[1]);
    const std::string name = "@/proc/self/fd/" + std::to_string(ends[0]);
    const java_options o = read({"java", name, "-Xms3m", "Main"});
    EXPECT_TRUE(o.unread.is_there);
    EXPECT_STREQ(o.unread.word, name.c_str());
    EXPECT_EQ(o.initial.bytes, 3 * mib);
    char text[8]{};
    EXPECT_EQ(::read(ends[0], text, sizeof text), 7) << "the JVM is to find it";
    close(ends[0]);
    EXPECT_TRUE(read({"java", "-XX:Flags=/dev/zero", "Main"}).unread.is_there);
    EXPECT_FALSE(read({"java", "@" + folder.string() + "/absent", "Main"}).unread.is_there);
}

TEST_F(java_options_of, a_fifo_is_not_opened) {
    const std::string fifo = folder.string() + "/fifo";
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    const int events = inotify_init1(IN_NONBLOCK);
    ASSERT_GE(inotify_add_watch(events, fifo.c_str(), IN_OPEN), 0);
    EXPECT_TRUE(read({"java", "@" + fifo, "Main"}).unread.is_there);
    char event[512];
    EXPECT_EQ(::read(events, event, sizeof event), -1) << "who writes it would find a reader gone";
    close(events);
}

TEST_F(java_options_of, sizes_beyond_all_bounds) {
    EXPECT_EQ(read({"java", "-Xmx99999999999999999999", "Main"}).heap.bytes, ~byte_count{0});
    EXPECT_EQ(read({"java", "-Xmx16777216t", "Main"}).heap.bytes, ~byte_count{0});
    EXPECT_EQ(read({"java", "-Xmx16777215t", "Main"}).heap.bytes, 16777215 * (mib << 20));
    EXPECT_EQ(read({"java", "-XX:SoftMaxHeapSize=5m", "Main"}).soft.bytes, 5 * mib);
}

} // namespace
