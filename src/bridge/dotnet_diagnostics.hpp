// SPDX-License-Identifier: MIT
// Asks an unmodified CoreCLR to collect: over the socket that it listens at for diagnostic tools, in
// this very process. An event session with the keyword GCHeapCollect and no events makes it collect
// fully before it answers; then the session is ended. (The protocol: documentation/design-docs/
// ipc-protocol.md of github.com/dotnet/diagnostics. Keyword: ClrEtwAll.man of dotnet/runtime.)
//
// Each wait is bounded; whatever fails, both connections are closed, and CoreCLR ends a session whose
// reader is gone. While it serves, its server thread starts a thread for the session, and 10.0 hangs
// where that is refused (seen 3 times of 3): is_serving_thread() tells who is not to be refused one.
// For one thread at a time; holds no lock.
#pragma once

#include "prim/watching.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace memreeve::bridge {

class dotnet_diagnostics {
public:
    // not_there: nothing listens, not yet or by DOTNET_EnableDiagnostics=0. failed: no answer in time, or
    // no for an answer.
    enum class outcome : unsigned char { collected, not_there, failed };

    constexpr dotnet_diagnostics() noexcept = default;
    outcome collect() noexcept;
    // The calling thread is CoreCLR's diagnostic server, and it is being asked, or has not answered the last
    // time. Async-signal-safe.
    static bool is_serving_thread() noexcept;

private:
    bool name_socket() noexcept;
    bool open(prim::watched* out) const noexcept;
    // The answer's payload, at least `wanted` bytes of it.
    static bool answered(const prim::watched& by, std::uint8_t* payload, std::size_t wanted,
                         std::uint64_t until) noexcept;

    char path_[108]{}; // as long as the kernel takes it; empty: not named yet
};

} // namespace memreeve::bridge
