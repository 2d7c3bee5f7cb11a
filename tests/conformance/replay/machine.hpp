// SPDX-License-Identifier: MIT
// Executes operations of the recorded Win32 sequences (oracle/README.md) through IHostMemoryManager
// and renders results and maps as the sequences do. Shared by win32_replay and win32_rules_test.
#pragma once

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace memreeve::replay {

inline constexpr std::uint64_t page = 0x1000;
inline constexpr std::uint64_t granule = 0x10000;
inline constexpr std::uint64_t arena_size = 0x180000;
inline constexpr std::uint64_t kernel_base = 0xffff800000000000;
inline constexpr unsigned slot_count = 6;

// A line that is not of the format; the message says what was expected.
struct malformed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// HRESULTs of the interface as the Win32 errors of the sequences. The rows marked with a decision
// differ from Win32 by decision, all others are HRESULT_FROM_WIN32 or its COM name. 0: no row.
inline unsigned win32_error(HRESULT hr) {
    struct row {
        std::uint32_t hresult;
        unsigned error;
    };
    static constexpr row table[] = {
        {0x80070057, 87},   // E_INVALIDARG
        {0x800701E7, 487},  // bad address
        {0x80131022, 487},  // HOST_E_INVALIDOPERATION: not obtained through this host (decision 6)
        {0x8007000E, 8},    // E_OUTOFMEMORY: Win32 8, 14 and 1455 alike (D3)
        {0x80070018, 24},   // ERROR_BAD_LENGTH
        {0x800703E6, 998},  // ERROR_NOACCESS
        {0x80070522, 1314}, // ERROR_PRIVILEGE_NOT_HELD (decision 7)
        {0x80070032, 50},   // ERROR_NOT_SUPPORTED
    };
    for (const row& r : table) {
        if (r.hresult == static_cast<std::uint32_t>(hr)) {
            return r.error;
        }
    }
    return 0;
}

inline std::string failure(HRESULT hr) {
    char text[32];
    if (const unsigned error = win32_error(hr); error != 0) {
        std::snprintf(text, sizeof text, "e%u", error);
    } else {
        std::snprintf(text, sizeof text, "hresult %08x", static_cast<unsigned>(hr));
    }
    return text;
}

inline std::string hex(std::uint64_t n) {
    char text[24];
    std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(n));
    return text;
}

inline std::uint64_t parse_hex(const std::string& text) {
    if (text.empty() || text.size() > 16 ||
        text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
        throw malformed("'" + text + "' is not a hexadecimal number");
    }
    return std::strtoull(text.c_str(), nullptr, 16);
}

inline std::uint32_t parse_dword(const std::string& text) {
    const std::uint64_t n = parse_hex(text);
    if (n > 0xffffffffu) {
        throw malformed("'" + text + "' does not fit 32 bits");
    }
    return static_cast<std::uint32_t>(n);
}

inline std::uint32_t fnv1a(const std::string& text) {
    std::uint32_t h = 2166136261u;
    for (const char c : text) {
        h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
    }
    return h;
}

inline std::vector<std::string> words_of(const std::string& line) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
        const std::size_t begin = line.find_first_not_of(" \t", at);
        if (begin == std::string::npos) {
            break;
        }
        at = line.find_first_of(" \t", begin);
        at = at == std::string::npos ? line.size() : at;
        words.push_back(line.substr(begin, at - begin));
    }
    return words;
}

// ---- accesses that may fault --------------------------------------------------------------------

struct trap {
    sigjmp_buf back;
    volatile sig_atomic_t armed = 0;
    std::uint64_t address = 0;
    unsigned kind = 0;  // 0 read, 1 write, 8 execute: ExceptionInformation[0]
    bool guard = false; // mrv_handle_fault dealt with it
};
inline thread_local trap the_trap;

inline void on_fault(int signal_number, siginfo_t* info, void* context) {
    const mrv_fault was = mrv_handle_fault(info, context);
    if (was == MRV_FAULT_WATCHED) {
        return; // the write is tried again
    }
    if (the_trap.armed == 0) {
        std::signal(signal_number, SIG_DFL);
        std::raise(signal_number);
        return;
    }
    the_trap.armed = 0;
    const auto* machine = static_cast<ucontext_t*>(context);
    const auto code = static_cast<std::uint64_t>(machine->uc_mcontext.gregs[REG_ERR]);
    the_trap.kind = (code & 16) != 0 ? 8 : (code & 2) != 0 ? 1 : 0;
    the_trap.address = reinterpret_cast<std::uint64_t>(info->si_addr);
    the_trap.guard = was == MRV_FAULT_GUARD;
    siglongjmp(the_trap.back, 1);
}

inline void install_fault_handler() {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

// One byte: 'R', 'W' of `value`, or 'X' (a call). The result as the sequences write it; a fault at
// another byte than `a` is told too (G1).
inline std::string access(char op, std::uint64_t a, unsigned value) {
    volatile unsigned read = 0;
    if (sigsetjmp(the_trap.back, 1) != 0) {
        char text[80];
        std::snprintf(text, sizeof text, "f%s,%u", the_trap.guard ? "GP" : "AV", the_trap.kind);
        std::string result = text;
        if (the_trap.address != a) {
            result += " at " + hex(the_trap.address); // G1: the exact byte
        }
        return result;
    }
    // In assembly: a sanitizer's check of the address would fault elsewhere, and first.
    the_trap.armed = 1;
    if (op == 'R') {
        unsigned char byte = 0;
        asm volatile("movb (%1), %0" : "=q"(byte) : "r"(a) : "memory");
        read = byte;
    } else if (op == 'W') {
        asm volatile("movb %0, (%1)" : : "q"(static_cast<unsigned char>(value)), "r"(a) : "memory");
    } else {
        reinterpret_cast<void (*)()>(a)();
    }
    the_trap.armed = 0;
    if (op != 'R') {
        return "ok";
    }
    char text[16];
    std::snprintf(text, sizeof text, "v%02x", static_cast<unsigned>(read));
    return text;
}

// ---- the machine --------------------------------------------------------------------------------

class machine {
public:
    // Picks an arena that VirtualQuery shows free. Throws std::runtime_error when there is none.
    machine(mrv_host* host, IHostMemoryManager* manager) : host_(host), manager_(manager) {
        // Below where the kernel places mappings, and memory that ThreadSanitizer lets a program use.
        for (std::uint64_t base = 0x7e9000000000; base < 0x7ef000000000;
             base += std::uint64_t{1} << 36) {
            MEMORY_BASIC_INFORMATION info{};
            SIZE_T got = 0;
            const HRESULT hr = manager_->VirtualQuery(pointer(base), &info, sizeof info, &got);
            if (hr == S_OK && got == sizeof info && info.State == 0x10000 &&
                info.RegionSize >= 4 * arena_size) {
                arena_ = base + granule;
                return;
            }
        }
        throw std::runtime_error("no free address space for the arena");
    }

    bool drop_write_watch = false; // --skip watch
    mrv_owner* owner = nullptr;    // for A2

    std::uint64_t arena() const { return arena_; }
    std::uint64_t slot(unsigned k) const { return slots_[k].base; }

    // `words` is one operation with its arguments, without " = result".
    std::string execute(const std::vector<std::string>& words) {
        const std::string& op = words.at(0);
        const auto need = [&](std::size_t least, std::size_t most) {
            if (words.size() - 1 < least || words.size() - 1 > most) {
                throw malformed("'" + op + "' takes " + std::to_string(least) + " arguments");
            }
        };
        if (op == "A") {
            need(4, 5);
            return allocate(words);
        }
        if (op == "F") {
            need(3, 3);
            return release(address_of(words[1]), parse_hex(words[2]), parse_dword(words[3]));
        }
        if (op == "P" || op == "PN") {
            need(3, 3);
            DWORD old = 0xdeadbeef;
            const HRESULT hr =
                manager_->VirtualProtect(pointer(address_of(words[1])), parse_hex(words[2]),
                                         parse_dword(words[3]), op == "P" ? &old : nullptr);
            return hr == S_OK ? "ok " + hex(old) : failure(hr);
        }
        if (op == "Q") {
            need(1, 1);
            const std::uint64_t a = address_of(words[1]);
            const bool in_arena = a - arena_ < arena_size;
            return region(a, in_arena ? arena_ + arena_size : ~std::uint64_t{0}, nullptr);
        }
        if (op == "R" || op == "X") {
            need(1, 1);
            return replay::access(op[0], address_of(words[1]), 0);
        }
        if (op == "W") {
            need(2, 2);
            return replay::access('W', address_of(words[1]), parse_dword(words[2]));
        }
        if (op == "G") {
            need(4, 4);
            return written_pages(parse_dword(words[1]), address_of(words[2]), parse_hex(words[3]),
                                 parse_hex(words[4]));
        }
        if (op == "T") {
            need(2, 2);
            return outcome(
                mrv_reset_write_watch(host_, pointer(address_of(words[1])), parse_hex(words[2])));
        }
        if (op == "M") {
            need(0, 0);
            return map();
        }
        // Not in the recorded sequences: VirtualAlloc2, VirtualFree with placeholders, VirtualLock and
        // VirtualUnlock.
        if (op == "A2") {
            need(4, 4);
            void* got = pointer(1);
            const mrv_status s = mrv_virtual_alloc2(owner, pointer(address_of(words[1])),
                                                    parse_hex(words[2]), parse_dword(words[3]),
                                                    parse_dword(words[4]), eTaskCritical, &got);
            return s == MRV_OK ? "ok " + name_of(reinterpret_cast<std::uint64_t>(got))
                               : outcome(s) + (got != nullptr ? " out pointer not nulled" : "");
        }
        if (op == "F2") {
            need(3, 3);
            return outcome(mrv_virtual_free2(host_, pointer(address_of(words[1])),
                                             parse_hex(words[2]), parse_dword(words[3])));
        }
        if (op == "L" || op == "U") {
            need(2, 2);
            void* const a = pointer(address_of(words[1]));
            return outcome(op == "L" ? mrv_virtual_lock(host_, a, parse_hex(words[2]))
                                     : mrv_virtual_unlock(host_, a, parse_hex(words[2])));
        }
        throw malformed("'" + op + "' is no operation (A F P PN Q R W X G T M)");
    }

    std::string map() {
        std::string text;
        walk(arena_, arena_ + arena_size, text);
        for (const auto& s : slots_) {
            if (s.base != 0) {
                walk(s.base, s.base + s.size, text);
            }
        }
        return text;
    }

    // Releases everything: the state at SEQ.
    void clear() {
        for (auto& s : slots_) {
            if (s.base != 0) {
                manager_->VirtualFree(pointer(s.base), 0, 0x8000);
                s = {};
            }
        }
        for (std::uint64_t a = arena_; a < arena_ + arena_size;) {
            MEMORY_BASIC_INFORMATION info{};
            SIZE_T got = 0;
            if (manager_->VirtualQuery(pointer(a), &info, sizeof info, &got) != S_OK ||
                info.RegionSize == 0) {
                break;
            }
            a += info.RegionSize;
            if (info.State != 0x10000) {
                manager_->VirtualFree(info.AllocationBase, 0, 0x8000);
            }
        }
    }

    std::uint64_t address_of(const std::string& text) const {
        if (text == "N") {
            return 0;
        }
        const std::size_t plus = text.find('+');
        if (plus != std::string::npos) {
            const std::string symbol = text.substr(0, plus);
            const std::uint64_t off = parse_hex(text.substr(plus + 1));
            if (symbol == "A") {
                return arena_ + off;
            }
            if (symbol == "Z") {
                return off;
            }
            if (symbol == "K") {
                return kernel_base + off;
            }
            if (symbol.size() == 2 && symbol[0] == 'S' && symbol[1] >= '0' &&
                symbol[1] < '0' + static_cast<int>(slot_count)) {
                const slot_state& s = slots_[static_cast<unsigned>(symbol[1] - '0')];
                if (s.base == 0) {
                    throw malformed(symbol + " names no living allocation");
                }
                return s.base + off;
            }
        }
        throw malformed("'" + text + "' is no address (N, A+off, S<k>+off, Z+off, K+off)");
    }

private:
    struct slot_state {
        std::uint64_t base = 0;
        std::uint64_t size = 0; // page-rounded
    };

    static void* pointer(std::uint64_t a) { return reinterpret_cast<void*>(a); }

    std::string name_of(std::uint64_t a) const {
        if (a >= arena_ && a <= arena_ + arena_size) {
            return "A+" + hex(a - arena_);
        }
        for (unsigned k = 0; k < slot_count; ++k) {
            if (slots_[k].base != 0 && a - slots_[k].base < slots_[k].size) {
                return "S" + std::to_string(k) + "+" + hex(a - slots_[k].base);
            }
        }
        return "?" + hex(a);
    }

    std::string allocate(const std::vector<std::string>& words) {
        const std::uint64_t a = address_of(words[1]);
        const std::uint64_t size = parse_hex(words[2]);
        DWORD type = parse_dword(words[3]);
        if (drop_write_watch && (type & 0x2000) != 0) {
            type &= ~DWORD{0x200000};
        }
        void* got = pointer(1);
        const HRESULT hr = manager_->VirtualAlloc(pointer(a), size, type, parse_dword(words[4]),
                                                  eTaskCritical, &got);
        if (hr != S_OK) {
            return failure(hr) + (got != nullptr ? " out pointer not nulled" : "");
        }
        const auto base = reinterpret_cast<std::uint64_t>(got);
        if (words.size() > 5) {
            const std::string& s = words[5];
            if (s.size() != 2 || s[0] != 'S' || s[1] < '0' ||
                s[1] >= '0' + static_cast<int>(slot_count)) {
                throw malformed("'" + s + "' is no slot (S0 to S5)");
            }
            slots_[static_cast<unsigned>(s[1] - '0')] = {base, (size + page - 1) & ~(page - 1)};
        }
        return "ok " + name_of(base);
    }

    std::string release(std::uint64_t a, std::uint64_t size, DWORD type) {
        const HRESULT hr = manager_->VirtualFree(pointer(a), size, type);
        if (hr != S_OK) {
            return failure(hr);
        }
        if (type == 0x8000) {
            for (auto& s : slots_) {
                if (s.base != 0 && s.base == (a & ~(page - 1))) {
                    s = {};
                }
            }
        }
        return "ok";
    }

    // The region at `a`, clipped at `limit`; `next` receives where the clipped region ends.
    std::string region(std::uint64_t a, std::uint64_t limit, std::uint64_t* next) {
        MEMORY_BASIC_INFORMATION info{};
        SIZE_T got = 1;
        const HRESULT hr = manager_->VirtualQuery(pointer(a), &info, sizeof info, &got);
        if (hr != S_OK) {
            return failure(hr) + (got != 0 ? " result not nulled" : "");
        }
        const auto base = reinterpret_cast<std::uint64_t>(info.BaseAddress);
        std::uint64_t size = info.RegionSize;
        if (base + size > limit) {
            size = limit - base;
        }
        if (next != nullptr) {
            *next = base + size;
        }
        std::string text = name_of(base) + "," + hex(size);
        const auto allocation = reinterpret_cast<std::uint64_t>(info.AllocationBase);
        // The fields that the text leaves out are constants of the state (Q5, Q6).
        bool usual = got == sizeof info;
        switch (info.State) {
        case 0x10000:
            text += ",F";
            usual = usual && allocation == 0 && info.AllocationProtect == 0 && info.Protect == 1 &&
                    info.Type == 0;
            break;
        case 0x2000:
            text += ",R," + name_of(allocation) + "," + hex(info.AllocationProtect);
            usual = usual && info.Protect == 0 && info.Type == 0x20000;
            break;
        case 0x1000:
            text += ",C," + name_of(allocation) + "," + hex(info.AllocationProtect) + "," +
                    hex(info.Protect);
            usual = usual && info.Type == 0x20000;
            break;
        default: usual = false;
        }
        if (!usual) {
            text += " [State " + hex(info.State) + " Protect " + hex(info.Protect) + " Type " +
                    hex(info.Type) + " AllocationBase " + hex(allocation) + " length " + hex(got) +
                    "]";
        }
        return text;
    }

    void walk(std::uint64_t a, std::uint64_t end, std::string& text) {
        while (a < end) {
            std::uint64_t next = a;
            text += region(a, end, &next) + ";";
            if (next <= a) {
                text += "stuck";
                return;
            }
            a = next;
        }
    }

    // Statuses of the C calls as Win32 errors.
    static std::string outcome(mrv_status s) {
        return s == MRV_OK ? "ok" : "e" + std::to_string(mrv_win32_error(s));
    }

    std::string written_pages(DWORD flags, std::uint64_t a, std::uint64_t size,
                              std::uint64_t count) {
        std::vector<void*> pages(count < 0x10000 ? count : 0x10000);
        std::size_t found = pages.size();
        std::uint32_t granularity = 0;
        const mrv_status s =
            mrv_get_write_watch(host_, flags, pointer(a), size, pages.data(), &found, &granularity);
        if (s != MRV_OK) {
            return outcome(s);
        }
        if (granularity != page) {
            return "granularity " + hex(granularity);
        }
        std::string text = "ok " + hex(found);
        for (std::uint64_t i = 0; i < found && i < pages.size(); ++i) {
            text += " " + name_of(reinterpret_cast<std::uint64_t>(pages[i]));
        }
        return text;
    }

    mrv_host* host_;
    IHostMemoryManager* manager_;
    std::uint64_t arena_ = 0;
    slot_state slots_[slot_count]{};
};

} // namespace memreeve::replay
