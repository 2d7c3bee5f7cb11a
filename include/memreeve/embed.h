/* SPDX-License-Identifier: MIT
 * For a host program that has a runtime in its own process: from one call on, what the process asks
 * libc and the kernel for (mmap and its family, malloc and its family) is asked of an mrv_host.
 *
 *   mrv_host_create(&options, &host);
 *   mrv_owner_create(host, NULL, &limits, &owner);
 *   mrv_host_govern_process(host, owner);       before the runtime is loaded or started
 *   ...
 *   mrv_thread_push_owner(other);               what this thread asks for is other's
 *
 * Link the program itself with libmemreeve_embed.a (CMake: memreeve::embed; pkg-config:
 * memreeve-embed) and with -rdynamic: then the loader binds the libc names of every library to it,
 * also of those that are loaded later. The archive contains everything of libmemreeve.so; do not link
 * both. Nothing happens before the first call below: every name passes on to libc or the kernel.
 *
 * Units, handles and statuses are those of memreeve/memreeve.h. */
#ifndef MEMREEVE_EMBED_H
#define MEMREEVE_EMBED_H

#include <memreeve/memreeve.h>

#ifdef __cplusplus
extern "C" {
#endif

/* From now on this process's requests are made of `host`, an owner's limit is ENOMEM or a null
 * pointer to who asked, and they show in its figures.
 *
 * Who is charged
 *   mappings     the owner pushed last on the asking thread (mrv_thread_push_owner), else `owner`
 *   malloc       `owner`: blocks are used and freed across threads
 * What is not taken over: memory mapped before (it stays the process's own), memory that a library
 * gets by system calls of its own, and programs that this one starts.
 * Blocks of libc's malloc from before are freed by libc, whenever that is.
 *
 * MADV_DONTNEED promises zeroes: a MEM_RESET through any manager of the host discards at once from
 * now on.
 *
 * Threads: others may run, and may be in malloc or mmap; they wait for the few system calls of this
 * one. No other thread may be making a request of an IHostMemoryManager of the host.
 * fork: the child goes on with a copy of the host, figures and limits included; nothing it does is
 * seen by the parent. Pages that another thread was changing at that moment stay as they were.
 * Once the process is governed the host cannot be destroyed (BUSY): libc and the runtime hold its
 * memory until the process ends.
 *
 * Errors: NULL_POINTER; INVALID_ARGUMENT (the owner is another host's); BUSY (governed already, by
 * another host or owner or by `memreeve run`); OVER_BUDGET or OUT_OF_MEMORY (no room for the first
 * pages). The same call again, after release, takes up where it was left. */
MRV_API mrv_status mrv_host_govern_process(mrv_host* host, mrv_owner* owner) MRV_NOEXCEPT;

/* New requests go to libc and the kernel again. What was given out stays the host's: it is used,
 * resized and freed as before, and charged until then, so the host cannot be destroyed either. (A
 * MAP_FIXED mapping may replace such memory and is still a request.)
 * Any thread. Errors: NULL_POINTER; INVALID_ARGUMENT (not the host that governs). */
MRV_API mrv_status mrv_host_release_process(mrv_host* host) MRV_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
