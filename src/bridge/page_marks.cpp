// SPDX-License-Identifier: MIT
#include "bridge/page_marks.hpp"

namespace memreeve::bridge {

namespace {

// A mark: the payer, and how sure that is.
constexpr unsigned payer_bits = 3;
constexpr unsigned inherited = 4; // a parent pays
constexpr unsigned on_trial = 8;  // paid, but the call it was paid for may still fail

constexpr unsigned inner_levels = 4; // the root and three levels of nodes
constexpr unsigned span_bits[inner_levels] = {31, 24, 17, 10};
constexpr unsigned node_entries = 128;
constexpr unsigned leaf_words = 64;
constexpr page_count word_pages = 16;
static_assert(node_entries * sizeof(std::uint32_t) == node_pool::node_size &&
              leaf_words * sizeof(std::uint64_t) == node_pool::node_size);

// An entry: 0 empty; odd: every page has this mark; even: a node.
using entry = std::atomic<std::uint32_t>;
using leaf_word = std::atomic<std::uint64_t>;

constexpr bool is_node(std::uint32_t e) noexcept { return e != 0 && (e & 1) == 0; }
constexpr unsigned mark_of(std::uint32_t e) noexcept { return e >> 1; }
constexpr std::uint32_t alike(unsigned mark) noexcept { return mark == 0 ? 0 : mark << 1 | 1; }

entry* entries_of(const node_pool& pool, std::uint32_t e) noexcept {
    return static_cast<entry*>(pool.at(e >> 1));
}
leaf_word* words_of(const node_pool& pool, std::uint32_t e) noexcept {
    return static_cast<leaf_word*>(pool.at(e >> 1));
}

constexpr page_span part_of(page_span a, page_count begin, page_count size) noexcept {
    return {a.begin > begin ? a.begin : begin, a.end < begin + size ? a.end : begin + size};
}

// A node below `level` in which every page has `mark`; 0 when the pool has run out.
std::uint32_t make_alike(node_pool& pool, unsigned level, unsigned mark) noexcept {
    const std::uint32_t n = pool.take();
    if (n != 0 && mark != 0) {
        if (level + 1 < inner_levels) {
            for (unsigned i = 0; i < node_entries; ++i) {
                entries_of(pool, n << 1)[i].store(alike(mark), std::memory_order_relaxed);
            }
        } else {
            for (unsigned i = 0; i < leaf_words; ++i) {
                words_of(pool, n << 1)[i].store(mark * 0x1111111111111111ULL,
                                                std::memory_order_relaxed);
            }
        }
    }
    return n;
}

void empty_node(const node_pool& pool, std::uint32_t n) noexcept {
    for (unsigned i = 0; i < leaf_words; ++i) {
        words_of(pool, n << 1)[i].store(0, std::memory_order_relaxed);
    }
}

// Changes marks by a rule and tells what was changed, exactly once for each page:
//   unsigned next(unsigned old, page_count pages)   the new mark, or `old`
//   void changed(unsigned old, page_count pages)
template <class Rule>
class changer {
public:
    changer(node_pool& pool, page_span where, Rule& rule) noexcept
        : pool_(pool), where_(where), rule_(rule) {}

    // False when the pool has run out.
    bool run(entry& at, unsigned level, page_count begin) noexcept {
        const page_count span = page_count{1} << span_bits[level];
        const page_span here = part_of(where_, begin, span);
        if (here.size() == 0) {
            return true;
        }
        std::uint32_t e = at.load(std::memory_order_acquire);
        while (!is_node(e)) {
            const unsigned old = mark_of(e);
            // A part is looked into page by page.
            const unsigned next = rule_.next(old, here.size() == span ? span : 1);
            if (next == old) {
                return true;
            }
            if (here.size() == span) {
                if (at.compare_exchange_weak(e, alike(next), std::memory_order_acq_rel)) {
                    rule_.changed(old, span);
                    return true;
                }
                continue;
            }
            const std::uint32_t n = make_alike(pool_, level, old);
            if (n == 0) {
                return false;
            }
            if (at.compare_exchange_strong(e, n << 1, std::memory_order_acq_rel)) {
                e = n << 1;
            } else {
                empty_node(pool_, n);
                pool_.give_back(n);
            }
        }
        if (level + 1 == inner_levels) {
            change_leaf(words_of(pool_, e), begin, here);
            return true;
        }
        const unsigned bits = span_bits[level + 1];
        for (page_count i = (here.begin - begin) >> bits; i <= (here.end - 1 - begin) >> bits;
             ++i) {
            if (!run(entries_of(pool_, e)[i], level + 1, begin + (i << bits))) {
                return false;
            }
        }
        return true;
    }

private:
    void change_leaf(leaf_word* words, page_count begin, page_span here) noexcept {
        for (page_count at = here.begin; at < here.end;) {
            const page_count first = (at - begin) % word_pages;
            const page_count left = here.end - at;
            const page_count count = left < word_pages - first ? left : word_pages - first;
            change_word(words[(at - begin) / word_pages], static_cast<unsigned>(first),
                        static_cast<unsigned>(count));
            at += count;
        }
    }

    void change_word(leaf_word& word, unsigned first, unsigned count) noexcept {
        std::uint64_t seen = word.load(std::memory_order_acquire);
        for (;;) {
            std::uint64_t next = seen;
            unsigned old_marks[word_pages];
            unsigned n = 0;
            for (unsigned i = first; i < first + count; ++i) {
                const auto old = static_cast<unsigned>(seen >> (i * 4) & 15);
                const unsigned wanted = rule_.next(old, n + 1);
                if (wanted != old) {
                    next = (next & ~(std::uint64_t{15} << (i * 4))) | std::uint64_t{wanted}
                                                                          << (i * 4);
                    old_marks[n++] = old;
                }
            }
            if (n == 0) {
                return;
            }
            if (word.compare_exchange_weak(seen, next, std::memory_order_acq_rel)) {
                for (unsigned i = 0; i < n; ++i) {
                    rule_.changed(old_marks[i], 1);
                }
                return;
            }
        }
    }

    node_pool& pool_;
    page_span where_;
    Rule& rule_;
};

// Rules whose `next` depends on the mark alone.
template <unsigned (*Next)(unsigned)>
struct paying_back {
    payer_pages gone{};
    unsigned next(unsigned old, page_count) const noexcept { return Next(old); }
    void changed(unsigned old, page_count pages) noexcept {
        if ((old & inherited) == 0) {
            gone.of[old & payer_bits] += pages;
        }
    }
};
unsigned without_trial(unsigned m) { return (m & on_trial) != 0 ? 0 : m; }
unsigned nothing(unsigned) { return 0; }
unsigned settled(unsigned m) { return m & ~on_trial; }
unsigned parents(unsigned m) { return m == 0 ? 0 : (m & payer_bits) | inherited; }

struct paying {
    unsigned mark;
    page_count left;
    page_count done = 0;
    unsigned next(unsigned old, page_count pages) const noexcept {
        return old == 0 && pages <= left ? mark : old;
    }
    void changed(unsigned, page_count pages) noexcept {
        left -= pages;
        done += pages;
    }
};

page_count count(const node_pool& pool, const entry& at, unsigned level, page_count begin,
                 page_span where) noexcept {
    const page_span here = part_of(where, begin, page_count{1} << span_bits[level]);
    const std::uint32_t e = at.load(std::memory_order_acquire);
    if (here.size() == 0 || !is_node(e)) {
        return mark_of(e) == 0 ? here.size() : 0;
    }
    page_count free = 0;
    if (level + 1 < inner_levels) {
        const unsigned bits = span_bits[level + 1];
        for (page_count i = (here.begin - begin) >> bits; i <= (here.end - 1 - begin) >> bits;
             ++i) {
            free += count(pool, entries_of(pool, e)[i], level + 1, begin + (i << bits), where);
        }
        return free;
    }
    for (page_count at_page = here.begin; at_page < here.end; ++at_page) {
        const page_count i = at_page - begin;
        const std::uint64_t w = words_of(pool, e)[i / word_pages].load(std::memory_order_relaxed);
        free += (w >> (i % word_pages * 4) & 15) == 0 ? 1u : 0u;
    }
    return free;
}

void give_nodes_back(node_pool& pool, std::uint32_t e, unsigned level) noexcept {
    if (!is_node(e)) {
        return;
    }
    if (level + 1 < inner_levels) {
        for (unsigned i = 0; i < node_entries; ++i) {
            give_nodes_back(pool, entries_of(pool, e)[i].load(std::memory_order_relaxed),
                            level + 1);
        }
    }
    empty_node(pool, e >> 1);
    pool.give_back(e >> 1);
}

template <class Rule>
bool change(node_pool& pool, entry& root, page_span where, Rule& rule) noexcept {
    return changer<Rule>(pool, where, rule).run(root, 0, 0);
}

} // namespace

// ---- nodes ------------------------------------------------------------------------------------------

void node_pool::open(address base, byte_count size, grow_function grow) noexcept {
    base_ = base;
    size_ = size;
    grow_ = grow;
}

std::uint32_t node_pool::take() noexcept {
    constexpr std::uint64_t index_mask = 0xffffffff;
    std::uint64_t head = free_.load(std::memory_order_acquire);
    while ((head & index_mask) != 0) {
        // The first word of a free node names the next; read through an atomic, because a thread
        // that is faster may be using it already.
        auto& link = *static_cast<std::atomic<std::uint64_t>*>(
            at(static_cast<std::uint32_t>(head & index_mask)));
        const std::uint64_t next = link.load(std::memory_order_relaxed) & index_mask;
        if (free_.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | next,
                                        std::memory_order_acq_rel)) {
            link.store(0, std::memory_order_relaxed);
            return static_cast<std::uint32_t>(head & index_mask);
        }
    }
    constexpr byte_count step = 64 * 1024;
    const std::uint64_t n = next_.fetch_add(1, std::memory_order_relaxed);
    const byte_count end = (n + 1) * node_size;
    for (byte_count ready = ready_.load(std::memory_order_acquire); ready < end;) {
        const byte_count want = round_up(end, step) < size_ ? round_up(end, step) : size_;
        if (want < end || grow_(base_ + ready, want - ready) != 0) {
            std::uint64_t mine = n + 1; // given back when nobody took the next
            next_.compare_exchange_strong(mine, n, std::memory_order_relaxed);
            return 0;
        }
        if (ready_.compare_exchange_strong(ready, want, std::memory_order_acq_rel)) {
            break;
        }
    }
    return static_cast<std::uint32_t>(n);
}

void node_pool::give_back(std::uint32_t node) noexcept {
    auto& link = *static_cast<std::atomic<std::uint64_t>*>(at(node));
    std::uint64_t head = free_.load(std::memory_order_relaxed);
    do {
        link.store(head & 0xffffffff, std::memory_order_relaxed);
    } while (!free_.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | node,
                                          std::memory_order_acq_rel));
}

// ---- marks ------------------------------------------------------------------------------------------

page_count page_marks::count_free(const node_pool& pool, page_span where) const noexcept {
    return count(pool, root_, 0, 0, where);
}

page_count page_marks::set(node_pool& pool, page_span where, payer who, page_count most,
                           bool& full) noexcept {
    paying rule{who | on_trial, most};
    full = !change(pool, root_, where, rule);
    return rule.done;
}

void page_marks::keep(node_pool& pool, page_span where) noexcept {
    paying_back<settled> rule;
    static_cast<void>(change(pool, root_, where, rule));
}

payer_pages page_marks::undo(node_pool& pool, page_span where) noexcept {
    paying_back<without_trial> rule;
    static_cast<void>(change(pool, root_, where, rule));
    return rule.gone;
}

payer_pages page_marks::clear(node_pool& pool, page_span where) noexcept {
    paying_back<nothing> rule;
    static_cast<void>(change(pool, root_, where, rule));
    return rule.gone;
}

void page_marks::inherit(node_pool& pool) noexcept {
    paying_back<parents> rule;
    static_cast<void>(change(pool, root_, {0, file_pages_max}, rule));
}

payer_pages page_marks::give_up(node_pool& pool) noexcept {
    paying_back<nothing> rule;
    static_cast<void>(change(pool, root_, {0, file_pages_max}, rule));
    give_nodes_back(pool, root_.exchange(0, std::memory_order_acq_rel), 0);
    return rule.gone;
}

} // namespace memreeve::bridge
