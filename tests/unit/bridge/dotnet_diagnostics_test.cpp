// SPDX-License-Identifier: MIT
// Asking CoreCLR, against a server of our own at the socket's place.
#include "bridge/dotnet_diagnostics.hpp"

#include "prim/prim.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace memreeve;
using outcome = bridge::dotnet_diagnostics::outcome;

class asked_dotnet : public testing::Test {
protected:
    void SetUp() override {
        char pattern[] = "/tmp/memreeve-test-XXXXXX";
        folder_ = mkdtemp(pattern);
        setenv("TMPDIR", folder_.c_str(), 1);
        const int pid = prim::process_id();
        path_ = folder_ + "/dotnet-diagnostic-" + std::to_string(pid) + "-" +
                std::to_string(prim::process_start_time(pid)) + "-socket";
        prctl(PR_SET_NAME, ".NET EventPipe");
    }
    void TearDown() override {
        unsetenv("TMPDIR");
        unlink(path_.c_str());
        rmdir(folder_.c_str());
    }
    int listen_there() {
        const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        std::memcpy(at.sun_path, path_.c_str(), path_.size());
        EXPECT_EQ(bind(server, reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
        EXPECT_EQ(listen(server, 4), 0);
        return server;
    }
    std::string folder_, path_;
};

void answer(int client, bool is_stop) {
    std::uint8_t request[512];
    EXPECT_GT(read(client, request, sizeof request), 20);
    EXPECT_EQ(request[17], is_stop ? 1 : 3);
    std::uint8_t reply[28] = "DOTNET_IPC_V1";
    reply[14] = sizeof reply;
    reply[16] = 0xff;
    EXPECT_EQ(write(client, reply, sizeof reply), static_cast<ssize_t>(sizeof reply));
}

TEST_F(asked_dotnet, nothing_listens) {
    bridge::dotnet_diagnostics d;
    EXPECT_EQ(d.collect(), outcome::not_there);
    EXPECT_FALSE(bridge::dotnet_diagnostics::is_serving_thread());
}

// Its threads are not to be refused for as long as it may be at it, not for as long as we wait.
TEST_F(asked_dotnet, what_does_not_answer_in_time_may_still_serve) {
    const int server = listen_there();
    bridge::dotnet_diagnostics d;
    EXPECT_EQ(d.collect(), outcome::failed);
    EXPECT_TRUE(bridge::dotnet_diagnostics::is_serving_thread());

    std::atomic<bool> was_serving{false};
    std::thread runtime([&] {
        prctl(PR_SET_NAME, ".NET EventPipe");
        close(accept(server, nullptr, nullptr)); // the first, which nobody waits for any more
        const int session = accept(server, nullptr, nullptr);
        was_serving = bridge::dotnet_diagnostics::is_serving_thread();
        answer(session, false);
        const int stop = accept(server, nullptr, nullptr);
        answer(stop, true);
        close(session);
        close(stop);
    });
    EXPECT_EQ(d.collect(), outcome::collected);
    runtime.join();
    EXPECT_TRUE(was_serving);
    EXPECT_FALSE(bridge::dotnet_diagnostics::is_serving_thread());
    prctl(PR_SET_NAME, "another");
    close(server);
}

} // namespace
