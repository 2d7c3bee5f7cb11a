// SPDX-License-Identifier: MIT
// Heaps of two owners beside a model of them that is a list of blocks: each operation is carried out on
// both, and what the heaps say, hold and charge is compared.
//
//   heaps 0, 1   of an owner without a limit; 0 thread-safe, 1 not (D20: as safe)
//   heaps 2, 3   of an owner with a limit that operations move; 3 executable (decision 10)
//
// Asked after an operation: blocks are where no other is, aligned, as large as they say, with the
// contents that were written; a refusal changed nothing and had a reason; wrong frees are found and
// reported, once each (D8).
// Asked now and then: live bytes and blocks to the byte, and that what owners are charged is what their
// heaps hold, to the page.
#pragma once

#include "com/host_malloc.hpp"
#include "manager/host.hpp"
#include "memreeve/host_interfaces.h"
#include "support/block_pattern.hpp"
#include "support/errand_thread.hpp"
#include "support/heap_operation.hpp"

#include <array>
#include <atomic>
#include <cstdarg>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace memreeve::test {

class heap_twin {
public:
    std::uint64_t books_every = 16; // operations
    // Round every operation: arms and disarms faults. Then a refusal needs no reason.
    std::function<void(bool begins)> around;
    std::uint64_t refused = 0;
    std::array<std::uint64_t, heap_step_count> done{};

    heap_twin() {
        manager::host::settings settings;
        settings.memory.watch_system = false;
        settings.memory.report = [](void* count, const char*) {
            static_cast<std::atomic<std::uint64_t>*>(count)->fetch_add(1);
        };
        settings.memory.report_context = &reports_;
        const auto made = manager::host::create(settings);
        if (!made) {
            return;
        }
        host_ = *made;
        for (unsigned o = 0; o < 2; ++o) {
            const auto opened = host_->open_owner(owner_id::none, o == 0 ? "free" : "bounded", {});
            if (!opened) {
                return;
            }
            owners_[o].id = *opened;
            owners_[o].com = std::make_unique<com::host_memory_manager>(
                host_->memory(), *opened, &host_->notices(), &host_->records());
        }
        for (unsigned i = 0; i < heap_count; ++i) {
            if (!open_heap(i)) {
                return;
            }
        }
        is_good_ = true;
    }
    heap_twin(const heap_twin&) = delete;
    heap_twin& operator=(const heap_twin&) = delete;
    ~heap_twin() {
        if (host_ == nullptr) {
            return;
        }
        for (heap_of_model& h : heaps_) {
            if (h.com != nullptr) {
                h.com->Release();
            }
        }
        owners_[0].com.reset();
        owners_[1].com.reset();
        host_->destroy();
    }
    bool is_good() const { return is_good_; }
    manager::host& host() { return *host_; }

    // Empty, or what is wrong.
    std::string run(const heap_operation& o) {
        std::string wrong;
        const std::function<void()> errand = [&] { wrong = carry_out(o); };
        switch (o.thread) {
        case 0: errand(); break;
        case 1:
        case 2: staying_[o.thread - 1].do_now(errand); break;
        default: std::thread(errand).join(); break;
        }
        ++done[static_cast<unsigned>(o.what)];
        if (wrong.empty() && ++operations_ % books_every == 0) {
            wrong = compare_books();
        }
        return wrong;
    }
    // Everything is freed, every heap given back: nothing is live, then nothing is charged.
    std::string finish() {
        std::string wrong = compare_books();
        for (unsigned s = 0; s < heap_slots && wrong.empty(); ++s) {
            if (slots_[s]) {
                wrong = free_block(s, heaps_[slots_[s]->heap]);
            }
        }
        wrong = wrong.empty() ? compare_books() : wrong;
        for (heap_of_model& h : heaps_) {
            if (h.com->Release() != 0 && wrong.empty()) {
                wrong = "the heap's last release was not the last";
            }
            h.com = nullptr;
        }
        host_->memory().drop_warm();
        host_->memory().space().settle_owed();
        for (owner_of_model& o : owners_) {
            if (wrong.empty() && charged(o) != 0) {
                wrong = say("%s is charged %llu pages for nothing",
                            o.com == owners_[0].com ? "the free owner" : "the bounded owner",
                            number(charged(o)));
            }
            o.com.reset();
            if (wrong.empty() && !host_->close_owner(o.id)) {
                wrong = "an owner without anything cannot be closed";
            }
        }
        host_->destroy();
        host_ = nullptr;
        return wrong;
    }

private:
    struct owner_of_model {
        owner_id id = owner_id::none;
        std::unique_ptr<com::host_memory_manager> com;
        byte_count limit = ~byte_count{0};
    };
    struct heap_of_model {
        unsigned owner = 0;
        IHostMalloc* com = nullptr;
        std::uint64_t blocks = 0;
        byte_count bytes = 0; // sum of size_of
        bool executable = false;
    };
    struct block {
        unsigned heap = 0;
        address at = 0;
        byte_count usable = 0;
        std::uint64_t seed = 0;
        int line = -1; // of a block of allocate_debug
        unsigned name = 0;
    };
    static unsigned long long number(std::uint64_t n) { return n; }
    static std::string say(const char* format, ...) __attribute__((format(printf, 1, 2))) {
        char buffer[300];
        va_list list;
        va_start(list, format);
        std::vsnprintf(buffer, sizeof buffer, format, list);
        va_end(list);
        return buffer;
    }
    manager::owner_heap& blocks_of(heap_of_model& h) {
        return static_cast<com::host_malloc*>(h.com)->blocks();
    }
    owner_of_model& owner_of(const heap_of_model& h) { return owners_[h.owner]; }
    page_count charged(const owner_of_model& o) {
        host_->books().tree().drain();
        return host_->books().tree().charged(o.id);
    }
    page_count held(unsigned owner) {
        page_count sum = 0;
        for (heap_of_model& h : heaps_) {
            sum += h.owner == owner && h.com != nullptr ? blocks_of(h).stats().pages_held : 0;
        }
        return sum;
    }

    bool open_heap(unsigned i) {
        heap_of_model& h = heaps_[i];
        h = {};
        h.owner = i / 2;
        h.executable = i == 3;
        const DWORD type = (i == 1 ? 0u : DWORD{MALLOC_THREADSAFE}) |
                           (h.executable ? DWORD{MALLOC_EXECUTABLE} : 0u);
        return owner_of(h).com->CreateMalloc(type, &h.com) == S_OK;
    }

    // ---- the pieces of an operation ----------------------------------------------------------------
    void begin() {
        if (around) {
            around(true);
        }
    }
    void end() {
        if (around) {
            around(false);
        }
    }
    template <class F>
    auto with_faults(F f) {
        begin();
        auto r = f();
        end();
        return r;
    }

    std::string carry_out(const heap_operation& o) {
        heap_of_model& h = heaps_[o.heap % heap_count];
        std::optional<block>& slot = slots_[o.slot % heap_slots];
        using enum heap_step;
        switch (o.what) {
        case allocate:
        case debug:
        case zeroed:
        case aligned: return slot ? look_at(*slot) : place(o, h, slot);
        case resize: return slot ? resize_block(o, *slot) : std::string();
        case heap_step::free:
            return slot ? free_block(o.slot % heap_slots, heaps_[slot->heap]) : "";
        case free_twice: {
            if (!slot) {
                return "";
            }
            const block gone = *slot;
            std::string wrong = free_block(o.slot % heap_slots, heaps_[gone.heap]);
            return wrong.empty() ? refuse_free(heaps_[gone.heap], gone.at, "freed twice") : wrong;
        }
        case free_interior: {
            if (!slot) {
                return "";
            }
            const byte_count inside = 1 + o.more % (slot->usable > 1 ? slot->usable - 1 : 1);
            std::string wrong = refuse_free(heaps_[slot->heap], slot->at + inside, "interior");
            return wrong.empty() ? look_at(*slot) : wrong;
        }
        case free_wrongly: {
            if (!slot || slot->heap == o.heap % heap_count) {
                return "";
            }
            std::string wrong = refuse_free(h, slot->at, "another heap's");
            return wrong.empty() ? look_at(*slot) : wrong;
        }
        case free_wild: {
            // Of no block: in a granule of nothing, on the stack, in the middle of nowhere.
            const address wild[] = {16 + o.more, reinterpret_cast<address>(&slot) + o.more % 64,
                                    top_address - o.more, ~address{0} - o.more,
                                    reinterpret_cast<address>(host_) + o.more % page_size};
            return refuse_free(h, wild[o.more % 5], "wild");
        }
        case heap_step::look: return slot ? look_at(*slot) : std::string();
        case trim: return trim_heap(h);
        case limit: return set_limit(o, h);
        case renew: return renew_heap(o.heap % heap_count);
        }
        return "";
    }

    std::string place(const heap_operation& o, heap_of_model& h, std::optional<block>& slot) {
        const heap::heap_stats before = blocks_of(h).stats();
        block b;
        b.heap = o.heap % heap_count;
        b.seed = ++last_seed_;
        byte_count alignment = 16;
        address at = 0;
        HRESULT hr = S_OK;
        void* out = &hr;
        const auto of_result = [&](const result<address>& r) {
            at = r ? *r : 0;
            return r ? S_OK : E_OUTOFMEMORY;
        };
        begin();
        switch (o.what) {
        case heap_step::debug: {
            b.name = o.more % 5;
            b.line = static_cast<int>(o.more) * 1000 + 1;
            char transient[32]; // D33: the caller's string may be gone afterwards
            std::snprintf(transient, sizeof transient, "file_%u.cpp", b.name);
            hr = h.com->DebugAlloc(o.size, eProcessCritical, b.name == 4 ? nullptr : transient,
                                   b.line, &out);
            at = reinterpret_cast<address>(out);
            std::memset(transient, 'x', sizeof transient - 1);
            break;
        }
        case heap_step::zeroed:
            hr = of_result(blocks_of(h).allocate_zeroed(o.size, criticality::process));
            break;
        case heap_step::aligned:
            alignment = byte_count{1} << o.more % 22;
            hr = of_result(blocks_of(h).allocate_aligned(o.size, alignment, criticality::process));
            alignment = alignment < 16 ? 16 : alignment;
            break;
        default:
            hr = h.com->Alloc(o.size, eProcessCritical, &out);
            at = reinterpret_cast<address>(out);
            break;
        }
        end();
        if (hr != S_OK) {
            if (at != 0) {
                return "refused, and the out pointer is not null";
            }
            return refusal(o.size, alignment, h, before);
        }
        if (at == 0 || at % alignment != 0) {
            return say("a block at %llx, wanted at a multiple of %llx", number(at),
                       number(alignment));
        }
        b.at = at;
        b.usable = blocks_of(h).size_of(at);
        if (b.usable < o.size || b.usable == 0) {
            return say("%llu bytes wanted, size_of says %llu", number(o.size), number(b.usable));
        }
        if (o.what == heap_step::zeroed) {
            for (byte_count i = 0; i < o.size; i += i < 4096 ? 1 : 61) {
                if (reinterpret_cast<const unsigned char*>(at)[i] != 0) {
                    return say("byte %llu of a zeroed block is not zero", number(i));
                }
            }
        }
        if (std::string wrong = enter(b); !wrong.empty()) {
            return wrong;
        }
        if (h.executable) {
            *reinterpret_cast<unsigned char*>(at) = 0xc3; // ret
            reinterpret_cast<void (*)()>(at)();
        }
        write_pattern(b.at, b.usable, b.seed);
        h.blocks += 1;
        h.bytes += b.usable;
        slot = b;
        return "";
    }

    // No byte of it is another block's.
    std::string enter(const block& b) {
        const auto above = where_.lower_bound(b.at);
        if (above != where_.end() && above->first < b.at + b.usable) {
            return say("the block %llx+%llu runs into the block %llx", number(b.at),
                       number(b.usable), number(above->first));
        }
        if (above != where_.begin()) {
            const auto below = std::prev(above);
            if (below->first + below->second > b.at) {
                return say("the block %llx lies in the block %llx+%llu", number(b.at),
                           number(below->first), number(below->second));
            }
        }
        where_[b.at] = b.usable;
        return "";
    }

    std::string look_at(const block& b) {
        byte_count at = 0;
        if (!has_pattern(b.at, b.usable, b.seed, b.usable, &at)) {
            return say("byte %llu of the block %llx+%llu was overwritten", number(at), number(b.at),
                       number(b.usable));
        }
        heap_of_model& h = heaps_[b.heap];
        if (blocks_of(h).size_of(b.at) != b.usable) {
            return say("the block %llx has %llu bytes, had %llu", number(b.at),
                       number(blocks_of(h).size_of(b.at)), number(b.usable));
        }
        if (!blocks_of(h).owns(b.at) || !blocks_of(h).owns(b.at + b.usable - 1)) {
            return say("its heap does not own the block %llx", number(b.at));
        }
        const char* file = nullptr;
        int line = 0;
        const bool named = blocks_of(h).origin_of(b.at, &file, &line);
        if (b.line >= 0) {
            char expected[32];
            std::snprintf(expected, sizeof expected, "file_%u.cpp", b.name);
            if (!named || line != b.line || (file == nullptr) != (b.name == 4) ||
                (file != nullptr && std::strcmp(file, expected) != 0)) {
                return say("the block %llx was made by %s:%d, the heap says %s:%d", number(b.at),
                           expected, b.line, named && file != nullptr ? file : "nobody", line);
            }
        } else if (named && b.line == -1) {
            return say("the plain block %llx has the origin %s:%d", number(b.at),
                       file != nullptr ? file : "", line);
        }
        return "";
    }

    std::string free_block(unsigned s, heap_of_model& h) {
        const block b = *slots_[s];
        if (std::string wrong = look_at(b); !wrong.empty()) {
            return wrong;
        }
        const HRESULT hr = with_faults([&] { return h.com->Free(reinterpret_cast<void*>(b.at)); });
        if (hr != S_OK) {
            return say("free of the live block %llx: %#x", number(b.at), static_cast<unsigned>(hr));
        }
        h.blocks -= 1;
        h.bytes -= b.usable;
        where_.erase(b.at);
        slots_[s].reset();
        if (const byte_count left = blocks_of(h).size_of(b.at); left != 0) {
            return say("the freed block %llx has a size: %llu", number(b.at), number(left));
        }
        return "";
    }

    std::string refuse_free(heap_of_model& h, address at, const char* why) {
        const heap::heap_stats before = blocks_of(h).stats();
        const std::uint64_t reports = reports_.load();
        const HRESULT hr = with_faults([&] { return h.com->Free(reinterpret_cast<void*>(at)); });
        if (hr != HOST_E_INVALIDOPERATION) {
            return say("free of %llx (%s): %#x", number(at), why, static_cast<unsigned>(hr));
        }
        if (reports_.load() != reports + 1) {
            return say("free of %llx (%s) was reported %llu times", number(at), why,
                       number(reports_.load() - reports));
        }
        ++expected_reports_;
        if (blocks_of(h).size_of(at) != 0) {
            return say("%llx (%s) has a size", number(at), why);
        }
        const auto changed =
            with_faults([&] { return blocks_of(h).resize(at, 100, criticality::process); });
        if (changed || changed.error().code != errc::not_ours) {
            return say("resize of %llx (%s) was not refused as it must be", number(at), why);
        }
        const heap::heap_stats after = blocks_of(h).stats();
        if (after.live_blocks != before.live_blocks || after.live_bytes != before.live_bytes) {
            return say("the refused free of %llx (%s) changed the counts", number(at), why);
        }
        return "";
    }

    std::string resize_block(const heap_operation& o, block& b) {
        if (std::string wrong = look_at(b); !wrong.empty()) {
            return wrong;
        }
        heap_of_model& h = heaps_[b.heap];
        const heap::heap_stats before = blocks_of(h).stats();
        const result<address> r =
            with_faults([&] { return blocks_of(h).resize(b.at, o.size, criticality::process); });
        if (!r) {
            std::string wrong = refusal(o.size, 16, h, before);
            return !wrong.empty()       ? wrong
                   : o.size <= b.usable ? say("a block of %llu bytes would not shrink to %llu",
                                              number(b.usable), number(o.size))
                                        : look_at(b);
        }
        const block old = b;
        where_.erase(old.at);
        b.at = *r;
        b.usable = blocks_of(h).size_of(b.at);
        b.seed = ++last_seed_;
        b.line = old.line == -1 ? -1 : -2; // a name may be lost on the way
        h.bytes += b.usable - old.usable;
        if (b.usable < o.size || b.usable == 0) {
            return say("resized to %llu bytes, size_of says %llu", number(o.size),
                       number(b.usable));
        }
        const byte_count kept = old.usable < o.size ? old.usable : o.size;
        byte_count at = 0;
        if (!has_pattern(b.at, old.usable, old.seed, kept, &at)) {
            return say("resized from %llu to %llu bytes, it lost byte %llu", number(old.usable),
                       number(o.size), number(at));
        }
        if (b.at != old.at && blocks_of(h).size_of(old.at) != 0) {
            return say("resized to elsewhere, the old block %llx is live", number(old.at));
        }
        if (std::string wrong = enter(b); !wrong.empty()) {
            return wrong;
        }
        write_pattern(b.at, b.usable, b.seed);
        return "";
    }

    // It changed nothing, and the limit is the reason: after draining there was no room.
    std::string refusal(byte_count wanted, byte_count alignment, heap_of_model& h,
                        const heap::heap_stats& before) {
        ++refused;
        const heap::heap_stats now = blocks_of(h).stats();
        if (now.live_blocks != before.live_blocks || now.live_bytes != before.live_bytes) {
            return "a refused request changed the counts";
        }
        const owner_of_model& o = owner_of(h);
        if (around || wanted >= byte_count{1} << 45) {
            return "";
        }
        const byte_count has = bytes_of(charged(o));
        // A slab or a table of the heap's own may be what does not fit.
        const byte_count most = wanted + alignment + (byte_count{1} << 20) + has / 4;
        return o.limit == ~byte_count{0} || has + most < o.limit
                   ? say("%llu bytes were refused to who has %llu of %llu", number(wanted),
                         number(has), number(o.limit))
                   : "";
    }

    std::string trim_heap(heap_of_model& h) {
        const auto all = [&] {
            host_->books().tree().drain();
            return host_->books().tree().charged(owner_id::root);
        };
        // A thread's first request costs the heap a cache; what follows costs nothing.
        if (void* out = nullptr; h.com->Alloc(8, eProcessCritical, &out) == S_OK) {
            h.com->Free(out);
        }
        const page_count before = all();
        const byte_count given = with_faults([&] { return blocks_of(h).trim(); });
        const page_count after = all();
        if (!around && before - after != pages_of(given)) {
            return say("trim says %llu bytes, the owners have %llu pages, had %llu", number(given),
                       number(after), number(before));
        }
        return compare_books();
    }

    std::string set_limit(const heap_operation& o, heap_of_model& h) {
        owner_of_model& who = owner_of(h);
        if (h.owner == 0) {
            return "";
        }
        who.limit =
            o.size == 0 ? ~byte_count{0} : round_up(bytes_of(charged(who)) + o.size, page_size);
        budget::tree::limits l;
        l.hard = who.limit;
        return host_->set_limits(who.id, l) ? "" : "a limit was not accepted";
    }

    std::string renew_heap(unsigned index) {
        for (std::optional<block>& slot : slots_) {
            if (slot && slot->heap == index) {
                if (std::string wrong = look_at(*slot); !wrong.empty()) {
                    return wrong;
                }
                where_.erase(slot->at);
                slot.reset();
            }
        }
        const unsigned owner = heaps_[index].owner;
        const ULONG left = with_faults([&] { return heaps_[index].com->Release(); });
        heaps_[index].com = nullptr;
        if (left != 0) {
            return "the heap's last release was not the last";
        }
        std::string wrong = compare_charges(owner);
        const budget::tree::limits none;
        if (!host_->set_limits(owners_[owner].id, none)) {
            return "a limit was not accepted";
        }
        owners_[owner].limit = ~byte_count{0};
        return !open_heap(index) ? std::string("no heap after another was given back") : wrong;
    }

    // ---- the books ------------------------------------------------------------------------------
    std::string compare_charges(unsigned owner) {
        host_->memory().drop_warm();
        const page_count is = charged(owners_[owner]);
        const page_count by_heaps = held(owner);
        return is != by_heaps ? say("owner %u is charged %llu pages, its heaps hold %llu", owner,
                                    number(is), number(by_heaps))
                              : "";
    }
    std::string compare_books() {
        if (reports_.load() != expected_reports_) {
            return say("%llu misuses were reported, there were %llu", number(reports_.load()),
                       number(expected_reports_));
        }
        for (unsigned i = 0; i < heap_count; ++i) {
            heap_of_model& h = heaps_[i];
            const heap::heap_stats s = blocks_of(h).stats();
            if (s.live_blocks != h.blocks || s.live_bytes != h.bytes) {
                return say("heap %u says %llu blocks, %llu bytes; they are %llu and %llu", i,
                           number(s.live_blocks), number(s.live_bytes), number(h.blocks),
                           number(h.bytes));
            }
        }
        for (unsigned o = 0; o < 2; ++o) {
            if (const page_count is = charged(owners_[o]);
                bytes_of(is) > owners_[o].limit && owners_[o].limit != ~byte_count{0}) {
                return say("owner %u is charged %llu bytes, above its limit of %llu", o,
                           number(bytes_of(is)), number(owners_[o].limit));
            }
            if (std::string wrong = compare_charges(o); !wrong.empty()) {
                return wrong;
            }
        }
        return "";
    }

    manager::host* host_ = nullptr;
    bool is_good_ = false;
    std::array<owner_of_model, 2> owners_;
    std::array<heap_of_model, heap_count> heaps_;
    std::array<std::optional<block>, heap_slots> slots_;
    std::map<address, byte_count> where_; // live blocks of all heaps
    std::uint64_t last_seed_ = 0;
    std::uint64_t operations_ = 0;
    std::atomic<std::uint64_t> reports_{0};
    std::uint64_t expected_reports_ = 0;
    std::array<errand_thread, 2> staying_;
};

} // namespace memreeve::test
