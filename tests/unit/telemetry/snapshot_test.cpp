// SPDX-License-Identifier: MIT
// Decision 4 and the sums of the contract: every mapping gets its owner, nothing is counted twice,
// what nobody owns is measured.
#include "telemetry/snapshot.hpp"

#include "prim/prim.hpp"

#include <array>
#include <atomic>
#include <cctype>
#include <cstdlib>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <sys/uio.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace memreeve;
using namespace memreeve::telemetry;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t malloc_heap = std::uint64_t{64} << 20;

std::string number(std::uint64_t value, const char* format) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), format, static_cast<unsigned long>(value));
    return text.data();
}

// One mapping as the kernel writes it.
std::string mapping(std::uint64_t begin, std::uint64_t end, const char* access,
                    const std::string& name = "", unsigned inode = 0, std::uint64_t rss_kib = 0,
                    std::uint64_t anonymous_kib = 0, std::uint64_t private_kib = 0) {
    return number(begin, "%lx-") + number(end, "%lx ") + access + " 00000000 " +
           (inode != 0 ? "08:01 " : "00:00 ") + std::to_string(inode) +
           (name.empty() ? " " : "                  " + name) + "\n" +
           "Size:           " + std::to_string((end - begin) / kib) +
           " kB\nKernelPageSize:        4 kB\n" + "Rss:            " + std::to_string(rss_kib) +
           " kB\nPss:            0 kB\nPss_Dirty:      0 kB\n" +
           "Private_Clean:  0 kB\nPrivate_Dirty:  " + std::to_string(private_kib) +
           " kB\nReferenced:     0 kB\n" + "Anonymous:      " + std::to_string(anonymous_kib) +
           " kB\nTHPeligible:           0\nVmFlags: rd wr mr mw\n";
}

std::string anonymous(std::uint64_t begin, std::uint64_t pages, std::uint64_t resident_pages,
                      const char* access = "rw-p", const std::string& name = "") {
    return mapping(begin, begin + pages * page_size, access, name, 0, resident_pages * 4,
                   resident_pages * 4, resident_pages * 4);
}

class snapshot : public testing::Test {
protected:
    snapshot() {
        for (std::uint32_t k = 0; k < owner_kind_count; ++k) {
            image->owner_account[k].store(2 + k);
        }
    }
    static std::uint32_t account(owner_kind k) { return 2 + static_cast<std::uint32_t>(k); }
    void add_extent(std::uint64_t begin, std::uint64_t end, extent_kind kind, owner_kind owner,
                    page_count charged = 0) {
        const std::uint32_t i = image->extents_used++;
        image->extents[i].end.store(end);
        image->extents[i].owner.store(account(owner));
        image->extents[i].kind.store(static_cast<std::uint32_t>(kind));
        image->extents[i].charged.store(charged);
        image->extents[i].begin.store(begin);
    }
    bool read(const std::string& text, std::size_t step = 0) {
        reader->begin(*image, view);
        step = step == 0 ? text.size() : step;
        for (std::size_t at = 0; at < text.size(); at += step) {
            reader->feed(text.data() + at, std::min(step, text.size() - at));
        }
        return reader->finish(seen);
    }
    const kind_figures& outside(owner_kind k) const {
        return seen.outside[static_cast<std::uint32_t>(k)];
    }
    const kind_figures& served(owner_kind k) const {
        return seen.served[static_cast<std::uint32_t>(k)];
    }
    // The part of the sums that needs no books: as if each owner's books said what smaps says.
    void expect_sums() const {
        std::uint64_t writable = seen.kernel.unclassified;
        std::uint64_t resident = seen.kernel.unclassified_resident;
        for (std::uint32_t k = 0; k < owner_kind_count; ++k) {
            writable += seen.outside[k].mapped_writable + seen.served[k].mapped_writable;
            resident += seen.outside[k].resident + seen.served[k].resident;
        }
        EXPECT_EQ(writable, seen.kernel.private_writable);
        EXPECT_EQ(resident, seen.kernel.private_resident);
    }

    std::unique_ptr<image_record> image = std::make_unique<image_record>();
    std::unique_ptr<smaps_reader> reader = std::make_unique<smaps_reader>();
    memory_view view;
    smaps_figures seen;
};

TEST_F(snapshot, named_mappings_have_their_owner) {
    ASSERT_TRUE(read(anonymous(0x10000000, 8, 3, "rw-p", "[heap]") +
                     anonymous(0x20000000, 33, 5, "rw-p", "[stack]") +
                     anonymous(0x30000000, 4, 0, "r--p", "[vvar]") +
                     anonymous(0x30004000, 2, 2, "r-xp", "[vdso]")));
    EXPECT_EQ(outside(owner_kind::malloc).mapped_writable, 8 * page_size);
    EXPECT_EQ(outside(owner_kind::malloc).touched, 3 * page_size);
    EXPECT_EQ(outside(owner_kind::stacks).resident, 5 * page_size);
    EXPECT_EQ(outside(owner_kind::images).resident, 2 * page_size);
    EXPECT_EQ(seen.kernel.private_writable, 41 * page_size);
    expect_sums();
}

TEST_F(snapshot, text_may_be_cut_anywhere) {
    const std::string text =
        anonymous(0x10000000, 8, 3, "rw-p", "[heap]") +
        mapping(0x20000000, 0x20002000, "r-xp", "/usr/lib/libx.so.1", 7, 8) +
        mapping(0x20002000, 0x20003000, "rw-p", "/usr/lib/libx.so.1", 7, 4, 4, 4);
    ASSERT_TRUE(read(text));
    const smaps_figures whole = seen;
    for (std::size_t step = 1; step < 40; ++step) {
        ASSERT_TRUE(read(text, step));
        EXPECT_EQ(seen.kernel.rss, whole.kernel.rss);
        EXPECT_EQ(outside(owner_kind::images).resident, 3 * page_size);
    }
    EXPECT_FALSE(read(text.substr(0, text.size() - 3))); // no line end: cut off
    EXPECT_FALSE(read(""));                              // the process has ended
    EXPECT_FALSE(read("Rss: 4 kB\n"));
    EXPECT_FALSE(read("1000-xyz rw-p\n"));
}

// Two neighbours became one while the kernel listed them: the first is in the text twice.
TEST_F(snapshot, a_text_that_goes_back_is_torn) {
    ASSERT_TRUE(read(anonymous(0x10000000, 8, 0) + anonymous(0x10008000, 8, 0, "r--p")));
    EXPECT_FALSE(reader->is_torn());
    ASSERT_TRUE(read(anonymous(0x10000000, 8, 0) + anonymous(0x10000000, 16, 0)));
    EXPECT_TRUE(reader->is_torn());
    ASSERT_TRUE(read(anonymous(0x10000000, 8, 0) + anonymous(0x10007000, 9, 0, "---p")));
    EXPECT_TRUE(reader->is_torn());
    ASSERT_TRUE(read(anonymous(0x10000000, 8, 0)));
    EXPECT_FALSE(reader->is_torn());
}

TEST_F(snapshot, an_arena_belongs_to_its_owner_and_the_books_count_its_writable_bytes) {
    add_extent(0x100000000, 0x140000000, extent_kind::arena, owner_kind::gc);
    ASSERT_TRUE(read(mapping(0x100000000, 0x100010000, "---p") + anonymous(0x100010000, 16, 9) +
                     mapping(0x100020000, 0x140000000, "---p") + anonymous(0x150000000, 4, 1)));
    EXPECT_EQ(served(owner_kind::gc).mapped_writable, 16 * page_size);
    EXPECT_EQ(served(owner_kind::gc).resident, 9 * page_size);
    EXPECT_EQ(outside(owner_kind::gc).mapped_writable, 0u);
    EXPECT_EQ(seen.kernel.unclassified, 4 * page_size);
    EXPECT_EQ(seen.kernel.unclassified_resident, page_size);
    expect_sums();

    owner_books books[owner_kind_count]{};
    books[0].writable = 16 * page_size;
    books[0].charged = 16 * page_size;
    picture p;
    compose(seen, books, p);
    EXPECT_TRUE(adds_up(p));
    EXPECT_EQ(p.owners[0].mapped_writable, 16 * page_size);
    EXPECT_EQ(p.owners[0].touched, 0u);
    // A check, not an identity: books that are wrong by a page are found out.
    books[0].writable += page_size;
    compose(seen, books, p);
    EXPECT_FALSE(adds_up(p));
    // What lies in an arena and nobody is charged for is growth by touch.
    books[0].charged = 7 * page_size;
    compose(seen, books, p);
    EXPECT_EQ(p.owners[0].touched, 2 * page_size);
    // Not while operations are in flight: memory that moved meanwhile was seen twice.
    p.in_flight = 1;
    compose(seen, books, p);
    EXPECT_EQ(p.owners[0].touched, 0u);
    EXPECT_EQ(p.owners[0].resident, 9 * page_size);
}

TEST_F(snapshot, a_mapping_that_extents_cut_is_shared_out_to_the_page) {
    add_extent(0x10001000, 0x10004000, extent_kind::acquired, owner_kind::code);
    add_extent(0x10006000, 0x10007000, extent_kind::acquired, owner_kind::gc);
    ASSERT_TRUE(read(anonymous(0x10000000, 16, 7)));
    EXPECT_EQ(outside(owner_kind::code).mapped_writable, 3 * page_size);
    EXPECT_EQ(outside(owner_kind::gc).mapped_writable, page_size);
    EXPECT_EQ(seen.kernel.unclassified, 12 * page_size);
    expect_sums();

    // With a look at what is present, the parts get what is theirs.
    const auto present = [](void*, std::uint64_t begin, std::uint64_t end,
                            std::uint64_t* pages) noexcept {
        const std::uint64_t from = std::max<std::uint64_t>(begin, 0x10001000);
        const std::uint64_t to = std::min<std::uint64_t>(end, 0x10004000);
        *pages = from < to ? (to - from) / page_size : 0;
        return true;
    };
    view.count_present = present;
    ASSERT_TRUE(read(anonymous(0x10000000, 16, 3)));
    EXPECT_EQ(outside(owner_kind::code).resident, 3 * page_size);
    EXPECT_EQ(seen.kernel.unclassified_resident, 0u);
    expect_sums();
}

TEST_F(snapshot, overlapping_extents_are_asked_in_order) {
    add_extent(0x10000000, 0x10100000, extent_kind::loader, owner_kind::images);
    add_extent(0x10010000, 0x10020000, extent_kind::acquired, owner_kind::code);
    ASSERT_TRUE(read(anonymous(0x10000000, 256, 0)));
    EXPECT_EQ(outside(owner_kind::code).mapped_writable, 16 * page_size);
    EXPECT_EQ(outside(owner_kind::images).mapped_writable, 240 * page_size);
    expect_sums();
}

TEST_F(snapshot, acquired_memory_is_touched_beyond_what_is_charged_for_it) {
    add_extent(0x10000000, 0x10010000, extent_kind::acquired, owner_kind::gc, 4);
    ASSERT_TRUE(read(anonymous(0x10000000, 16, 9)));
    EXPECT_EQ(outside(owner_kind::gc).touched, 5 * page_size);
    owner_books books[owner_kind_count]{};
    books[0].charged = 4 * page_size;
    picture p;
    compose(seen, books, p);
    EXPECT_EQ(p.owners[0].touched, 5 * page_size);
    EXPECT_EQ(p.owners[0].mapped_writable, 16 * page_size);
    EXPECT_TRUE(adds_up(p));
}

TEST_F(snapshot, records_are_the_runtimes_and_loader_leftovers_are_images) {
    add_extent(0x10000000, 0x10010000, extent_kind::records, owner_kind::gc);
    add_extent(0x20000000, 0x20010000, extent_kind::loader, owner_kind::gc);
    ASSERT_TRUE(read(anonymous(0x10000000, 16, 2) + anonymous(0x20000000, 16, 3)));
    EXPECT_EQ(outside(owner_kind::runtime).mapped_writable, 16 * page_size);
    EXPECT_EQ(outside(owner_kind::images).resident, 3 * page_size);
    expect_sums();
}

TEST_F(snapshot, a_file_is_an_image_when_any_of_its_mappings_is_executable) {
    // No .so in the name, the executable mapping comes second, .bss behind.
    ASSERT_TRUE(read(mapping(0x400000, 0x401000, "r--p", "/opt/tool", 5, 4) +
                     mapping(0x401000, 0x402000, "r-xp", "/opt/tool", 5, 4) +
                     mapping(0x402000, 0x403000, "rw-p", "/opt/tool", 5, 4, 4, 4) +
                     anonymous(0x403000, 2, 1)));
    EXPECT_EQ(outside(owner_kind::images).mapped_writable, 3 * page_size);
    EXPECT_EQ(outside(owner_kind::images).resident, 4 * page_size);
    EXPECT_EQ(outside(owner_kind::images).touched, 2 * page_size);
    expect_sums();
}

TEST_F(snapshot, other_files_are_files_and_what_follows_them_is_nobodys) {
    ASSERT_TRUE(
        read(mapping(0x10000000, 0x10004000, "rw-p", "/data/table", 9, 16, 4, 4) +
             anonymous(0x10004000, 1, 1) +
             mapping(0x20000000, 0x20001000, "r--p", "/usr/lib/libc.so.6 (deleted)", 10, 4) +
             mapping(0x30000000, 0x30001000, "r--p", "/usr/share/x.sox", 11, 4)));
    EXPECT_EQ(outside(owner_kind::files).mapped_writable, 4 * page_size);
    EXPECT_EQ(outside(owner_kind::files).resident, 5 * page_size);
    EXPECT_EQ(outside(owner_kind::files).touched, page_size);
    EXPECT_EQ(outside(owner_kind::images).resident, page_size);
    EXPECT_EQ(seen.kernel.unclassified, page_size);
    expect_sums();
}

TEST_F(snapshot, assemblies_and_class_archives_are_images_without_an_executable_mapping) {
    ASSERT_TRUE(
        read(mapping(0x10000000, 0x10001000, "r--p", "/usr/lib/mono/4.5/mscorlib.dll", 5, 4) +
             mapping(0x20000000, 0x20001000, "r--p", "/home/a b/app.exe (deleted)", 6, 4) +
             mapping(0x30000000, 0x30001000, "rw-p", "/jvm/lib/server/classes.jsa", 7, 4)));
    EXPECT_EQ(outside(owner_kind::images).resident, 3 * page_size);
    ASSERT_TRUE(read(mapping(0x10000000, 0x10001000, "r--p", "/data/x.dll.txt", 5, 4) +
                     mapping(0x20000000, 0x20001000, "r--p", "dll", 6, 4)));
    EXPECT_EQ(outside(owner_kind::files).resident, 2 * page_size);
}

TEST_F(snapshot, the_program_itself_is_an_image_by_its_path) {
    std::snprintf(image->path, sizeof image->path, "/opt/data only");
    ASSERT_TRUE(read(mapping(0x400000, 0x401000, "r--p", "/opt/data only", 5, 4)));
    EXPECT_EQ(outside(owner_kind::images).resident, page_size);
}

TEST_F(snapshot, a_file_in_an_arena_is_no_page_of_ours) {
    add_extent(0x100000000, 0x140000000, extent_kind::arena, owner_kind::gc);
    ASSERT_TRUE(read(mapping(0x100000000, 0x100010000, "---p") +
                     mapping(0x100010000, 0x100012000, "rw-p", "/data/table", 9, 8, 4, 4)));
    EXPECT_EQ(served(owner_kind::gc).mapped_writable, 0u);
    EXPECT_EQ(outside(owner_kind::files).mapped_writable, 2 * page_size);
    expect_sums();
}

TEST_F(snapshot, thread_stacks_lie_above_a_small_guard) {
    const std::string guard = mapping(0x10000000, 0x10001000, "---p");
    ASSERT_TRUE(read(guard + anonymous(0x10001000, 2048, 6)));
    EXPECT_EQ(outside(owner_kind::stacks).mapped_writable, 2048 * page_size);
    EXPECT_EQ(outside(owner_kind::stacks).touched, 6 * page_size);
    // Not directly above, or above a large inaccessible mapping: nobody's.
    ASSERT_TRUE(read(guard + anonymous(0x10002000, 4, 0)));
    EXPECT_EQ(seen.kernel.unclassified, 4 * page_size);
    ASSERT_TRUE(read(mapping(0x10000000, 0x10200000, "---p") + anonymous(0x10200000, 4, 0)));
    EXPECT_EQ(seen.kernel.unclassified, 4 * page_size);
}

// Decision 25.
TEST_F(snapshot, a_noted_stack_is_known_without_a_guard_and_to_the_page) {
    const std::uint64_t low = 0x7f0000010000;
    image->stacks.note({low, low + 64 * page_size});
    // No guard, and other memory merged with it on both sides.
    ASSERT_TRUE(read(anonymous(low - 2 * page_size, 70, 0)));
    EXPECT_EQ(outside(owner_kind::stacks).mapped_writable, 64 * page_size);
    EXPECT_EQ(seen.kernel.unclassified, 6 * page_size);
    expect_sums();
    // A runtime closed its lower pages: no guard of libc's below what is left.
    ASSERT_TRUE(
        read(mapping(low, low + 4 * page_size, "---p") + anonymous(low + 4 * page_size, 60, 7)));
    EXPECT_EQ(outside(owner_kind::stacks).touched, 7 * page_size);
    EXPECT_EQ(seen.kernel.unclassified, 0u);
    expect_sums();
}

TEST_F(snapshot, a_stack_that_is_gone_claims_nothing_that_says_whose_it_is) {
    const std::uint64_t low = 0x7f0000010000;
    image->stacks.note({low, low + 64 * page_size});
    add_extent(low, low + 8 * page_size, extent_kind::acquired, owner_kind::code);
    ASSERT_TRUE(
        read(anonymous(low, 8, 2) +
             mapping(low + 8 * page_size, low + 12 * page_size, "r-xp", "/usr/lib/libx.so", 7, 16) +
             mapping(low + 12 * page_size, low + 16 * page_size, "rw-p", "/usr/lib/libx.so", 7, 16,
                     16, 16) +
             anonymous(low + 16 * page_size, 8, 8) +
             mapping(low + 32 * page_size, low + 40 * page_size, "r--p", "/data/table", 9, 32)));
    EXPECT_EQ(outside(owner_kind::code).resident, 2 * page_size);
    EXPECT_EQ(outside(owner_kind::images).resident, 16 * page_size);
    EXPECT_EQ(outside(owner_kind::files).resident, 8 * page_size);
    EXPECT_EQ(outside(owner_kind::stacks).resident, 0u);
    expect_sums();
    // Nor does it hide the guard of one that was not noted.
    ASSERT_TRUE(read(mapping(low + 60 * page_size, low + 64 * page_size, "---p") +
                     anonymous(low + 64 * page_size, 16, 1)));
    EXPECT_EQ(outside(owner_kind::stacks).resident, page_size);
}

// Decision 26: .bss as far as the file says; what merged with it above has its own owner.
class snapshot_of_a_library : public snapshot {
protected:
    static constexpr std::uint64_t base = 0x7f0000000000;
    static constexpr std::uint64_t elf = 0x00010102464c457f;
    static std::map<std::uint64_t, std::uint64_t>& words() {
        static std::map<std::uint64_t, std::uint64_t> w;
        return w;
    }
    snapshot_of_a_library() {
        words() = {{base, elf},
                   {base + 32, 64},                      // table of segments
                   {base + 48, std::uint64_t{56} << 48}, // size of an entry
                   {base + 56, 3},                       // entries
                   {base + 64, 6},                       // not loaded
                   {base + 64 + 40, 1u << 30},           //
                   {base + 64 + 56, 1 | 4ull << 32},     // loaded
                   {base + 64 + 56 + 40, 0x1800},        //
                   {base + 64 + 112, 1 | 6ull << 32},    // loaded, with .bss
                   {base + 64 + 112 + 16, 0x2e00},       //
                   {base + 64 + 112 + 40, 0x3000}};      // up to 0x5e00
        view.read_word = [](void*, std::uint64_t at, std::uint64_t* out) noexcept {
            const auto w = words().find(at);
            *out = w == words().end() ? 0 : w->second;
            return true;
        };
    }
    const std::string files =
        mapping(base, base + 0x2000, "r-xp", "/usr/lib/libx.so", 7, 8) +
        mapping(base + 0x2000, base + 0x4000, "rw-p", "/usr/lib/libx.so", 7, 8, 8, 8);
};

TEST_F(snapshot_of_a_library, bss_goes_as_far_as_the_file_asks) {
    ASSERT_TRUE(read(files + anonymous(base + 0x4000, 2, 2)));
    EXPECT_EQ(outside(owner_kind::images).mapped_writable, 4 * page_size);
    ASSERT_TRUE(read(files + anonymous(base + 0x4000, 10, 10)));
    EXPECT_EQ(outside(owner_kind::images).mapped_writable, 4 * page_size);
    EXPECT_EQ(seen.kernel.unclassified, 8 * page_size);
    expect_sums();
    image->stacks.note({base + 0x6000, base + 0x6000 + 8 * page_size});
    ASSERT_TRUE(read(files + anonymous(base + 0x4000, 10, 10)));
    EXPECT_EQ(outside(owner_kind::stacks).mapped_writable, 8 * page_size);
    EXPECT_EQ(seen.kernel.unclassified, 0u);
    expect_sums();
}

TEST_F(snapshot_of_a_library, without_bss_what_follows_is_no_part_of_it) {
    words()[base + 64 + 112 + 40] = 0x1000; // ends in its own mapping
    ASSERT_TRUE(read(files + anonymous(base + 0x4000, 2, 2)));
    EXPECT_EQ(outside(owner_kind::images).mapped_writable, 2 * page_size);
    EXPECT_EQ(seen.kernel.unclassified, 2 * page_size);
}

TEST_F(snapshot_of_a_library, a_header_that_cannot_be_believed_sets_no_bound) {
    const auto all = [&] {
        EXPECT_TRUE(read(files + anonymous(base + 0x4000, 10, 10)));
        return outside(owner_kind::images).mapped_writable;
    };
    EXPECT_EQ(all(), 4 * page_size);
    for (const auto& [at, wrong] : std::map<std::uint64_t, std::uint64_t>{
             {base, 0x4d5a}, {base + 32, 1u << 20}, {base + 48, 0}, {base + 56, 60000}}) {
        const std::uint64_t right = words()[at];
        words()[at] = wrong;
        EXPECT_EQ(all(), 12 * page_size) << std::hex << at;
        words()[at] = right;
    }
    view.read_word = nullptr;
    EXPECT_EQ(all(), 12 * page_size);
}

TEST_F(snapshot, glibc_arenas_are_mallocs) {
    ASSERT_TRUE(read(anonymous(malloc_heap * 8, 33, 4) +
                     mapping(malloc_heap * 8 + 33 * page_size, malloc_heap * 9, "---p")));
    EXPECT_EQ(outside(owner_kind::malloc).mapped_writable, 33 * page_size);
    ASSERT_TRUE(read(anonymous(malloc_heap * 8 + page_size, 33, 4) +
                     mapping(malloc_heap * 8 + 34 * page_size, malloc_heap * 9, "---p")));
    EXPECT_EQ(outside(owner_kind::malloc).mapped_writable, 0u);
}

TEST_F(snapshot, chunks_that_malloc_mapped_are_found_by_their_headers) {
    static std::map<std::uint64_t, std::uint64_t> words;
    words = {{0x10000000, 0},
             {0x10000008, 3 * page_size | 2},
             {0x10003000, 0},
             {0x10003008, 5 * page_size | 2}};
    view.read_word = [](void*, std::uint64_t at, std::uint64_t* out) noexcept {
        const auto w = words.find(at);
        *out = w == words.end() ? 0 : w->second;
        return true;
    };
    ASSERT_TRUE(read(anonymous(0x10000000, 8, 8)));
    EXPECT_EQ(outside(owner_kind::malloc).mapped_writable, 8 * page_size);
    // Something else was merged behind: only the chunks are malloc's.
    ASSERT_TRUE(read(anonymous(0x10000000, 10, 10)));
    EXPECT_EQ(outside(owner_kind::malloc).mapped_writable, 8 * page_size);
    EXPECT_EQ(seen.kernel.unclassified, 2 * page_size);
    EXPECT_EQ(seen.kernel.unclassified_resident, 2 * page_size);
    expect_sums();
    words[0x10000008] = 3 * page_size | 1; // an ordinary chunk
    ASSERT_TRUE(read(anonymous(0x10000000, 8, 8)));
    EXPECT_EQ(outside(owner_kind::malloc).mapped_writable, 0u);
}

TEST_F(snapshot, shared_mappings_count_in_rss_alone) {
    ASSERT_TRUE(read(mapping(0x10000000, 0x10010000, "rw-s", "/memfd:x (deleted)", 3, 64) +
                     anonymous(0x20000000, 1, 1)));
    EXPECT_EQ(seen.kernel.rss, 17 * page_size);
    EXPECT_EQ(seen.kernel.private_resident, page_size);
    EXPECT_EQ(seen.kernel.private_writable, page_size);
}

// Decision 19: inherited pages are charged to the parent; a child's growth is what it copied.
TEST_F(snapshot, a_forked_child_has_touched_only_pages_of_its_own) {
    image->forked.store(1);
    ASSERT_TRUE(read(mapping(0x10000000, 0x10010000, "rw-p", "[heap]", 0, 64, 64, 12)));
    EXPECT_EQ(outside(owner_kind::malloc).touched, 12 * kib);
    EXPECT_EQ(outside(owner_kind::malloc).resident, 64 * kib);
}

// Decision 19: between exec and the next image's attaching, smaps shows a stranger.
TEST_F(snapshot, a_reading_without_anything_of_ours_is_of_another_image) {
    add_extent(0x100000000, 0x140000000, extent_kind::arena, owner_kind::gc);
    EXPECT_FALSE(read(anonymous(0x10000000, 8, 3, "rw-p", "[heap]")));
    EXPECT_TRUE(read(anonymous(0x10000000, 8, 3, "rw-p", "[heap]") +
                     mapping(0x100000000, 0x140000000, "---p")));
}

TEST_F(snapshot, a_full_table_of_extents_is_searched_right) {
    std::string text;
    for (std::uint32_t i = 0; i < extent_capacity; ++i) {
        const std::uint64_t at = 0x100000000 + std::uint64_t{extent_capacity - i} * 0x20000;
        add_extent(at, at + 0x10000, extent_kind::placed,
                   i % 2 == 0 ? owner_kind::gc : owner_kind::code);
    }
    for (std::uint32_t i = 1; i <= extent_capacity; ++i) {
        text += anonymous(0x100000000 + std::uint64_t{i} * 0x20000, 16, 1);
    }
    ASSERT_TRUE(read(text));
    EXPECT_EQ(served(owner_kind::gc).resident, extent_capacity / 2 * page_size);
    EXPECT_EQ(served(owner_kind::code).resident, extent_capacity / 2 * page_size);
    EXPECT_EQ(seen.kernel.unclassified, 0u);
}

TEST_F(snapshot, pictures_are_published_whole) {
    auto slot = std::make_unique<published_picture>();
    picture p;
    EXPECT_FALSE(telemetry::read(*slot, p));
    p.taken_at_ns = 5;
    p.owners[3].resident = 77;
    EXPECT_TRUE(publish(*slot, p, false));
    picture q;
    ASSERT_TRUE(telemetry::read(*slot, q));
    EXPECT_EQ(q.taken_at_ns, 5u);
    EXPECT_EQ(q.owners[3].resident, 77u);

    // A writer was killed in the middle: an insisting one takes over, the other gives up.
    slot->sequence.fetch_add(1);
    EXPECT_FALSE(publish(*slot, p, false));
    p.taken_at_ns = 6;
    EXPECT_TRUE(publish(*slot, p, true));
    ASSERT_TRUE(telemetry::read(*slot, q));
    EXPECT_EQ(q.taken_at_ns, 6u);
}

// ---- decision 4: no operation in flight -------------------------------------------------------

class quiet_picture : public snapshot {
protected:
    bool take(unsigned tries, const std::function<void()>& during) {
        const std::string text = anonymous(0x10000000, 8, 3, "rw-p", "[heap]");
        return take_picture(
            *image, *reader, view, tries, [] { return std::uint64_t{1}; },
            [&](smaps_reader& r) {
                r.feed(text.data(), text.size());
                during();
                return true;
            },
            [](owner_kind) { return owner_books{}; }, [&](unsigned) { ++waits; }, p);
    }
    picture p;
    int waits = 0;
};

TEST_F(quiet_picture, is_taken_at_once_when_nothing_moves) {
    ASSERT_TRUE(take(100, [] {}));
    EXPECT_EQ(p.retries, 0u);
    EXPECT_EQ(p.in_flight, 0u);
    EXPECT_TRUE(adds_up(p));
}

TEST_F(quiet_picture, is_taken_again_when_an_operation_came_between) {
    int left = 3;
    ASSERT_TRUE(take(100, [&] {
        if (left-- > 0) {
            end_operation(*image, begin_operation(*image));
        }
    }));
    EXPECT_EQ(p.retries, 3u);
    EXPECT_EQ(p.in_flight, 0u);
}

TEST_F(quiet_picture, is_marked_when_an_operation_never_ends) {
    begin_operation(*image);
    ASSERT_TRUE(take(100, [] {}));
    EXPECT_EQ(p.in_flight, 1u);
    EXPECT_EQ(waits, 99);
}

// madvise is passed on outside of operations, and by it mappings of ours become one: here while the
// kernel is half through listing them, in the first `times` readings.
class torn_picture : public snapshot {
protected:
    static constexpr std::uint64_t pages = 512; // each a mapping: many reads
    static constexpr std::uint64_t size = pages * page_size;

    torn_picture() {
        // Inaccessible pages around it: nothing else becomes one with it.
        void* const got = ::mmap(nullptr, size + 2 * page_size, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        EXPECT_NE(got, MAP_FAILED);
        first = reinterpret_cast<std::uint64_t>(got) + page_size;
        EXPECT_EQ(::mprotect(at(0), size, PROT_READ | PROT_WRITE), 0);
        add_extent(first, first + size, extent_kind::arena, owner_kind::gc);
    }
    ~torn_picture() override { ::munmap(at(0) - page_size, size + 2 * page_size); }

    char* at(std::uint64_t page) const { return reinterpret_cast<char*>(first) + page * page_size; }
    void cut() const {
        for (std::uint64_t i = 1; i < pages; i += 2) {
            ASSERT_EQ(::madvise(at(i), page_size, MADV_DONTDUMP), 0);
        }
    }
    // Where the text begins its last mapping.
    static std::uint64_t last_mapping(const std::string& text) {
        std::uint64_t begin = 0;
        for (std::size_t line = 0; line < text.size(); line = text.find('\n', line) + 1) {
            if (std::isupper(static_cast<unsigned char>(text[line])) == 0) {
                begin = std::strtoull(text.c_str() + line, nullptr, 16);
            }
        }
        return begin;
    }
    bool pump(smaps_reader& r) {
        cut();
        const long fd = prim::open_read("/proc/self/smaps");
        std::string chunk(1 << 16, '\0');
        long n = 0;
        bool merged = false;
        while ((n = prim::read(static_cast<int>(fd), chunk.data(), chunk.size())) > 0) {
            r.feed(chunk.data(), static_cast<std::size_t>(n));
            const std::uint64_t seen_to =
                last_mapping(chunk.substr(0, static_cast<std::size_t>(n)));
            if (times > 0 && !merged && seen_to > first && seen_to < first + size - page_size) {
                merged = ::madvise(at(0), size, MADV_DODUMP) == 0;
                --times;
            }
        }
        (void)prim::close(static_cast<int>(fd));
        return n == 0;
    }
    bool take(unsigned tries) {
        return take_picture(
            *image, *reader, view, tries, prim::now_ns, [this](smaps_reader& r) { return pump(r); },
            [](owner_kind k) { return owner_books{0, 0, 0, k == owner_kind::gc ? size : 0, 0, 0}; },
            [](unsigned) {}, p);
    }

    std::uint64_t first = 0;
    int times = 0;
    picture p;
};

TEST_F(torn_picture, is_taken_again) {
    ASSERT_TRUE(take(100));
    ASSERT_EQ(p.retries, 0u);
    ASSERT_TRUE(adds_up(p));
    times = 3;
    ASSERT_TRUE(take(100));
    EXPECT_EQ(times, 0);
    EXPECT_EQ(p.retries, 3u);
    EXPECT_EQ(p.in_flight, 0u);
    EXPECT_TRUE(adds_up(p)) << "one mapping counted twice";
}

TEST_F(torn_picture, is_marked_when_every_text_is_torn) {
    times = 1 << 10;
    ASSERT_TRUE(take(5));
    EXPECT_EQ(p.retries, 4u);
    EXPECT_EQ(p.in_flight, 1u);
}

// ---- the real kernel --------------------------------------------------------------------------

// This process's own smaps: all mappings that gtest and libc made are somebody's.
TEST_F(snapshot, a_real_process_adds_up_and_little_is_unclassified) {
    std::atomic<bool> has_block{false};
    std::atomic<bool> may_end{false};
    std::thread other([&] {
        volatile char* block = static_cast<char*>(std::malloc(200));
        block[0] = 1;
        for (has_block = true; !may_end;) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        std::free(const_cast<char*>(block));
    });
    while (!has_block) {
        std::this_thread::yield();
    }
    void* large = std::malloc(1 << 20);
    static_cast<char*>(large)[0] = 1;
    view.read_word = [](void*, std::uint64_t at, std::uint64_t* out) noexcept {
        iovec here{out, sizeof *out};
        iovec there{reinterpret_cast<void*>(at), sizeof *out};
        return ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) ==
               static_cast<ssize_t>(sizeof *out);
    };
    reader->begin(*image, view);
    const long fd = prim::open_read("/proc/self/smaps");
    EXPECT_GE(fd, 0);
    std::array<char, 4096> chunk{};
    long n = 0;
    while ((n = prim::read(static_cast<int>(fd), chunk.data(), chunk.size())) > 0) {
        reader->feed(chunk.data(), static_cast<std::size_t>(n));
    }
    (void)prim::close(static_cast<int>(fd));
    const bool is_finished = reader->finish(seen);
    may_end = true;
    other.join();
    ASSERT_TRUE(is_finished);
    expect_sums();
    EXPECT_GT(outside(owner_kind::malloc).mapped_writable, std::uint64_t{1} << 20);
    EXPECT_GE(outside(owner_kind::stacks).mapped_writable, std::uint64_t{8} << 20);
    EXPECT_GT(outside(owner_kind::images).resident, 0u);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(seen.kernel.unclassified_resident, seen.kernel.private_resident / 50)
        << "unclassified " << seen.kernel.unclassified_resident << " of "
        << seen.kernel.private_resident;
#endif
    std::free(large);
}

} // namespace
