// SPDX-License-Identifier: MIT
#include "cli/commands/limit.hpp"

#include "cli/commands/run.hpp"
#include "cli/governed_tree.hpp"
#include "cli/size.hpp"
#include "cli/text.hpp"
#include "manager/sensors.hpp"
#include "prim/prim.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <iostream>
#include <nlohmann/json.hpp>

namespace memreeve::cli {

namespace {

using json = nlohmann::ordered_json;

constexpr int schema_version = 1;
constexpr byte_count unlimited = ~byte_count{0};

byte_count memory_there_is() {
    manager::sensors system;
    system.open("", true);
    return system.total();
}

std::string show_limit(byte_count limit) { return limit == unlimited ? "none" : show_size(limit); }
json limit_or_null(byte_count limit) { return limit == unlimited ? json() : json(limit); }

struct figures {
    byte_count limit, reserve, charged, touched, peak;
    bool asks;         // a runtime that is there is asked to collect
    bool asks_if_told; // one is, which only --ask has asked (Python's)

    // What has to be given back before requests of task level are admitted again.
    byte_count too_much() const {
        const byte_count used = charged + touched;
        return limit == unlimited || used <= limit - reserve ? 0 : used - (limit - reserve);
    }
};

figures figures_of(manager::ledger& books) {
    const budget::account& root = books.tree().at(owner_id::root);
    const page_count limit = root.limit.load(std::memory_order_relaxed);
    figures f{};
    f.limit = limit >= budget::no_limit ? unlimited : bytes_of(limit);
    f.reserve = std::min(bytes_of(root.reserve.load(std::memory_order_relaxed)), f.limit);
    f.charged = bytes_of(books.tree().charged(owner_id::root));
    f.touched = bytes_of(root.touched.load(std::memory_order_relaxed));
    f.peak = bytes_of(root.peak.load(std::memory_order_relaxed));
    const std::uint32_t flags = books.header().flags.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < books.images_seen(); ++i) {
        const telemetry::image_record& r = books.image(i);
        if (r.state.load(std::memory_order_acquire) !=
            static_cast<std::uint32_t>(telemetry::image_state::live)) {
            continue;
        }
        const auto kind =
            static_cast<telemetry::runtime_kind>(r.runtime.load(std::memory_order_relaxed));
        f.asks = f.asks || manager::is_asked(flags, kind);
        f.asks_if_told = f.asks_if_told || manager::is_asked(manager::flag_ask, kind);
    }
    f.asks_if_told = f.asks_if_told && !f.asks;
    return f;
}

std::string held(const figures& f) {
    return fmt::format("held {} and {} touched", show_size(f.charged), show_size(f.touched));
}

json json_of(int pid, int launcher, const figures& f) {
    return {{"schema_version", schema_version}, {"pid", pid},
            {"launcher_pid", launcher},         {"limit_bytes", limit_or_null(f.limit)},
            {"reserve_bytes", f.reserve},       {"charged_bytes", f.charged},
            {"touched_bytes", f.touched},       {"peak_charged_bytes", f.peak},
            {"too_much_bytes", f.too_much()},   {"asks", f.asks}};
}

void show_present(const limit_options& o, int pid, governed_tree& tree) {
    const figures f = figures_of(tree.books());
    if (o.json) {
        std::cout << json_of(pid, tree.launcher(), f).dump() << '\n';
        return;
    }
    std::cout << fmt::format("limit {} (reserve {}), {}, peak {}; memreeve run is pid {}\n",
                             show_limit(f.limit), show_size(f.reserve), held(f), show_size(f.peak),
                             tree.launcher());
}

const char* unasked(const figures& f) {
    return f.asks_if_told ? " (under run --ask the runtime would be asked to collect)" : "";
}

std::string what_happens_now(const figures& f, byte_count before) {
    if (f.too_much() != 0) {
        return fmt::format(
            "{} too much: nothing is taken back; until it fits requests of task level "
            "are refused{}",
            show_size(f.too_much()), f.asks ? ", and runtimes are asked to collect" : unasked(f));
    }
    return f.limit == before ? "as before" : "in force";
}

} // namespace

int limit(const limit_options& o) {
    const auto refuse = [&](const std::string& why) {
        say(fmt::format("limit {}: {}", shell_word(o.pid), why));
        return memreeve_failed;
    };
    int pid = 0;
    const char* const end = o.pid.data() + o.pid.size();
    const auto [stop, error] = std::from_chars(o.pid.data(), end, pid);
    if (error != std::errc{} || stop != end || pid <= 0) {
        return refuse("is no process id; write memreeve limit PID [SIZE]");
    }
    size wanted;
    if (o.size) {
        std::string why;
        const byte_count total =
            o.size->find('%') != std::string::npos ? memory_there_is() : byte_count{0};
        const std::optional<size> s = parse_size(*o.size, total, why);
        if (!s) {
            return refuse(
                fmt::format("{}: {}; accepted are {}", shell_word(*o.size), why, accepted_sizes));
        }
        if (!s->is_unlimited && s->bytes < page_size) {
            return refuse(fmt::format("{}: less than one page of {} bytes; a small Mono program "
                                      "needs about 32M",
                                      shell_word(*o.size), page_size));
        }
        wanted = *s;
    }
    governed_tree tree;
    std::string why;
    if (!tree.open(pid, why)) {
        return refuse(why);
    }
    if (!o.size) {
        show_present(o, pid, tree);
        return 0;
    }
    if (!tree.lock()) {
        return refuse(
            "somebody else is changing this limit and does not come to an end; try again");
    }
    manager::ledger& books = tree.books();
    manager::ledger_header& header = books.header();
    const std::uint32_t flags = header.flags.load(std::memory_order_relaxed);
    const byte_count bytes = wanted.is_unlimited ? unlimited : round_down(wanted.bytes, page_size);
    byte_count reserve = wanted.is_unlimited ? 0 : budget::default_reserve(bytes);
    if ((flags & manager::flag_own_reserve) != 0) {
        reserve = bytes_of(books.tree().at(owner_id::root).reserve.load(std::memory_order_relaxed));
        if (bytes < reserve) {
            return refuse(
                fmt::format("{}: below the reserve of {} that --reserve has set, the part "
                            "inside the limit that only higher critical levels may use; "
                            "give at least as much",
                            shell_word(*o.size), show_size(reserve)));
        }
    }
    // What starts from now on is told the new limit; a runtime that is there has its settings.
    if ((flags & manager::flag_no_knobs) == 0) {
        const byte_count total = wanted.is_unlimited ? 0 : memory_there_is();
        header.runtime_limit.store(wanted.is_unlimited ? 0
                                   : total == 0        ? bytes
                                                       : std::min(bytes, total),
                                   std::memory_order_relaxed);
    }
    const byte_count before = books.change_limit(bytes, reserve).from;
    const figures f = figures_of(books);
    if (o.json) {
        json out = json_of(pid, tree.launcher(), f);
        out["previous_limit_bytes"] = limit_or_null(before);
        std::cout << out.dump() << '\n';
        return 0;
    }
    std::cout << fmt::format("limit {}, was {} (reserve {}); {}: {}\n", show_limit(f.limit),
                             show_limit(before), show_size(f.reserve), held(f),
                             what_happens_now(f, before));
    return 0;
}

} // namespace memreeve::cli
