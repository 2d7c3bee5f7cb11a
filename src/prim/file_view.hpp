// SPDX-License-Identifier: MIT
// prim, continued: files that are memory (memfds, POSIX shared memory, SysV segments), as the bridge
// asks about them, and a foreign program's calls on them, passed on as they are. The rules of
// prim.hpp hold.
#pragma once

#include "base/units.hpp"

#include <cstdint>

namespace memreeve::prim {

struct file_description {
    std::uint64_t inode = 0;
    std::uint64_t size = 0;   // bytes
    std::uint64_t links = 0;  // names it has; a memfd has none
    std::uint32_t device = 0; // as mapping::device
    bool is_regular = false;
};
// 0 or errno.
int describe_file(int fd, file_description* out) noexcept;
int describe_path(const char* path, file_description* out) noexcept; // links are not followed
// On a file system that keeps contents in memory (tmpfs, hugetlbfs).
bool lies_in_memory(int fd) noexcept;
// A descriptor of this process for that file; -1: there is none, -2: that cannot be told.
int find_descriptor(std::uint32_t device, std::uint64_t inode) noexcept;
// Bytes of a SysV segment; errno when it does not exist (any more) or may not be asked.
int describe_segment(int id, std::uint64_t* size) noexcept;

long pass_memfd_create(const char* name, unsigned flags) noexcept;
long pass_ftruncate(int fd, std::int64_t size) noexcept;
long pass_fallocate(int fd, int mode, std::int64_t offset, std::int64_t size) noexcept;
long pass_shmat(int id, address where, int flags) noexcept;
long pass_shmdt(address where) noexcept;

} // namespace memreeve::prim
