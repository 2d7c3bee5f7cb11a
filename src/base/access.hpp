// SPDX-License-Identifier: MIT
// What may be done with memory; bits combine.
#pragma once

namespace memreeve {

enum class access : unsigned char {
    none = 0,
    read = 1,
    write = 2,
    read_write = 3,
    execute = 4,
    read_execute = 5,
    read_write_execute = 7,
};

constexpr bool allows(access granted, access wanted) noexcept {
    return (static_cast<unsigned>(granted) & static_cast<unsigned>(wanted)) ==
           static_cast<unsigned>(wanted);
}

constexpr access without_write(access a) noexcept {
    return static_cast<access>(static_cast<unsigned>(a) & ~static_cast<unsigned>(access::write));
}

} // namespace memreeve
