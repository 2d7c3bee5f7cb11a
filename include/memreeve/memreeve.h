/* SPDX-License-Identifier: MIT
 * memreeve for embedders: a host that gives managed runtimes their memory, counts it per owner,
 * keeps budgets and says how scarce it is.
 *
 *   mrv_host *host;  mrv_owner *owner;  IHostMemoryManager *memory;
 *   mrv_host_options options = {.size = sizeof options, .limit_bytes = 512u << 20};
 *   mrv_host_create(&options, &host);
 *   mrv_owner_create(host, NULL, NULL, &owner);
 *   mrv_owner_memory_manager(owner, &memory);       (memreeve/host_interfaces.h)
 *
 * Rules for everything here
 *   - Plain C11. Handles are opaque. No exception crosses this interface.
 *   - Every function may be called by any thread at any time unless it says otherwise; none waits
 *     for a lock that a suspended thread may hold.
 *   - Sizes are bytes (uint64_t), limits are rounded down to pages of 4096 bytes.
 *   - Structures begin with `size`: set it to sizeof the structure before the call. A zero field
 *     means the default. A structure longer than the library knows is accepted when what the
 *     library does not know is zero; output beyond the caller's `size` is not written.
 *   - A null pointer where an object or a result is needed is MRV_E_NULL_POINTER; out parameters
 *     are nulled first. Null options mean defaults.
 *   - After a status other than MRV_OK nothing has changed. */
#ifndef MEMREEVE_MEMREEVE_H
#define MEMREEVE_MEMREEVE_H

#include <memreeve/export.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status --------------------------------------------------------------------------------- */

typedef int32_t mrv_status;
enum {
    MRV_OK = 0,
    MRV_E_INVALID_ARGUMENT = 1, /* a size, flag or value that can never be valid */
    MRV_E_INVALID_ADDRESS = 2,  /* the address does not fit the state of memory there */
    MRV_E_NULL_POINTER = 3,     /* a pointer that must not be null */
    MRV_E_NOT_OURS = 4,         /* the memory was not obtained through this host */
    MRV_E_OUT_OF_MEMORY = 5,    /* the system has no memory, address space or thread left */
    MRV_E_OVER_BUDGET = 6,      /* a limit refuses */
    MRV_E_PRIVILEGE_NOT_HELD = 7,
    MRV_E_NOT_SUPPORTED = 8, /* this version or system cannot do it */
    MRV_E_BUSY = 9,          /* still in use, or another thread is changing the same thing */
    MRV_E_FORBIDDEN = 10,    /* policy forbids it */
    MRV_E_NO_INTERFACE = 11,
    MRV_E_NO_ACCESS = 12,  /* a page that cannot be accessed */
    MRV_E_OVER_QUOTA = 13, /* the system locks no more pages for this process */
    MRV_E_NOT_LOCKED = 14  /* a page that is not locked in memory */
};

/* A sentence fragment in English, lower case, never null; valid for ever. Async-signal-safe. */
MRV_API const char* mrv_status_text(mrv_status status) MRV_NOEXCEPT;
/* What GetLastError would say on Windows (0 for MRV_OK): 87, 487, 998, 1455 and so on. A status
 * without a counterpart there is 50 or the nearest. Async-signal-safe. */
MRV_API uint32_t mrv_win32_error(mrv_status status) MRV_NOEXCEPT;
/* The library's version, "major.minor.patch". Async-signal-safe. */
MRV_API const char* mrv_version(void) MRV_NOEXCEPT;

/* ---- host ----------------------------------------------------------------------------------- */

typedef struct mrv_host mrv_host;
typedef struct mrv_owner mrv_owner;
typedef struct mrv_subscription mrv_subscription;

#define MRV_NO_LIMIT UINT64_MAX   /* spelled out; 0 means the same */
#define MRV_NO_RESERVE UINT64_MAX /* nothing is kept back */

typedef enum mrv_pressure_source {
    /* The budget, the container and the machine: whichever is tightest. While somebody is subscribed,
     * also stalls (PSI), or what the environment variable MEMORY_PRESSURE_WATCH names. */
    MRV_PRESSURE_ALL = 0,
    MRV_PRESSURE_BUDGET = 1 /* the budget alone */
} mrv_pressure_source;

typedef enum mrv_faulting {
    MRV_FAULTING_STRICT = 0, /* reserved memory cannot be touched */
    /* Reserved memory of small reservations can be touched, and must not be: what is written there
     * may be read after the next commit. Pages that were decommitted stay for a while, uncharged: at
     * most 16 MiB and a 64th of the smallest limit. Commit and decommit cost no system call. */
    MRV_FAULTING_RELAXED = 1
} mrv_faulting;

enum {
    MRV_HOST_FORBID_WRITE_EXECUTE = 1u, /* refuse memory that is writable and executable at once */
    MRV_HOST_LENIENT_LEVELS = 2u,       /* a critical level above 2 counts as eProcessCritical */
    MRV_HOST_NO_GUARD_PAGES = 4u,       /* behave as on Linux before 6.13, for comparison: no use of
                                           MADV_GUARD_INSTALL */
    /* mrv_handle_fault sees every SIGSEGV of the process (mrv_install_fault_handler does it): where the
     * kernel cannot watch writes, MEM_WRITE_WATCH works by a fault at the first write to each page.
     * A system call that writes to such a page is refused by the kernel (EFAULT). x86-64. */
    MRV_HOST_WATCH_BY_FAULTS = 8u
};

/* Is given one line, without a line end, for each misuse of a heap that was found: a pointer that Free
 * refused, memory overwritten beside a DebugAlloc block or after its Free. Called within that request,
 * on its thread; it may not call anything of memreeve. Without one, lines go to standard error, the
 * first hundred of a process. */
typedef void (*mrv_report_fn)(void* context, const char* line);

typedef struct mrv_host_options {
    size_t size;
    uint64_t limit_bytes;     /* ceiling for everything charged; default none */
    uint64_t reserve_bytes;   /* the part of it for higher critical levels only; default
                                     min(max(5 % of the limit, 8 MiB), limit / 4) */
    uint32_t pressure_source; /* mrv_pressure_source */
    uint32_t faulting;        /* mrv_faulting */
    uint32_t flags;           /* MRV_HOST_... */
    uint32_t reserved;        /* 0 */
    const char* system_root;  /* put before /proc and /sys/fs/cgroup when the machine and the
                                     container are looked at; default "", at most 255 characters */
    mrv_report_fn report;     /* default: standard error */
    void* report_context;
} mrv_host_options;

/* Makes a host. Its limit is a ceiling that nothing passes: a request is refused when what is
 * charged would pass limit - reserve (eTaskCritical), limit - reserve / 2 (eAppDomainCritical),
 * limit (eProcessCritical).
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY (also: 64 hosts exist). */
MRV_API mrv_status mrv_host_create(const mrv_host_options* options, mrv_host** out) MRV_NOEXCEPT;
/* Ends the notifier, waits for a running callback, unmaps everything that was obtained through the
 * host. Null is MRV_OK. No other thread may use the host meanwhile or afterwards; not from inside a
 * callback. Errors: BUSY while a COM object of the host still has references (a CLR never gives
 * back its manager: such a host lives as long as the process). */
MRV_API mrv_status mrv_host_destroy(mrv_host* host) MRV_NOEXCEPT;
/* Changes limit_bytes and reserve_bytes, nothing else, while everything runs. What is already held is
 * kept even above a lower limit; only new requests are refused. Subscribers are told.
 * Errors: INVALID_ARGUMENT. */
MRV_API mrv_status mrv_host_set_limits(mrv_host* host,
                                       const mrv_host_options* options) MRV_NOEXCEPT;

/* ---- owners --------------------------------------------------------------------------------- */

typedef struct mrv_owner_options {
    size_t size;
    const char* name;          /* copied, at most 31 characters are kept; default "owner" */
    uint64_t soft_limit_bytes; /* passing it only notifies; default none */
    uint64_t hard_limit_bytes; /* refuses above it, also at eProcessCritical; default none */
    uint64_t guaranteed_bytes; /* kept free from siblings; default 0 */
    uint64_t reserve_bytes;    /* as the host's, within hard_limit_bytes; default 0: the whole
                                     hard limit is open to every level */
} mrv_owner_options;

/* An owner below `parent`, or below the host itself when that is null. A request is admitted only
 * when every owner up to the host admits it.
 * Errors: OVER_BUDGET (the guarantee does not fit), INVALID_ARGUMENT (guaranteed above hard),
 * OUT_OF_MEMORY (also: about 4000 owners exist). */
MRV_API mrv_status mrv_owner_create(mrv_host* host, mrv_owner* parent,
                                    const mrv_owner_options* options, mrv_owner** out) MRV_NOEXCEPT;
/* Gives the handle back. The account goes on as long as a COM object, an owner below it or memory
 * depends on it, and is closed afterwards. Null is MRV_OK. Not while it is pushed on a thread. */
MRV_API mrv_status mrv_owner_destroy(mrv_owner* owner) MRV_NOEXCEPT;
/* Changes the four limits (not the name) while everything runs; never takes back what is held;
 * subscribers are told. Errors: OVER_BUDGET (a larger guarantee does not fit), INVALID_ARGUMENT. */
MRV_API mrv_status mrv_owner_set_limits(mrv_owner* owner,
                                        const mrv_owner_options* options) MRV_NOEXCEPT;

/* ---- what a runtime is given (memreeve/host_interfaces.h) -------------------------------------- */

struct IHostMemoryManager;
struct IHostControl;

/* The owner's memory manager; the same object every time, with one more reference. It lives until
 * that is released, also when the owner's handle is gone. */
MRV_API mrv_status mrv_owner_memory_manager(mrv_owner* owner,
                                            struct IHostMemoryManager** out) MRV_NOEXCEPT;
/* An IHostControl whose GetHostManager(IID_IHostMemoryManager) answers with that owner's manager,
 * counted, and E_NOINTERFACE for the rest. The caller releases it. Errors: OUT_OF_MEMORY,
 * INVALID_ARGUMENT (the owner belongs to another host). */
MRV_API mrv_status mrv_host_control(mrv_host* host, mrv_owner* owner,
                                    struct IHostControl** out) MRV_NOEXCEPT;
/* The same, and `others` (may be null; counted meanwhile) answers for the rest. */
MRV_API mrv_status mrv_host_control_with(mrv_host* host, mrv_owner* owner,
                                         struct IHostControl* others,
                                         struct IHostControl** out) MRV_NOEXCEPT;

/* Until the pop, what this thread asks for from any memory manager of the owner's host is charged
 * to this owner: new reservations and what is committed in them, memory announced as acquired,
 * heaps created. Heap blocks are charged to the owner of their heap. At most 8 deep per thread.
 * Async-signal-safe. Errors: BUSY (8 are pushed); pop: INVALID_ARGUMENT (none is pushed). */
MRV_API mrv_status mrv_thread_push_owner(mrv_owner* owner) MRV_NOEXCEPT;
MRV_API mrv_status mrv_thread_pop_owner(void) MRV_NOEXCEPT;

/* ---- figures -------------------------------------------------------------------------------- */

/* Bytes. Indices of refusals: task, appdomain, process. Of notifications: low, neutral, high. */
typedef struct mrv_owner_figures {
    size_t size;
    char name[32];
    uint64_t reserved_bytes;  /* address space */
    uint64_t committed_bytes; /* committed pages, heaps' included */
    uint64_t charged_bytes;   /* what the limits see, owners below included */
    uint64_t peak_charged_bytes;
    uint64_t heap_bytes;            /* pages held by heaps of this owner */
    uint64_t mapped_bytes;          /* announced as acquired, not yet released */
    uint64_t mapped_writable_bytes; /* share of the kernel's private writable mappings */
    uint64_t slack_bytes;           /* writable for the kernel, not committed */
    uint64_t touched_bytes;         /* sampled growth by touch alone */
    uint64_t limit_bytes;           /* hard limit, MRV_NO_LIMIT when there is none */
    uint64_t soft_limit_bytes;
    uint64_t guaranteed_bytes;
    uint64_t refusals[3];
    uint64_t notifications[3];
    uint64_t warm_bytes;      /* kept though decommitted or released, charged to nobody, at most;
                            given back before a request is refused */
    uint64_t heap_warm_bytes; /* of heap_bytes: free, kept for the next blocks, charged; given back
                                 before a request is refused */
} mrv_owner_figures;

/* A consistent picture: pages that threads hold prepaid are given back first, and it is taken with no
 * operation on the address space in flight, else after 100
 * tries (then the figures may be some pages apart from each other). */
MRV_API mrv_status mrv_owner_stats(mrv_owner* owner, mrv_owner_figures* out) MRV_NOEXCEPT;

typedef struct mrv_host_figures {
    size_t size;
    uint64_t limit_bytes; /* MRV_NO_LIMIT when there is none */
    uint64_t reserve_bytes;
    uint64_t charged_bytes;
    uint64_t peak_charged_bytes;
    uint64_t available_bytes; /* what GetMemoryLoad says */
    uint32_t load_percent;
    uint32_t owners;         /* accounts that exist below the host */
    uint64_t reserved_bytes; /* from here: sums over all owners */
    uint64_t committed_bytes;
    uint64_t heap_bytes;
    uint64_t mapped_bytes;
    uint64_t mapped_writable_bytes;
    uint64_t slack_bytes;
    uint64_t touched_bytes;
    uint64_t refusals[3];
    uint64_t notifications[3];
    uint64_t requests[9];      /* virtual_alloc, _free, _protect, _query, malloc, free, needs,
                                        acquired, released */
    uint64_t given_back_bytes; /* by mrv_host_trim, at Low and before refusals, so far */
} mrv_host_figures;

/* A consistent picture of the host, as above. */
MRV_API mrv_status mrv_host_snapshot(mrv_host* host, mrv_host_figures* out) MRV_NOEXCEPT;
/* Gives back what is kept and not used: free pages of all heaps (but blocks in the caches of threads
 * that live), warm pages, address space. It happens by itself before a request is refused and, with a
 * subscriber, when memory gets low. bytes_given_back may be null. Any thread, at any time. */
MRV_API mrv_status mrv_host_trim(mrv_host* host, uint64_t* bytes_given_back) MRV_NOEXCEPT;

/* ---- what is still live ---------------------------------------------------------------------- */

typedef struct mrv_live_block {
    size_t size;      /* the library's sizeof; later versions append */
    void* address;    /* as Alloc or DebugAlloc gave it */
    uint64_t bytes;   /* that may be used: what DebugAlloc was asked for, else the size class */
    const char* file; /* as DebugAlloc was told; null for Alloc. Valid during the call */
    int32_t line;
    uint32_t heap; /* the heap's number in this process, as in reports */
} mrv_live_block;

/* 0: go on; anything else: enough. May call everything, Free of that block included. */
typedef int (*mrv_live_block_fn)(void* context, const mrv_live_block* block);

/* Calls `function` for every live block of the owner's heaps (not of owners below it), in no order:
 * before the last Release of a heap these are its leaks. Costs nothing until it is called, and then a
 * walk over what the heaps know of their pages. Exact for blocks that no thread allocates or frees
 * meanwhile. MRV_OK also when `function` had enough. */
MRV_API mrv_status mrv_owner_leaks(mrv_owner* owner, mrv_live_block_fn function,
                                   void* context) MRV_NOEXCEPT;

/* ---- pressure ------------------------------------------------------------------------------- */

typedef enum mrv_availability {
    MRV_MEMORY_LOW = 1, /* a state: lasts until NEUTRAL or HIGH is told */
    MRV_MEMORY_NEUTRAL = 2,
    MRV_MEMORY_HIGH = 3
} mrv_availability;

typedef struct mrv_pressure_event {
    size_t size;           /* the library's sizeof; later versions append */
    uint32_t availability; /* mrv_availability */
    uint32_t load_percent;
    uint64_t available_bytes;
} mrv_pressure_event;

/* Called on memreeve's notifier thread, one call at a time, under no lock; may call everything
 * except mrv_host_destroy. Must not throw. */
typedef void (*mrv_pressure_fn)(void* context, const mrv_pressure_event* event);

/* Low is told at 90 % of what eTaskCritical may use and left below 85 %, High below 60 % and left
 * at 65 %; worse news at once, better news after a second, Low again every 8.2 s while it lasts.
 * Errors: OUT_OF_MEMORY (no thread can be started, or 1024 subscribers exist). */
MRV_API mrv_status mrv_host_subscribe(mrv_host* host, mrv_pressure_fn function, void* context,
                                      mrv_subscription** out) MRV_NOEXCEPT;
/* The same for what one owner has left. */
MRV_API mrv_status mrv_owner_subscribe(mrv_owner* owner, mrv_pressure_fn function, void* context,
                                       mrv_subscription** out) MRV_NOEXCEPT;
/* For native code that cannot wait for a thread: called within the request (or refund, or change of a
 * limit) that crosses one of these watermarks, on its thread, before it returns, once for each edge;
 * no times, budgets alone. The call may set words and wake threads; it must not block nor call anything
 * of memreeve, and it runs in whatever the program was doing when it asked for memory. Edges that two
 * threads cross at once may be told at once. Null `owner`: what the host has left.
 * mrv_host_unsubscribe ends it, not from inside a call.
 * Errors: INVALID_ARGUMENT (an owner of another host), OUT_OF_MEMORY (also: 64 watches exist). */
MRV_API mrv_status mrv_host_watch(mrv_host* host, mrv_owner* owner, mrv_pressure_fn function,
                                  void* context, mrv_subscription** out) MRV_NOEXCEPT;
/* Ends it and gives the handle back: afterwards no call runs or starts; from inside the call itself
 * it returns at once. Null is MRV_OK. */
MRV_API mrv_status mrv_host_unsubscribe(mrv_subscription* subscription) MRV_NOEXCEPT;

/* ---- what Win32 has and the interface has not -------------------------------------------------- */

/* GetWriteWatch and ResetWriteWatch, for reservations made with MEM_WRITE_WATCH. The call that makes
 * one answers 0x80070057 where writes cannot be watched (Linux before 6.7, a policy against
 * userfaultfd), unless the host was made with MRV_HOST_WATCH_BY_FAULTS.
 *
 * Tells the pages of [base, base + region_size) that were written to since they were reserved,
 * decommitted or last reset, ascending, at most *count; *count receives how many, *granularity the
 * size of a page. With MRV_WRITE_WATCH_FLAG_RESET those told, and no others, count as not written to
 * from then on, in one step with the reading. In a child of fork every page that holds something
 * counts as written to until it is reset there.
 * Errors: INVALID_ARGUMENT (other flags, a size or count of 0, a range that is not wholly in one
 * watched reservation), NULL_POINTER, OUT_OF_MEMORY (no descriptor is left). */
enum { MRV_WRITE_WATCH_FLAG_RESET = 1u };
MRV_API mrv_status mrv_get_write_watch(mrv_host* host, uint32_t flags, void* base,
                                       size_t region_size, void** addresses, size_t* count,
                                       uint32_t* granularity) MRV_NOEXCEPT;
MRV_API mrv_status mrv_reset_write_watch(mrv_host* host, void* base,
                                         size_t region_size) MRV_NOEXCEPT;

/* VirtualAlloc2 and VirtualFree as far as the interface's methods leave them out, charged to `owner`
 * at `level` (an EMemoryCriticalLevel, 0 to 2). Types are VirtualAlloc's and
 *   MEM_RESERVE | MEM_RESERVE_PLACEHOLDER   a placeholder; protection PAGE_NOACCESS
 *   MEM_RESERVE | MEM_REPLACE_PLACEHOLDER   [base, base + size) is one placeholder and becomes an
 *                                           allocation; with MEM_COMMIT also committed
 * Placeholders made by splitting one another form an area of at most 255 pieces. What is released of
 * an area is free for VirtualQuery at once, and for new reservations when the last piece is.
 * Errors: those of VirtualAlloc; INVALID_ADDRESS (not exactly one placeholder). Threads as for
 * VirtualAlloc: async-signal-safe, no lock. */
enum {
    MRV_MEM_COALESCE_PLACEHOLDERS = 0x1,
    MRV_MEM_PRESERVE_PLACEHOLDER = 0x2,
    MRV_MEM_REPLACE_PLACEHOLDER = 0x4000,
    MRV_MEM_RESERVE_PLACEHOLDER = 0x40000
};
MRV_API mrv_status mrv_virtual_alloc2(mrv_owner* owner, void* base, size_t size, uint32_t type,
                                      uint32_t protect, uint32_t level, void** out) MRV_NOEXCEPT;
/* Types are VirtualFree's and
 *   MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER    part of a placeholder: splits it; the whole of an
 *                                             allocation that replaced one: a placeholder again
 *   MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS   exactly two or more placeholders of one area: one
 * IHostMemoryManager::VirtualFree takes them too. Errors: those of VirtualFree; INVALID_ADDRESS (not
 * such placeholders), OUT_OF_MEMORY (the area has 255 pieces). */
MRV_API mrv_status mrv_virtual_free2(mrv_host* host, void* base, size_t size,
                                     uint32_t type) MRV_NOEXCEPT;

/* VirtualLock and VirtualUnlock, for any accessible memory of the process, over mlock: whole pages,
 * no count of locks, undone by decommit and release. All pages or none.
 * Errors: INVALID_ARGUMENT (size 0, beyond user space), NO_ACCESS (a page that is not committed, or
 * PAGE_NOACCESS, or guarded: the guard is cleared), OVER_QUOTA (RLIMIT_MEMLOCK), NOT_LOCKED (unlock:
 * a page that is not). */
MRV_API mrv_status mrv_virtual_lock(mrv_host* host, void* base, size_t size) MRV_NOEXCEPT;
MRV_API mrv_status mrv_virtual_unlock(mrv_host* host, void* base, size_t size) MRV_NOEXCEPT;

typedef enum mrv_fault {
    MRV_FAULT_NOT_OURS = 0, /* nothing was done: pass the signal on */
    MRV_FAULT_GUARD = 1,    /* a guard page of ours; it is cleared, the access may be retried */
    MRV_FAULT_WATCHED = 2,  /* the first write to a page that is watched by faults; retry it */
    MRV_FAULT_OVER = 3      /* another thread has dealt with it meanwhile; retry the access */
} mrv_fault;

/* For an embedder's SIGSEGV handler: was it a guard page of ours, or a page watched by faults, and is
 * it dealt with? Asks every host of the process. `info` is the handler's siginfo_t * (void, because
 * plain C11 has no such type), `ucontext` its third argument, which may be null (then no write is
 * recognised, and nothing another thread has dealt with). Async-signal-safe. */
MRV_API mrv_fault mrv_handle_fault(const void* info, void* ucontext) MRV_NOEXCEPT;

/* What Windows raises as 0x80000001. */
typedef struct mrv_guard_hit {
    size_t size;     /* the library's sizeof; later versions append */
    void* address;   /* the exact byte */
    uint32_t access; /* 0 read, 1 write, 8 execute */
    uint32_t reserved;
} mrv_guard_hit;
/* Called in the signal handler of the thread that met the guard, after it was cleared: only what is
 * async-signal-safe is allowed, and leaving by siglongjmp. Returning tries the access again. */
typedef void (*mrv_guard_fn)(void* context, const mrv_guard_hit* hit);

/* Opt in to a SIGSEGV handler of memreeve's, for the whole process. It clears guards of every host,
 * calls `function` (may be null), and passes every other fault on to the handler it found. It runs on
 * the thread's alternate signal stack if there is one, and keeps errno.
 *   - A runtime that installs a handler later and chains keeps ours working behind its own. One that
 *     does not chain, or takes a guard for a null reference, needs this call again afterwards: then ours
 *     comes first again, and a chain that leads back to ours goes on to what was there at first.
 *   - The signal mask and SA_NODEFER are those of the handler found; a handler that relies on other
 *     flags of its own (SA_RESETHAND) does not get them.
 * Errors: OUT_OF_MEMORY (after 32 different handlers or functions), BUSY (another thread does the
 * same just now). */
MRV_API mrv_status mrv_install_fault_handler(mrv_guard_fn function, void* context) MRV_NOEXCEPT;
/* Puts back the handler that was found last, if ours is still the one installed; else ours only passes
 * on from now on. Errors: BUSY, NOT_SUPPORTED (none of ours is installed). */
MRV_API mrv_status mrv_remove_fault_handler(void) MRV_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
