// SPDX-License-Identifier: MIT
// The sweep over heaps, COM objects, hosts, owners and the notifier (hosting-api; F1, F2, F40).
#include "budget/charge.hpp"
#include "com/host_malloc.hpp"
#include "fault/host_world.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>

namespace memreeve::test {
namespace {

constexpr DWORD thread_safe = 0x1;

outcome com_outcome(HRESULT hr) {
    return {hr == S_OK, text_of("0x%08x", static_cast<unsigned>(hr))};
}

void with_new_heap(host_world& w) {
    w.must(com_outcome(w.com->CreateMalloc(thread_safe, &w.heap)), "CreateMalloc");
}
// And there are places for large blocks: a request that does without them, because they could not be
// had, leaves them to be made later (`alloc_first_large`).
void with_heap(host_world& w) {
    with_new_heap(w);
    void* block = nullptr;
    w.must(com_outcome(w.heap->Alloc(1 << 20, eProcessCritical, &block)), "Alloc");
    w.must(com_outcome(w.heap->Free(block)), "Free");
    static_cast<void>(static_cast<com::host_malloc*>(w.heap)->blocks().trim());
}
void end_heap(host_world& w) {
    w.heap->Release();
    w.heap = nullptr;
    w.settle();
}
// The block can be written from end to end.
std::string usable(void* block, std::size_t size) {
    std::memset(block, 0x5a, size);
    return "";
}

host_script allocating(const char* name, std::size_t size, std::size_t already) {
    host_script s;
    s.name = name;
    s.prepare = [=](host_world& w) {
        with_heap(w);
        void* block = nullptr;
        for (std::size_t i = 0; i < already; ++i) {
            w.must(com_outcome(w.heap->Alloc(size, eProcessCritical, &block)), "Alloc");
        }
    };
    s.run = [=](host_world& w) {
        w.block = &w;
        const HRESULT hr = w.heap->Alloc(size, eProcessCritical, &w.block);
        if (hr != S_OK && w.block != nullptr) {
            throw std::string("the out pointer was not set to null");
        }
        return com_outcome(hr);
    };
    s.done = [=](host_world& w) { return usable(w.block, size); };
    s.revert = [](host_world& w) {
        w.must(com_outcome(w.heap->Free(w.block)), "Free");
        end_heap(w);
    };
    return s;
}

constexpr auto top = criticality::process;
void* many[100]; // blocks of a script
manager::owner_heap& blocks(host_world& w) {
    return static_cast<com::host_malloc*>(w.heap)->blocks();
}
outcome blocks_outcome(host_world& w, const result<address>& r) {
    w.block = r ? reinterpret_cast<void*>(*r) : nullptr;
    return host_world::outcome_of(r);
}

struct quiet_callback final : ICLRMemoryNotificationCallback {
    std::atomic<ULONG> references{1};
    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void** out) noexcept override {
        *out = nullptr;
        return E_NOINTERFACE;
    }
    ULONG STDMETHODCALLTYPE AddRef() noexcept override { return ++references; }
    ULONG STDMETHODCALLTYPE Release() noexcept override { return --references; }
    HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable) noexcept override {
        return S_OK;
    }
};

// For a request whose refusal changes what the heap keeps for later, and nothing that is live.
void judged_by_what_lives(host_script& s, std::size_t size, std::uint64_t before) {
    const auto request = s.run;
    s.run = [=](host_world& w) -> outcome {
        w.block = nullptr;
        (void)request(w);
        return {true, ""};
    };
    s.done = [=](host_world& w) {
        if (w.block == nullptr) {
            if (blocks(w).stats().live_blocks != before) {
                return std::string("refused, and something else is live");
            }
            w.must(request(w), "the request again");
        }
        return blocks(w).stats().live_blocks == before + 1
                   ? usable(w.block, size)
                   : std::string("not one block more is live");
    };
}

std::vector<host_script> heap_scripts() {
    std::vector<host_script> list;
    for (const DWORD type : {DWORD{0}, thread_safe, DWORD{thread_safe | 0x2}}) {
        host_script s;
        s.name = "create_malloc_" + std::to_string(type);
        s.run = [=](host_world& w) {
            w.heap = reinterpret_cast<IHostMalloc*>(&w);
            const HRESULT hr = w.com->CreateMalloc(type, &w.heap);
            if (hr != S_OK && w.heap != nullptr) {
                throw std::string("the out pointer was not set to null");
            }
            return com_outcome(hr);
        };
        s.done = [](host_world& w) {
            void* block = nullptr;
            const HRESULT hr = w.heap->Alloc(100, eProcessCritical, &block);
            return hr == S_OK ? usable(block, 100) : std::string("the heap gives nothing");
        };
        s.revert = end_heap;
        list.push_back(s);
    }
    list.push_back(allocating("alloc_first", 40, 0));
    list.push_back(allocating("alloc_second", 40, 1));
    list.push_back(allocating("alloc_new_slab", 2000, 200));
    list.push_back(allocating("alloc_medium", 20000, 0));
    {
        host_script s = allocating("alloc_first_large", 1 << 20, 0);
        s.prepare = with_new_heap;
        s.may_lose_address_space = true;
        list.push_back(s);
    }
    list.push_back(allocating("alloc_large", 1 << 20, 0));
    list.push_back(allocating("alloc_large_again", 1 << 20, 2));
    {
        host_script s = allocating("debug_alloc", 40, 0);
        s.run = [](host_world& w) {
            char file[] = "sweep.cpp";
            return com_outcome(w.heap->DebugAlloc(40, eProcessCritical, file, 17, &w.block));
        };
        judged_by_what_lives(s, 40, 0); // records of this thread's debug blocks may stay
        list.push_back(s);
    }
    for (const std::size_t size : {std::size_t{2000}, std::size_t{1} << 20}) {
        // Names that the heap does not know yet, long enough to need room among its records.
        host_script s = allocating(size == 2000 ? "debug_alloc_new_slab" : "debug_alloc_large",
                                   size, size == 2000 ? 40 : 0);
        s.run = [=](host_world& w) {
            std::string file(900, static_cast<char>('a' + w.word++ % 26));
            file += std::to_string(w.word);
            return com_outcome(
                w.heap->DebugAlloc(size, eProcessCritical, file.data(), 17, &w.block));
        };
        // The name and the block's record may stay for the next.
        judged_by_what_lives(s, size, size == 2000 ? 40 : 0);
        list.push_back(s);
    }
    {
        // All of it at once: batches out of the thread's cache, slabs that become empty.
        host_script s = allocating("free_many", 2000, 0);
        s.never_refused = true;
        s.prepare = [](host_world& w) {
            with_heap(w);
            for (void*& block : many) {
                w.must(com_outcome(w.heap->Alloc(2000, eProcessCritical, &block)), "Alloc");
            }
        };
        s.run = [](host_world& w) -> outcome {
            for (void* const block : many) {
                if (w.heap->Free(block) != S_OK) {
                    return {false, "not freed"};
                }
            }
            return {true, ""};
        };
        s.done = [](host_world& w) {
            return blocks(w).stats().live_blocks == 0 ? "" : std::string("something is live");
        };
        s.revert = end_heap;
        list.push_back(s);
    }
    {
        // Gives back everything but records: charges say so afterwards.
        host_script s = allocating("trim", 2000, 0);
        s.never_refused = true;
        s.prepare = [](host_world& w) {
            with_heap(w);
            for (const std::size_t size :
                 {std::size_t{2000}, std::size_t{20000}, std::size_t{1} << 18}) {
                for (void*& block : many) {
                    w.must(com_outcome(w.heap->Alloc(size, eProcessCritical, &block)), "Alloc");
                }
                for (void* const block : many) {
                    w.must(com_outcome(w.heap->Free(block)), "Free");
                }
            }
        };
        s.run = [](host_world& w) -> outcome {
            (void)blocks(w).trim();
            return {true, ""};
        };
        s.done = [](host_world& w) {
            // What failed meanwhile is tried again by the next.
            (void)blocks(w).trim();
            w.host->books().tree().drain();
            const page_count held = w.host->books().tree().charged(w.owner);
            return held <= 300 ? "" : text_of("%lu pages are held for nothing", held);
        };
        s.revert = end_heap;
        list.push_back(s);
    }
    {
        // The first request of a thread that finds the cache of one that has ended.
        host_script s = allocating("alloc_after_another_thread", 40, 0);
        s.prepare = [](host_world& w) {
            with_heap(w);
            std::thread([&] {
                for (void*& block : many) {
                    w.must(com_outcome(w.heap->Alloc(40, eProcessCritical, &block)), "Alloc");
                }
                for (void* const block : many) {
                    w.must(com_outcome(w.heap->Free(block)), "Free");
                }
            }).join();
        };
        list.push_back(s);
    }
    for (const std::size_t size : {std::size_t{9000}, std::size_t{1} << 20}) {
        // At the limit: refused, what is kept for later is given back, and then there is room.
        host_script s = allocating(
            size == 9000 ? "alloc_small_at_the_limit" : "alloc_large_at_the_limit", size, 0);
        s.prepare = [=](host_world& w) {
            with_heap(w);
            for (void*& block : many) {
                w.must(com_outcome(w.heap->Alloc(30000, eProcessCritical, &block)), "Alloc");
            }
            for (void* const block : many) {
                w.must(com_outcome(w.heap->Free(block)), "Free");
            }
            w.host->books().tree().drain();
            budget::tree::limits l;
            l.hard = bytes_of(w.host->books().tree().charged(w.owner));
            w.must(host_world::outcome_of(w.host->set_limits(w.owner, l)), "set_limits");
        };
        judged_by_what_lives(s, size, 0);
        s.revert = [](host_world& w) {
            w.must(host_world::outcome_of(w.host->set_limits(w.owner, {})), "set_limits");
            w.must(com_outcome(w.heap->Free(w.block)), "Free");
            end_heap(w);
        };
        list.push_back(s);
    }
    for (const std::size_t size : {std::size_t{40}, std::size_t{1} << 20}) {
        host_script s = allocating(size == 40 ? "free_small" : "free_large", size, 0);
        const auto prepare = s.prepare;
        s.never_refused = true;
        s.prepare = [=](host_world& w) {
            prepare(w);
            w.must(com_outcome(w.heap->Alloc(size, eProcessCritical, &w.block)), "Alloc");
        };
        s.run = [](host_world& w) { return com_outcome(w.heap->Free(w.block)); };
        s.done = [](host_world& w) {
            return w.heap->Free(w.block) == S_OK ? std::string("it can be freed twice")
                                                 : std::string();
        };
        s.revert = end_heap;
        list.push_back(s);
    }
    for (const std::size_t size : {std::size_t{40}, std::size_t{1} << 20}) {
        host_script s = allocating(size == 40 ? "zeroed_small" : "zeroed_large", size, 0);
        s.run = [=](host_world& w) {
            return blocks_outcome(w, blocks(w).allocate_zeroed(size, top));
        };
        s.done = [](host_world& w) {
            return *static_cast<char*>(w.block) == 0 ? std::string() : std::string("not zero");
        };
        list.push_back(s);
    }
    for (const byte_count alignment : {byte_count{256}, byte_count{4096}, byte_count{1} << 21}) {
        host_script s = allocating("", 5000, 0);
        s.name = "aligned_" + std::to_string(alignment);
        s.run = [=](host_world& w) {
            return blocks_outcome(w, blocks(w).allocate_aligned(5000, alignment, top));
        };
        list.push_back(s);
    }
    // Small to large, large where it is, large to elsewhere, and back.
    const struct {
        const char* name;
        std::size_t from, to;
    } changes[] = {
        {"resize_small_grows", 40, 3000},         {"resize_small_to_large", 3000, 100000},
        {"resize_large_grows", 1 << 20, 3 << 20}, {"resize_large_moves", 1 << 20, 3 << 20},
        {"resize_large_copies", 50000, 120000},   {"resize_large_shrinks", 1 << 20, 100000},
        {"resize_large_to_small", 50000, 100}};
    for (const auto& change : changes) {
        host_script s = allocating(change.name, change.from, 0);
        const auto prepare = s.prepare;
        s.prepare = [=](host_world& w) {
            prepare(w);
            w.must(com_outcome(w.heap->Alloc(change.from, eProcessCritical, &w.block)), "Alloc");
            std::memset(w.block, 0x21, change.from);
            if (std::string(change.name) != "resize_large_grows") {
                void* behind = nullptr; // in its way
                w.must(com_outcome(w.heap->Alloc(40000, eProcessCritical, &behind)), "Alloc");
            }
        };
        s.never_refused = change.to < change.from;
        s.run = [=](host_world& w) {
            void* const before = w.block;
            const auto o = blocks_outcome(w, blocks(w).resize(w.a, change.to, top));
            w.block = o.done ? w.block : before;
            return o;
        };
        const auto with_block = s.run;
        s.run = [=](host_world& w) {
            w.a = reinterpret_cast<address>(w.block);
            return with_block(w);
        };
        s.done = [=](host_world& w) {
            for (std::size_t i = 0; i < std::min(change.from, change.to); ++i) {
                if (static_cast<char*>(w.block)[i] != 0x21) {
                    return text_of("byte %zu was lost", i);
                }
            }
            return usable(w.block, change.to);
        };
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "release_with_live_blocks";
        s.never_refused = true;
        s.prepare = [](host_world& w) {
            with_heap(w);
            for (const std::size_t size : {40U, 2000U, 20000U, 1U << 20}) {
                w.must(com_outcome(w.heap->Alloc(size, eProcessCritical, &w.block)), "Alloc");
            }
        };
        s.run = [](host_world& w) -> outcome {
            return {w.heap->Release() == 0, "references are left"};
        };
        s.revert = [](host_world& w) { w.settle(); };
        list.push_back(s);
    }
    // ---- the interface's own virtual memory: out pointers --------------------------------------------
    {
        host_script s;
        s.name = "com_virtual_alloc";
        s.run = [](host_world& w) {
            void* got = &w;
            const HRESULT hr =
                w.com->VirtualAlloc(nullptr, 1 << 20, w32::mem_reserve | w32::mem_commit,
                                    w32::page_readwrite, eProcessCritical, &got);
            if (hr != S_OK && got != nullptr) {
                throw std::string("the out pointer was not set to null");
            }
            w.a = reinterpret_cast<address>(got);
            return com_outcome(hr);
        };
        s.done = [](host_world& w) { return w.expect_zeroes(w.a, 256); };
        s.revert = [](host_world& w) { w.release(w.a); };
        list.push_back(s);
    }
    // ---- hosts and owners ------------------------------------------------------------------------------
    {
        host_script s;
        s.name = "host_create_destroy";
        s.may_lose_address_space = true;
        s.run = [](host_world& w) -> outcome {
            const auto made = manager::host::create({});
            if (made) {
                (*made)->destroy();
            }
            return w.outcome_of(made);
        };
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "owner_open_limit_close";
        s.run = [](host_world& w) -> outcome {
            const auto o = w.host->open_owner(owner_id::none, "another", {});
            if (!o) {
                return w.outcome_of(o);
            }
            budget::tree::limits l;
            l.hard = 1 << 20;
            const auto limited = w.host->set_limits(*o, l);
            const bool closed = w.host->close_owner(*o);
            return closed ? w.outcome_of(limited) : outcome{false, "not closed"};
        };
        list.push_back(s);
    }
    // ---- the shared ledger, as `memreeve run` and its children use it (decision 20) ---------------------
    {
        host_script s;
        s.name = "ledger_in_a_memfd";
        s.may_lose_address_space = true;
        s.run = [](host_world&) -> outcome {
            const manager::ledger_shape shape{64, 16, 4};
            const byte_count size = manager::ledger::size_for(shape);
            const long fd = prim::create_memfd("ledger");
            if (fd < 0) {
                return {false, "no memfd"};
            }
            address at = 0;
            int code = prim::resize(static_cast<int>(fd), size);
            code = code != 0 ? code : prim::map_shared(static_cast<int>(fd), size, true, &at);
            (void)prim::close(static_cast<int>(fd));
            if (code != 0) {
                return {false, "not mapped"};
            }
            manager::ledger books;
            books.format(reinterpret_cast<void*>(at), shape, {});
            // The same process again: the first image ends as by exec and returns what it charged.
            std::string wrong;
            for (int i = 0; i < 3; ++i) {
                const auto image = books.begin_image(prim::process_id(), 7, false);
                if (!image) {
                    wrong = "no image";
                    break;
                }
                const auto owner = static_cast<owner_id>((*image)->owner_account[0].load());
                budget::charge taken;
                if (!books.tree().take(owner, 10, criticality::process, taken)) {
                    wrong = "no charge";
                    break;
                }
                taken.keep();
                books.tree().drain();
                if (books.tree().charged(owner_id::root) != 10) {
                    wrong = text_of("%lu pages are charged", books.tree().charged(owner_id::root));
                }
            }
            (void)prim::unmap(at, size);
            if (!wrong.empty()) {
                throw wrong;
            }
            return {true, ""};
        };
        list.push_back(s);
    }
    // ---- the notifier: the first registration starts its thread (F40) -----------------------------------
    {
        host_script s;
        s.name = "register_and_unregister";
        s.may_lose_address_space = true;
        s.run = [](host_world& w) -> outcome {
            // A host of its own, so that the thread is started, and ended, in each cycle.
            manager::host::settings settings;
            settings.memory.watch_system = false;
            const auto made = manager::host::create(settings);
            if (!made) {
                return w.outcome_of(made);
            }
            quiet_callback callback;
            HRESULT hr = E_FAIL;
            {
                com::host_memory_manager object((*made)->memory(), (*made)->process(),
                                                &(*made)->notices(), &(*made)->records());
                hr = object.RegisterMemoryNotificationCallback(&callback);
                const HRESULT end = object.RegisterMemoryNotificationCallback(nullptr);
                hr = hr == S_OK ? end : hr;
            }
            (*made)->destroy();
            if (callback.references != 1) {
                throw text_of("%u references to the callback are left", callback.references.load());
            }
            return com_outcome(hr);
        };
        list.push_back(s);
    }
    return list;
}

class heap_sweep : public testing::TestWithParam<std::size_t> {};

TEST_P(heap_sweep, single_faults) {
    const host_script s = heap_scripts()[GetParam()];
    report("single", s.name, sweep_single(s));
}

TEST_P(heap_sweep, pairs_of_faults) {
    const host_script s = heap_scripts()[GetParam()];
    report("pairs", s.name, sweep_pairs(s));
}

INSTANTIATE_TEST_SUITE_P(fault, heap_sweep, testing::Range<std::size_t>(0, heap_scripts().size()),
                         [](const auto& tested) { return heap_scripts()[tested.param].name; });

} // namespace
} // namespace memreeve::test
