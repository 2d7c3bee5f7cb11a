// SPDX-License-Identifier: MIT
#include "program_duel.hpp"

namespace memreeve::bench {

std::optional<std::string> duel::run(unsigned rounds, double seconds) {
    std::optional<std::string> wrong = round(0); // warms the file cache
    wall_.clear();
    cpu_.clear();
    rss_.clear();
    more_ms_.clear();
    double spent = 0;
    for (unsigned r = 0; !wrong && r < rounds && (r < fewest_rounds || spent < seconds); ++r) {
        wrong = round(r);
        spent += last_round_s_;
    }
    return wrong;
}

quartiles duel::wall() const { return quartiles_of(wall_); }
quartiles duel::cpu() const { return quartiles_of(cpu_); }
quartiles duel::rss() const { return quartiles_of(rss_); }
quartiles duel::more_ms() const { return quartiles_of(more_ms_); }

std::optional<std::string> duel::round(unsigned number) {
    const bool reference_first = number % 2 == 0;
    const side& one = reference_first ? reference_ : subject_;
    const side& two = reference_first ? subject_ : reference_;
    const program_run first = run_program(one.command, one.environment);
    const program_run second = run_program(two.command, two.environment);
    const program_run& reference = reference_first ? first : second;
    const program_run& subject = reference_first ? second : first;
    if (!reference.ok) {
        return reference_.how + " it " + reference.why;
    }
    if (!subject.ok) {
        return subject_.how + " it " + subject.why;
    }
    if (reference.output != subject.output) {
        return "it prints something else " + subject_.how;
    }
    wall_.push_back(subject.wall_s / reference.wall_s);
    cpu_.push_back(reference.cpu_s > 0 ? subject.cpu_s / reference.cpu_s : 1);
    rss_.push_back(subject.peak_rss_mib / reference.peak_rss_mib);
    more_ms_.push_back((subject.wall_s - reference.wall_s) * 1e3);
    last_round_s_ = reference.wall_s + subject.wall_s;
    return {};
}

} // namespace memreeve::bench
