# SPDX-License-Identifier: MIT
"""What dotnet/mixed.cs is for .NET: everything a program asks memory for, then it stands still."""
import ctypes
import sys
import threading


def tree(depth):
    return [tree(depth - 1), tree(depth - 1)] if depth else None


libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
trees = [tree(14) for _ in range(6)]
arrays = [bytearray(4 << 20) for i in range(24)][::2]
natives = [libc.malloc((i << 13) + 1) for i in range(64)]
for n, p in enumerate(natives):
    ctypes.memset(p, 1, (n << 13) + 1)

over = threading.Event()
ready = threading.Barrier(9)


def live():
    kept = [tree(10) for _ in range(4)]
    ready.wait()
    over.wait()
    return kept


threads = [threading.Thread(target=live) for _ in range(8)]
for t in threads:
    t.start()
ready.wait()
print("standing", flush=True)
sys.exit(2 if not sys.stdin.readline() else over.set())
