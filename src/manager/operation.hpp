// SPDX-License-Identifier: MIT
// A request under way: counted in the image record when it begins and when it is done.
#pragma once

#include "manager/manager.hpp"
#include "prim/prim.hpp"

namespace memreeve::manager {

// Begun and done are equal whenever nobody is inside: what a consistent picture checks.
class manager::operation {
public:
    explicit operation(manager& m) noexcept : image_(*m.image_) {
        if (__builtin_expect(image_.held_until_ns.load(std::memory_order_relaxed) != 0, 0)) {
            wait_for_picture();
        }
        lane_ = telemetry::begin_operation(image_);
    }
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    ~operation() { telemetry::end_operation(image_, lane_); }

private:
    // Somebody takes a picture and asks for quiet: some milliseconds, and never past the time it
    // named (telemetry::picture_hold_ns), for it may have been killed. Who asks again and again gets
    // no longer a wait out of one request.
    void wait_for_picture() noexcept {
        for (std::uint64_t since = 0;;) {
            const std::uint64_t until = image_.held_until_ns.load(std::memory_order_acquire);
            const std::uint64_t now = until == 0 ? 0 : prim::now_ns();
            since = since == 0 ? now : since;
            if (until <= now || until - now > telemetry::picture_hold_ns ||
                now - since > telemetry::picture_hold_ns) {
                return;
            }
            prim::yield();
        }
    }

    telemetry::image_record& image_;
    std::uint32_t lane_;
};

} // namespace memreeve::manager
