# SPDX-License-Identifier: MIT
# The table of heap_misuse.py. A row is a case of programs/heap_misuse with its numbers, what the program
# is answered, and what memreeve tells: every line, exactly, where {p} is the address that the program
# calls p.
REFUSED = "HOST_E_INVALIDOPERATION"
PAGE = 4096


def size_class(n):
    """Bytes of the block that serves n (src/heap/size_class.hpp)."""
    if n > 32768:
        return -(-n // PAGE) * PAGE
    if n <= 128:
        return max(-(-n // 16) * 16, 16)
    step = 1 << ((n - 1).bit_length() - 4)
    return -(-n // step) * step


def bytes_(n):
    return f"{n} byte" if n == 1 else f"{n} bytes"


def refused(pointer, what, heap=1, owner="plugin", call="IHostMalloc::Free"):
    return f"memreeve: {call}({{{pointer}}}): {what}; heap {heap} of owner {owner}"


def made(where="plugin.c:7"):
    return f" (DebugAlloc at {where})" if where else ""


def freed(n, where=None, certain=None):
    sure = certain if certain is not None else where is not None or n > 32768
    return (f"double free: the block of {bytes_(n if where is not None else size_class(n))} there{made(where)} was freed "
            f"before" + ("" if sure else ", or never handed out"))


def into(offset, n, where=None):
    return f"{bytes_(offset)} into the live block of {bytes_(n if where else size_class(n))} at {{p}}{made(where)}"


def damaged(n, byte, where="plugin.c:7"):
    side = "in front of its beginning" if byte < 0 else "beyond its end"
    return f"the block of {bytes_(n)} there{made(where)} was written {side}, at byte {byte}; it stays live"


FOREIGN = "not memory of this heap"

# case with its numbers, the program's lines, memreeve's lines [, exit status]
cases = [
    ("innocent", ["Free(p): S_OK", "Free(d): S_OK"], []),
    ("null", ["Free(null): S_OK"], []),
]

# ---- blocks of Alloc: from the smallest class to the largest slab's, and with pages of their own
for n in (1, 16, 100, 1000, 5000, 32768, 32769, 200000, 3 << 20):
    cases += [
        (f"twice {n}", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(n))]),
        (f"interior {n} 1", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"],
         [refused("wrong", into(1, n))]),
        (f"interior {n} {size_class(n) - 1}", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"],
         [refused("wrong", into(size_class(n) - 1, n))]),
    ]
for n, offset in ((100, 8), (100, 16), (1000, 512), (200000, 16), (200000, 4096), (200000, 65536)):
    cases.append((f"interior {n} {offset}", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"],
                  [refused("wrong", into(offset, n))]))
cases += [
    ("interior_of_free 100 8", ["Free(p): S_OK", f"Free(wrong): {REFUSED}"],
     [refused("wrong", "inside the block of 112 bytes at {p}, which is not live")]),
    ("three_times", ["Free(p): S_OK", f"Free(p): {REFUSED}", "Free(q): S_OK", f"Free(q): {REFUSED}", f"Free(q): {REFUSED}"],
     [refused("p", freed(100)), refused("q", freed(1100)), refused("q", freed(1100))]),
    ("by_another_thread", ["Free(p): S_OK", f"Free(p): {REFUSED}", f"Free(p): {REFUSED}"],
     [refused("p", freed(100))] * 2),
    ("in_a_signal_handler", [f"{REFUSED}, S_OK, {REFUSED}"],
     [refused("?", into(1, 100)), refused("p", freed(100))]),
    ("overwritten_slab 48", ["200 of 200 freed"], []),
    ("overwritten_slab 16", ["200 of 200 freed"], []),
]

# ---- what is no memory of the heap
for case in ("stack", "global", "code_of_program", "of_libc", "of_libc 300000", "environment", "the_heap_itself", "constant 1",
             "constant 16", "constant 0x7fffffffffff", "constant 0x800000000000", "constant 0xfffffffffffffff0",
             "constant 0xffffffffffffffff"):
    cases.append((case, [f"Free(wrong): {REFUSED}"], [refused("wrong", FOREIGN)]))
for case in ("virtual_memory", "reserved_memory"):
    cases.append((case, [f"Free(wrong): {REFUSED}", "VirtualFree: S_OK"], [refused("wrong", FOREIGN)]))
for n in (100, 200000):
    cases += [
        (f"of_another_heap {n}", [f"Free(p): {REFUSED}", "Free(p): S_OK"], [refused("p", FOREIGN + " but of heap 2")]),
        (f"of_another_owner {n}", [f"Free(p): {REFUSED}", f"Free(q): {REFUSED}", "Free(q): S_OK", "Free(p): S_OK"],
         [refused("p", FOREIGN + " but of heap 2"), refused("q", FOREIGN + " but of heap 1", 2, "second")]),
        (f"of_another_host {n}", [f"Free(p): {REFUSED}", "Free(p): S_OK", "destroy: success"], [refused("p", FOREIGN)]),
        (f"of_a_heap_that_is_gone {n}", ["Release: 0", f"Free(p): {REFUSED}"], [refused("p", FOREIGN)]),
        (f"of_a_single_threaded_heap {n}", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(n), 2)]),
        (f"of_an_executable_heap {n}", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(n), 2)]),
    ]

# ---- blocks of DebugAlloc: sizes that fill their class, that do not, with pages of their own
for n in (1, 15, 16, 17, 100, 1000, 32736, 32737, 200000):
    cases += [
        (f"debug_twice {n}", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(n, "plugin.c:7"))]),
        (f"behind {n} 0 1 0", [f"Free(p): {REFUSED}"], [refused("p", damaged(n, n))]),
        (f"behind {n} 0 16 255", [f"Free(p): {REFUSED}"], [refused("p", damaged(n, n))]),
        (f"behind {n} 15 1 1", [f"Free(p): {REFUSED}"], [refused("p", damaged(n, n + 15))]),
        (f"before {n} 1 1 0", [f"Free(p): {REFUSED}"], [refused("p", damaged(n, -1))]),
        (f"before {n} 16 16 1", [f"Free(p): {REFUSED}"], [refused("p", damaged(n, -16))]),
    ]
cases += [
    ("behind 0 1 1 1", [f"Free(p): {REFUSED}"], [refused("p", damaged(1, 1))]),  # a block of 0 has a byte
    ("behind 100 3 4 1", [f"Free(p): {REFUSED}"], [refused("p", damaged(100, 103))]),
    ("before 100 4 2 9", [f"Free(p): {REFUSED}"], [refused("p", damaged(100, -4))]),
    ("on_both_sides", [f"Free(p): {REFUSED}"] * 2, [refused("p", damaged(100, -1))] * 2),
    ("string_too_long 24", [f"Free(p): {REFUSED}"], [refused("p", damaged(24, 24, "string.c:33"))]),
    ("told_each_time", [f"Free(p): {REFUSED}"] * 2 + ["live: 100 bytes, plugin.c:7, heap 1", "leaks: success"],
     [refused("p", damaged(100, 100))] * 2),
    ("made_good", [f"Free(p): {REFUSED}", "Free(p): S_OK"], [refused("p", damaged(100, 100))]),
    ("copied_with_its_canary", [f"Free(p): {REFUSED}", "Free(q): S_OK"], [refused("p", damaged(100, 100))]),
    ("debug_interior 100 1", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"], [refused("wrong", into(1, 100, "plugin.c:7"))]),
    ("debug_interior 100 99", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"], [refused("wrong", into(99, 100, "plugin.c:7"))]),
    ("debug_interior 100 100", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"],
     [refused("wrong", "0 bytes behind the end of the live block of 100 bytes at {p} (DebugAlloc at plugin.c:7)")]),
    ("debug_interior 200000 4096", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"],
     [refused("wrong", into(4096, 200000, "plugin.c:7"))]),
    ("in_front 100 16", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"],
     [refused("wrong", "16 bytes in front of the live block of 100 bytes at {p} (DebugAlloc at plugin.c:7)")]),
    ("in_front 200000 16", [f"Free(wrong): {REFUSED}", "Free(p): S_OK"],
     [refused("wrong", "16 bytes in front of the live block of 200000 bytes at {p} (DebugAlloc at plugin.c:7)")]),
    ("without_a_name 100 0", ["Free(p): S_OK", f"Free(p): {REFUSED}"],
     [refused("p", "double free: the block of 100 bytes there (DebugAlloc, line 0) was freed before")]),
    ("without_a_name 100 0xfffffff9", ["Free(p): S_OK", f"Free(p): {REFUSED}"],
     [refused("p", "double free: the block of 100 bytes there (DebugAlloc, line -7) was freed before")]),
    ("with_a_long_name", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(100, "d" * 110 + "/the_end.c:1"))]),
    ("with_an_empty_name", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(100, ":1"))]),
    ("with_control_characters", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(100, "a??[31mb.c:1"))]),
    ("with_a_transient_name", ["Free(p): S_OK", f"Free(p): {REFUSED}"], [refused("p", freed(100, "was_here.c:5"))]),
    ("debug_of_another_heap", [f"Free(p): {REFUSED}", "Free(p): S_OK"], [refused("p", FOREIGN + " but of heap 1", 2)]),
    ("used_as_plain_later", ["Free(p): S_OK", "Free(q): S_OK", f"Free(q): {REFUSED}"], [refused("q", freed(100))]),
    ("neighbour", [f"Free(high): {REFUSED}", f"Free(low): {REFUSED}"],
     [refused("high", damaged(100, -16, r"first.c:1|second.c:2")), refused("low", damaged(100, 100, r"first.c:1|second.c:2"))]),
    ("read_after_free", ["Free(p): S_OK", "dd dd"], []),
    ("nothing_written_after_free", ["Free(p): S_OK", "Free(q): S_OK"], []),
]
for n, offset in ((1, 0), (100, 0), (100, 57), (100, 99), (5000, 4999)):
    cases.append((f"after_free {n} {offset}", ["Free(p): S_OK", "the same again", "Free(q): S_OK"],
                  [refused("p", f"the free block of {bytes_(n)} there (DebugAlloc at plugin.c:7) was written after it was "
                                f"freed, at byte {offset}", call="IHostMalloc::DebugAlloc")]))

# ---- what is still live
cases += [
    ("leak", ["live: 100 bytes, leak.c:99, heap 1", "leaks: success", "Free(p): S_OK", "leaks: success"], []),
    ("leak 200000", ["live: 200000 bytes, leak.c:99, heap 1", "leaks: success", "Free(p): S_OK", "leaks: success"], []),
    ("leak_of_alloc", ["live: 112 bytes, (none):0, heap 1", "leaks: success", "Free(p): S_OK"], []),
    ("leaks_of_two_heaps", ["2 live", "1 live", "Free(q): S_OK"], []),
    ("leaks_of_another_owner", ["leaks: success", "1 of the other", "Free(p): S_OK"], []),
    ("enough_after_one", ["live: 100 bytes, plugin.c:7, heap 1", "leaks: success", "Free(p): S_OK", "Free(q): S_OK"], []),
    ("many_leaks 20000", ["20000 live", "0 live"], []),
    ("leak_of_a_thread_that_ended", ["live: 100 bytes, thread.c:4, heap 1", "leaks: success", "Free(p): S_OK"], []),
    ("freed_while_listed", ["leaks: success", "0 live"], []),
    ("leaks_of_nothing", ["no owner: a pointer that is needed is null", "no function: a pointer that is needed is null",
                          "leaks: success"], []),
]

# ---- how it is told
line = refused("?", into(1, 100))
cases += [
    ("told_a_hundred_times", ["Free(p): S_OK"], [line] * 99 + [line + "; no more of these are said"]),
    ("to_a_function", ["told: " + refused("?", into(1, 100), 2, "owner"), "150 lines", "Free(p): S_OK", "destroy: success"], []),
]

# ---- the other calls
NULL = "a pointer that is needed is null"
cases += [
    ("virtual_free_of_a_block", [f"VirtualFree: {REFUSED}"] * 3 + ["Free(p): S_OK"], []),
    ("virtual_free_twice", ["VirtualFree: S_OK", f"VirtualFree: {REFUSED}"], []),
    ("virtual_free_inside", ["VirtualFree: 0x800701e7", "VirtualFree: E_INVALIDARG", "VirtualFree: E_INVALIDARG",
                             "VirtualFree: S_OK"], []),
    ("virtual_free_of_libcs", [f"VirtualFree: {REFUSED}"], []),
    ("sizes_that_cannot_be", ["Alloc: E_OUTOFMEMORY", "DebugAlloc: E_OUTOFMEMORY", "null"], []),
    ("null_out_pointers", ["Alloc: E_POINTER", "DebugAlloc: E_POINTER", "CreateMalloc: E_POINTER"], []),
    ("unknown_values", ["Alloc: E_INVALIDARG", "DebugAlloc: E_INVALIDARG", "CreateMalloc: E_INVALIDARG"], []),
    ("destroyed_while_in_use", ["destroy: still in use", "Free(p): S_OK"], []),
    ("popped_too_often", ["pop: invalid argument", "push: success", "pop: success", "pop: invalid argument"], []),
    ("pushed_too_deep", ["push: still in use"], []),
    ("null_handles", ["host: success", "owner: success", "subscription: success", f"push: {NULL}", f"stats: {NULL}",
                      f"manager: {NULL}", f"create: {NULL}"], []),
    ("options_without_size", ["create: invalid argument", "create: invalid argument", "owner: invalid argument",
                              "owner: invalid argument"], []),
    ("owner_of_another_host", ["control: invalid argument", "owner: invalid argument", f"watch: {NULL}", "destroy: success"], []),
]
