// SPDX-License-Identifier: MIT
// A list of operations in a child process, so that a crash or a hang is a failure like another, and a
// failing list made short.
#pragma once

#include <chrono>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace memreeve::test {

// play() in a child: what it says, or how the child ended.
template <class F>
std::string play_apart(F play, unsigned patience_seconds = 60) {
    int ends[2] = {};
    if (pipe(ends) != 0) {
        return "no pipe";
    }
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        alarm(patience_seconds);
        std::string what = play();
        what.resize(what.size() < 2000 ? what.size() : 2000);
        const ssize_t sent = write(ends[1], what.data(), what.size());
        _exit(sent == static_cast<ssize_t>(what.size()) ? 0 : 1);
    }
    close(ends[1]);
    char text[2000];
    const ssize_t n = child > 0 ? read(ends[0], text, sizeof text) : 0;
    close(ends[0]);
    int status = 0;
    if (child > 0) {
        waitpid(child, &status, 0);
    }
    if (WIFSIGNALED(status)) {
        return "ends by signal " + std::to_string(WTERMSIG(status));
    }
    return status != 0 ? "ends with status " + std::to_string(WEXITSTATUS(status))
                       : std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0);
}

// Takes operations out, in ever smaller pieces, as long as fails(rest) is true.
template <class Operation, class F>
std::vector<Operation> shorten(std::vector<Operation> list, F fails,
                               std::chrono::seconds patience = std::chrono::seconds(60)) {
    const auto stop = std::chrono::steady_clock::now() + patience;
    const auto late = [&] { return std::chrono::steady_clock::now() > stop; };
    // Most often the last few operations are enough.
    for (std::size_t last = 16; last < list.size(); last *= 4) {
        const std::vector<Operation> rest(list.end() - static_cast<long>(last), list.end());
        if (fails(rest)) {
            list = rest;
        }
    }
    for (std::size_t piece = list.size() / 2 + 1; piece != 0 && !late();) {
        bool shorter = false;
        // From the end: what comes last depends on what came before.
        for (std::size_t end = list.size(); end != 0 && !late();) {
            const std::size_t begin = end > piece ? end - piece : 0;
            std::vector<Operation> rest(list.begin(), list.begin() + static_cast<long>(begin));
            rest.insert(rest.end(), list.begin() + static_cast<long>(end), list.end());
            if (fails(rest)) {
                list = std::move(rest);
                shorter = true;
            }
            end = begin;
        }
        piece = shorter && piece == 1 ? 1 : piece / 2;
    }
    return list;
}

} // namespace memreeve::test
