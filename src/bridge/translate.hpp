// SPDX-License-Identifier: MIT
// POSIX memory calls as requests to the interface (IHostMemoryManager), and what the interface has
// no word for as calls of the manager. Results are the kernel's: negative errno on failure.
//
//   call                                      becomes
//   mmap NONE                                 VirtualAlloc(RESERVE)
//   mmap accessible                           VirtualAlloc(RESERVE|COMMIT)
//   FIXED accessible over ours                VirtualAlloc(COMMIT), and zero by VirtualAlloc(RESET)
//   FIXED NONE over ours; DONTNEED on NONE    VirtualFree(DECOMMIT)
//   mprotect NONE -> accessible               VirtualAlloc(COMMIT)
//   other mprotect                            VirtualProtect
//   DONTNEED, FREE on accessible              VirtualAlloc(RESET): stays charged
//   munmap of a whole reservation             VirtualFree(RELEASE)
//   munmap of a part                          decommitted and dead; released when all is dead
//   hint                                      tried at the address, else anywhere
//   hint not 64 KiB aligned, shared anonymous,
//   GROWSDOWN, HUGETLB, NORESERVE writable,
//   FIXED over foreign memory                 the kernel's, recorded and charged (the "acquired" path)
//   file                                      the kernel's; Needs after a failure, Acquired, Released
//   shared view of a memfd, a POSIX object,
//   a SysV segment                            the kernel's; charged once per file page (file_pages.hpp)
//
// A call over several reservations and foreign memory is taken apart at their borders; a failure in
// a later part leaves the earlier parts done, as the kernel's own calls do.
//
// Critical level: levels.hpp; release and decommit are never refused. Async-signal-safe; errno is left
// alone.
#pragma once

#include "base/units.hpp"
#include "bridge/state.hpp"

namespace memreeve::bridge {

long map_memory(state& s, address where, byte_count size, int prot, int flags, int fd,
                std::int64_t offset) noexcept;
long unmap_memory(state& s, address where, byte_count size) noexcept;
long protect_memory(state& s, address where, byte_count size, int prot) noexcept;
long advise_memory(state& s, address where, byte_count size, int advice) noexcept;
long remap_memory(state& s, address where, byte_count old_size, byte_count new_size, int flags,
                  address to) noexcept;
// May the break grow by this much? (What it holds is sampled as touched under malloc.)
bool may_grow_break(state& s, byte_count more) noexcept;

} // namespace memreeve::bridge
