// SPDX-License-Identifier: MIT
#include "cli/commands/run.hpp"

#include "cli/command.hpp"
#include "cli/image_watch.hpp"
#include "cli/kernel_pressure.hpp"
#include "cli/preparation.hpp"
#include "cli/size.hpp"
#include "cli/text.hpp"
#include "manager/ledger.hpp"
#include "manager/sensors.hpp"
#include "prim/linux/launch.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fmt/format.h>

namespace memreeve::cli {

namespace {

constexpr std::uint64_t sample_period_ns = 100'000'000; // 10 Hz (decision 2)
constexpr std::uint64_t sampling_share = 10;            // at most a tenth of the launcher's time

struct bounds {
    std::optional<byte_count> limit;
    byte_count reserve = 0;
    // What settings of runtimes are derived from: they look at their container too.
    byte_count runtime_limit = 0;
};

// Says what is wrong and returns false.
bool parse_bounds(const run_options& o, bounds& out) {
    // What this machine or container has; 0: unknown. Looked up where it matters only: reading a
    // group's statistics takes milliseconds.
    std::optional<byte_count> known_total;
    const auto total = [&known_total] {
        if (!known_total) {
            manager::sensors system;
            system.open("", true);
            known_total = system.total();
        }
        return *known_total;
    };
    const auto parse = [&](const char* option, const std::string& text) -> std::optional<size> {
        std::string why;
        const bool is_share = text.find('%') != std::string::npos;
        const std::optional<size> s = parse_size(text, is_share ? total() : 0, why);
        if (!s) {
            say(fmt::format("{} {}: {}; accepted are {}", option, shell_word(text), why,
                            accepted_sizes));
        }
        return s;
    };
    if (o.limit) {
        const auto s = parse("--limit", *o.limit);
        if (!s) {
            return false;
        }
        if (!s->is_unlimited) {
            if (s->bytes < page_size) {
                say(fmt::format("--limit {}: less than one page of {} bytes; a small Mono program "
                                "needs about 32M",
                                shell_word(*o.limit), page_size));
                return false;
            }
            out.limit = s->bytes;
            out.reserve = budget::default_reserve(s->bytes);
            out.runtime_limit = total() == 0 ? s->bytes : std::min(s->bytes, total());
        }
    }
    if (o.reserve) {
        const auto s = parse("--reserve", *o.reserve);
        if (!s) {
            return false;
        }
        if (!out.limit) {
            say("--reserve: is a part of the limit, and there is none; give --limit SIZE too");
            return false;
        }
        if (s->is_unlimited || s->bytes > *out.limit) {
            say(fmt::format("--reserve {}: larger than the limit of {}; it is the part inside the "
                            "limit that only higher "
                            "critical levels may use",
                            shell_word(*o.reserve), show_size(*out.limit)));
            return false;
        }
        out.reserve = s->bytes;
    }
    return true;
}

// The summary's file, opened before the program starts and removed again if it never does.
class summary_file {
public:
    ~summary_file() {
        if (fd_ >= 0) {
            (void)prim::close(fd_);
            if (created_) {
                (void)prim::remove_file(path_);
            }
        }
    }
    bool open(const std::string& path) {
        path_ = path;
        const long fd = path.empty() ? -ENOENT : prim::open_for_writing(path, created_);
        if (fd < 0) {
            say(fmt::format("--summary {}: cannot be written: {}; the program was not started",
                            shell_word(path), std::strerror(static_cast<int>(-fd))));
            return false;
        }
        fd_ = static_cast<int>(fd);
        return true;
    }
    void write(const std::string& text) {
        if (fd_ < 0) {
            return;
        }
        if (const int e = prim::write_and_close(fd_, text); e != 0) {
            say(fmt::format("--summary {}: could not be written completely: {}", shell_word(path_),
                            std::strerror(e)));
        }
        fd_ = -1;
    }

private:
    std::string path_;
    int fd_ = -1;
    bool created_ = false;
};

// The ledger in a memfd that children open through this process's /proc entry (decision 20).
class shared_ledger {
public:
    ~shared_ledger() {
        if (memory_ != 0) {
            (void)prim::unmap(memory_, size_);
        }
        if (fd_ >= 0) {
            (void)prim::close(fd_);
        }
    }
    // Empty, or why there is none.
    std::string create(const bounds& b, const run_options& o) {
        size_ = manager::ledger::size_for(manager::shared_shape);
        // Growing a file beyond this limit is answered with a signal that ends the launcher.
        if (const auto largest = prim::file_size_limit(); largest < size_) {
            return fmt::format(
                "the ledger cannot be made: it is a file of {} in memory, and ulimit -f "
                "allows {}; raise it",
                show_size(size_), show_size(largest));
        }
        const long fd = prim::create_memfd("memreeve-ledger");
        int e = fd < 0 ? static_cast<int>(-fd) : 0;
        const char* step = "memfd_create";
        if (e == 0) {
            fd_ = static_cast<int>(fd);
            step = "ftruncate";
            e = prim::resize(fd_, size_);
        }
        if (e == 0) {
            step = "mmap";
            e = prim::map_shared(fd_, size_, true, &memory_);
        }
        if (e != 0) {
            return fmt::format("the ledger cannot be made: {}: {}; memreeve needs memfd_create and "
                               "{} of address space (look at seccomp profiles and ulimit -v -n)",
                               step, std::strerror(e), show_size(size_));
        }
        budget::tree::limits root;
        if (b.limit) {
            root.hard = *b.limit;
            root.reserve = b.reserve;
        }
        books_.format(reinterpret_cast<void*>(memory_), manager::shared_shape, root);
        auto& header = books_.header();
        header.launcher_pid.store(prim::process_id(), std::memory_order_relaxed);
        header.launcher_start_time.store(prim::process_start_time(prim::process_id()),
                                         std::memory_order_relaxed);
        header.runtime_limit.store(o.no_knobs ? 0 : b.runtime_limit, std::memory_order_relaxed);
        header.flags.store((o.best_effort ? manager::flag_best_effort : 0u) |
                               (o.no_children ? manager::flag_no_children : 0u) |
                               (o.ask ? manager::flag_ask : 0u) |
                               (o.no_ask ? manager::flag_no_ask : 0u) |
                               (o.no_knobs ? manager::flag_no_knobs : 0u) |
                               (o.reserve ? manager::flag_own_reserve : 0u),
                           std::memory_order_release);
        return {};
    }
    // manager/ledger_name.hpp
    std::string name() const {
        const auto& header = books_.header();
        return fmt::format("/proc/{}/fd/{}:{}", header.launcher_pid.load(std::memory_order_relaxed),
                           fd_, header.launcher_start_time.load(std::memory_order_relaxed));
    }
    manager::ledger& books() { return books_; }

private:
    int fd_ = -1;
    address memory_ = 0;
    byte_count size_ = 0;
    manager::ledger books_;
};

// Turns the ledger's bell, a word in shared memory, into a descriptor that can be polled.
class bell_listener {
public:
    explicit bell_listener(manager::ledger_header& header) : header_(header) {}
    ~bell_listener() {
        if (event_ >= 0 && running_) {
            stop_.store(true, std::memory_order_release);
            header_.bell.fetch_add(1, std::memory_order_acq_rel);
            prim::wake_all(word());
            prim::join_thread(thread_);
        }
        if (event_ >= 0) {
            (void)prim::close(event_);
        }
    }
    bell_listener(const bell_listener&) = delete;
    bell_listener& operator=(const bell_listener&) = delete;
    // Without a thread to be had the bell is heard at the next sample.
    void start() {
        event_ = static_cast<int>(prim::make_event());
        if (event_ >= 0) {
            running_ = prim::start_thread(&bell_listener::listen, this, &thread_) == 0;
        }
    }
    int descriptor() const { return event_; }

private:
    const std::uint32_t* word() const {
        return reinterpret_cast<const std::uint32_t*>(&header_.bell);
    }
    static void listen(void* self) {
        auto& me = *static_cast<bell_listener*>(self);
        std::uint32_t heard = 0; // what rang before this thread began counts too
        while (!me.stop_.load(std::memory_order_acquire)) {
            const std::uint32_t now = me.header_.bell.load(std::memory_order_acquire);
            if (now != heard) {
                heard = now;
                prim::ring_event(me.event_);
            } else {
                prim::wait_on(me.word(), heard, 0);
            }
        }
    }

    manager::ledger_header& header_;
    prim::thread_handle thread_;
    std::atomic<bool> stop_{false};
    int event_ = -1;
    bool running_ = false;
};

// What came for the launcher. The terminal's signals reach the program by themselves; INT and QUIT from
// elsewhere are taken for the terminal's too, but not by a container's first process, which is sent
// them alone (images whose STOPSIGNAL they are).
void pass_signals_on(prim::signal_desk& desk, int pidfd) {
    const bool is_first = prim::process_id() == 1;
    bool from_terminal = false;
    while (const int s = desk.next_signal(from_terminal)) {
        if (!from_terminal && (is_first || (s != SIGINT && s != SIGQUIT))) {
            (void)prim::send_signal(pidfd, s);
        }
    }
}

// Until the program has ended; its descendants are only watched.
prim::ending watch_until_end(const prim::started& program, prim::signal_desk& desk,
                             const bell_listener& bell, manager::ledger& books, image_watch& images,
                             kernel_pressure& pressure) {
    prim::ending end;
    std::uint64_t next_sample = prim::now_ns() + sample_period_ns;
    for (;;) {
        std::vector<int> descriptors = {program.pidfd, desk.descriptor(), bell.descriptor()};
        const std::vector<int> watched = images.descriptors();
        descriptors.insert(descriptors.end(), watched.begin(), watched.end());
        const std::uint64_t now = prim::now_ns();
        const std::uint64_t next = std::min(next_sample, pressure.next_look());
        const int patience = next > now ? static_cast<int>((next - now) / 1'000'000 + 1) : 0;
        std::vector<bool> ready;
        (void)prim::wait_readable(descriptors, patience, ready);
        if (const int e = ready[0] ? prim::reap(program.pid, program.pidfd, end) : 0; e != 0) {
            say(fmt::format(
                "how the program ended cannot be told: waitid and wait4: {}; its status "
                "is lost",
                std::strerror(e)));
            end.has_ended = true;
            end.code = memreeve_failed;
        }
        if (end.has_ended) {
            images.note_end(program.pid, end.signal != 0);
            return end;
        }
        prim::reap_inherited(program.pid);
        if (ready[1] || desk.descriptor() < 0) {
            pass_signals_on(desk, program.pidfd);
        }
        const bool rung = ready[2];
        if (rung) {
            prim::clear_event(bell.descriptor());
        }
        const std::uint64_t before = prim::now_ns();
        pressure.look(before);
        if (rung || std::find(ready.begin() + 3, ready.end(), true) != ready.end()) {
            images.look();
        }
        if (before >= next_sample) {
            const std::uint64_t used_before = prim::thread_time_ns();
            images.look();
            images.sample();
            const std::uint64_t used = prim::thread_time_ns() - used_before;
            next_sample = prim::now_ns() + std::max(sample_period_ns, used * sampling_share);
            books.note_look(next_sample);
        }
    }
}

// What `memreeve limit` has done meanwhile: the last changes, as many as the ledger keeps.
void note_limit_changes(manager::ledger& books, std::uint64_t started_at_ns, run_report& r) {
    const manager::ledger_header& header = books.header();
    const std::uint32_t count = header.limit_changes.load(std::memory_order_acquire);
    const auto limit_of = [](const std::atomic<std::uint64_t>& bytes) {
        const std::uint64_t value = bytes.load(std::memory_order_relaxed);
        return value == ~std::uint64_t{0} ? std::nullopt : std::optional(value);
    };
    r.limit_changes_total = count;
    for (std::uint32_t i = count - std::min(count, manager::limit_changes_kept); i < count; ++i) {
        const manager::limit_change& c = header.changes[i % manager::limit_changes_kept];
        const std::uint64_t at = c.at_ns.load(std::memory_order_relaxed);
        r.limit_changes.push_back(
            {at > started_at_ns ? static_cast<double>(at - started_at_ns) / 1e9 : 0.0,
             limit_of(c.from), limit_of(c.to), c.charged.load(std::memory_order_relaxed)});
    }
    const page_count highest =
        books.tree().at(owner_id::root).highest_limit.load(std::memory_order_relaxed);
    if (highest < budget::no_limit) {
        r.highest_limit = bytes_of(highest);
    }
}

int status_of(const run_report& r, const run_options& o) {
    if (o.exit_code_on_limit && refusals_of(r) != 0) {
        return *o.exit_code_on_limit;
    }
    return r.exit_signal != 0 ? 128 + r.exit_signal : r.exit_code;
}

// What has to be there before a program is started.
struct preparation {
    std::vector<std::string> outside; // this process's environment
    command_verdict verdict;
    std::string preload; // path of the preload library
    shared_ledger ledger;
};

// Finds it all, or what stands against it.
std::optional<obstacle> prepare(const run_options& o, const bounds& b, preparation& out) {
    if (prim::trusted_variable("MEMREEVE_LEDGER") != nullptr) {
        return obstacle{memreeve_failed,
                        "this is already inside a `memreeve run`, whose limit would not hold for "
                        "what a second one starts; start the command directly, or without "
                        "MEMREEVE_LEDGER in its environment"};
    }
    out.outside = prim::environment();
    out.verdict = examine_command(o.command.front(), search_path_of(out.outside));
    if (out.verdict.status != 0) {
        return obstacle{out.verdict.status, out.verdict.reason};
    }
    std::string self;
    if (const int e = prim::read_link("/proc/self/exe", self); e != 0) {
        return obstacle{memreeve_failed,
                        fmt::format("the program was not started: /proc/self/exe: {}; programs "
                                    "reach the ledger through /proc, so it must be mounted and "
                                    "readable here",
                                    std::strerror(e))};
    }
    std::string tried;
    const std::optional<std::string> library = find_preload_library(tried);
    if (!library) {
        return obstacle{memreeve_failed,
                        fmt::format("libmemreeve_preload.so was not found (looked for {}); build "
                                    "or install it, or name it in MEMREEVE_PRELOAD",
                                    printable(tried))};
    }
    if (library->find_first_of(": ") != std::string::npos) {
        return obstacle{memreeve_failed,
                        fmt::format("{} cannot be preloaded: the loader takes blanks and colons "
                                    "for separators; move it or name another path in "
                                    "MEMREEVE_PRELOAD",
                                    shell_word(*library))};
    }
    if (const std::string why = why_no_preload_library(*library); !why.empty()) {
        return obstacle{memreeve_failed,
                        fmt::format("{} is not memreeve's preload library: {}; name "
                                    "libmemreeve_preload.so in MEMREEVE_PRELOAD, or unset it; the "
                                    "program was not started",
                                    shell_word(*library), why)};
    }
    out.preload = *library;
    if (std::string why = out.ledger.create(b, o); !why.empty()) {
        return obstacle{memreeve_failed, std::move(why)};
    }
    if (const long fd = prim::open_process(prim::process_id()); fd >= 0) {
        (void)prim::close(static_cast<int>(fd));
    } else {
        return obstacle{memreeve_failed,
                        fmt::format("the program was not started: pidfd_open: {}; memreeve watches "
                                    "by it what it starts (Linux 5.3; look at seccomp profiles and "
                                    "ulimit -n)",
                                    std::strerror(static_cast<int>(-fd)))};
    }
    return std::nullopt;
}

} // namespace

std::optional<obstacle> obstacle_to(const run_options& o) {
    preparation ready;
    return prepare(o, bounds{}, ready);
}

int run(const run_options& o) {
    bounds b;
    if (!parse_bounds(o, b)) {
        return memreeve_failed;
    }
    summary_file summary;
    if (o.summary && !summary.open(*o.summary)) {
        return memreeve_failed;
    }
    preparation ready;
    if (const auto found = prepare(o, b, ready)) {
        say(found->reason);
        return found->status;
    }
    if (!o.quiet) {
        for (const std::string& other : foreign_allocators(ready.outside)) {
            say(fmt::format("LD_PRELOAD names {}, which was left out: two mallocs in one process "
                            "would free each other's blocks; memreeve's serves the program and is "
                            "charged",
                            shell_word(other)));
        }
    }
    shared_ledger& ledger = ready.ledger;
    const command_verdict& verdict = ready.verdict;

    prim::signal_desk desk;
    const std::uint64_t started_at = prim::now_ns();
    prim::started program;
    const std::vector<std::string> inside =
        governed_environment(ready.outside, ready.preload, ledger.name(), o.best_effort);
    const int failed = prim::start_program(verdict.file, o.command, inside, program);
    if (failed == EMFILE || failed == ENFILE) {
        say(fmt::format(
            "the program was not started: {}; memreeve itself opens eight (raise ulimit "
            "-n)",
            std::strerror(failed)));
        return memreeve_failed;
    }
    if (failed != 0) {
        say(fmt::format("{}: cannot be started: {}", shell_word(verdict.file),
                        std::strerror(failed)));
        return failed == ENOENT || failed == ENOTDIR ? 127 : 126;
    }

    image_watch images(ledger.books(), started_at);
    if (!o.quiet) {
        images.tell_words(program.pid, [](const process_report& p, const words_report& w) {
            // In one write, so that nothing of the program's comes in between.
            say(fmt::format("{}", fmt::join(lines_of(p, w, prim::process_id()), "\nmemreeve: ")));
        });
    }
    run_report report;
    {
        bell_listener bell(ledger.books().header());
        bell.start();
        kernel_pressure pressure(ledger.books());
        if (o.ask) {
            pressure.start();
        }
        const prim::ending end =
            watch_until_end(program, desk, bell, ledger.books(), images, pressure);
        report.exit_code = end.code;
        report.exit_signal = end.signal;
    }
    report.wall_seconds = static_cast<double>(prim::now_ns() - started_at) / 1e9;
    report.processes = images.finish();
    report.command = o.command;
    report.limit = b.limit;
    report.reserve = b.reserve;
    note_limit_changes(ledger.books(), started_at, report);
    report.address_space = prim::address_space_limit();
    report.verbose = o.verbose;
    const budget::account& root = ledger.books().tree().at(owner_id::root);
    report.peak_charged = bytes_of(root.peak.load(std::memory_order_relaxed));
    report.without_place = ledger.books().header().images_refused.load(std::memory_order_relaxed);
    report.ledger_was_damaged = images.has_seen_damage();
    report.touched_overshoot = bytes_of(root.overshoot.load(std::memory_order_relaxed));
    (void)prim::close(program.pidfd);

    summary.write(summary_json(report));
    if (!o.quiet) {
        for (const std::string& line : closing_lines(report)) {
            say(line);
        }
    }
    // Governed, or listed with the reason why it is not.
    const bool is_accounted_for =
        std::any_of(report.processes.begin(), report.processes.end(),
                    [&](const process_report& p) { return p.governed || p.pid == program.pid; });
    if (!is_accounted_for) {
        say(fmt::format("{} was never governed: the loader did not take in {}, or it is another "
                        "library (the lines above may tell why)",
                        shell_word(o.command.front()), shell_word(ready.preload)));
        if (report.exit_signal == 0 && report.exit_code == 0 && !o.best_effort) {
            return memreeve_failed; // a success without the limit is none
        }
    }
    return status_of(report, o);
}

} // namespace memreeve::cli
