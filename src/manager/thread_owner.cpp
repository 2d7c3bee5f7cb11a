// SPDX-License-Identifier: MIT
#include "manager/thread_owner.hpp"

#include <cstdint>

namespace memreeve::manager {

namespace {

struct pushed {
    const manager* where;
    owner_id who;
};
struct owner_stack {
    std::uint32_t depth;
    pushed entries[thread_owner_depth];
};
// libmemreeve.so must load by dlopen: all its thread-local storage together stays below 256 bytes.
static_assert(sizeof(owner_stack) <= 136);

constinit thread_local owner_stack stack __attribute__((tls_model("initial-exec"))) = {};

} // namespace

result<void> push_thread_owner(const manager& m, owner_id who) noexcept {
    owner_stack& s = stack;
    if (s.depth == thread_owner_depth) {
        return errc::busy;
    }
    s.entries[s.depth] = {&m, who};
    ++s.depth;
    return {};
}

result<void> pop_thread_owner() noexcept {
    owner_stack& s = stack;
    if (s.depth == 0) {
        return errc::invalid_argument;
    }
    --s.depth;
    return {};
}

owner_id thread_owner(const manager& m, owner_id otherwise) noexcept {
    const owner_stack& s = stack;
    for (std::uint32_t i = s.depth; i != 0; --i) {
        if (s.entries[i - 1].where == &m) {
            return s.entries[i - 1].who;
        }
    }
    return otherwise;
}

} // namespace memreeve::manager
