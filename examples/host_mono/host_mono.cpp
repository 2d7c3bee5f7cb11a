// SPDX-License-Identifier: MIT
// A program that embeds Mono and owns its memory: every mmap and malloc of libmonosgen becomes a
// request to an mrv_host with a limit. Two application domains run on two threads, each thread charged
// to an owner of its own; one leaks, the other's work goes on.
//
//   host_mono TENANT.EXE
//
// When the leaking owner gets short of memory, its memory manager tells the callback that the host has
// registered, as it would tell a CLR. The callback only wakes a thread of ours, which collects: news
// comes while Mono may hold locks of its own, so nothing is ever asked of Mono there.
#include <memreeve/embed.h>
#include <memreeve/host_interfaces.h>

#include <mono/jit/jit.h>
#include <mono/metadata/assembly.h>
#include <mono/metadata/mono-gc.h>
#include <mono/metadata/threads.h>

#include <atomic>
#include <cinttypes>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

// Exported by libmono, in no header of it.
extern "C" {
void* mono_threads_enter_gc_safe_region(void** stack);
void mono_threads_exit_gc_safe_region(void* cookie, void** stack);
}

namespace {

constexpr std::uint64_t mib = 1 << 20;

void check(mrv_status status, const char* what) {
    if (status != MRV_OK) {
        std::fprintf(stderr, "host_mono: %s: %s\n", what, mrv_status_text(status));
        std::exit(1);
    }
}

mrv_owner_figures figures_of(mrv_owner* owner) {
    mrv_owner_figures f{};
    f.size = sizeof f;
    check(mrv_owner_stats(owner, &f), "mrv_owner_stats");
    return f;
}

std::uint64_t sum(const std::uint64_t (&three)[3]) { return three[0] + three[1] + three[2]; }

// A thread that Mono knows and that waits in native code says so, else a collection waits for it.
class gc_safe_region {
public:
    gc_safe_region() : cookie_(mono_threads_enter_gc_safe_region(&stack_)) {}
    ~gc_safe_region() { mono_threads_exit_gc_safe_region(cookie_, &stack_); }
    gc_safe_region(const gc_safe_region&) = delete;
    gc_safe_region& operator=(const gc_safe_region&) = delete;

private:
    void* stack_ = nullptr;
    void* cookie_;
};

// The callback that a CLR would register, and the thread that collects when it was called.
class collector final : public ICLRMemoryNotificationCallback {
public:
    explicit collector(mrv_owner* watched) : watched_(watched) {}

    // On memreeve's notifier thread.
    HRESULT OnMemoryNotification(EMemoryAvailable available) override {
        if (available == eMemoryAvailableLow) {
            const std::lock_guard<std::mutex> hold(mutex_);
            if (told_low_++ == 0) {
                refusals_before_ = sum(figures_of(watched_).refusals);
            }
            is_wanted_ = true;
            wake_.notify_one();
        }
        return S_OK;
    }

    void run(MonoDomain* domain) {
        mono_thread_attach(domain);
        while (is_wanted()) {
            const std::uint64_t before = figures_of(watched_).charged_bytes;
            mono_gc_collect(mono_gc_max_generation());
            const std::uint64_t after = figures_of(watched_).charged_bytes;
            ++collections_;
            given_back_ += before > after ? before - after : 0;
        }
        mono_thread_detach(mono_thread_current());
    }

    void end() {
        const std::lock_guard<std::mutex> hold(mutex_);
        is_over_ = true;
        wake_.notify_one();
    }

    void print() const {
        std::printf("told low %u times, first after %" PRIu64
                    " refusals; collected %u times, %" PRIu64 " MiB given back\n",
                    told_low_, refusals_before_, collections_, given_back_ / mib);
    }

    // It lives as long as the program does.
    ULONG AddRef() override { return 1; }
    ULONG Release() override { return 1; }
    HRESULT QueryInterface(REFIID iid, void** out) override {
        const bool known =
            std::memcmp(&iid, &MRV_IID_IUnknown, sizeof iid) == 0 ||
            std::memcmp(&iid, &MRV_IID_ICLRMemoryNotificationCallback, sizeof iid) == 0;
        *out = known ? this : nullptr;
        return known ? S_OK : E_NOINTERFACE;
    }

private:
    bool is_wanted() {
        const gc_safe_region idle;
        std::unique_lock<std::mutex> hold(mutex_);
        wake_.wait(hold, [this] { return is_wanted_ || is_over_; });
        is_wanted_ = false;
        return !is_over_;
    }

    mrv_owner* watched_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool is_wanted_ = false;
    bool is_over_ = false;
    unsigned told_low_ = 0;
    std::uint64_t refusals_before_ = 0;
    unsigned collections_ = 0;
    std::uint64_t given_back_ = 0;
};

// One owner, one application domain, one thread.
struct tenant {
    const char* method;
    int argument;
    mrv_owner* owner;
    MonoDomain* domain = nullptr;
    int answer = 0;

    // What Mono builds for the domain is the owner's too.
    void make_domain(char* name) {
        check(mrv_thread_push_owner(owner), "mrv_thread_push_owner");
        domain = mono_domain_create_appdomain(name, nullptr);
        check(mrv_thread_pop_owner(), "mrv_thread_pop_owner");
    }

    void run(const char* program) {
        check(mrv_thread_push_owner(owner), "mrv_thread_push_owner");
        mono_thread_attach(domain);
        MonoAssembly* assembly = mono_domain_assembly_open(domain, program);
        MonoClass* type =
            assembly != nullptr
                ? mono_class_from_name(mono_assembly_get_image(assembly), "", "Tenant")
                : nullptr;
        MonoMethod* found =
            type != nullptr ? mono_class_get_method_from_name(type, method, 1) : nullptr;
        if (found == nullptr) {
            std::fprintf(stderr, "host_mono: %s has no Tenant.%s\n", program, method);
            std::exit(1);
        }
        void* arguments[] = {&argument};
        MonoObject* escaped = nullptr;
        MonoObject* boxed = mono_runtime_invoke(found, nullptr, arguments, &escaped);
        if (escaped == nullptr) {
            answer = *static_cast<int*>(mono_object_unbox(boxed));
        } else {
            std::fprintf(stderr, "host_mono: %s: %s escaped\n", method,
                         mono_class_get_name(mono_object_get_class(escaped)));
        }
        mono_thread_detach(mono_thread_current());
        check(mrv_thread_pop_owner(), "mrv_thread_pop_owner");
    }
};

mrv_owner* make_owner(mrv_host* host, const char* name, std::uint64_t limit) {
    mrv_owner_options options{};
    options.size = sizeof options;
    options.name = name;
    options.hard_limit_bytes = limit;
    // Mono survives the refusal of a large array and dies of that of a small piece of its heap: this
    // part is for the small ones.
    options.reserve_bytes = limit / 8;
    mrv_owner* owner = nullptr;
    check(mrv_owner_create(host, nullptr, &options, &owner), "mrv_owner_create");
    return owner;
}

void print_row(const char* name, std::initializer_list<std::uint64_t> bytes, std::uint64_t refusals,
               std::uint64_t told) {
    std::printf("%-8s", name);
    for (const std::uint64_t b : bytes) {
        std::printf(" %9" PRIu64, b >> 10);
    }
    std::printf(" %8" PRIu64 " %4" PRIu64 "\n", refusals, told);
}

void print_table(mrv_host* host, std::initializer_list<mrv_owner*> owners) {
    std::printf("%-8s %9s %9s %9s %9s %9s %9s %8s %4s\n", "KiB", "reserved", "committed", "heap",
                "mapped", "charged", "peak", "refusals", "told");
    for (mrv_owner* owner : owners) {
        const mrv_owner_figures f = figures_of(owner);
        print_row(f.name,
                  {f.reserved_bytes, f.committed_bytes, f.heap_bytes, f.mapped_bytes,
                   f.charged_bytes, f.peak_charged_bytes},
                  sum(f.refusals), sum(f.notifications));
    }
    mrv_host_figures f{};
    f.size = sizeof f;
    check(mrv_host_snapshot(host, &f), "mrv_host_snapshot");
    print_row("all",
              {f.reserved_bytes, f.committed_bytes, f.heap_bytes, f.mapped_bytes, f.charged_bytes,
               f.peak_charged_bytes},
              sum(f.refusals), sum(f.notifications));
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: host_mono TENANT.EXE\n");
        return 2;
    }
    mrv_host_options options{};
    options.size = sizeof options;
    options.limit_bytes = 512 * mib;
    mrv_host* host = nullptr;
    check(mrv_host_create(&options, &host), "mrv_host_create");
    mrv_owner* const mono = make_owner(host, "mono", 0);
    tenant leaker{"Leak", 50, make_owner(host, "leaker", 160 * mib)};
    tenant server{"Serve", 1000, make_owner(host, "server", 160 * mib)};

    // Before Mono asks for anything. What no owner was pushed for is "mono"'s.
    check(mrv_host_govern_process(host, mono), "mrv_host_govern_process");

    MonoDomain* const root = mono_jit_init("host_mono");
    char leaking_domain[] = "leaker", serving_domain[] = "server";
    leaker.make_domain(leaking_domain);
    server.make_domain(serving_domain);

    collector collects(leaker.owner);
    IHostMemoryManager* memory = nullptr;
    check(mrv_owner_memory_manager(leaker.owner, &memory), "mrv_owner_memory_manager");
    if (memory->RegisterMemoryNotificationCallback(&collects) != S_OK) {
        std::fprintf(stderr, "host_mono: no notifications\n");
        return 1;
    }

    // mono_jit_init has left this thread in a gc-safe region: it may wait.
    std::thread collecting(&collector::run, &collects, root);
    std::thread serving(&tenant::run, &server, argv[1]);
    std::thread leaking(&tenant::run, &leaker, argv[1]);
    leaking.join();
    serving.join();
    memory->RegisterMemoryNotificationCallback(nullptr);
    memory->Release();
    collects.end();
    collecting.join();

    const bool recovered = leaker.answer > 0;
    std::printf("leaker: OutOfMemoryException caught with %d MiB held, %s\n",
                std::abs(leaker.answer), recovered ? "worked on" : "did not work on");
    std::printf("server: %d of %d requests answered\n", server.answer, server.argument);
    collects.print();
    print_table(host, {mono, leaker.owner, server.owner});
    std::printf(
        "(one heap for both domains: small objects are charged to whose thread collects)\n");
    return recovered && server.answer == server.argument ? 0 : 1;
}
