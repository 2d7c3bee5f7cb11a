// SPDX-License-Identifier: MIT
#include "bridge/state.hpp"

#include "bridge/asking.hpp"
#include "bridge/early_collection.hpp"
#include "bridge/environment.hpp"
#include "bridge/file_pages.hpp"
#include "bridge/runtime_kind.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <memreeve/embed.h>

#include <cstddef>
#include <new>

extern "C" {
__attribute__((weak)) mrv_status mrv_host_govern_process(mrv_host* host, mrv_owner* owner) noexcept;
extern __attribute__((weak, visibility("hidden"))) const char memreeve_is_host;
}

namespace memreeve::bridge {

using telemetry::extent_kind;
using telemetry::image_record;
using telemetry::owner_kind;

namespace {

constexpr std::uint64_t patience_ns = 1'000'000'000;
constexpr int refused_status = 125;

// What open_ledger() answers beside what the system does.
constexpr int no_ledger = 22;     // EINVAL: nothing of this version
constexpr int another_ones = 116; // ESTALE: the launcher's pid is another process's by now

} // namespace

namespace {

// A host program (src/embed) has a copy of all this, and its names come before the preload library's:
// that copy attaches. The first name is visible to every library, the second to its own copy alone.
bool another_comes_first() noexcept {
    return &mrv_host_govern_process != nullptr && &memreeve_is_host == nullptr;
}

} // namespace

constinit state the_state{};

namespace {
constinit thread_local bool has_announced_fork = false;
} // namespace

// The slow half of governed(): not started yet, a fork's child, or nothing to govern.
state* state::settle() noexcept {
    const auto now = [this] { return static_cast<phase>(phase_.load(std::memory_order_acquire)); };
    if (now() == phase::passing || now() == phase::abandoned) {
        return nullptr;
    }
    if (now() == phase::untouched) {
        if (own_environment() == nullptr) {
            return nullptr; // the loader at work before libc's constructor: asked again later
        }
        start();
    }
    // Another thread is starting or settling: its few system calls are waited for, not for ever.
    const auto is_over = [&] {
        return now() == phase::passing || now() == phase::abandoned || is_settled();
    };
    if (!is_over()) {
        if (now() == phase::ready) {
            settle_child();
        }
        for (const std::uint64_t since = prim::now_ns();
             !is_over() && prim::now_ns() - since < patience_ns;) {
            prim::yield();
        }
    }
    return now() == phase::ready ? this : nullptr;
}

void state::start() noexcept {
    auto expected = static_cast<std::uint32_t>(phase::untouched);
    if (!phase_.compare_exchange_strong(expected, static_cast<std::uint32_t>(phase::starting),
                                        std::memory_order_acq_rel)) {
        return;
    }
    const bool attached = attach();
    phase_.store(static_cast<std::uint32_t>(attached ? phase::ready : phase::passing),
                 std::memory_order_release);
}

// 0 or the errno of what failed.
int state::open_ledger(const manager::ledger_name& name) noexcept {
    if (!name.is_complete()) {
        return no_ledger;
    }
    const long fd = prim::open_read_write(name.path());
    if (fd < 0) {
        const std::uint64_t started = prim::process_start_time(name.launcher());
        return started == 0 || started == name.launcher_start_time() ? static_cast<int>(-fd)
                                                                     : another_ones;
    }
    // Read, not mapped: who has the pid now may have any file there, and beyond its end is SIGBUS.
    // What is looked at was written before anything was started, and stays.
    using header = manager::ledger_header;
    unsigned char begin[offsetof(header, bell)];
    const long n = prim::read_at(static_cast<int>(fd), begin, sizeof begin, 0);
    const auto read = [&begin](std::size_t at, auto value) {
        __builtin_memcpy(&value, begin + at, sizeof value);
        return value;
    };
    const bool is_ledger = n == static_cast<long>(sizeof begin) &&
                           read(offsetof(header, magic), std::uint64_t{0}) == manager::ledger_magic;
    int e = 0;
    byte_count size = 0;
    if (is_ledger && read(offsetof(header, version), std::uint32_t{0}) != manager::ledger_version) {
        e = no_ledger;
    } else if (!is_ledger || read(offsetof(header, launcher_start_time), std::uint64_t{0}) !=
                                 name.launcher_start_time()) {
        e = another_ones;
    } else {
        size = read(offsetof(header, size), byte_count{0});
    }
    address whole = 0;
    if (e == 0) {
        e = prim::map_shared(static_cast<int>(fd), size, true, &whole);
    }
    static_cast<void>(prim::close(static_cast<int>(fd)));
    if (e == 0 && !ledger_.attach(reinterpret_cast<void*>(whole), size)) {
        e = no_ledger;
    }
    return e;
}

bool state::attach() noexcept {
    if (prim::is_privileged() || another_comes_first()) {
        return false;
    }
    const char* ledgers_name = variable("MEMREEVE_LEDGER");
    if (ledgers_name == nullptr) {
        return false;
    }
    const bool best_effort = variable("MEMREEVE_BEST_EFFORT") != nullptr;
    const auto refuse = [&](const char* why, int os_code) {
        char program[256]{};
        static_cast<void>(prim::read_link("/proc/self/exe", program, sizeof program - 1));
        line l;
        l.add("memreeve: ")
            .add(program[0] != '\0' ? program : "a program")
            .add(" cannot be governed: ")
            .add(why)
            .add(" (")
            .add(ledgers_name);
        if (os_code != 0) {
            l.add(", errno ").add_number(static_cast<unsigned>(os_code));
        }
        l.add("); ").add(best_effort ? "it runs ungoverned"
                                     : "it ends here; with --best-effort it would run ungoverned");
        prim::say(l.text());
        if (!best_effort) {
            prim::exit_now(refused_status);
        }
        return false;
    };
    // Of a record that was begun: listed as not governed.
    const auto turn_away = [&](image_record& begun, const char* why, int os_code) {
        ledger_.turn_away(begun, why);
        return refuse(why, os_code);
    };
    const manager::ledger_name name(ledgers_name);
    if (const int e = open_ledger(name); e != 0) {
        const char* why =
            e == 13 /* EACCES */ || e == 1 /* EPERM */
                ? "this user may not open the launcher's ledger"
                : e == another_ones ? "the launcher has ended"
                  : e == no_ledger  ? "what MEMREEVE_LEDGER names is no ledger of this version"
                  : prim::process_exists(name.launcher())
                      ? "the launcher's ledger cannot be reached from here (another pid "
                        "namespace, or no /proc)"
                      : "the launcher has ended";
        return refuse(why, e == another_ones ? 0 : e);
    }
    manager::ledger_header& header = ledger_.header();
    const int pid = prim::process_id();
    if ((header.flags.load(std::memory_order_relaxed) & manager::flag_no_children) != 0 &&
        header.images_high.load(std::memory_order_acquire) != 0 &&
        ledger_.image(0).pid.load(std::memory_order_relaxed) != pid) {
        left_alone_ = true; // --no-children
        return false;
    }
    char program[sizeof image_record::path]{};
    static_cast<void>(prim::read_link("/proc/self/exe", program, sizeof program - 1));
    const auto image = ledger_.begin_image(pid, prim::process_start_time(pid), false, program);
    if (!image) {
        return refuse("every slot of the ledger is taken, 512 processes at once", 0);
    }
    manager::options o;
    o.discard_at_once = true;
    o.watch_system = false;
    o.guard_pages = variable("MEMREEVE_NO_GUARD") == nullptr;
    if (const auto opened = own_.open(ledger_, **image, o); !opened) {
        return turn_away(**image,
                         "the system gives no address space for the records (look at ulimit -v)",
                         opened.error().os_code);
    }
    if (const auto watched = watch_forks(); !watched) {
        return turn_away(
            **image,
            "the system refuses MADV_WIPEONFORK, by which a child of fork is told (look "
            "at seccomp profiles)",
            watched.error().os_code);
    }
    describe(**image);
    own_.tell_refusals(&asking::note_refusal);
    make_hosts();
    record_loader();
    if (const auto made = make_heap(); !made) {
        return turn_away(**image, "the limit leaves no room for its heap", 12);
    }
    alive_->store(1, std::memory_order_release);
    return true;
}

result<void> state::adopt(manager::manager& memory, owner_id who) noexcept {
    if (governed() != nullptr || !change_phase(phase::passing, phase::starting)) {
        return errc::busy;
    }
    memory.discard_at_once(); // what MADV_DONTNEED promises
    memory.tell_refusals(&asking::note_refusal);
    memory_ = &memory;
    embedders_ = who;
    result<void> done = watch_forks();
    if (done) {
        make_hosts();
        done = make_heap();
    }
    if (!done) {
        memory_ = &own_;
        phase_.store(static_cast<std::uint32_t>(phase::passing), std::memory_order_release);
        return done;
    }
    alive_->store(1, std::memory_order_release);
    phase_.store(static_cast<std::uint32_t>(phase::ready), std::memory_order_release);
    return {};
}

void state::abandon() noexcept { static_cast<void>(change_phase(phase::ready, phase::abandoned)); }

bool state::take_up() noexcept { return change_phase(phase::abandoned, phase::ready); }

result<void> state::watch_forks() noexcept {
    if (alive_ == nullptr) {
        address alive = 0;
        if (const int e = prim::map_records(page_size, &alive); e != 0) {
            return failure{errc::out_of_address_space, e};
        }
        if (const int e = prim::wipe_on_fork(alive, page_size); e != 0) {
            static_cast<void>(prim::unmap(alive, page_size));
            return failure{errc::out_of_address_space, e};
        }
        alive_ = reinterpret_cast<std::atomic<std::uint32_t>*>(alive);
    }
    const auto alive = reinterpret_cast<address>(alive_);
    static_cast<void>(
        memory().known().add({alive, alive + page_size}, owner_id::none, extent_kind::records, 0));
    return {};
}

void state::describe(image_record& image) noexcept {
    const long n = prim::read_link("/proc/self/exe", image.path, sizeof image.path - 1);
    image.path[n > 0 ? n : 0] = '\0';
    const recognised found = recognise_at_start(image.path);
    image.runtime.store(static_cast<std::uint32_t>(found.kind), std::memory_order_relaxed);
    is_java_launcher_ = found.is_java_launcher;
    takes_semi_space_ = found.takes_semi_space;
}

// Anonymous memory that stands there already is the loader's (decision 26).
void state::record_loader() noexcept {
    const auto mappings = static_cast<int>(prim::open_mappings());
    prim::mapping m;
    for (address at = lowest_address; mappings >= 0 && prim::find_mapping_in(mappings, at, &m) == 0;
         at = m.where.end) {
        if (m.has_file || m.shared || !allows(m.allowed, access::write)) {
            continue;
        }
        bool ours = false;
        memory().known().for_each([&](telemetry::extent& e) {
            ours = ours || range{e.begin.load(std::memory_order_relaxed),
                                 e.end.load(std::memory_order_relaxed)}
                               .contains(m.where);
        });
        if (!ours) {
            static_cast<void>(
                memory().known().add(m.where, owner(owner_kind::images), extent_kind::loader, 0));
        }
    }
    if (mappings >= 0) {
        static_cast<void>(prim::close(mappings));
    }
}

void state::make_hosts() noexcept {
    for (unsigned k = 0; k < telemetry::owner_kind_count; ++k) {
        ::new (static_cast<void*>(hosts_[k])) com::host_memory_manager(
            memory(),
            is_embedded()
                ? embedders_
                : static_cast<owner_id>(image().owner_account[k].load(std::memory_order_relaxed)),
            nullptr, &records_);
    }
}

result<void> state::make_heap() noexcept {
    IHostMalloc* made = nullptr;
    if (!has_lent_record_) { // an adopt() that failed has lent it already
        records_.lend(heap_record_);
        has_lent_record_ = true;
    }
    if (host(owner_kind::malloc).CreateMalloc(MALLOC_THREADSAFE, &made) != S_OK) {
        return errc::over_budget;
    }
    heap_ = static_cast<com::host_malloc*>(made);
    return {};
}

bool state::shares_memory() noexcept {
    return prim::process_id() != image().pid.load(std::memory_order_relaxed);
}

void state::announce_fork() noexcept {
    if (!is_embedded() && !shares_memory()) {
        image().last_fork_ns.store(prim::now_ns(), std::memory_order_relaxed);
        image().heirs.fetch_add(1, std::memory_order_acq_rel);
        has_announced_fork = true;
    }
}

void state::after_fork_in_parent() noexcept { has_announced_fork = false; }

// First call in a child of fork. Threads of the parent are not here; what they had under way is
// undone, what was committed stays the parent's (decision 19).
void state::settle_child() noexcept {
    std::uint32_t wiped = 0;
    if (!alive_->compare_exchange_strong(wiped, 2, std::memory_order_acq_rel)) {
        return;
    }
    if (is_embedded()) {
        // The host's books are private memory: the child has its own copy and goes on with it.
        alive_->store(1, std::memory_order_release);
        return;
    }
    const int pid = prim::process_id();
    // A child of one that is left alone is left alone too: its own books list nobody else.
    const bool excluded = left_alone_ || (ledger_.header().flags.load(std::memory_order_relaxed) &
                                          manager::flag_no_children) != 0;
    left_alone_ = excluded;
    image_record* mine = nullptr;
    if (!excluded) {
        if (const auto image =
                ledger_.begin_image(pid, prim::process_start_time(pid), true, this->image().path)) {
            mine = *image;
        }
    }
    image_record& parents = image();
    if (mine == nullptr && !excluded && variable("MEMREEVE_BEST_EFFORT") == nullptr) {
        prim::say("memreeve: a child cannot be governed: every slot of the ledger is taken, 512 "
                  "processes at once; it ends here; with --best-effort it would run ungoverned");
        prim::exit_now(refused_status);
    }
    if (mine == nullptr) {
        // Not listed, not limited: the same bookkeeping in a ledger of its own.
        address memory = 0;
        const manager::ledger_shape shape{64, 1, 1};
        if (prim::map_records(round_up(manager::ledger::size_for(shape), page_size), &memory) !=
            0) {
            phase_.store(static_cast<std::uint32_t>(phase::passing), std::memory_order_release);
            return;
        }
        ledger_.format(reinterpret_cast<void*>(memory), shape, {});
        mine = *ledger_.begin_image(pid, 0, true);
    }
    __builtin_memcpy(mine->path, parents.path, sizeof mine->path);
    __builtin_memcpy(mine->settings, parents.settings, sizeof mine->settings);
    __builtin_memcpy(mine->users_settings, parents.users_settings, sizeof mine->users_settings);
    mine->runtime.store(parents.runtime.load(std::memory_order_relaxed), std::memory_order_relaxed);
    memory().settle_after_fork(*mine);
    files().settle_after_fork();
    the_early_collection.settle_after_fork(*this);
    make_hosts();
    heap_->blocks().change_owner(owner(owner_kind::malloc));
    if (has_announced_fork) {
        has_announced_fork = false;
        parents.heirs.fetch_sub(1, std::memory_order_acq_rel);
    }
    alive_->store(1, std::memory_order_release);
}

} // namespace memreeve::bridge
