// SPDX-License-Identifier: MIT
// Looks into the ledger of a running `memreeve run` from outside, for the tests.
//
//   ledger_probe LAUNCHER_PID images        a line of JSON per live image
//   ledger_probe LAUNCHER_PID picture PID   asks the launcher for a picture of the image and prints
//                                           it as JSON (decision 4)
//   ledger_probe LAUNCHER_PID root          the root account
//
// Exit status 0; 3 when there is no such ledger or image, 4 when no picture was served in 10 s.
#include "manager/ledger.hpp"
#include "prim/prim.hpp"
#include "telemetry/snapshot.hpp"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

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

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::cerr << "usage: ledger_probe LAUNCHER_PID images|root|picture PID\n";
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
                              {"extents", r.extents_used.load()},
                              {"extents_lost", r.extents_lost.load()}}
                             .dump()
                      << '\n';
        }
    }
    return 0;
}
