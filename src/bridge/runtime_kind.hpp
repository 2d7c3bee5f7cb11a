// SPDX-License-Identifier: MIT
// Which runtime lives in this process: told by the symbols that its executable and libraries export,
// never by a name. What a runtime exports is what embedders link against, so it outlives versions.
#pragma once

#include "bridge/state.hpp"
#include "telemetry/image_record.hpp"

namespace memreeve::bridge {

struct recognised {
    telemetry::runtime_kind kind = telemetry::runtime_kind::other;
    // The program is the JDK's launcher (java, javac, ...), which takes options of the JVM.
    bool is_java_launcher = false;
    // A Node that takes --max-semi-space-size in NODE_OPTIONS; an older one refuses to start with it.
    bool takes_semi_space = false;
};

// What the loader has mapped so far: the program and what it needs. At start only, on the one thread
// there is (takes the loader's lock). `path` is what /proc/self/exe names; a host of CoreCLR, which
// maps the runtime later, is known by its files.
recognised recognise_at_start(const char* path) noexcept;

// A library that comes later (a host that loads libjvm.so, libcoreclr.so, libmonosgen-2.0.so):
// known when it first maps memory itself. `caller` lies in its code. Async-signal-safe; without a
// lock (needs glibc 2.35, before that a runtime that comes later is not told).
void recognise_caller(telemetry::image_record& image, const void* caller) noexcept;

inline void note_caller(state& s, const void* caller) noexcept {
    if (!s.is_embedded() && s.image().runtime.load(std::memory_order_relaxed) ==
                                static_cast<std::uint32_t>(telemetry::runtime_kind::other)) {
        recognise_caller(s.image(), caller);
    }
}

} // namespace memreeve::bridge
