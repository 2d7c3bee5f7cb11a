// SPDX-License-Identifier: MIT
// Records random sequences of Win32 memory calls in the format of oracle/README.md. A Win32 program:
// runs on Windows, or on Wine (tools/wine_sequences.sh).
//
// What Wine 8 does unlike Windows is left out, or told as Windows does it where the rules leave no doubt
// (the line then has a tag): VirtualFree and VirtualProtect where nothing is, reserved runs that Wine
// splits. Left out: invalid protections but of the base value, sizes of 0 and beyond the end of
// memory for VirtualProtect, odd types, accesses to reserved pages that were guarded, GetWriteWatch of
// what was decommitted or met a fault.
//
// usage: record FIRST-SEED SEQUENCES OPERATIONS
#include <windows.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

using address = std::uint64_t;
constexpr address page = 0x1000;
constexpr address granule = 0x10000;
constexpr address arena = 0x50000000;
constexpr address arena_size = 0x180000;
constexpr unsigned slot_count = 6;

void* at(address a) { return reinterpret_cast<void*>(a); }
address down(address a) { return a & ~(page - 1); }
address up(address a) { return (a + page - 1) & ~(page - 1); }

// ---- chance -----------------------------------------------------------------------------------------

std::uint64_t state = 1;
std::uint64_t next_random() { // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dULL;
}
std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : (next_random() >> 11) % n; }
bool chance(unsigned percent) { return below(100) < percent; }
template <std::size_t N>
DWORD one_of(const DWORD (&values)[N]) {
    return values[below(N)];
}

// ---- accesses that may fault --------------------------------------------------------------------------

extern "C" {
unsigned access_read(address a);
void access_write(address a, unsigned value);
void access_execute(address a);
void access_was_refused();
}
// The handler goes on at access_was_refused, with the stack as it is at the fault: for a refused fetch
// the return address of the call is on top.
asm(R"(
    .text
access_read:
    movzbl (%rcx), %eax
    ret
access_write:
    movb %dl, (%rcx)
    ret
access_execute:
    subq $40, %rsp
    call *%rcx
    addq $40, %rsp
    ret
access_was_refused:
    ret
)");

bool is_expected = false;
bool has_faulted = false;
DWORD fault_code = 0;
unsigned fault_kind = 0;
address fault_at = 0;

LONG CALLBACK on_exception(EXCEPTION_POINTERS* e) {
    if (!is_expected) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    is_expected = false;
    has_faulted = true;
    fault_code = e->ExceptionRecord->ExceptionCode;
    fault_kind = static_cast<unsigned>(e->ExceptionRecord->ExceptionInformation[0]);
    fault_at = e->ExceptionRecord->ExceptionInformation[1];
    e->ContextRecord->Rip = reinterpret_cast<address>(&access_was_refused);
    return EXCEPTION_CONTINUE_EXECUTION;
}

template <class F>
bool faults(F access) {
    has_faulted = false;
    is_expected = true;
    access();
    is_expected = false;
    return has_faulted;
}

std::string fault_text() {
    char text[32];
    std::snprintf(text, sizeof text, "f%s,%u", fault_code == 0x80000001 ? "GP" : "AV", fault_kind);
    return text;
}

// ---- what is where ------------------------------------------------------------------------------------

struct slot {
    address base = 0;
    address size = 0;
};
slot slots[slot_count];

// Of an allocation, by its base: what makes Wine's answers unlike Windows'.
struct history {
    bool watched = false;
    bool marks_unknown = false; // decommitted, or a write faulted
    bool guarded = false;       // some page, some time
};
std::map<address, history> histories;
std::set<address> any_value; // pages after MEM_RESET

MEMORY_BASIC_INFORMATION look(address a) {
    MEMORY_BASIC_INFORMATION m{};
    VirtualQuery(at(a), &m, sizeof m);
    return m;
}
address base_of(const MEMORY_BASIC_INFORMATION& m) {
    return reinterpret_cast<address>(m.AllocationBase);
}
address end_of(address base) {
    address a = base;
    for (MEMORY_BASIC_INFORMATION m = look(a); m.State != MEM_FREE && base_of(m) == base;
         m = look(a)) {
        a = reinterpret_cast<address>(m.BaseAddress) + m.RegionSize;
    }
    return a;
}

std::string name_of(address a) {
    char text[40];
    if (a >= arena && a <= arena + arena_size) {
        std::snprintf(text, sizeof text, "A+%llx", a - arena);
        return text;
    }
    for (unsigned k = 0; k < slot_count; ++k) {
        if (slots[k].base != 0 && a - slots[k].base < slots[k].size) {
            std::snprintf(text, sizeof text, "S%u+%llx", k, a - slots[k].base);
            return text;
        }
    }
    return "?";
}

// The region at `a` up to `limit`; reserved runs of one allocation are one region (Q8).
std::string region(address a, address limit, address& end, bool& was_split) {
    MEMORY_BASIC_INFORMATION m = look(a);
    const auto begin = reinterpret_cast<address>(m.BaseAddress);
    end = begin + m.RegionSize;
    while (m.State == MEM_RESERVE && end < limit) {
        const MEMORY_BASIC_INFORMATION n = look(end);
        if (n.State != MEM_RESERVE || base_of(n) != base_of(m)) {
            break;
        }
        end += n.RegionSize;
        was_split = true;
    }
    end = end < limit ? end : limit;
    char text[120];
    const std::string base = name_of(begin);
    if (m.State == MEM_FREE) {
        std::snprintf(text, sizeof text, "%s,%llx,F", base.c_str(), end - begin);
    } else if (m.State == MEM_RESERVE) {
        std::snprintf(text, sizeof text, "%s,%llx,R,%s,%lx", base.c_str(), end - begin,
                      name_of(base_of(m)).c_str(), m.AllocationProtect);
    } else {
        std::snprintf(text, sizeof text, "%s,%llx,C,%s,%lx,%lx", base.c_str(), end - begin,
                      name_of(base_of(m)).c_str(), m.AllocationProtect, m.Protect);
    }
    return text;
}

std::string map_text() {
    std::string text;
    const auto walk = [&text](address a, address limit) {
        for (bool split = false; a < limit;) {
            address end = a;
            text += region(a, limit, end, split) + ";";
            a = end > a ? end : limit;
        }
    };
    walk(arena, arena + arena_size);
    for (const slot& s : slots) {
        if (s.base != 0) {
            walk(s.base, s.base + s.size);
        }
    }
    return text;
}

// ---- lines ----------------------------------------------------------------------------------------------

std::uint32_t last_hash = 0;
std::uint32_t hash_of_map() {
    std::uint32_t h = 2166136261u;
    for (const char c : map_text()) {
        h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
    }
    return h;
}
template <class... Values>
std::string text_of(const char* format, Values... values) {
    char text[200];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}
// `wine`: what was really answered, where the rules say otherwise.
void line(const std::string& operation, const std::string& outcome, const std::string& wine = "") {
    std::string text = operation + " = " + outcome + (wine.empty() ? "" : " !w:" + wine);
    if (const std::uint32_t h = hash_of_map(); h != last_hash) {
        text += text_of(" h=%08x", h);
        last_hash = h;
    }
    std::puts(text.c_str());
}
std::string error_text(DWORD error) { return text_of("e%lu", error); }
// A refusal as Windows words it.
void refusal(const std::string& operation, DWORD got, DWORD windows) {
    line(operation, error_text(windows), got == windows ? "" : error_text(got));
}

// ---- operations ---------------------------------------------------------------------------------------------

constexpr DWORD protections[] = {PAGE_READWRITE,
                                 PAGE_READWRITE,
                                 PAGE_READWRITE,
                                 PAGE_READONLY,
                                 PAGE_NOACCESS,
                                 PAGE_EXECUTE,
                                 PAGE_EXECUTE_READ,
                                 PAGE_EXECUTE_READWRITE,
                                 PAGE_READWRITE | PAGE_GUARD,
                                 PAGE_READONLY | PAGE_GUARD,
                                 PAGE_EXECUTE_READWRITE | PAGE_GUARD};
constexpr DWORD no_protection[] = {0, 3, 6, 0x24, 0x50, 0x11};

bool is_valid(DWORD protect) {
    const DWORD base = protect & 0xff;
    return base != 0 && (base & (base - 1)) == 0;
}
bool is_guard(DWORD protect) { return (protect & PAGE_GUARD) != 0; }

// Where something may lie: an allocation's pages, its edges, or anywhere in the arena.
struct place {
    address a = 0;
    address size = 0;
    address base = 0; // of the allocation there; 0: none
    address end = 0;
};
std::vector<address> allocations() {
    std::vector<address> all;
    for (address a = arena; a < arena + arena_size;) {
        const MEMORY_BASIC_INFORMATION m = look(a);
        if (m.State != MEM_FREE && (all.empty() || all.back() != base_of(m))) {
            all.push_back(base_of(m));
        }
        a = reinterpret_cast<address>(m.BaseAddress) + m.RegionSize;
    }
    for (const slot& s : slots) {
        if (s.base != 0) {
            all.push_back(s.base);
        }
    }
    return all;
}
place some_place() {
    const auto all = allocations();
    place p;
    if (all.empty() || chance(6)) {
        p.a = arena + below(arena_size / page - 8) * page + (chance(30) ? below(page) : 0);
        p.size = 1 + below(6 * page);
    } else {
        const address base = all[below(all.size())];
        const address pages = (end_of(base) - base) / page;
        const address first = below(pages);
        p.a = base + first * page;
        p.size = (1 + below(chance(70) ? 5 : pages)) * page;
        if (chance(30)) {
            const address odd = below(page);
            p.a += odd;
            p.size = p.size > odd ? p.size - odd : 1;
        }
        if (chance(85) && p.a + p.size > end_of(base)) {
            p.size = end_of(base) - p.a;
        }
    }
    const bool in_arena = p.a >= arena && p.a < arena + arena_size;
    if (in_arena && p.a + p.size > arena + arena_size) {
        p.size = arena + arena_size - p.a;
    }
    const MEMORY_BASIC_INFORMATION m = look(p.a);
    if (m.State != MEM_FREE) {
        p.base = base_of(m);
        p.end = end_of(p.base);
        // What lies behind a slot is not the sequence's.
        if (!in_arena && p.a + p.size > p.end) {
            p.size = p.end - p.a;
        }
    }
    return p;
}

void forget(address from, address to) {
    any_value.erase(any_value.lower_bound(down(from)), any_value.lower_bound(up(to)));
}

void allocate(address a, address size, DWORD type, DWORD protect, int into) {
    const std::string operation =
        into >= 0 ? text_of("A N %llx %lx %lx S%d", size, type, protect, into)
                  : text_of("A %s %llx %lx %lx", name_of(a).c_str(), size, type, protect);
    SetLastError(0);
    const auto got = reinterpret_cast<address>(VirtualAlloc(at(a), size, type, protect));
    const DWORD error = GetLastError();
    if (got == 0) {
        refusal(operation, error, is_valid(protect) ? error : 87); // A5
        return;
    }
    if (into >= 0) {
        slots[into] = {got, up(size)};
    }
    if ((type & MEM_RESERVE) != 0 || a == 0) {
        histories[got] = {(type & MEM_WRITE_WATCH) != 0, false, is_guard(protect)};
        forget(got, end_of(got));
    } else if (type == MEM_RESET) {
        for (address p = down(a); p < up(a + size); p += page) {
            if (look(p).State == MEM_COMMIT) {
                any_value.insert(p);
            }
        }
    } else if (is_guard(protect)) {
        histories[base_of(look(got))].guarded = true;
    }
    line(operation, "ok " + name_of(got));
}

void release(address a, address size, DWORD type) {
    const std::string operation = text_of("F %s %llx %lx", name_of(a).c_str(), size, type);
    const MEMORY_BASIC_INFORMATION m = look(a);
    const address base = m.State != MEM_FREE ? base_of(m) : 0;
    const address end = base != 0 ? end_of(base) : 0;
    SetLastError(0);
    const bool done = VirtualFree(at(a), size, type) != 0;
    const DWORD error = GetLastError();
    if (!done) {
        const bool is_well_formed = type == MEM_DECOMMIT || size == 0;
        refusal(operation, error, base == 0 && is_well_formed ? 487 : error); // F4
        return;
    }
    if (type == MEM_RELEASE) {
        forget(base, end);
        histories.erase(base);
        for (slot& s : slots) {
            s = s.base == base ? slot{} : s;
        }
    } else {
        forget(a, size == 0 ? end : a + size);
        histories[base].marks_unknown = true;
    }
    line(operation, "ok");
}

void protect(address a, address size, DWORD wanted) {
    const std::string operation = text_of("P %s %llx %lx", name_of(a).c_str(), size, wanted);
    const MEMORY_BASIC_INFORMATION m = look(a);
    const bool fits = m.State != MEM_FREE && up(a + size) <= end_of(base_of(m));
    DWORD old = 0;
    SetLastError(0);
    const bool done = VirtualProtect(at(a), size, wanted, &old) != 0;
    const DWORD error = GetLastError();
    if (!done) {
        refusal(operation, error, fits ? error : 487); // V4
        return;
    }
    if (is_guard(wanted)) {
        histories[base_of(m)].guarded = true;
    }
    line(operation, text_of("ok %lx", old));
}

void touch(address a) {
    const MEMORY_BASIC_INFORMATION m = look(a);
    const address base = m.State != MEM_FREE ? base_of(m) : 0;
    if (m.State == MEM_RESERVE && (histories[base].guarded || is_guard(m.AllocationProtect))) {
        return; // G3
    }
    const std::string name = name_of(a);
    const unsigned what = static_cast<unsigned>(below(10));
    if (what < 4) {
        unsigned value = 0;
        const bool refused = faults([&] { value = access_read(a); });
        line("R " + name, refused                         ? fault_text()
                          : any_value.count(down(a)) != 0 ? std::string("v?")
                                                          : text_of("v%02x", value));
    } else if (what < 9) {
        const unsigned value =
            (a & (page - 1)) == 0 && chance(60) ? 0xc3 : 1 + static_cast<unsigned>(below(255));
        const bool refused = faults([&] { access_write(a, value); });
        if (refused && base != 0 && histories[base].watched) {
            histories[base].marks_unknown = true; // WW6
        }
        line("W " + name + text_of(" %02x", value), refused ? fault_text() : "ok");
    } else {
        a = down(a);
        const bool may = m.State == MEM_COMMIT && (m.Protect & 0xf0) != 0 && !is_guard(m.Protect);
        unsigned value = 0;
        if (may &&
            (any_value.count(a) != 0 || faults([&] { value = access_read(a); }) || value != 0xc3)) {
            return; // nothing to call
        }
        const bool refused = faults([&] { access_execute(a); });
        line("X " + name_of(a), refused ? fault_text() : "ok");
    }
}

void watch(address a, address size) {
    const MEMORY_BASIC_INFORMATION m = look(a);
    if (m.State != MEM_FREE && histories[base_of(m)].marks_unknown) {
        return; // WW6, WW7
    }
    if (chance(25)) {
        SetLastError(0);
        const UINT r = ResetWriteWatch(at(a), size);
        const DWORD error = GetLastError();
        line(text_of("T %s %llx", name_of(a).c_str(), size), r == 0 ? "ok" : error_text(error));
        return;
    }
    constexpr ULONG_PTR room = 512;
    static void* pages[room];
    const DWORD flags = chance(30) ? 1 : 0;
    ULONG_PTR count = chance(25) ? 1 + below(3) : room;
    ULONG granularity = 0;
    const std::string operation =
        text_of("G %lx %s %llx %llx", flags, name_of(a).c_str(), size, static_cast<address>(count));
    SetLastError(0);
    const UINT r = GetWriteWatch(flags, at(a), size, pages, &count, &granularity);
    const DWORD error = GetLastError();
    std::string outcome =
        r == 0 ? text_of("ok %llx", static_cast<address>(count)) : error_text(error);
    for (ULONG_PTR i = 0; r == 0 && i < count; ++i) {
        outcome += " " + name_of(reinterpret_cast<address>(pages[i]));
    }
    line(operation, outcome);
}

void query(address a) {
    const bool in_arena = a >= arena && a < arena + arena_size;
    address end = 0;
    bool was_split = false;
    const address limit = in_arena ? arena + arena_size : end_of(base_of(look(a)));
    const std::string text = region(a, limit, end, was_split);
    line("Q " + name_of(a), text, was_split ? "split" : "");
}

void step() {
    const place p = some_place();
    const unsigned what = static_cast<unsigned>(below(100));
    const DWORD wanted = chance(96) ? one_of(protections) : one_of(no_protection);
    if (what < 14) {
        const address a =
            arena + below(arena_size / granule) * granule + (chance(30) ? below(granule) : 0);
        address size = 1 + below(chance(60) ? granule : 5 * granule);
        size = a + size > arena + arena_size ? arena + arena_size - a : size;
        const DWORD type = MEM_RESERVE | (chance(40) ? MEM_COMMIT : 0) |
                           (chance(30) ? MEM_WRITE_WATCH : 0) | (chance(8) ? MEM_TOP_DOWN : 0);
        allocate(a, size, type, wanted, -1);
    } else if (what < 18) {
        const auto k = static_cast<int>(below(slot_count));
        if (slots[k].base == 0) {
            const DWORD types[] = {MEM_COMMIT, MEM_RESERVE, MEM_RESERVE | MEM_COMMIT,
                                   MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH};
            const DWORD valid = one_of(protections);
            allocate(0, 1 + below(6 * granule), one_of(types), valid, k);
        }
    } else if (what < 36) {
        allocate(p.a, p.size, MEM_COMMIT, wanted, -1);
    } else if (what < 39) {
        allocate(p.a, p.size, MEM_RESET, one_of(protections), -1);
    } else if (what < 47) {
        release(p.a, p.size, MEM_DECOMMIT);
    } else if (what < 49) {
        release(p.base != 0 && chance(80) ? p.base : p.a, 0, MEM_DECOMMIT);
    } else if (what < 54) {
        release(p.base != 0 && chance(80) ? p.base : p.a, chance(90) ? 0 : p.size, MEM_RELEASE);
    } else if (what < 66) {
        protect(p.a, p.size, one_of(protections));
    } else if (what < 71) {
        query(p.a);
    } else if (what < 92) {
        touch(down(p.a) + (chance(40) ? 0 : below(page)));
    } else if (what < 99) {
        const bool whole = p.base != 0 && chance(50);
        watch(whole ? p.base : p.a, whole ? p.end - p.base : p.size);
    } else {
        line("M", map_text());
    }
}

} // namespace

int main(int count, char** words) {
    if (count != 4) {
        std::fputs("usage: record FIRST-SEED SEQUENCES OPERATIONS\n", stderr);
        return 2;
    }
    const std::uint64_t first = std::strtoull(words[1], nullptr, 10);
    const std::uint64_t sequences = std::strtoull(words[2], nullptr, 10);
    const std::uint64_t operations = std::strtoull(words[3], nullptr, 10);
    const MEMORY_BASIC_INFORMATION m = look(arena);
    if (m.State != MEM_FREE || m.RegionSize < arena_size) {
        std::fputs("record: the arena is not free\n", stderr);
        return 1;
    }
    AddVectoredExceptionHandler(1, on_exception);
    std::printf("# vmseq 1 arena=%llx page=1000 gran=10000\n", arena_size);
    for (std::uint64_t s = first; s < first + sequences; ++s) {
        state = s * 0x9e3779b97f4a7c15ULL + 1;
        histories.clear();
        any_value.clear();
        last_hash = hash_of_map();
        std::printf("SEQ %llu h=%08x\n", static_cast<unsigned long long>(s), last_hash);
        for (std::uint64_t i = 0; i < operations; ++i) {
            step();
        }
        line("M", map_text());
        for (const address base : allocations()) {
            VirtualFree(at(base), 0, MEM_RELEASE);
        }
        for (slot& free : slots) {
            free = {};
        }
        std::puts("END");
    }
    return 0;
}
