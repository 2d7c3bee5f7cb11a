// SPDX-License-Identifier: MIT
// How often files of a directory were read, by anybody: that somebody has looked, or that nobody has,
// without a word about time.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <sys/inotify.h>
#include <thread>
#include <unistd.h>

namespace memreeve::test {

class file_reads {
public:
    // Of files that are there by now or come later.
    explicit file_reads(const std::string& directory)
        : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
        EXPECT_GE(fd_, 0);
        EXPECT_GE(::inotify_add_watch(fd_, directory.c_str(), IN_CLOSE_NOWRITE), 0) << directory;
    }
    file_reads(const file_reads&) = delete;
    file_reads& operator=(const file_reads&) = delete;
    ~file_reads() { ::close(fd_); }

    // Ended reads of the file of that name so far.
    std::size_t of(const std::string& name) {
        take();
        return count_[name];
    }
    // Waits until there were `more` of them from now on.
    bool wait_for(const std::string& name, std::size_t more,
                  std::chrono::seconds patience = std::chrono::seconds(30)) {
        const std::size_t wanted = of(name) + more;
        const auto end = std::chrono::steady_clock::now() + patience;
        while (of(name) < wanted) {
            if (std::chrono::steady_clock::now() > end) {
                return false;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return true;
    }

private:
    void take() {
        alignas(inotify_event) char buffer[4096];
        for (ssize_t n = 0; (n = ::read(fd_, buffer, sizeof buffer)) > 0;) {
            for (const char* at = buffer; at < buffer + n;) {
                inotify_event event;
                std::memcpy(&event, at, sizeof event);
                // Equal events that nobody has taken yet come as one: one read at least.
                count_[event.len != 0 ? at + sizeof event : ""] += 1;
                at += sizeof event + event.len;
            }
        }
    }
    int fd_;
    std::map<std::string, std::size_t> count_;
};

} // namespace memreeve::test
