// SPDX-License-Identifier: MIT
// Every system call of what an embedder does fails in turn: making a host, its owners, heaps,
// subscriptions, looking at load and address space (F1, F2, F40). A refusal leaves the host's figures
// as before, and the next call works.
#include "support/fault_sweep.hpp"

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

namespace memreeve::test {
namespace {

struct embedder_world {
    struct state {
        mrv_host_figures figures{};
    };
    ~embedder_world() {
        prim::faulty::disarm();
        close();
    }
    void open() {
        mrv_host_options o{};
        o.size = sizeof o;
        o.limit_bytes = 64 << 20;
        if (mrv_host_create(&o, &host) != MRV_OK ||
            mrv_owner_create(host, nullptr, nullptr, &owner) != MRV_OK ||
            mrv_owner_memory_manager(owner, &memory) != MRV_OK) {
            throw std::string("no host");
        }
    }
    void close() {
        if (memory != nullptr) {
            memory->Release();
            memory = nullptr;
        }
        if (host != nullptr && mrv_host_destroy(host) != MRV_OK) {
            throw std::string("the host does not go");
        }
        host = nullptr;
        owner = nullptr;
    }
    state capture() const {
        state s;
        s.figures.size = sizeof s.figures;
        if (leave_load_alone) {
            return s;
        }
        if (host != nullptr && mrv_host_snapshot(host, &s.figures) != MRV_OK) {
            throw std::string("no snapshot");
        }
        return s;
    }
    std::string difference(const state& a, const state& b, strictness how) const {
        const mrv_host_figures& x = a.figures;
        const mrv_host_figures& y = b.figures;
        if (x.charged_bytes != y.charged_bytes) {
            return "charged " + std::to_string(x.charged_bytes) + ", then " +
                   std::to_string(y.charged_bytes);
        }
        if (x.committed_bytes != y.committed_bytes || x.heap_bytes != y.heap_bytes ||
            x.owners != y.owners || x.mapped_bytes != y.mapped_bytes) {
            return "committed, heap, mapped or owners differ";
        }
        if (how == strictness::as_before && x.reserved_bytes != y.reserved_bytes) {
            return "reserved " + std::to_string(x.reserved_bytes) + ", then " +
                   std::to_string(y.reserved_bytes);
        }
        return "";
    }
    std::string invariants(strictness) const { return ""; }

    // A snapshot reads the load, and a fresh one costs no system call to fail.
    inline static bool leave_load_alone = false;

    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    mrv_owner* second = nullptr;
    IHostMemoryManager* memory = nullptr;
    IHostMalloc* heap = nullptr;
    mrv_subscription* subscription = nullptr;
};

using embedder_script = script<embedder_world>;

outcome of(mrv_status s) { return {s == MRV_OK, mrv_status_text(s)}; }
outcome of_hresult(HRESULT hr) {
    return {hr == S_OK, hr == E_OUTOFMEMORY ? "E_OUTOFMEMORY" : "HRESULT " + std::to_string(hr)};
}
std::string clean(bool holds, const char* what) { return holds ? "" : what; }
void open(embedder_world& w) { w.open(); }
void close(embedder_world& w) { w.close(); }

void sweep(const embedder_script& s) {
    const sweep_result r = sweep_single(s);
    report("single", s.name, r);
    EXPECT_GT(r.points, 0) << "no call of this script was ever failed";
}

TEST(host_sweep, F2_a_host_is_made_whole_or_not_at_all) {
    embedder_script s;
    s.name = "mrv_host_create";
    s.may_lose_address_space = true; // munmap, refused for ever
    s.run = [](embedder_world& w) {
        const mrv_status made = mrv_host_create(nullptr, &w.host);
        if (made != MRV_OK && (made != MRV_E_OUT_OF_MEMORY || w.host != nullptr)) {
            throw std::string("refused by the wrong status or with a handle");
        }
        return of(made);
    };
    s.revert = close;
    sweep(s);
}

TEST(host_sweep, F2_heap_made_used_released) {
    embedder_script s;
    s.name = "CreateMalloc, Alloc, DebugAlloc";
    s.prepare = open;
    s.has_several_steps = true;
    s.run = [](embedder_world& w) {
        HRESULT hr = w.memory->CreateMalloc(MALLOC_THREADSAFE, &w.heap);
        if (hr != S_OK) {
            return of_hresult(hr);
        }
        void* a = nullptr;
        void* b = nullptr;
        hr = w.heap->Alloc(100, eProcessCritical, &a);
        if (hr == S_OK) {
            char name[] = "file.cpp";
            hr = w.heap->DebugAlloc(200000, eProcessCritical, name, 1, &b);
        }
        if (hr != S_OK) {
            if (b != nullptr || w.heap->Free(a) != S_OK) {
                throw std::string("a refused block, or a block that cannot be freed");
            }
            w.heap->Release();
            w.heap = nullptr;
            return of_hresult(hr);
        }
        return of_hresult(S_OK);
    };
    s.done = [](embedder_world& w) { return clean(w.heap != nullptr, "no heap"); };
    s.revert = [](embedder_world& w) {
        w.heap->Release();
        w.heap = nullptr;
        w.close();
    };
    sweep(s);
}

TEST(host_sweep, F2_owners_managers_and_controls) {
    embedder_script s;
    s.name = "mrv_owner_create, manager, control";
    s.prepare = open;
    s.run = [](embedder_world& w) {
        mrv_status r = mrv_owner_create(w.host, w.owner, nullptr, &w.second);
        IHostControl* control = nullptr;
        if (r == MRV_OK) {
            r = mrv_host_control(w.host, w.second, &control);
        }
        if (control != nullptr) {
            control->Release();
        }
        // Records of the pool come by the chunk: enough for one to be mapped.
        std::vector<IHostControl*> many;
        while (r == MRV_OK && many.size() < 300) {
            r = mrv_host_control(w.host, w.second, &control);
            if (r == MRV_OK) {
                many.push_back(control);
            }
        }
        for (IHostControl* c : many) {
            c->Release();
        }
        if (r != MRV_OK) {
            mrv_owner_destroy(w.second);
            w.second = nullptr;
        }
        return of(r);
    };
    s.revert = [](embedder_world& w) {
        mrv_owner_destroy(w.second);
        w.second = nullptr;
        w.close();
    };
    sweep(s);
}

TEST(host_sweep, F40_no_thread_no_subscription_and_nothing_else) {
    embedder_script s;
    s.name = "mrv_host_subscribe";
    s.prepare = open;
    s.run = [](embedder_world& w) {
        return of(mrv_host_subscribe(
            w.host, [](void*, const mrv_pressure_event*) {}, nullptr, &w.subscription));
    };
    s.done = [](embedder_world& w) { return clean(w.subscription != nullptr, "no handle"); };
    s.revert = [](embedder_world& w) {
        mrv_host_unsubscribe(w.subscription);
        w.subscription = nullptr;
        w.close();
    };
    sweep(s);
}

TEST(host_sweep, F28_F29_load_is_answered_whatever_cannot_be_read) {
    embedder_script s;
    s.name = "GetMemoryLoad";
    s.prepare = open;
    s.never_refused = true; // the budget is known
    s.run = [](embedder_world& w) {
        DWORD percent = 0;
        SIZE_T available = 0;
        const HRESULT hr = w.memory->GetMemoryLoad(&percent, &available);
        if (hr == S_OK && (percent > 100 || available > 64 << 20)) {
            throw std::string("more than the budget has");
        }
        return of_hresult(hr);
    };
    s.revert = close;
    embedder_world::leave_load_alone = true;
    sweep(s);
    embedder_world::leave_load_alone = false;
}

TEST(host_sweep, F2_foreign_memory_announced) {
    embedder_script s;
    s.name = "Needs, Acquired, Released";
    s.prepare = open;
    s.may_lose_address_space = true;
    s.run = [](embedder_world& w) {
        static char view[8192];
        const HRESULT needs = w.memory->NeedsVirtualAddressSpace(nullptr, 65536);
        const HRESULT acquired = w.memory->AcquiredVirtualAddressSpace(view, sizeof view);
        const HRESULT released = w.memory->ReleasedVirtualAddressSpace(view);
        if (released != S_OK || (needs != S_OK && needs != E_OUTOFMEMORY)) {
            throw std::string("a code that no decision names");
        }
        return of_hresult(needs == S_OK ? acquired : needs);
    };
    s.revert = close;
    sweep(s);
}

} // namespace
} // namespace memreeve::test
