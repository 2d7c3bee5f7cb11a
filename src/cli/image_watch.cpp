// SPDX-License-Identifier: MIT
#include "cli/image_watch.hpp"

#include "prim/linux/launch.hpp"
#include "prim/prim.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace memreeve::cli {

using telemetry::image_end;
using telemetry::image_record;
using telemetry::image_state;
using telemetry::owner_kind;

namespace {

constexpr unsigned tries_when_asked = 100; // decision 4
constexpr unsigned tries_when_sampling = 3;
constexpr std::uint64_t own_picture_stands_ns = 1'000'000'000;
constexpr unsigned samples_an_exec_may_take = 2;
// Reading smaps walks every page table of the image: while nobody can act on it, pictures take at
// most a hundredth of one processor's time.
constexpr std::uint64_t picture_share = 100;
constexpr std::uint64_t longest_pause_ns = 2'000'000'000;

image_state state_of(const image_record& r) {
    return static_cast<image_state>(r.state.load(std::memory_order_acquire));
}

// What the record holds in a fixed array, which may be full to its last byte.
template <std::size_t N>
std::string text_of(const char (&field)[N]) {
    return {field, static_cast<std::size_t>(std::find(field, field + N, '\0') - field)};
}

struct process_eye {
    int pid;
    int pagemap;

    static bool read_word(void* context, std::uint64_t at, std::uint64_t* out) noexcept {
        return prim::read_process_word(static_cast<process_eye*>(context)->pid, at, *out);
    }
    static bool count_present(void* context, std::uint64_t begin, std::uint64_t end,
                              std::uint64_t* pages) noexcept {
        const int fd = static_cast<process_eye*>(context)->pagemap;
        return fd >= 0 && prim::count_present_pages(fd, begin, end, *pages);
    }
};

// Second number of /proc/PID/statm; 0 when it cannot be read.
page_count resident_pages_of(int pid) {
    page_count number[2]{};
    unsigned n = 0;
    (void)prim::pump_file(
        fmt::format("/proc/{}/statm", pid).c_str(), [&](const char* text, std::size_t size) {
            for (std::size_t i = 0; i < size && n < 2; ++i) {
                if (text[i] >= '0' && text[i] <= '9') {
                    number[n] = number[n] * 10 + static_cast<page_count>(text[i] - '0');
                } else {
                    ++n;
                }
            }
        });
    return number[1];
}

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

} // namespace

image_watch::image_watch(manager::ledger& books, std::uint64_t started_at_ns)
    : books_(books), started_at_ns_(started_at_ns),
      reader_(std::make_unique<telemetry::smaps_reader>()) {}

image_watch::~image_watch() {
    for (auto& [slot, w] : watched_) {
        forget(w);
    }
}

void image_watch::forget(watched& w) {
    if (w.pidfd >= 0) {
        (void)prim::close(w.pidfd);
        w.pidfd = -1;
    }
}

std::vector<int> image_watch::descriptors() const {
    std::vector<int> out;
    for (const auto& [slot, w] : watched_) {
        if (w.pidfd >= 0) {
            out.push_back(w.pidfd);
        }
    }
    return out;
}

void image_watch::watch(std::uint32_t slot) {
    const image_record& r = books_.image(slot);
    watched w;
    w.pid = r.pid.load(std::memory_order_relaxed);
    w.start_time = r.start_time.load(std::memory_order_relaxed);
    const long fd = prim::open_process(w.pid);
    // The pid may already be another process's.
    if (fd >= 0 && prim::process_start_time(w.pid) == w.start_time) {
        w.pidfd = static_cast<int>(fd);
    } else if (fd >= 0) {
        (void)prim::close(static_cast<int>(fd));
    }
    watched_[slot] = w;
}

bool image_watch::has_ended(const watched& w) const {
    if (w.pidfd < 0) {
        return true;
    }
    std::vector<bool> ready;
    return prim::wait_readable({w.pidfd}, 0, ready) == 0 && ready[0];
}

void image_watch::look() {
    has_seen_damage_ = has_seen_damage_ || books_.is_damaged();
    ++round_;
    const std::uint32_t high = books_.images_seen();
    for (std::uint32_t slot = 0; slot < high; ++slot) {
        image_record& r = books_.image(slot);
        const image_state state = state_of(r);
        if (state == image_state::free) {
            continue;
        }
        if (r.governed.load(std::memory_order_relaxed) == 0 && state != image_state::claimed) {
            ungoverned_.push_back(
                {report_of(r, false), r.start_time.load(std::memory_order_relaxed), 0});
            if (const auto begun = watched_.find(slot); begun != watched_.end()) {
                forget(begun->second); // turned away after it was seen
                watched_.erase(begun);
            }
            books_.free_image(r);
            continue;
        }
        const auto seen = watched_.find(slot);
        const bool is_new = seen == watched_.end();
        if (state == image_state::claimed) {
            // Killed while it ended its record: what it began is done again from the start.
            if (is_new || !has_ended(seen->second)) {
                continue;
            }
            r.state.store(static_cast<std::uint32_t>(image_state::live), std::memory_order_release);
        }
        if (is_new) {
            watch(slot);
        }
        watched& w = watched_[slot];
        hear_words(r, w);
        if (state_of(r) == image_state::live && announced_exec(w) != nullptr &&
            runs_another_file(r, w)) {
            books_.end_image(r, image_end::exec);
        }
        const bool ended = state_of(r) == image_state::ended || has_ended(w);
        if (!ended) {
            const std::uint32_t wanted = r.picture_wanted.load(std::memory_order_acquire);
            const bool asked = wanted != r.picture_served.load(std::memory_order_relaxed);
            // A first picture at once: a program that is killed before the next sample has one.
            if (is_new || asked) {
                (void)take_picture(r, w, asked ? tries_when_asked : tries_when_sampling, asked);
            }
            if (asked) {
                r.picture_served.store(wanted, std::memory_order_release);
                prim::wake_all(reinterpret_cast<const std::uint32_t*>(&r.picture_served));
            }
        } else {
            end_record(r, w);
            if (!telemetry::is_awaited_by_heirs(r, prim::now_ns())) {
                finished_.push_back(report_of(r, false));
                finished_.back().words = std::move(w.words);
                books_.free_image(r);
                watched_.erase(slot);
            }
        }
    }
    sum_touched();
}

bool image_watch::has_own_picture(const image_record& image, const watched& w,
                                  std::uint64_t* when) const {
    telemetry::picture last;
    const bool own = telemetry::read(image.last, last) && last.taken_at_ns != w.published_ns;
    *when = last.taken_at_ns;
    return own;
}

image_watch::ungoverned* image_watch::announced_exec(const watched& w) {
    const auto found =
        std::find_if(ungoverned_.begin(), ungoverned_.end(), [&](const ungoverned& u) {
            return u.report.pid == w.pid && u.start_time == w.start_time;
        });
    return found == ungoverned_.end() ? nullptr : &*found;
}

bool image_watch::runs_another_file(const image_record& image, const watched& w) {
    std::string running;
    return prim::read_link(fmt::format("/proc/{}/exe", w.pid), running) == 0 &&
           running != text_of(image.path);
}

// The program it announced is not there some samples later: its exec failed, and it lives on.
void image_watch::drop_failed_execs() {
    for (auto& [slot, w] : watched_) {
        ungoverned* const u = announced_exec(w);
        const image_record& r = books_.image(slot);
        if (u != nullptr && state_of(r) == image_state::live && !has_ended(w) &&
            !runs_another_file(r, w) && ++u->outlived > samples_an_exec_may_take) {
            ungoverned_.erase(ungoverned_.begin() + (u - ungoverned_.data()));
        }
    }
}

bool image_watch::take_picture(image_record& image, watched& w, unsigned tries, bool insist) {
    // Not of the pid that the record has by now.
    const std::string smaps = fmt::format("/proc/{}/smaps", w.pid);
    const long pagemap = prim::open_read(fmt::format("/proc/{}/pagemap", w.pid).c_str());
    process_eye eye{w.pid, static_cast<int>(pagemap)};
    const telemetry::memory_view view{&process_eye::read_word, &process_eye::count_present, &eye};
    telemetry::picture p;
    const page_count charged_before = charged_to(image);
    const bool taken = telemetry::take_picture(
        image, *reader_, view, tries, prim::now_ns,
        [&](telemetry::smaps_reader& reader) noexcept {
            return prim::pump_file(smaps.c_str(), [&](const char* text, std::size_t size) {
                reader.feed(text, size);
            });
        },
        [&](owner_kind k) noexcept {
            const owner_id account = books_.owner_of(image, static_cast<std::uint32_t>(k));
            return account == owner_id::none ? telemetry::owner_books{}
                                             : telemetry::books_of(books_.tree(), account);
        },
        [](unsigned tries_made) noexcept {
            if (tries_made < telemetry::polite_tries) {
                prim::yield();
            } else {
                const std::uint32_t nobody_wakes = 0;
                prim::wait_on(&nobody_wakes, 0, 1'000'000);
            }
        },
        p);
    if (pagemap >= 0) {
        (void)prim::close(static_cast<int>(pagemap));
    }
    if (!taken || state_of(image) != image_state::live) {
        return false;
    }
    note_touched(image, w, p);
    // While smaps was read, what had been touched may have gone and as much been charged.
    w.pictured = std::min(charged_before, charged_to(image));
    w.round = round_;
    // An image pictures itself when it ends: that one is not replaced by a look at what is left of
    // it. Where it lives on (its exec failed), we go on after a while.
    std::uint64_t when = 0;
    if (!insist && has_own_picture(image, w, &when) &&
        prim::now_ns() - when < own_picture_stands_ns) {
        return false;
    }
    if (!telemetry::publish(image.last, p, insist)) {
        return false;
    }
    w.published_ns = p.taken_at_ns;
    return true;
}

void image_watch::note_touched(image_record& image, watched& w, const telemetry::picture& p) {
    w.touched = 0;
    for (std::uint32_t k = 0; k < telemetry::owner_kind_count; ++k) {
        const page_count pages = pages_of(p.owners[k].touched);
        w.touched += pages;
        if (const owner_id account = books_.owner_of(image, k); account != owner_id::none) {
            books_.tree().at(account).touched.store(pages, std::memory_order_relaxed);
        }
    }
    if (const owner_id process = books_.process_of(image); process != owner_id::none) {
        books_.tree().at(process).touched.store(w.touched, std::memory_order_relaxed);
    }
}

// The root's share of what is touched, and how far it led past the limit.
void image_watch::sum_touched() {
    page_count sum = 0;
    for (const auto& [slot, w] : watched_) {
        sum += w.touched;
    }
    books_.tree().at(owner_id::root).touched.store(sum, std::memory_order_relaxed);
    note_overshoot();
}

// How far charged and touched together have passed the limit (decision 2): both of one moment, the
// pictures of this round. Beside what is charged now, what was touched at an earlier picture counts
// what has moved from one to the other twice (stacks of threads that end while the heap grows).
void image_watch::note_overshoot() {
    budget::account& root = books_.tree().at(owner_id::root);
    const page_count limit = root.limit.load(std::memory_order_relaxed);
    page_count charged = 0;
    page_count touched = 0;
    for (const auto& [slot, w] : watched_) {
        if (w.round == round_) {
            charged += w.pictured;
            touched += w.touched;
        }
    }
    // What was charged already when the limit was lowered has not been touched beyond it.
    const page_count allowed = std::max(limit, charged);
    const page_count used = charged + touched;
    if (limit < budget::no_limit && used > allowed &&
        used - allowed > root.overshoot.load(std::memory_order_relaxed)) {
        root.overshoot.store(used - allowed, std::memory_order_relaxed);
    }
}

page_count image_watch::charged_to(const image_record& image) const {
    const owner_id process = books_.process_of(image);
    return process == owner_id::none
               ? 0
               : books_.tree().at(process).charged.load(std::memory_order_relaxed);
}

// Could what has been touched since the last pictures matter to the limit? It is at most what is
// resident now and was not then, and statm tells that at a thousandth of a picture's price; charged
// memory that was given back meanwhile made room for as much of it. Far from the limit it matters when
// it is much: the next request may be for all that seems to be left. From three quarters on a quarter of
// the reserve is much, which is there for such things; and where task level ends anything may be.
bool image_watch::may_have_touched_too_much() {
    const budget::account& root = books_.tree().at(owner_id::root);
    const page_count limit = root.limit.load(std::memory_order_relaxed);
    if (limit >= budget::no_limit) {
        return false;
    }
    page_count unseen = 0;
    for (const auto& [slot, w] : watched_) {
        const page_count charged = charged_to(books_.image(slot));
        const page_count now =
            resident_pages_of(w.pid) + (w.charged > charged ? w.charged - charged : 0);
        unseen += now > w.resident ? now - w.resident : 0;
    }
    const page_count most = root.charged.load(std::memory_order_relaxed) +
                            root.touched.load(std::memory_order_relaxed) + unseen;
    if (most <= limit - limit / 4) {
        return unseen > limit / 16;
    }
    const page_count reserve = std::min(root.reserve.load(std::memory_order_relaxed), limit);
    return most > limit - reserve || unseen > reserve / 4;
}

words_report image_watch::words_now(image_record& r, words_cause cause) {
    telemetry::last_words now;
    now.at_ns = prim::now_ns();
    manager::write_holders(books_.tree(), r, now);
    return report_of_words(now, cause, r.attached_at_ns.load(std::memory_order_relaxed));
}

void image_watch::add_words(image_record& r, watched& w, words_report words, bool tells) {
    constexpr unsigned most_told = 8; // of a tree that is refused all over
    const bool is_first_of_image = std::none_of(
        w.words.begin(), w.words.end(), [](const words_report& other) { return other.was_told; });
    if (tell_ && tells && (!is_first_of_image || told_ < most_told)) {
        told_ += is_first_of_image ? 1 : 0;
        words.was_told = true;
        tell_(report_of(r, true), words);
    }
    w.words.push_back(std::move(words));
}

void image_watch::hear_words(image_record& r, watched& w) {
    if (w.has_first_words ||
        r.words.state.load(std::memory_order_acquire) != telemetry::last_words::complete) {
        return;
    }
    w.has_first_words = true;
    add_words(r, w,
              report_of_words(r.words, words_cause::refusal,
                              r.attached_at_ns.load(std::memory_order_relaxed)),
              true);
}

void image_watch::note_growth() {
    const std::uint64_t now = prim::now_ns();
    for (auto& [slot, w] : watched_) {
        image_record& r = books_.image(slot);
        if (state_of(r) == image_state::live && r.grown.is_due(now)) {
            r.grown.note(now, [&](std::uint32_t k) -> page_count {
                const owner_id account = books_.owner_of(r, k);
                return account == owner_id::none ? 0 : books_.tree().charged(account);
            });
        }
    }
}

// Only requests of process level are still admitted: who holds the most is told, once a run.
void image_watch::watch_reserve() {
    const budget::account& root = books_.tree().at(owner_id::root);
    const page_count limit = root.limit.load(std::memory_order_relaxed);
    const page_count reserve = root.reserve.load(std::memory_order_relaxed);
    if (has_told_pressure_ || limit >= budget::no_limit || reserve > limit ||
        root.charged.load(std::memory_order_relaxed) +
                root.touched.load(std::memory_order_relaxed) <=
            limit - reserve / 2) {
        return;
    }
    const auto held = [this](const auto& entry) {
        return charged_to(books_.image(entry.first)) + entry.second.touched;
    };
    const auto most =
        std::max_element(watched_.begin(), watched_.end(),
                         [&](const auto& a, const auto& b) { return held(a) < held(b); });
    if (most == watched_.end() || state_of(books_.image(most->first)) != image_state::live) {
        return;
    }
    has_told_pressure_ = true;
    image_record& r = books_.image(most->first);
    hear_words(r, most->second);
    add_words(r, most->second, words_now(r, words_cause::pressure), !most->second.has_first_words);
}

void image_watch::sample() {
    note_growth();
    watch_reserve();
    drop_failed_execs();
    const std::uint64_t used_before = prim::thread_time_ns();
    if (prim::now_ns() < next_picture_ns_ && !may_have_touched_too_much()) {
        return;
    }
    ++round_;
    for (auto& [slot, w] : watched_) {
        image_record& r = books_.image(slot);
        if (state_of(r) == image_state::live && !has_ended(w)) {
            w.resident = resident_pages_of(w.pid);
            w.charged = charged_to(r);
            (void)take_picture(r, w, tries_when_sampling, false);
        }
    }
    sum_touched();
    const std::uint64_t used = prim::thread_time_ns() - used_before;
    next_picture_ns_ = prim::now_ns() + std::min(used * picture_share, longest_pause_ns);
}

void image_watch::note_end(int pid, bool was_killed) { ends_.push_back({pid, was_killed}); }

void image_watch::end_record(image_record& r, watched& w) {
    auto how = static_cast<image_end>(r.end.load(std::memory_order_acquire));
    if (how == image_end::running) {
        // Only its parent is told how a process ended; one that ends by itself leaves its picture.
        std::uint64_t when = 0;
        how = announced_exec(w) != nullptr ? image_end::exec
              : has_own_picture(r, w, &when) || r.leaves.load(std::memory_order_relaxed) != 0
                  ? image_end::exited
                  : image_end::killed;
        for (const known_end& e : ends_) {
            if (e.pid == w.pid && how != image_end::exec) {
                how = e.was_killed ? image_end::killed : image_end::exited;
            }
        }
        r.end.store(static_cast<std::uint32_t>(how), std::memory_order_release);
    }
    if (how == image_end::killed && r.governed.load(std::memory_order_relaxed) != 0) {
        const bool is_new = std::none_of(w.words.begin(), w.words.end(), [](const auto& other) {
            return other.cause == words_cause::death;
        });
        words_report last = words_now(r, words_cause::death);
        const bool matters = last.limit && (w.has_first_words || last.is_near_limit());
        if (is_new) {
            add_words(r, w, std::move(last), matters && w.pid != root_);
        }
    }
    if (state_of(r) != image_state::ended) {
        books_.end_image(r, how);
    }
    w.touched = 0;
    forget(w);
}

process_report image_watch::report_of(image_record& r, bool is_running) {
    process_report p;
    p.pid = r.pid.load(std::memory_order_relaxed);
    p.image = text_of(r.path);
    p.runtime = static_cast<telemetry::runtime_kind>(r.runtime.load(std::memory_order_relaxed));
    p.governed = r.governed.load(std::memory_order_relaxed) != 0;
    p.reason = text_of(r.reason);
    p.end = is_running ? image_end::running
                       : static_cast<image_end>(r.end.load(std::memory_order_relaxed));
    for (std::size_t i = 0; i < p.requests.size(); ++i) {
        p.requests[i] = telemetry::requests_of(r, static_cast<telemetry::request_kind>(i));
    }
    for (std::size_t i = 0; i < p.refusals.size(); ++i) {
        p.refusals[i] = r.refusals[i].load(std::memory_order_relaxed);
    }
    for (std::size_t i = 0; i < p.notifications.size(); ++i) {
        p.notifications[i] = r.notifications[i].load(std::memory_order_relaxed);
    }
    p.asked = {r.asked.times.load(std::memory_order_relaxed),
               r.asked.before.load(std::memory_order_relaxed),
               r.asked.after.load(std::memory_order_relaxed),
               seconds(r.asked.ns.load(std::memory_order_relaxed)),
               r.asked.over_limit.load(std::memory_order_relaxed),
               r.asked.pressed.load(std::memory_order_relaxed)};
    const std::string own = text_of(r.settings);
    for (std::size_t at = 0; at < own.size();) {
        const std::size_t end = std::min(own.find('\n', at), own.size());
        const std::string line = own.substr(at, end - at);
        if (const std::size_t equals = line.find('='); equals != std::string::npos) {
            p.settings.emplace_back(line.substr(0, equals), line.substr(equals + 1));
        }
        at = end + 1;
    }
    const std::string theirs = text_of(r.users_settings);
    for (std::size_t at = 0; at < theirs.size();) {
        const std::size_t end = std::min(theirs.find('\n', at), theirs.size());
        p.users_settings.push_back(theirs.substr(at, end - at));
        at = end + 1;
    }
    p.note = text_of(r.note);

    // Open until the record is freed.
    if (const owner_id process = books_.process_of(r); process != owner_id::none) {
        p.peak_charged = bytes_of(books_.tree().at(process).peak.load(std::memory_order_relaxed));
    }
    p.smallest_refused = r.smallest_refused.load(std::memory_order_relaxed);
    const std::uint64_t refused_at = r.first_refused_at_ns.load(std::memory_order_relaxed);
    const std::uint64_t attached_at = r.attached_at_ns.load(std::memory_order_relaxed);
    if (refused_at != 0 && refused_at >= attached_at) {
        p.refused_after = seconds(refused_at - attached_at);
    }

    telemetry::picture last;
    if (p.governed && telemetry::read(r.last, last)) {
        p.picture = last;
        if (p.end == image_end::killed || p.end == image_end::running) {
            p.as_of = last.taken_at_ns > started_at_ns_ ? seconds(last.taken_at_ns - started_at_ns_)
                                                        : 0.0;
        }
    }
    return p;
}

std::vector<process_report> image_watch::finish() {
    look();
    sample();
    for (auto& [slot, w] : watched_) {
        image_record& r = books_.image(slot);
        finished_.push_back(report_of(r, state_of(r) != image_state::ended));
        finished_.back().words = std::move(w.words);
        forget(w);
    }
    watched_.clear();
    for (ungoverned& u : ungoverned_) {
        finished_.push_back(std::move(u.report));
    }
    ungoverned_.clear();
    return std::move(finished_);
}

} // namespace memreeve::cli
