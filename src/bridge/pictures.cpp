// SPDX-License-Identifier: MIT
#include "bridge/pictures.hpp"

#include "bridge/shared_files.hpp"
#include "prim/prim.hpp"
#include "telemetry/snapshot.hpp"

namespace memreeve::bridge {

using namespace telemetry;

namespace {

constexpr unsigned tries = 20; // an ending process has few operations in flight
constexpr std::uint64_t pause_ns = 1'000'000;

// In .bss: its pages are touched only when a picture is taken.
constinit smaps_reader reader{};
constinit std::atomic<std::uint32_t> taken_by{0}; // pid: a copy that fork made does not count

bool pump(smaps_reader& r) noexcept {
    const long fd = prim::open_read("/proc/self/smaps");
    if (fd < 0) {
        return false;
    }
    alignas(64) static char text[16384];
    long n = 0;
    while ((n = prim::read(static_cast<int>(fd), text, sizeof text)) > 0) {
        r.feed(text, static_cast<std::size_t>(n));
    }
    static_cast<void>(prim::close(static_cast<int>(fd)));
    return n == 0;
}

// Through the kernel, so that a word that another thread unmaps meanwhile is an error, not a fault.
bool read_word(void* context, std::uint64_t at, std::uint64_t* out) noexcept {
    const int fd = *static_cast<int*>(context);
    return fd >= 0 && prim::read_at(fd, out, sizeof *out, at) == static_cast<long>(sizeof *out);
}

// A thread that was stopped within an operation needs a while to come out of it.
void wait_after(unsigned tries_made) noexcept {
    if (tries_made < polite_tries) {
        prim::yield();
        return;
    }
    const std::uint32_t nobody_wakes = 0;
    prim::wait_on(&nobody_wakes, 0, pause_ns);
}

} // namespace

void publish_picture(state& s) noexcept {
    if (s.shares_memory()) {
        return;
    }
    const auto me = static_cast<std::uint32_t>(prim::process_id());
    std::uint32_t other = taken_by.load(std::memory_order_relaxed);
    if (other == me || !taken_by.compare_exchange_strong(other, me, std::memory_order_acq_rel)) {
        return;
    }
    after_removal(s);
    s.books().tree().drain();
    s.heap().blocks().tell_requests();
    image_record& image = s.image();
    int memory = static_cast<int>(prim::open_read("/proc/self/mem"));
    memory_view view;
    view.read_word = read_word;
    view.context = &memory;
    picture now;
    const bool taken = take_picture(
        image, reader, view, tries, prim::now_ns, pump,
        [&](owner_kind k) { return books_of(s.books().tree(), s.owner(k)); }, wait_after, now);
    if (memory >= 0) {
        static_cast<void>(prim::close(memory));
    }
    if (taken) {
        static_cast<void>(publish(image.last, now, true));
    }
    taken_by.store(0, std::memory_order_release);
}

void publish_last_picture(state& s) noexcept {
    if (!s.shares_memory()) {
        s.image().leaves.store(1, std::memory_order_relaxed);
    }
    publish_picture(s);
}

} // namespace memreeve::bridge
