// SPDX-License-Identifier: MIT
#include "bridge/dotnet_diagnostics.hpp"

#include "bridge/environment.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <cstring>

namespace memreeve::bridge {

namespace {

constexpr std::uint64_t patience_ns = 2'000'000'000; // for all of it
constexpr std::size_t longest_stream = std::size_t{1} << 20;
constexpr std::size_t header_size = 20;
constexpr std::size_t longest_payload = 256;

constexpr char magic[14] = "DOTNET_IPC_V1"; // its NUL belongs to it
constexpr std::uint8_t event_pipe = 2;
constexpr std::uint8_t stop_tracing = 1;
constexpr std::uint8_t collect_tracing_2 = 3;
constexpr std::uint8_t of_server = 0xff;
constexpr std::uint8_t server_ok = 0;

constexpr char provider[] = "Microsoft-Windows-DotNETRuntime";
constexpr std::uint64_t gc_heap_collect = 0x800000;
constexpr std::uint32_t informational = 4;

std::atomic<bool> is_asked{false};

// Little endian, as the machine.
class message {
public:
    message(std::uint8_t set, std::uint8_t command) noexcept {
        put(magic, sizeof magic);
        put_number(std::uint16_t{0}); // the size, at last
        put_number(set);
        put_number(command);
        put_number(std::uint16_t{0});
    }
    template <class Number>
    void put_number(Number n) noexcept {
        put(&n, sizeof n);
    }
    void put_text(const char* text) noexcept { // UTF-16 with its NUL, of ASCII
        put_number(static_cast<std::uint32_t>(length(text) + 1));
        do {
            put_number(static_cast<std::uint16_t>(*text));
        } while (*text++ != '\0');
    }
    int tell(const prim::watched& to) noexcept {
        const auto size = static_cast<std::uint16_t>(size_);
        std::memcpy(bytes_ + sizeof magic, &size, sizeof size);
        return prim::tell_watched(to, bytes_, size_);
    }

private:
    void put(const void* from, std::size_t n) noexcept {
        std::memcpy(bytes_ + size_, from, n);
        size_ += n;
    }
    std::uint8_t bytes_[header_size + longest_payload]{};
    std::size_t size_ = 0;
};

// Bytes that came, 0 at the end, negative: none came in time.
long receive(const prim::watched& from, void* to, std::size_t most, std::uint64_t until) noexcept {
    constexpr int would_wait = 11; // EAGAIN
    for (;;) {
        const long n = prim::read_watched(from, to, most);
        const std::uint64_t now = prim::now_ns();
        if (n != -would_wait || now >= until) {
            return n;
        }
        static_cast<void>(prim::await_watched(from, until - now));
    }
}

bool receive_all(const prim::watched& from, std::uint8_t* to, std::size_t size,
                 std::uint64_t until) noexcept {
    for (std::size_t got = 0; got < size;) {
        const long n = receive(from, to + got, size - got, until);
        if (n <= 0) {
            return false;
        }
        got += static_cast<std::size_t>(n);
    }
    return true;
}

// What a stream still holds, to its end.
void drain(const prim::watched& from, std::uint64_t until) noexcept {
    std::uint8_t buffer[4096];
    for (std::size_t got = 0; got < longest_stream;) {
        const long n = receive(from, buffer, sizeof buffer, until);
        if (n <= 0) {
            return;
        }
        got += static_cast<std::size_t>(n);
    }
}

} // namespace

bool dotnet_diagnostics::is_serving_thread() noexcept {
    if (!is_asked.load(std::memory_order_acquire)) {
        return false;
    }
    char name[prim::thread_name_size];
    prim::read_thread_name(name);
    return same_text(name, ".NET EventPipe");
}

bool dotnet_diagnostics::name_socket() noexcept {
    const char* const folder = variable("TMPDIR");
    line path;
    path.add(folder != nullptr && *folder != '\0' ? folder : "/tmp");
    const int pid = prim::process_id();
    path.add("/dotnet-diagnostic-").add_number(static_cast<std::uint64_t>(pid));
    path.add("-").add_number(prim::process_start_time(pid)).add("-socket");
    const std::size_t size = length(path.text()) + 1;
    if (size > sizeof path_) {
        return false;
    }
    std::memcpy(path_, path.text(), size);
    return true;
}

bool dotnet_diagnostics::open(prim::watched* out) const noexcept {
    if (prim::open_watched(path_, out) != 0) {
        return false;
    }
    if (out->kind != prim::watched_kind::socket) {
        prim::close_watched(*out);
        return false;
    }
    return true;
}

bool dotnet_diagnostics::answered(const prim::watched& by, std::uint8_t* payload,
                                  std::size_t wanted, std::uint64_t until) noexcept {
    std::uint8_t header[header_size];
    if (!receive_all(by, header, sizeof header, until)) {
        return false;
    }
    std::uint16_t size = 0;
    std::memcpy(&size, header + sizeof magic, sizeof size);
    return std::memcmp(header, magic, sizeof magic) == 0 && header[16] == of_server &&
           header[17] == server_ok && size == header_size + wanted &&
           receive_all(by, payload, wanted, until);
}

dotnet_diagnostics::outcome dotnet_diagnostics::collect() noexcept {
    prim::watched session;
    if ((path_[0] == '\0' && !name_socket()) || !open(&session)) {
        return outcome::not_there;
    }
    is_asked.store(true, std::memory_order_release);
    const std::uint64_t until = prim::now_ns() + patience_ns;
    message begin(event_pipe, collect_tracing_2);
    begin.put_number(std::uint32_t{1}); // MiB that events may take: there are none
    begin.put_number(std::uint32_t{1}); // nettrace
    begin.put_number(std::uint8_t{0});  // no rundown
    begin.put_number(std::uint32_t{1}); // provider
    begin.put_number(gc_heap_collect);
    begin.put_number(informational);
    begin.put_text(provider);
    begin.put_number(std::uint32_t{0}); // no filter
    std::uint64_t id = 0;
    std::uint8_t answer[sizeof id];
    const bool has_collected =
        begin.tell(session) == 0 && answered(session, answer, sizeof answer, until);
    prim::watched stop;
    if (has_collected && open(&stop)) {
        std::memcpy(&id, answer, sizeof id);
        message end(event_pipe, stop_tracing);
        end.put_number(id);
        if (end.tell(stop) == 0) {
            // It writes what it has, and ends the stream, before it answers.
            drain(session, until);
            static_cast<void>(answered(stop, answer, sizeof answer, until));
        }
        prim::close_watched(stop);
    }
    prim::close_watched(session);
    // What was not answered in time may still be served: a collection of much memory takes longer.
    is_asked.store(!has_collected, std::memory_order_release);
    return has_collected ? outcome::collected : outcome::failed;
}

} // namespace memreeve::bridge
