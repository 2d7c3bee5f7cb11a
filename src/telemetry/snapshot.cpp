// SPDX-License-Identifier: MIT
#include "telemetry/snapshot.hpp"

#include <algorithm>
#include <atomic>

namespace memreeve::telemetry {

namespace {

constexpr std::uint64_t malloc_heap_size = std::uint64_t{64} << 20; // glibc's HEAP_MAX_SIZE
constexpr std::uint64_t largest_stack_guard = std::uint64_t{1} << 20;
constexpr std::uint64_t mmapped_chunk_bit = 2; // IS_MMAPPED; the other two low bits are clear
constexpr std::uint64_t chunk_flag_bits = 7;

constexpr bool is_hex(char c) noexcept { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// Numbers of a header; `at` moves behind them.
bool hex_number(const char*& at, const char* end, std::uint64_t& out) noexcept {
    out = 0;
    const char* const start = at;
    for (; at != end && is_hex(*at); ++at) {
        const auto digit = static_cast<std::uint64_t>(is_digit(*at) ? *at - '0' : *at - 'a' + 10);
        out = out << 4 | digit;
    }
    return at != start;
}

bool number(const char*& at, const char* end, std::uint64_t& out) noexcept {
    out = 0;
    const char* const start = at;
    for (; at != end && is_digit(*at); ++at) {
        out = out * 10 + static_cast<std::uint64_t>(*at - '0');
    }
    return at != start;
}

bool skip(const char*& at, const char* end, char c) noexcept {
    if (at == end || *at != c) {
        return false;
    }
    ++at;
    return true;
}

bool starts_with(const char* at, const char* end, const char* word) noexcept {
    for (; *word != '\0'; ++word, ++at) {
        if (at == end || *at != *word) {
            return false;
        }
    }
    return true;
}

bool equals(const char* at, const char* end, const char* word) noexcept {
    for (; at != end && *word != '\0'; ++at, ++word) {
        if (*at != *word) {
            return false;
        }
    }
    return at == end && *word == '\0';
}

bool ends_with(const char* at, const char* end, const char* word) noexcept {
    const char* last = word;
    while (*last != '\0') {
        ++last;
    }
    return end - at >= last - word && equals(end - (last - word), end, word);
}

// "libc.so", "libc.so.6", "libmono.so.2 (deleted)": ".so", then the end of the name or a dot.
// Assemblies and a JVM's archive of its classes are programs too, executable mapping or not.
bool is_library_name(const char* path, const char* end) noexcept {
    constexpr const char* deleted = " (deleted)";
    end -= ends_with(path, end, deleted) ? 10 : 0;
    const char* name = path;
    for (const char* p = path; p != end; ++p) {
        if (*p == '/') {
            name = p + 1;
        }
    }
    for (const char* p = name; end - p >= 3; ++p) {
        if (p[0] == '.' && p[1] == 's' && p[2] == 'o' && (end - p == 3 || p[3] == '.')) {
            return true;
        }
    }
    return ends_with(name, end, ".dll") || ends_with(name, end, ".exe") ||
           ends_with(name, end, ".jsa");
}

constexpr std::uint64_t less(std::uint64_t a, std::uint64_t b) noexcept {
    return a > b ? a - b : 0;
}

// Lower is asked first where extents overlap.
constexpr int precedence(extent_kind k) noexcept {
    switch (k) {
    case extent_kind::arena: return 0;
    case extent_kind::placed: return 1;
    case extent_kind::records: return 2;
    case extent_kind::acquired: return 3;
    case extent_kind::loader: return 4;
    case extent_kind::stack: return 5;
    }
    return 6;
}

void add(kind_figures& to, const kind_figures& more) noexcept {
    to.mapped_writable += more.mapped_writable;
    to.resident += more.resident;
    to.touched += more.touched;
}

} // namespace

owner_kind smaps_reader::kind_of_account(const image_record& image,
                                         std::uint32_t account) const noexcept {
    for (std::uint32_t k = 0; k < owner_kind_count; ++k) {
        if (image.owner_account[k].load(std::memory_order_relaxed) == account) {
            return static_cast<owner_kind>(k);
        }
    }
    return owner_kind::runtime;
}

void smaps_reader::begin(const image_record& image, memory_view view) noexcept {
    view_ = view;
    forked_ = image.forked.load(std::memory_order_relaxed) != 0;
    broken_ = torn_ = seen_ours_ = lists_ours_ = false;
    listed_to_ = 0;
    has_current_ = has_held_ = has_before_ = false;
    group_ = {};
    figures_ = {};
    for (std::uint32_t k = 0; k < owner_kind_count; ++k) {
        figures_.acquired_charged[k] =
            bytes_of(image.file_pages[k].load(std::memory_order_relaxed));
    }
    line_size_ = 0;
    std::copy(std::begin(image.path), std::end(image.path), std::begin(program_));
    program_[sizeof program_ - 1] = '\0';

    span_count_ = 0;
    const std::uint32_t used =
        std::min(image.extents_used.load(std::memory_order_acquire), extent_capacity);
    for (std::uint32_t i = 0; i < used; ++i) {
        const extent& e = image.extents[i];
        const std::uint64_t from = e.begin.load(std::memory_order_acquire);
        const std::uint64_t to = e.end.load(std::memory_order_relaxed);
        if (from <= 1 || to <= from) {
            continue;
        }
        span& s = spans_[span_count_++];
        s = {};
        s.begin = from;
        s.end = to;
        s.kind = static_cast<extent_kind>(e.kind.load(std::memory_order_relaxed));
        s.charged = bytes_of(e.charged.load(std::memory_order_relaxed));
        switch (s.kind) {
        case extent_kind::records: s.owner = owner_kind::runtime; break;
        case extent_kind::loader: s.owner = owner_kind::images; break;
        default: s.owner = kind_of_account(image, e.owner.load(std::memory_order_relaxed)); break;
        }
        lists_ours_ = lists_ours_ || precedence(s.kind) <= precedence(extent_kind::records);
    }
    image.stacks.for_each([this](range where) noexcept {
        span& s = spans_[span_count_++];
        s = {};
        s.begin = where.begin;
        s.end = where.end;
        s.kind = extent_kind::stack;
        s.owner = owner_kind::stacks;
    });
    std::sort(spans_, spans_ + span_count_,
              [](const span& a, const span& b) { return a.begin < b.begin; });
    std::uint64_t reach = 0;
    for (std::uint32_t i = 0; i < span_count_; ++i) {
        reach = std::max(reach, spans_[i].end);
        spans_[i].reach = reach;
    }
}

// The span that owns `at`, or null; `boundary` is where the answer may change next.
smaps_reader::span* smaps_reader::find(std::uint64_t at, std::uint64_t* boundary) noexcept {
    span* const end = spans_ + span_count_;
    span* const above = std::upper_bound(
        spans_, end, at, [](std::uint64_t a, const span& s) { return a < s.begin; });
    *boundary = above == end ? ~std::uint64_t{0} : above->begin;
    span* best = nullptr;
    for (span* s = above; s != spans_ && (s - 1)->reach > at; --s) {
        span* const candidate = s - 1;
        if (candidate->end <= at) {
            continue;
        }
        *boundary = std::min(*boundary, candidate->end);
        if (best == nullptr || precedence(candidate->kind) < precedence(best->kind)) {
            best = candidate;
        }
    }
    return best;
}

// ---- text -------------------------------------------------------------------------------------

void smaps_reader::feed(const char* text, std::size_t size) noexcept {
    for (const char* const end = text + size; text != end; ++text) {
        if (*text == '\n') {
            take_line();
            line_size_ = 0;
        } else if (line_size_ < line_capacity) {
            line_[line_size_++] = *text;
        }
    }
}

void smaps_reader::take_line() noexcept {
    if (line_size_ == 0) {
        return;
    }
    // Headers begin with an address in lower-case hexadecimal, fields with a capital.
    if (!is_hex(line_[0])) {
        take_field();
    } else if (!take_header()) {
        broken_ = true;
    }
}

bool smaps_reader::take_header() noexcept {
    const char* at = line_;
    const char* const end = line_ + line_size_;
    vma v{};
    std::uint64_t major = 0;
    std::uint64_t minor = 0;
    if (!hex_number(at, end, v.begin) || !skip(at, end, '-') || !hex_number(at, end, v.end) ||
        !skip(at, end, ' ') || end - at < 5 || v.end <= v.begin) {
        return false;
    }
    v.readable = at[0] == 'r';
    v.writable = at[1] == 'w';
    v.executable = at[2] == 'x';
    v.is_private = at[3] == 'p';
    at += 4;
    if (!skip(at, end, ' ') || !hex_number(at, end, v.offset) || !skip(at, end, ' ') ||
        !hex_number(at, end, major) || !skip(at, end, ':') || !hex_number(at, end, minor) ||
        !skip(at, end, ' ') || !number(at, end, v.inode)) {
        return false;
    }
    torn_ = torn_ || v.begin < listed_to_;
    listed_to_ = v.end;
    v.device = major << 32 | minor;
    while (at != end && *at == ' ') {
        ++at;
    }
    v.name = at == end ? name_kind::none : name_kind::file;
    if (starts_with(at, end, "[heap]")) {
        v.name = name_kind::heap;
    } else if (starts_with(at, end, "[stack")) {
        v.name = name_kind::stack;
    } else if (starts_with(at, end, "[v")) { // [vdso] [vvar] [vvar_vclock] [vsyscall]
        v.name = name_kind::kernel;
    } else if (at != end && *at == '[') { // [anon:...], named by prctl
        v.name = name_kind::none;
    }
    v.like_image =
        v.has_file() && (v.executable || is_library_name(at, end) || equals(at, end, program_));
    complete();
    current_ = v;
    has_current_ = true;
    return true;
}

void smaps_reader::take_field() noexcept {
    if (!has_current_) {
        broken_ = true;
        return;
    }
    const char* const end = line_ + line_size_;
    const auto value = [&](const char* name, std::uint64_t& out) noexcept {
        if (!starts_with(line_, end, name)) {
            return false;
        }
        const char* at = line_;
        while (at != end && *at != ':') {
            ++at;
        }
        while (at != end && !is_digit(*at)) {
            ++at;
        }
        std::uint64_t kib = 0;
        if (number(at, end, kib)) {
            out += kib * 1024;
        }
        return true;
    };
    (void)(value("Rss:", current_.rss) || value("Anonymous:", current_.anonymous) ||
           value("Private_Clean:", current_.exclusive) ||
           value("Private_Dirty:", current_.exclusive));
}

// Shifts the window before, held, current: a mapping is judged with its neighbours known.
void smaps_reader::complete() noexcept {
    if (has_held_) {
        attribute(held_, has_before_ ? &before_ : nullptr, has_current_ ? &current_ : nullptr);
        before_ = held_;
        has_before_ = true;
    }
    has_held_ = has_current_;
    if (has_current_) {
        held_ = current_;
    }
    has_current_ = false;
}

bool smaps_reader::finish(smaps_figures& out) noexcept {
    if (line_size_ != 0) {
        broken_ = true; // cut off
    }
    complete();
    complete();
    close_group();
    for (std::uint32_t i = 0; i < span_count_; ++i) {
        const span& s = spans_[i];
        if (s.kind == extent_kind::acquired) {
            const auto k = static_cast<std::uint32_t>(s.owner);
            figures_.outside[k].touched += less(s.anonymous, s.charged);
            figures_.acquired_charged[k] += s.charged;
        }
    }
    out = figures_;
    return !broken_ && figures_.mappings != 0 && (seen_ours_ || !lists_ours_);
}

// ---- whose is it ------------------------------------------------------------------------------

void smaps_reader::close_group() noexcept {
    if (!group_.is_open) {
        return;
    }
    if (group_.is_image) {
        kind_figures& images = figures_.outside[static_cast<std::uint32_t>(owner_kind::images)];
        add(images, group_.of_file);
        add(images, group_.behind);
    } else {
        add(figures_.outside[static_cast<std::uint32_t>(owner_kind::files)], group_.of_file);
        figures_.kernel.unclassified += group_.behind.mapped_writable;
        figures_.kernel.unclassified_resident += group_.behind.resident;
    }
    group_ = {};
}

void smaps_reader::enter_group(const vma& v, const span* in) noexcept {
    if (!group_.is_open || group_.device != v.device || group_.inode != v.inode) {
        close_group();
        group_.is_open = true;
        group_.device = v.device;
        group_.inode = v.inode;
    }
    // A small file's data may be mapped from its first page too; a second copy lies further on.
    if (v.offset == 0 && v.readable &&
        (group_.first == 0 || v.begin >= end_of_image(group_.first))) {
        group_.first = v.begin;
    }
    group_.is_image =
        group_.is_image || v.like_image || (in != nullptr && in->kind == extent_kind::loader);
}

// How far [begin, end) is tiled by chunks that glibc's malloc got by mmap: header
// {0, size | IS_MMAPPED}, size a multiple of the page size.
std::uint64_t smaps_reader::end_of_chunks(std::uint64_t begin, std::uint64_t end) noexcept {
    if (view_.read_word == nullptr) {
        return begin;
    }
    std::uint64_t at = begin;
    while (at < end) {
        std::uint64_t before = 0;
        std::uint64_t word = 0;
        if (!view_.read_word(view_.context, at, &before) ||
            !view_.read_word(view_.context, at + 8, &word)) {
            break;
        }
        const std::uint64_t size = word & ~chunk_flag_bits;
        if (before != 0 || (word & chunk_flag_bits) != mmapped_chunk_bit || size == 0 ||
            size % page_size != 0 || size > end - at) {
            break;
        }
        at += size;
    }
    return at;
}

// Where what is mapped for the ELF file with its first page at `first` ends, .bss included; no bound
// when that cannot be told. Anonymous memory above may have merged with .bss into one mapping.
std::uint64_t smaps_reader::end_of_image(std::uint64_t first) noexcept {
    constexpr std::uint64_t no_bound = ~std::uint64_t{0};
    constexpr std::uint32_t magic = 0x464c457f;
    constexpr std::uint32_t loaded = 1; // PT_LOAD
    constexpr std::uint64_t entry_size = 56;
    bool is_readable = first != 0 && view_.read_word != nullptr;
    const auto word = [&](std::uint64_t at) noexcept {
        std::uint64_t w = 0;
        is_readable = is_readable && view_.read_word(view_.context, at, &w);
        return w;
    };
    const auto half_of = [](std::uint64_t w) noexcept { return static_cast<std::uint32_t>(w); };
    if (half_of(word(first)) != magic) {
        return no_bound;
    }
    const std::uint64_t table = word(first + 32);          // e_phoff
    const std::uint64_t sizes = word(first + 48);          // e_phentsize on top
    const std::uint64_t count = word(first + 56) & 0xffff; // e_phnum
    if (!is_readable || sizes >> 48 != entry_size || table > page_size ||
        count > (page_size - table) / entry_size) {
        return no_bound;
    }
    std::uint64_t lowest = no_bound;
    std::uint64_t end = 0;
    for (std::uint64_t at = first + table; at < first + table + count * entry_size;
         at += entry_size) {
        if (half_of(word(at)) == loaded) {
            const std::uint64_t where = word(at + 16); // p_vaddr
            lowest = std::min(lowest, round_down(where, page_size));
            end = std::max(end, where + word(at + 40)); // p_memsz
        }
    }
    return is_readable && end > lowest ? first + round_up(end - lowest, page_size) : no_bound;
}

// Read-write from a multiple of 64 MiB on, the rest up to the next multiple inaccessible.
bool smaps_reader::is_malloc_arena(const vma& v, const vma* next) noexcept {
    return v.begin % malloc_heap_size == 0 && v.readable && v.writable && !v.executable &&
           next != nullptr && next->begin == v.end && next->is_private && !next->has_file() &&
           !next->readable && !next->writable && !next->executable &&
           next->end >= round_up(v.end, malloc_heap_size);
}

bool smaps_reader::is_above_guard(const vma& v, const vma* before) noexcept {
    if (before == nullptr || before->end != v.begin || !before->is_private || before->has_file() ||
        before->readable || before->writable || before->executable ||
        before->size() > largest_stack_guard || !v.readable || !v.writable || v.executable) {
        return false;
    }
    std::uint64_t boundary = 0;
    const span* const in = find(before->begin, &boundary);
    return in == nullptr || in->kind == extent_kind::stack;
}

void smaps_reader::attribute(const vma& v, const vma* before, const vma* next) noexcept {
    ++figures_.mappings;
    figures_.kernel.rss += v.rss;
    if (!v.is_private) {
        return;
    }
    figures_.kernel.private_resident += v.rss;
    figures_.kernel.private_writable += v.writable ? v.size() : 0;

    // In a child that came by fork, what it still shares is charged to its parent: only pages of
    // its own are growth (decision 19).
    const std::uint64_t own = forked_ ? std::min(v.anonymous, v.exclusive) : v.anonymous;
    // Parts share the mapping's resident pages by what is present in them, or by size; cumulative,
    // so that they add up to the page.
    std::uint64_t weight_total = 0;
    std::uint64_t weight_so_far = 0;
    bool by_presence = false;
    kind_figures given{};
    const auto share_of = [&](std::uint64_t from, std::uint64_t to) noexcept {
        if (from == v.begin && to == v.end) {
            return kind_figures{0, v.rss, own};
        }
        std::uint64_t weight = 0;
        if (weight_total == 0) {
            by_presence = view_.count_present != nullptr &&
                          view_.count_present(view_.context, v.begin, v.end, &weight_total) &&
                          weight_total != 0;
            if (!by_presence) {
                weight_total = v.size() / page_size;
            }
        }
        if (!by_presence || !view_.count_present(view_.context, from, to, &weight)) {
            weight = by_presence ? 0 : (to - from) / page_size;
        }
        weight_so_far = to == v.end ? weight_total : std::min(weight_so_far + weight, weight_total);
        const auto up_to_here = [&](std::uint64_t all) noexcept {
            return all / page_size * weight_so_far / weight_total * page_size;
        };
        kind_figures f{};
        f.resident = less(to == v.end ? v.rss : up_to_here(v.rss), given.resident);
        f.touched = less(to == v.end ? own : up_to_here(own), given.touched);
        given.resident += f.resident;
        given.touched += f.touched;
        return f;
    };

    for (std::uint64_t at = v.begin; at < v.end;) {
        std::uint64_t boundary = 0;
        span* const in = find(at, &boundary);
        std::uint64_t to = std::min(boundary, v.end);
        std::uint64_t bss_end = 0;
        verdict what = verdict::nobody;
        owner_kind who = owner_kind::runtime;
        const bool is_kept =
            in != nullptr && precedence(in->kind) <= precedence(extent_kind::records);
        seen_ours_ = seen_ours_ || is_kept;
        if (v.has_file()) {
            enter_group(v, in);
        }
        if (v.name == name_kind::heap || v.name == name_kind::stack ||
            v.name == name_kind::kernel) {
            to = v.end;
            what = verdict::owner;
            who = v.name == name_kind::heap    ? owner_kind::malloc
                  : v.name == name_kind::stack ? owner_kind::stacks
                                               : owner_kind::images;
        } else if (is_kept && in->kind != extent_kind::records && !v.has_file()) {
            what = verdict::served;
            who = in->owner;
        } else if (in != nullptr &&
                   (in->kind == extent_kind::records || in->kind == extent_kind::loader)) {
            what = verdict::owner;
            who = in->owner;
        } else if (in != nullptr && in->kind == extent_kind::acquired && !v.has_file()) {
            what = verdict::acquired;
            who = in->owner;
        } else if (v.has_file()) {
            what = verdict::group_file;
        } else if (at == v.begin && to == v.end && is_malloc_arena(v, next)) {
            what = verdict::owner;
            who = owner_kind::malloc;
        } else if (const std::uint64_t tiled =
                       v.readable && v.writable ? end_of_chunks(at, to) : at;
                   tiled != at) {
            to = tiled;
            what = verdict::owner;
            who = owner_kind::malloc;
        } else if (at == v.begin && before != nullptr && before->end == v.begin &&
                   before->has_file() && before->is_private && group_.is_open &&
                   group_.inode == before->inode && group_.device == before->device &&
                   (bss_end = end_of_image(group_.first)) > at) {
            to = std::min(to, bss_end);
            what = verdict::group_behind;
        } else if (in != nullptr && in->kind == extent_kind::stack) {
            what = verdict::owner;
            who = owner_kind::stacks;
        } else if (at == v.begin && is_above_guard(v, before)) {
            what = verdict::owner;
            who = owner_kind::stacks;
        }

        kind_figures part = share_of(at, to);
        part.mapped_writable = v.writable ? to - at : 0;
        const auto k = static_cast<std::uint32_t>(who);
        switch (what) {
        case verdict::owner: add(figures_.outside[k], part); break;
        case verdict::served: add(figures_.served[k], part); break;
        case verdict::acquired:
            in->anonymous += part.touched;
            part.touched = 0; // decided per extent, beside what is charged for it
            add(figures_.outside[k], part);
            break;
        case verdict::group_file: add(group_.of_file, part); break;
        case verdict::group_behind: add(group_.behind, part); break;
        case verdict::nobody:
            figures_.kernel.unclassified += part.mapped_writable;
            figures_.kernel.unclassified_resident += part.resident;
            break;
        }
        at = to;
    }
}

// ---- pictures ---------------------------------------------------------------------------------

void compose(const smaps_figures& seen, const owner_books (&books)[owner_kind_count],
             picture& out) noexcept {
    for (std::uint32_t k = 0; k < owner_kind_count; ++k) {
        const owner_books& b = books[k];
        const kind_figures& outside = seen.outside[k];
        const kind_figures& served = seen.served[k];
        owner_figures& o = out.owners[k];
        o.reserved = b.reserved;
        o.committed = b.committed;
        o.charged = b.charged;
        o.peak_charged = b.peak_charged;
        o.slack = b.slack;
        o.mapped_writable = b.writable + outside.mapped_writable;
        o.resident = served.resident + outside.resident;
        // Of what we serve, what is resident beyond its charge: a fork's child that writes to what it
        // inherited. With operations in flight the same memory was seen in two places, before and
        // after it moved: that must not count against the limit.
        const std::uint64_t beyond =
            out.in_flight != 0 ? 0
                               : less(served.touched, less(b.charged, seen.acquired_charged[k]));
        o.touched = outside.touched + beyond;
    }
    out.kernel = seen.kernel;
}

bool adds_up(const picture& p) noexcept {
    std::uint64_t writable = p.kernel.unclassified;
    std::uint64_t resident = p.kernel.unclassified_resident;
    for (const owner_figures& o : p.owners) {
        writable += o.mapped_writable;
        resident += o.resident;
    }
    return writable == p.kernel.private_writable && resident == p.kernel.private_resident;
}

namespace {

// A picture is copied word by word: a reader may look while it is written.
static_assert(sizeof(picture) % sizeof(std::uint64_t) == 0 &&
              alignof(picture) == alignof(std::uint64_t));
constexpr std::size_t picture_words = sizeof(picture) / sizeof(std::uint64_t);
constexpr unsigned patience = 1u << 16;

std::atomic_ref<std::uint64_t> word_of(const picture& p, std::size_t i) noexcept {
    auto* words = reinterpret_cast<std::uint64_t*>(const_cast<picture*>(&p));
    return std::atomic_ref<std::uint64_t>(words[i]);
}

} // namespace

bool publish(published_picture& to, const picture& p, bool insist) noexcept {
    std::uint32_t seen = to.sequence.load(std::memory_order_relaxed);
    std::uint32_t mine = 0;
    for (unsigned n = 0;; ++n) {
        const bool is_free = (seen & 1) == 0;
        if (!is_free && !insist) {
            return false;
        }
        if (is_free || n >= patience) {
            mine = is_free ? seen + 1 : seen + 2;
            if (to.sequence.compare_exchange_strong(seen, mine, std::memory_order_acq_rel)) {
                break;
            }
        } else {
            seen = to.sequence.load(std::memory_order_relaxed);
        }
    }
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t i = 0; i < picture_words; ++i) {
        word_of(to.value, i)
            .store(word_of(p, i).load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    // Fails when somebody took over: then it is his to end.
    return to.sequence.compare_exchange_strong(mine, mine + 1, std::memory_order_release,
                                               std::memory_order_relaxed);
}

bool read(const published_picture& from, picture& out) noexcept {
    for (unsigned n = 0; n < patience; ++n) {
        const std::uint32_t before = from.sequence.load(std::memory_order_acquire);
        if (before == 0) {
            return false;
        }
        if ((before & 1) != 0) {
            continue;
        }
        for (std::size_t i = 0; i < picture_words; ++i) {
            word_of(out, i).store(word_of(from.value, i).load(std::memory_order_relaxed),
                                  std::memory_order_relaxed);
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (from.sequence.load(std::memory_order_relaxed) == before) {
            return true;
        }
    }
    return false;
}

} // namespace memreeve::telemetry
