// SPDX-License-Identifier: MIT
// The launcher's process work (prim/linux/launch): exec failures are told apart (contract
// section 4: 126, 127), ends are seen by pidfd (decision 20), descriptors are not inherited.
#include "prim/linux/launch.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace memreeve;
namespace fs = std::filesystem;

class launch : public testing::Test {
protected:
    launch()
        : folder(fs::temp_directory_path() / ("memreeve-launch-" + std::to_string(::getpid()))) {
        fs::create_directories(folder);
    }
    ~launch() override { fs::remove_all(folder); }
    std::string file(const char* name, const std::string& text, unsigned mode) {
        const fs::path path = folder / name;
        std::ofstream(path, std::ios::binary) << text;
        fs::permissions(path, static_cast<fs::perms>(mode));
        return path.string();
    }
    prim::ending end_of(const prim::started& program) {
        prim::ending end;
        std::vector<bool> ready;
        EXPECT_EQ(prim::wait_readable({program.pidfd}, 10'000, ready), 0);
        EXPECT_TRUE(ready[0]);
        EXPECT_EQ(prim::reap(program.pid, program.pidfd, end), 0);
        (void)prim::close(program.pidfd);
        return end;
    }
    fs::path folder;
};

TEST_F(launch, exec_failures_are_told_apart) {
    prim::started program;
    EXPECT_EQ(prim::start_program("/no/such", {"x"}, {}, program), ENOENT);
    EXPECT_EQ(prim::start_program(folder.string(), {"x"}, {}, program), EACCES);
    EXPECT_EQ(prim::start_program(file("text", "hello\n", 0755), {"x"}, {}, program), ENOEXEC);
    EXPECT_EQ(prim::start_program(file("lost", "#!/no/such\n", 0755), {"x"}, {}, program), ENOENT);
    EXPECT_EQ(program.pidfd, -1);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a failed start leaves no zombie";
}

TEST_F(launch, status_and_signal_are_the_programs) {
    prim::started program;
    ASSERT_EQ(prim::start_program("/bin/sh", {"sh", "-c", "exit 9"}, {}, program), 0);
    prim::ending end = end_of(program);
    EXPECT_TRUE(end.has_ended);
    EXPECT_EQ(end.code, 9);
    EXPECT_EQ(end.signal, 0);
    ASSERT_EQ(prim::start_program("/bin/sh", {"sh", "-c", "kill -TERM $$"}, {}, program), 0);
    end = end_of(program);
    EXPECT_EQ(end.signal, SIGTERM);
}

TEST_F(launch, a_program_apart_has_streams_and_a_session_of_its_own) {
    long ends[2] = {-1, -1};
    ASSERT_EQ(prim::make_pipe(ends), 0);
    const long nothing = prim::open_read_write("/dev/null");
    ASSERT_GE(nothing, 0);
    prim::apart differs;
    differs.in = static_cast<int>(nothing);
    differs.out = differs.err = static_cast<int>(ends[1]);
    differs.in_own_session = true;
    prim::started program;
    const char* script = "cat; echo out; echo err >&2; cut -d ' ' -f 6 /proc/$$/stat";
    ASSERT_EQ(
        prim::start_program("/bin/sh", {"sh", "-c", script}, prim::environment(), program, differs),
        0);
    (void)prim::close(static_cast<int>(ends[1]));
    std::string text;
    char piece[256];
    for (long n = 0; (n = prim::read(static_cast<int>(ends[0]), piece, sizeof piece)) > 0;) {
        text.append(piece, static_cast<std::size_t>(n));
    }
    (void)prim::close(static_cast<int>(ends[0]));
    (void)prim::close(static_cast<int>(nothing));
    EXPECT_EQ(text, "out\nerr\n" + std::to_string(program.pid) + "\n");
    EXPECT_EQ(end_of(program).code, 0);
}

TEST_F(launch, a_running_program_is_not_reaped_and_takes_signals) {
    prim::started program;
    ASSERT_EQ(prim::start_program("/bin/sleep", {"sleep", "60"}, {}, program), 0);
    prim::ending end;
    EXPECT_EQ(prim::reap(program.pid, program.pidfd, end), 0);
    EXPECT_FALSE(end.has_ended);
    EXPECT_EQ(prim::send_signal(program.pidfd, SIGKILL), 0);
    EXPECT_EQ(end_of(program).signal, SIGKILL);
    EXPECT_EQ(prim::open_process(program.pid), -ESRCH);
}

TEST_F(launch, the_program_sees_its_environment_and_no_descriptor_of_ours) {
    const std::string out = (folder / "out").string();
    const long memfd = prim::create_memfd("memreeve-test");
    ASSERT_GE(memfd, 0);
    prim::started program;
    ASSERT_EQ(prim::start_program(
                  "/bin/sh", {"sh", "-c", "echo $A > " + out + "; ls -l /proc/self/fd >> " + out},
                  {"A=b c", "PATH=/bin:/usr/bin"}, program),
              0);
    EXPECT_EQ(end_of(program).code, 0);
    (void)prim::close(static_cast<int>(memfd));
    std::string text;
    ASSERT_EQ(prim::read_whole_file(out, text), 0);
    EXPECT_EQ(text.substr(0, 4), "b c\n");
    EXPECT_EQ(text.find("memreeve-test"), std::string::npos);
    EXPECT_EQ(text.find("anon_inode"), std::string::npos);
}

TEST_F(launch, the_signal_desk_takes_signals_and_the_program_gets_the_old_mask) {
    prim::started program;
    const std::string out = (folder / "mask").string();
    {
        prim::signal_desk desk;
        ASSERT_GE(desk.descriptor(), 0);
        ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
        bool from_terminal = true;
        EXPECT_EQ(desk.next_signal(from_terminal), SIGTERM);
        EXPECT_FALSE(from_terminal);
        EXPECT_EQ(desk.next_signal(from_terminal), 0);
        ASSERT_EQ(::kill(::getpid(), SIGINT), 0);
        ASSERT_EQ(prim::start_program("/bin/sh",
                                      {"sh", "-c", "grep SigBlk /proc/self/status > " + out},
                                      {"PATH=/bin:/usr/bin"}, program),
                  0);
    } // SIGINT, still pending, is not delivered late
    EXPECT_EQ(end_of(program).code, 0);
    std::string text;
    ASSERT_EQ(prim::read_whole_file(out, text), 0);
    EXPECT_EQ(text, "SigBlk:\t0000000000000000\n");
}

TEST_F(launch, a_part_of_a_file_takes_no_more_memory_than_the_file) {
    const std::string path = file("short", "0123456789", 0644);
    std::string text;
    ASSERT_EQ(prim::read_file_part(path, 2, std::size_t{256} << 20, text), 0);
    EXPECT_EQ(text, "23456789");
    EXPECT_LT(text.capacity(), 4096U);
    ASSERT_EQ(prim::read_file_part(path, ~std::uint64_t{0} >> 1, 4, text), 0);
    EXPECT_EQ(text, "");
    ASSERT_EQ(prim::read_file_part("/proc/self/stat", 0, 4096, text), 0);
    EXPECT_GT(text.size(), 20U) << "without a size";
}

TEST_F(launch, a_file_is_opened_without_harm_and_replaced_whole) {
    const std::string path = file("old", "a longer old text", 0644);
    bool created = true;
    long fd = prim::open_for_writing(path, created);
    ASSERT_GE(fd, 0);
    EXPECT_FALSE(created);
    std::string text;
    EXPECT_EQ(prim::read_whole_file(path, text), 0);
    EXPECT_EQ(text, "a longer old text");
    EXPECT_EQ(prim::write_and_close(static_cast<int>(fd), "new"), 0);
    EXPECT_EQ(prim::read_whole_file(path, text), 0);
    EXPECT_EQ(text, "new");
    fd = prim::open_for_writing((folder / "fresh").string(), created);
    ASSERT_GE(fd, 0);
    EXPECT_TRUE(created);
    (void)prim::close(static_cast<int>(fd));
    EXPECT_EQ(prim::open_for_writing((folder / "no" / "where").string(), created), -ENOENT);
    EXPECT_EQ(prim::open_for_writing(folder.string(), created), -EISDIR);
    fd = prim::open_for_writing("/dev/full", created);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(prim::write_and_close(static_cast<int>(fd), "text"), ENOSPC);
}

TEST_F(launch, words_and_pages_of_another_process) {
    static volatile std::uint64_t word = 0x1234;
    const pid_t pid = ::fork();
    if (pid == 0) {
        for (;;) {
            (void)::pause();
        }
    }
    std::uint64_t out = 0;
    EXPECT_TRUE(prim::read_process_word(pid, reinterpret_cast<std::uint64_t>(&word), out));
    EXPECT_EQ(out, 0x1234u);
    EXPECT_FALSE(prim::read_process_word(pid, 8, out));
    const long pagemap = prim::open_read(("/proc/" + std::to_string(pid) + "/pagemap").c_str());
    ASSERT_GE(pagemap, 0);
    const std::uint64_t page = round_down(reinterpret_cast<address>(&word), page_size);
    EXPECT_TRUE(prim::count_present_pages(static_cast<int>(pagemap), page, page + page_size, out));
    EXPECT_EQ(out, 1u);
    (void)prim::close(static_cast<int>(pagemap));
    (void)::kill(pid, SIGKILL);
    (void)::waitpid(pid, nullptr, 0);
}

} // namespace
