// SPDX-License-Identifier: MIT
#include "cli/trial.hpp"

#include "cli/text.hpp"
#include "prim/linux/launch_surroundings.hpp"
#include "prim/prim.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string_view>

namespace memreeve::cli {

namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
// A program that was asked to end has this long before it is killed.
constexpr std::uint64_t grace_ns = 2 * second_ns;
constexpr std::size_t longest_line = 4096;
constexpr std::string_view own_prefix = "memreeve: ";

class owned_descriptor {
public:
    explicit owned_descriptor(long fd) : fd_(static_cast<int>(fd)) {}
    ~owned_descriptor() { reset(); }
    owned_descriptor(const owned_descriptor&) = delete;
    owned_descriptor& operator=(const owned_descriptor&) = delete;
    int get() const { return fd_; }
    void reset() {
        if (fd_ >= 0) {
            (void)prim::close(fd_);
        }
        fd_ = -1;
    }

private:
    int fd_;
};

// Takes a stream of text apart; keeps memreeve's lines and of the others the one that tells most.
class listener {
public:
    explicit listener(trial_outcome& out) : out_(out) {}
    void take(std::string_view text) {
        for (const char c : text) {
            if (c == '\n') {
                finish();
            } else if (line_.size() < longest_line) {
                line_ += c;
            }
        }
    }
    void finish() {
        if (line_.starts_with(own_prefix)) {
            out_.said.push_back(line_.substr(own_prefix.size()));
        } else if (const std::size_t at = line_.find_first_not_of(" \t\r");
                   at != line_.npos && !tells_of_memory_ && !line_.starts_with("Picked up ")) {
            out_.last_words = line_.substr(at);
            // The first such line says more than what a trace ends with (a JVM's "Picked up" is none).
            tells_of_memory_ = line_.find("emory") != line_.npos;
        }
        line_.clear();
    }

private:
    trial_outcome& out_;
    std::string line_;
    bool tells_of_memory_ = false;
};

using json = nlohmann::json;

const json& member(const json& in, const char* key) {
    static const json none;
    const auto at = in.find(key);
    return at == in.end() ? none : *at;
}
std::uint64_t number(const json& in, const char* key) {
    const json& n = member(in, key);
    return n.is_number_unsigned() ? n.get<std::uint64_t>() : 0;
}
std::string text_of(const json& in, const char* key) {
    const json& t = member(in, key);
    return t.is_string() ? t.get<std::string>() : "";
}

// What the summary tells; nothing is taken from a summary that was not written.
void read_summary(const std::string& text, trial_outcome& out) {
    const json all = json::parse(text, nullptr, false);
    if (!all.is_object()) {
        return;
    }
    if (const json& wall = member(all, "wall_seconds"); wall.is_number()) {
        out.seconds = wall.get<double>();
    }
    out.peak_charged = number(all, "peak_charged_bytes");
    for (const json& p : member(all, "processes")) {
        const json& governed = member(p, "governed");
        out.processes.push_back({text_of(p, "image"), text_of(p, "runtime"),
                                 governed.is_boolean() && governed.get<bool>(),
                                 text_of(p, "reason")});
        for (const json& level : member(p, "refusals")) {
            out.refusals += level.is_number_unsigned() ? level.get<std::uint64_t>() : 0;
        }
        for (const auto& [name, value] : member(p, "settings").items()) {
            const std::pair<std::string, std::string> setting{
                name, value.is_string() ? value.get<std::string>() : value.dump()};
            if (std::find(out.settings.begin(), out.settings.end(), setting) ==
                out.settings.end()) {
                out.settings.push_back(setting);
            }
        }
        if (text_of(p, "end") == "exec") {
            continue; // its successor's figures count
        }
        byte_count beside = 0;
        for (const json& owner : member(p, "owners")) {
            const std::uint64_t resident = number(owner, "resident_bytes");
            const std::uint64_t charged = number(owner, "charged_bytes");
            beside += resident > charged ? resident - charged : 0;
        }
        // Images that ended one after the other never held it together.
        out.beside = std::max(out.beside, beside);
    }
}

} // namespace

trial_outcome try_command(const trial_options& o, prim::signal_desk& desk) {
    trial_outcome out;
    std::string self;
    if (const int e = prim::read_link("/proc/self/exe", self); e != 0) {
        out.cannot = fmt::format("/proc/self/exe: {}", std::strerror(e));
        return out;
    }
    const owned_descriptor summary(prim::create_memfd("memreeve-summary"));
    const owned_descriptor nothing(prim::open_read_write("/dev/null"));
    long ends[2] = {-1, -1};
    if (const int e = prim::make_pipe(ends); e != 0 || summary.get() < 0 || nothing.get() < 0) {
        out.cannot = "no descriptors are to be had; look at ulimit -n and seccomp profiles";
        return out;
    }
    const owned_descriptor reading(ends[0]);
    owned_descriptor writing(ends[1]);

    std::vector<std::string> words = {
        "memreeve", "run", "--quiet", "--summary",
        fmt::format("/proc/{}/fd/{}", prim::process_id(), summary.get())};
    if (o.limit) {
        words.push_back("--limit");
        words.push_back(std::to_string(*o.limit));
    }
    words.insert(words.end(), o.run_options.begin(), o.run_options.end());
    words.push_back("--");
    words.insert(words.end(), o.command.begin(), o.command.end());

    prim::adopt_orphans();
    prim::apart differs;
    differs.in = nothing.get();
    differs.out = o.show ? 2 : nothing.get();
    differs.err = writing.get();
    differs.in_own_session = true;
    differs.ends_with_us = true; // the launcher passes it on
    prim::started launcher;
    const std::uint64_t begin = prim::now_ns();
    if (const int e = prim::start_program(self, words, prim::environment(), launcher, differs);
        e != 0) {
        out.cannot = fmt::format("{}: {}", self, std::strerror(e));
        return out;
    }
    writing.reset();

    listener listening(out);
    const auto listen = [&] {
        char text[4096];
        const long n = prim::read(reading.get(), text, sizeof text);
        if (n <= 0) {
            return false;
        }
        const std::string_view heard(text, static_cast<std::size_t>(n));
        listening.take(heard);
        if (o.show) {
            (void)prim::write(2, heard.data(), heard.size());
        }
        return true;
    };
    const auto patience = static_cast<std::uint64_t>(o.patience * 1e9);
    std::uint64_t killed_at = 0; // when it is asked no longer
    bool is_open = true;
    prim::ending end;
    for (;;) {
        const std::uint64_t now = prim::now_ns();
        if (killed_at == 0 && patience != 0 && now - begin > patience) {
            out.is_late = true;
            (void)prim::send_signal(launcher.pidfd, SIGTERM);
            killed_at = now + grace_ns;
        }
        if (killed_at != 0 && now > killed_at) {
            prim::end_group(launcher.pid);
            killed_at = now + second_ns;
        }
        std::uint64_t wake = killed_at;
        if (wake == 0 && patience != 0) {
            wake = begin + patience;
        }
        const int wait =
            wake == 0 ? 1000
                      : static_cast<int>(std::max(wake, now) / 1'000'000 - now / 1'000'000 + 1);
        std::vector<int> descriptors = {launcher.pidfd, desk.descriptor()};
        if (is_open) {
            descriptors.push_back(reading.get());
        }
        std::vector<bool> ready;
        (void)prim::wait_readable(descriptors, wait, ready);
        bool from_terminal = false;
        while (const int s = desk.next_signal(from_terminal)) {
            if (s != SIGUSR1 && s != SIGUSR2 && killed_at == 0) {
                out.is_interrupted = true;
                (void)prim::send_signal(launcher.pidfd, SIGTERM);
                killed_at = prim::now_ns() + grace_ns;
            }
        }
        if (is_open && ready.size() > 2 && ready[2]) {
            is_open = listen();
        }
        if (ready[0]) {
            if (prim::reap(launcher.pid, launcher.pidfd, end) != 0) {
                end.has_ended = true;
                end.code = 125;
            }
            if (end.has_ended) {
                break;
            }
        }
    }
    out.seconds = static_cast<double>(prim::now_ns() - begin) / 1e9; // unless the summary knows
    // What it left holds the pipe open.
    prim::end_group(launcher.pid);
    out.left_running = prim::end_children();
    std::vector<bool> more;
    while (is_open && prim::wait_readable({reading.get()}, 0, more) == 0 && more[0]) {
        is_open = listen();
    }
    listening.finish();
    (void)prim::close(launcher.pidfd);
    out.status = end.signal != 0 ? 128 + end.signal : end.code;
    std::string text;
    if (prim::read_whole_file(fmt::format("/proc/self/fd/{}", summary.get()), text) == 0) {
        read_summary(text, out);
    }
    return out;
}

int run_captured(const std::string& file, const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment, captured_output& out) {
    constexpr std::uint64_t patience_ns = 10 * second_ns;
    constexpr std::size_t most = std::size_t{1} << 20;
    const owned_descriptor nothing(prim::open_read_write("/dev/null"));
    long ends[2] = {-1, -1};
    if (const int e = prim::make_pipe(ends); e != 0) {
        return e;
    }
    const owned_descriptor reading(ends[0]);
    owned_descriptor writing(ends[1]);
    const prim::apart differs{nothing.get(), writing.get(), writing.get(), true, true};
    prim::started program;
    if (const int e = prim::start_program(file, arguments, environment, program, differs); e != 0) {
        return e;
    }
    writing.reset();
    std::string text;
    const std::uint64_t end_at = prim::now_ns() + patience_ns;
    prim::ending end;
    bool is_open = true;
    while (!end.has_ended || is_open) {
        if (prim::now_ns() > end_at) {
            prim::end_group(program.pid);
            out.status = 124;
        }
        std::vector<int> descriptors = {end.has_ended ? -1 : program.pidfd};
        if (is_open) {
            descriptors.push_back(reading.get());
        }
        std::vector<bool> ready;
        (void)prim::wait_readable(descriptors, 1000, ready);
        if (is_open && ready.size() > 1 && ready[1]) {
            char piece[4096];
            const long n = prim::read(reading.get(), piece, sizeof piece);
            is_open = n > 0;
            if (n > 0 && text.size() < most) {
                text.append(piece, static_cast<std::size_t>(n));
            }
        }
        if (!end.has_ended && ready[0] && prim::reap(program.pid, program.pidfd, end) != 0) {
            end.has_ended = true;
            end.code = 125;
        }
    }
    (void)prim::close(program.pidfd);
    if (out.status == 0) {
        out.status = end.signal != 0 ? 128 + end.signal : end.code;
    }
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t stop = std::min(text.find('\n', at), text.size());
        out.lines.push_back(text.substr(at, stop - at));
        at = stop + 1;
    }
    return 0;
}

} // namespace memreeve::cli
