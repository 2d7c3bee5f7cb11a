// SPDX-License-Identifier: MIT
// Looks into the ledger of a running `memreeve run` from outside, for the tests.
//
//   ledger_probe LAUNCHER_PID images        a line of JSON per live image
//   ledger_probe LAUNCHER_PID picture PID   asks the launcher for a picture of the image and prints
//                                           it as JSON (decision 4)
//   ledger_probe LAUNCHER_PID last PID      the last picture, the launcher's sample most likely
//   ledger_probe LAUNCHER_PID stacks PID    the thread stacks noted for the image: [begin, end]
//   ledger_probe LAUNCHER_PID root          the root account
//   ledger_probe LAUNCHER_PID places        places taken in the ledger: images, accounts, credit
//   ledger_probe LAUNCHER_PID storm N LOW HIGH  changes the limit N times, to MiB between the two, and
//                                           tells how often more was charged than the limit allowed
//   ledger_probe LAUNCHER_PID kill PID      kills the process with SIGKILL and tells how long its
//                                           charge took to come back when it was dead, in
//                                           milliseconds: until the last look that did not find it
//
// Exit status 0; 3 when there is no such ledger or image, 4 when nothing happened in 10 s.
#include "manager/ledger.hpp"
#include "prim/prim.hpp"
#include "telemetry/snapshot.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using namespace memreeve;
using json = nlohmann::ordered_json;

constexpr std::uint64_t patience_ns = 10'000'000'000;

std::string find_ledger(const std::string& launcher) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/proc/" + launcher + "/fd", ignored)) {
        if (fs::read_symlink(entry.path(), ignored)
                .string()
                .starts_with("/memfd:memreeve-ledger")) {
            return entry.path().string();
        }
    }
    return {};
}

bool attach(const std::string& path, manager::ledger& books) {
    const long fd = prim::open_read_write(path.c_str());
    if (fd < 0) {
        return false;
    }
    const byte_count size = manager::ledger::size_for(manager::shared_shape);
    address at = 0;
    const int e = prim::map_shared(static_cast<int>(fd), size, true, &at);
    (void)prim::close(static_cast<int>(fd));
    return e == 0 && books.attach(reinterpret_cast<void*>(at), size).has_value();
}

bool is_live(const telemetry::image_record& r) {
    return r.state.load() == static_cast<std::uint32_t>(telemetry::image_state::live);
}

json show(const telemetry::picture& p) {
    json out = {
        {"retries", p.retries}, {"in_flight", p.in_flight}, {"adds_up", telemetry::adds_up(p)}};
    out["owners"] = json::object();
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        const auto& o = p.owners[k];
        out["owners"][telemetry::owner_names[k]] = {{"reserved", o.reserved},
                                                    {"committed", o.committed},
                                                    {"charged", o.charged},
                                                    {"touched", o.touched},
                                                    {"mapped_writable", o.mapped_writable},
                                                    {"slack", o.slack},
                                                    {"resident", o.resident},
                                                    {"peak", o.peak_charged}};
    }
    out["kernel"] = {{"rss", p.kernel.rss},
                     {"private_writable", p.kernel.private_writable},
                     {"private_resident", p.kernel.private_resident},
                     {"unclassified", p.kernel.unclassified},
                     {"unclassified_resident", p.kernel.unclassified_resident}};
    return out;
}

// Pages of files that serve as heap, by owner; owners without one are left out.
json file_pages_of(const telemetry::image_record& r) {
    json out = json::object();
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        if (const std::uint64_t pages = r.file_pages[k].load(); pages != 0) {
            out[telemetry::owner_names[k]] = pages;
        }
    }
    return out;
}

// Charged without being committed: recorded mappings, pages of files that serve as heap.
byte_count charged_elsewhere(const telemetry::image_record& r) {
    page_count pages = 0;
    for (const telemetry::extent& e : r.extents) {
        if (e.begin.load() > 1) {
            pages += e.charged.load();
        }
    }
    for (const auto& of_owner : r.file_pages) {
        pages += of_owner.load();
    }
    return bytes_of(pages);
}

int ask_for_picture(manager::ledger& books, int pid) {
    for (std::uint32_t i = 0; i < books.header().images_high.load(); ++i) {
        telemetry::image_record& r = books.image(i);
        if (!is_live(r) || r.pid.load() != pid) {
            continue;
        }
        const std::uint32_t wanted = r.picture_wanted.fetch_add(1) + 1;
        books.ring();
        const std::uint64_t since = prim::now_ns();
        std::uint32_t served = r.picture_served.load();
        while (static_cast<std::int32_t>(served - wanted) < 0) {
            if (prim::now_ns() - since > patience_ns) {
                return 4;
            }
            prim::wait_on(reinterpret_cast<const std::uint32_t*>(&r.picture_served), served,
                          100'000'000);
            served = r.picture_served.load();
        }
        telemetry::picture p;
        if (!telemetry::read(r.last, p)) {
            return 4;
        }
        std::cout << show(p).dump() << '\n';
        return 0;
    }
    return 3;
}

int show_last_picture(const manager::ledger& books, int pid) {
    for (std::uint32_t i = 0; i < books.header().images_high.load(); ++i) {
        const telemetry::image_record& r = books.image(i);
        telemetry::picture p;
        if (is_live(r) && r.pid.load() == pid && telemetry::read(r.last, p)) {
            std::cout << show(p).dump() << '\n';
            return 0;
        }
    }
    return 3;
}

int show_stacks(const manager::ledger& books, int pid) {
    for (std::uint32_t i = 0; i < books.header().images_high.load(); ++i) {
        const telemetry::image_record& r = books.image(i);
        if (is_live(r) && r.pid.load() == pid) {
            json all = json::array();
            r.stacks.for_each([&](range where) { all.push_back({where.begin, where.end}); });
            std::cout << all.dump() << '\n';
            return 0;
        }
    }
    return 3;
}

// What is free when nothing runs: a place that stays taken is lost for the rest of the run.
json taken_places(manager::ledger& books) {
    books.tree().drain();
    const manager::ledger_header& h = books.header();
    std::uint64_t images[4]{}; // by state
    for (std::uint32_t i = 0; i < h.image_capacity; ++i) {
        ++images[books.image(i).state.load() & 3];
    }
    std::uint64_t accounts = 0;
    for (std::uint32_t i = 0; i < h.account_capacity; ++i) {
        accounts += books.tree().at(static_cast<owner_id>(i)).state.load() != 0;
    }
    const budget::account& root = books.tree().at(owner_id::root);
    return {{"live", images[static_cast<int>(telemetry::image_state::live)]},
            {"claimed", images[static_cast<int>(telemetry::image_state::claimed)]},
            {"ended", images[static_cast<int>(telemetry::image_state::ended)]},
            {"accounts", accounts},
            {"draining", books.tree().is_draining()},
            {"held", bytes_of(root.usage.load() & 0xffffffffU)},
            {"charged", bytes_of(root.charged.load())}};
}

// After each change nothing more may be charged than fits the new limit, or was held by then: looked at
// until as much has come and gone as some requests take. Task level alone must be asked for.
int storm_of_limits(manager::ledger& books, unsigned changes, byte_count low, byte_count high) {
    constexpr unsigned moves = 8;
    constexpr std::uint64_t patience = 3'000'000; // nothing may move for a while: all is refused
    const budget::account& root = books.tree().at(owner_id::root);
    const byte_count mib = byte_count{1} << 20;
    std::uint64_t random = 88172645463325252ULL;
    std::uint64_t over = 0;
    std::uint64_t lowered_below = 0;
    std::uint64_t moved = 0;
    for (unsigned i = 0; i < changes; ++i) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const byte_count limit = (low + random % (high - low + 1)) * mib;
        books.change_limit(limit, budget::default_reserve(limit));
        const page_count held = root.usage.load() & 0xffffffffU;
        const page_count most = std::max(held, pages_of(limit));
        lowered_below += held > pages_of(limit);
        page_count before = held;
        const std::uint64_t since = prim::now_ns();
        for (unsigned seen = 0; seen < moves && prim::now_ns() - since < patience;) {
            const page_count charged = root.charged.load();
            over += charged > most;
            seen += charged != before;
            moved += charged != before;
            before = charged;
        }
    }
    std::cout << json{{"over", over}, {"lowered_below", lowered_below}, {"moved", moved}}.dump()
              << '\n';
    return 0;
}

int kill_and_wait(manager::ledger& books, int pid) {
    const budget::account& root = books.tree().at(owner_id::root);
    for (std::uint32_t i = 0; i < books.header().images_high.load(); ++i) {
        telemetry::image_record& r = books.image(i);
        if (!is_live(r) || r.pid.load() != pid) {
            continue;
        }
        const auto process = static_cast<owner_id>(r.process_account.load());
        const page_count held = books.tree().charged(process);
        const page_count before = root.charged.load();
        const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
        if (pidfd < 0 || ::kill(pid, SIGKILL) != 0) {
            return 3;
        }
        // From its death on: how long it waits for a processor to die on is not ours.
        pollfd death{pidfd, POLLIN, 0};
        static_cast<void>(::poll(&death, 1, static_cast<int>(patience_ns / 1'000'000)));
        const std::uint64_t since = prim::now_ns();
        // The time is taken before the look: this one may wait for a processor between the two.
        std::uint64_t passed = 0;
        std::uint64_t now = 0;
        while (root.charged.load() + held > before && now < patience_ns) {
            passed = now;
            prim::yield();
            now = prim::now_ns() - since;
        }
        std::cout << json{{"held", bytes_of(held)},
                          {"before", bytes_of(before)},
                          {"after", bytes_of(root.charged.load())},
                          {"milliseconds", static_cast<double>(passed) / 1e6}}
                         .dump()
                  << '\n';
        return now < patience_ns ? 0 : 4;
    }
    return 3;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::cerr << "usage: ledger_probe LAUNCHER_PID images|root|places|picture PID|stacks "
                     "PID|kill PID\n";
        return 2;
    }
    manager::ledger books;
    if (!attach(find_ledger(argv[1]), books)) {
        return 3;
    }
    const std::string what = argv[2];
    if (what == "picture" && argc == 4) {
        return ask_for_picture(books, std::atoi(argv[3]));
    }
    if (what == "last" && argc == 4) {
        return show_last_picture(books, std::atoi(argv[3]));
    }
    if (what == "stacks" && argc == 4) {
        return show_stacks(books, std::atoi(argv[3]));
    }
    if (what == "storm" && argc == 6) {
        return storm_of_limits(books, static_cast<unsigned>(std::atoi(argv[3])),
                               static_cast<byte_count>(std::atoi(argv[4])),
                               static_cast<byte_count>(std::atoi(argv[5])));
    }
    if (what == "kill" && argc == 4) {
        return kill_and_wait(books, std::atoi(argv[3]));
    }
    if (what == "places") {
        std::cout << taken_places(books).dump() << '\n';
        return 0;
    }
    if (what == "root") {
        const budget::account& root = books.tree().at(owner_id::root);
        std::cout << json{{"charged", bytes_of(root.charged.load())},
                          {"touched", bytes_of(root.touched.load())},
                          {"peak", bytes_of(root.peak.load())},
                          {"overshoot", bytes_of(root.overshoot.load())}}
                         .dump()
                  << '\n';
        return 0;
    }
    for (std::uint32_t i = 0; i < books.header().images_high.load(); ++i) {
        const telemetry::image_record& r = books.image(i);
        if (is_live(r)) {
            std::cout << json{{"pid", r.pid.load()},
                              {"image", std::string(r.path)},
                              {"runtime", telemetry::name_of(static_cast<telemetry::runtime_kind>(
                                              r.runtime.load()))},
                              {"governed", r.governed.load() != 0},
                              {"charged_elsewhere", charged_elsewhere(r)},
                              {"extents", r.extents_used.load()},
                              {"extents_lost", r.extents_lost.load()},
                              {"asked", r.asked.times.load()},
                              {"file_pages", file_pages_of(r)}}
                             .dump()
                      << '\n';
        }
    }
    return 0;
}
