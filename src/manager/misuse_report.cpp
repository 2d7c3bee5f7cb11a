// SPDX-License-Identifier: MIT
#include "manager/misuse_report.hpp"

#include "prim/prim.hpp"

#include <atomic>

namespace memreeve::manager {
namespace {

using heap::misuse;
using heap::misuse_kind;

constinit std::atomic<unsigned> said{0};

constexpr std::size_t longest_file = 120; // its end tells files apart

void add_block(text_line& l, const char* what, const misuse& w, bool with_address) noexcept {
    l.add(what).add(" of ").add_number(w.size).add(w.size == 1 ? " byte" : " bytes");
    if (with_address) {
        l.add(" at ").add_hexadecimal(w.block);
    } else {
        l.add(" there");
    }
    if (!w.is_named) {
        return;
    }
    l.add(" (DebugAlloc");
    if (w.file != nullptr) {
        std::size_t length = 0;
        while (w.file[length] != '\0') {
            ++length;
        }
        l.add(" at ").add(length > longest_file ? w.file + (length - longest_file) : w.file);
        l.add(":");
    } else {
        l.add(", line ");
    }
    if (w.line < 0) {
        l.add("-");
    }
    l.add_number(w.line < 0 ? 0u - static_cast<std::uint32_t>(w.line)
                            : static_cast<std::uint32_t>(w.line));
    l.add(")");
}

text_line& add_bytes(text_line& l, std::uint64_t n) noexcept {
    return l.add_number(n).add(n == 1 ? " byte " : " bytes ");
}

void add_inside(text_line& l, const misuse& w) noexcept {
    if (w.where < w.block) {
        add_bytes(l, w.block - w.where).add("in front of ");
    } else if (w.where - w.block < w.size) {
        add_bytes(l, w.where - w.block).add("into ");
    } else {
        add_bytes(l, w.where - w.block - w.size).add("behind the end of ");
    }
    add_block(l, "the live block", w, true);
}

} // namespace

void add_misuse(text_line& l, const misuse& w) noexcept {
    switch (w.kind) {
    case misuse_kind::none: l.add("a live block begins there"); break;
    case misuse_kind::foreign:
        l.add("not memory of this heap");
        if (w.other != 0) {
            l.add(" but of heap ").add_number(w.other);
        }
        break;
    case misuse_kind::own_records: l.add("the heap's own records"); break;
    case misuse_kind::freed:
        add_block(l, "the block", w, false);
        l.add(w.was_live ? " was freed before" : " was freed before, or never handed out");
        break;
    case misuse_kind::inside_live: add_inside(l, w); break;
    case misuse_kind::inside_free:
        if (w.block != 0) {
            add_block(l, "inside the block", w, true);
            l.add(", which is not live");
        } else {
            l.add("no block begins there");
        }
        break;
    case misuse_kind::written_before:
        add_block(l, "the block", w, false);
        l.add(" was written in front of its beginning, at byte -").add_number(w.offset);
        l.add("; it stays live");
        break;
    case misuse_kind::written_behind:
        add_block(l, "the block", w, false);
        l.add(" was written beyond its end, at byte ").add_number(w.size + w.offset);
        l.add("; it stays live");
        break;
    case misuse_kind::written_after:
        add_block(l, "the free block", w, false);
        l.add(" was written after it was freed, at byte ").add_number(w.offset);
        break;
    }
}

void report_misuse(manager& m, owner_id who, const char* call, const misuse& w) noexcept {
    if (w.kind == misuse_kind::none) {
        return;
    }
    const options& o = m.settings();
    const unsigned before = o.report == nullptr ? said.fetch_add(1, std::memory_order_relaxed) : 0;
    if (before >= lines_said) {
        said.store(lines_said, std::memory_order_relaxed); // it never wraps
        return;
    }
    text_line l;
    l.add("memreeve: ").add(call).add("(").add_hexadecimal(w.where).add("): ");
    l.add(w.kind == misuse_kind::freed ? "double free: " : "");
    add_misuse(l, w);
    l.add("; heap ").add_number(w.heap).add(" of owner ").add(m.books().tree().at(who).name);
    if (before + 1 == lines_said) {
        l.add("; no more of these are said");
    }
    if (o.report != nullptr) {
        o.report(o.report_context, l.text());
    } else {
        prim::say(l.text());
    }
}

} // namespace memreeve::manager
