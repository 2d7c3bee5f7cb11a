// SPDX-License-Identifier: MIT
#include "cli/last_words.hpp"

#include "cli/report.hpp"
#include "cli/size.hpp"
#include "cli/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace memreeve::cli {

namespace {

using figures = std::array<std::uint64_t, telemetry::owner_kind_count>;

std::string by_owner(const figures& bytes) {
    std::vector<std::string> words;
    for (std::size_t k = 0; k < bytes.size(); ++k) {
        if (bytes[k] != 0) {
            words.push_back(fmt::format("{} {}", telemetry::owner_names[k], show_size(bytes[k])));
        }
    }
    return words.empty() ? "nothing" : fmt::format("{}", fmt::join(words, ", "));
}

std::string state_of_limit(const words_report& w) {
    return w.limit
               ? fmt::format("{} charged and {} touched of {} (reserve {})", show_size(w.charged),
                             show_size(w.touched), show_size(*w.limit), show_size(w.reserve))
               : fmt::format("{} charged and {} touched, without a limit", show_size(w.charged),
                             show_size(w.touched));
}

std::string headline(const process_report& p, const words_report& w) {
    const std::string when = fmt::format("{:.1f} s after its start", w.after_seconds);
    switch (w.cause) {
    case words_cause::refusal:
        return fmt::format("{} was refused memory for the first time, {}: {}", who(p), when,
                           state_of_limit(w));
    case words_cause::pressure:
        return fmt::format("{} holds the most while the reserve is being used up, {}: {}", who(p),
                           when, state_of_limit(w));
    case words_cause::death: break;
    }
    return fmt::format("{} was killed, {}: {}", who(p), when, state_of_limit(w));
}

std::string refused_line(const process_report& p, const words_report& w) {
    constexpr std::array levels = {"task", "appdomain", "process"};
    if (w.refused) {
        const words_report::refused_request& r = *w.refused;
        const std::string caller =
            r.caller.empty() ? "" : fmt::format(", asked for by {}", printable(r.caller));
        return fmt::format("refused: {} for {} (owner {}), at {} level{}; what follows is counted",
                           show_size(r.bytes),
                           telemetry::purpose_names[static_cast<std::size_t>(r.what_for)],
                           telemetry::owner_names[r.owner], levels[r.level], caller);
    }
    return p.refusals == decltype(p.refusals){}
               ? std::string("refused: nothing so far")
               : fmt::format("refused: task {}, appdomain {}, process {}", p.refusals[0],
                             p.refusals[1], p.refusals[2]);
}

const char* hint_for(std::size_t owner) {
    constexpr std::array<const char*, telemetry::owner_kind_count> hints = {
        "gc is the runtime's heap: what is referenced for ever, or a heap larger than this limit",
        "code is generated: the same classes, assemblies or scripts loaded again and again",
        "malloc is native memory: buffers, extensions, libraries",
        "stacks are threads: too many, or too large",
        "images are programs and libraries",
        "files are mapped files",
        "runtime is what the program has mapped itself"};
    return hints[owner];
}

// Of memory that others write: between two readings it may pass what the first was found to be.
std::uint32_t read_once(const std::uint32_t& word) {
    return *static_cast<const volatile std::uint32_t*>(&word);
}

template <class Array>
std::size_t largest(const Array& a) {
    return static_cast<std::size_t>(std::max_element(a.begin(), a.end()) - a.begin());
}

std::string advice(const words_report& w, int launcher) {
    const std::size_t grown = largest(w.owner_grown);
    const std::size_t owner = w.owner_grown[grown] > 0 ? grown : largest(w.owner_charged);
    return w.limit
               ? fmt::format("what to do: raise the limit (memreeve limit {} SIZE, at once), or "
                             "look at {}: {}",
                             launcher, telemetry::owner_names[owner], hint_for(owner))
               : fmt::format("what to do: set a limit below what the machine or container has "
                             "(--limit), or look at {}: {}",
                             telemetry::owner_names[owner], hint_for(owner));
}

} // namespace

bool words_report::is_near_limit() const {
    if (!limit) {
        return false;
    }
    const std::uint64_t top = *limit - std::min(reserve, *limit);
    return charged + touched >= top - top / 10;
}

std::string grew_last(const words_report& w) {
    std::array<std::size_t, telemetry::owner_kind_count> order{};
    for (std::size_t k = 0; k < order.size(); ++k) {
        order[k] = k;
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return w.owner_grown[a] > w.owner_grown[b];
    });
    std::vector<std::string> words;
    for (const std::size_t k : order) {
        if (w.owner_grown[k] > 0) {
            words.push_back(fmt::format("{} by {}", telemetry::owner_names[k],
                                        show_size(static_cast<std::uint64_t>(w.owner_grown[k]))));
        }
    }
    return words.empty()
               ? fmt::format("grew last: nothing within {:.1f} s", w.grown_over)
               : fmt::format("grew last: {} within {:.1f} s", fmt::join(words, ", "), w.grown_over);
}

words_report report_of_words(const telemetry::last_words& words, words_cause cause,
                             std::uint64_t attached_at_ns) {
    words_report w;
    w.cause = cause;
    w.after_seconds =
        words.at_ns > attached_at_ns ? static_cast<double>(words.at_ns - attached_at_ns) / 1e9 : 0;
    if (words.limit != ~std::uint64_t{0}) {
        w.limit = words.limit;
    }
    w.reserve = words.reserve;
    w.charged = words.charged;
    w.touched = words.touched;
    w.grown_over = static_cast<double>(words.grown_over) / 1e9;
    std::copy_n(words.owner_charged, w.owner_charged.size(), w.owner_charged.begin());
    std::copy_n(words.owner_touched, w.owner_touched.size(), w.owner_touched.begin());
    std::copy_n(words.owner_grown, w.owner_grown.size(), w.owner_grown.begin());
    if (cause == words_cause::refusal) {
        const auto* const end = std::find(words.caller, words.caller + sizeof words.caller, '\0');
        w.refused = {words.refused, std::min(read_once(words.level), criticality_count - 1),
                     static_cast<telemetry::purpose>(
                         std::min(read_once(words.what_for), telemetry::purpose_count - 1)),
                     std::min(read_once(words.owner), telemetry::owner_kind_count - 1),
                     std::string(words.caller, end)};
    }
    return w;
}

std::vector<std::string> lines_of(const process_report& p, const words_report& w, int launcher) {
    return {headline(p, w),
            fmt::format("it holds: {}; touched beside it: {}", by_owner(w.owner_charged),
                        by_owner(w.owner_touched)),
            grew_last(w), refused_line(p, w), advice(w, launcher)};
}

} // namespace memreeve::cli
