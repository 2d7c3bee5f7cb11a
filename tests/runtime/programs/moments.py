# SPDX-License-Identifier: MIT
"""Stops at six moments and waits for a line on standard input: after start-up, with a heap of small
objects, with native memory, with a file of memory mapped twice, with threads at work, after all is let go."""
import ctypes
import gc
import mmap
import os
import sys
import threading

MIB = 1 << 20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


def moment(name):
    print(name, flush=True)
    if not sys.stdin.readline():
        sys.exit(2)


def tree(depth):
    return (tree(depth - 1), tree(depth - 1), bytes(300)) if depth else None


stop = threading.Event()


def churn():
    while not stop.is_set():
        kept = [tree(8), bytearray(96 << 10), bytearray(600 << 10), mmap.mmap(-1, 1 << 18, mmap.MAP_PRIVATE)]
        kept[3].close()
        del kept


moment("started")
held = [tree(13) for _ in range(16)]
moment("objects")
natives = [libc.malloc(MIB) for _ in range(16)]
for p in natives:
    ctypes.memset(p, 1, MIB)
arrays = [bytearray(MIB) for _ in range(16)]
moment("native")
fd = os.memfd_create("twice")
os.ftruncate(fd, 64 * MIB)
views = [mmap.mmap(fd, 8 * MIB), mmap.mmap(fd, 8 * MIB)]
views[0][:] = bytes(8 * MIB)
moment("views")
threads = [threading.Thread(target=churn) for _ in range(4)]
for t in threads:
    t.start()
moment("busy")
stop.set()
for t in threads:
    t.join()
os.close(fd)
for v in views:
    v.close()
for p in natives:
    libc.free(p)
held = arrays = natives = None
gc.collect()
moment("collected")
