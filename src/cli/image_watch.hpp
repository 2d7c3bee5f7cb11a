// SPDX-License-Identifier: MIT
// The launcher's eye on the ledger: every image that attaches is watched by its process's pidfd,
// pictured at 10 Hz and on request, and folded when it ends: its charge goes back, its figures are
// kept for the summary (decisions 2, 4, 20). Used by one thread.
#pragma once

#include "cli/report.hpp"
#include "manager/ledger.hpp"
#include "telemetry/snapshot.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace memreeve::cli {

class image_watch {
public:
    // `started_at_ns` is the run's beginning, to which as_of_seconds refers.
    image_watch(manager::ledger& books, std::uint64_t started_at_ns);
    ~image_watch();
    image_watch(const image_watch&) = delete;
    image_watch& operator=(const image_watch&) = delete;

    // After the bell, or a process's end: new images, ended ones, pictures asked for.
    void look();
    // Asked for at 10 Hz: a picture of every live image; what grows by touch alone is put beside what
    // is charged. Far from the limit, or without one, most calls look at nothing (decision 2).
    void sample();
    // Called at an image's first refusal, when the reserve is being used up (once), and when an image
    // is killed that the limit may have had to do with; not at the end of `root`, the process whose end
    // the closing lines follow.
    using teller = std::function<void(const process_report& p, const words_report& w)>;
    void tell_words(int root, teller tell) {
        root_ = root;
        tell_ = std::move(tell);
    }
    // How the root process ended, which the kernel tells only its parent.
    void note_end(int pid, bool was_killed);
    // What is still alive is listed as it was last seen.
    std::vector<process_report> finish();
    // At some look a program under the limit had written over the ledger (ledger::is_damaged).
    bool has_seen_damage() const { return has_seen_damage_; }

    // Readable when a watched process has ended.
    std::vector<int> descriptors() const;

private:
    struct watched {
        int pid = 0;
        std::uint64_t start_time = 0;
        int pidfd = -1;
        std::uint64_t touched = 0; // pages
        page_count pictured = 0;   // charged when `touched` was pictured
        std::uint64_t round = 0;   // of that picture
        page_count resident = 0;   // at the last sample
        page_count charged = 0;    // likewise
        std::uint64_t published_ns =
            0; // taken_at_ns of our last picture; another is the image's own
        bool has_first_words = false;
        std::vector<words_report> words;
    };
    // A program without us: started by another, or about to take the place of a governed image.
    struct ungoverned {
        process_report report;
        std::uint64_t start_time = 0;
        unsigned outlived = 0; // samples at which the image that announced it was still there
    };
    struct known_end {
        int pid = 0;
        bool was_killed = false;
    };

    void hear_words(telemetry::image_record& r, watched& w);
    void add_words(telemetry::image_record& r, watched& w, words_report words, bool tells);
    words_report words_now(telemetry::image_record& r, words_cause cause);
    void note_growth();
    void watch_reserve();
    void watch(std::uint32_t slot);
    void forget(watched& w);
    bool has_ended(const watched& w) const;
    bool take_picture(telemetry::image_record& image, watched& w, unsigned tries, bool insist);
    void note_touched(telemetry::image_record& image, watched& w, const telemetry::picture& p);
    void sum_touched();
    void note_overshoot();
    bool may_have_touched_too_much();
    page_count charged_to(const telemetry::image_record& image) const;
    // Its charge goes back; how it ended is noted.
    void end_record(telemetry::image_record& r, watched& w);
    bool has_own_picture(const telemetry::image_record& image, const watched& w,
                         std::uint64_t* when) const;
    // The program that the image announced to exec, null when it did not.
    ungoverned* announced_exec(const watched& w);
    static bool runs_another_file(const telemetry::image_record& image, const watched& w);
    void drop_failed_execs();
    process_report report_of(telemetry::image_record& image, bool is_running);

    manager::ledger& books_;
    std::uint64_t started_at_ns_;
    std::uint64_t next_picture_ns_ = 0;
    std::uint64_t round_ = 0; // of looks and samples
    std::vector<known_end> ends_;
    std::map<std::uint32_t, watched> watched_; // by image slot
    std::vector<ungoverned> ungoverned_;
    std::vector<process_report> finished_;
    teller tell_;
    int root_ = 0;
    unsigned told_ = 0; // images
    bool has_told_pressure_ = false;
    bool has_seen_damage_ = false;
    std::unique_ptr<telemetry::smaps_reader> reader_;
};

} // namespace memreeve::cli
