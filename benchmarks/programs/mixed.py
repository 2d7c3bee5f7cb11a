# SPDX-License-Identifier: MIT
"""Work of many kinds, the same on every run; the last line is a checksum of all of it.

usage: mixed.py [scale]
"""
import ctypes
import json
import sys
import threading


def random(seed):
    while True:
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        yield seed >> 8


class Node:
    __slots__ = ("left", "right", "value")

    def __init__(self, left, right, value):
        self.left, self.right, self.value = left, right, value


def grow(depth, value):
    if depth == 0:
        return Node(None, None, value)
    return Node(grow(depth - 1, 2 * value), grow(depth - 1, 2 * value + 1), value)


def tree_sum(node):
    return 0 if node is None else node.value + tree_sum(node.left) + tree_sum(node.right)


def trees(rounds):
    """Many trees that die young beside one that stays."""
    kept = grow(14, 1)
    return sum(tree_sum(grow(9, i)) for i in range(rounds)) + tree_sum(kept)


def arrays():
    """64 arrays of 4 MiB, eight alive at a time."""
    alive = [None] * 8
    total = 0
    for i in range(64):
        a = bytearray(4 << 20)
        a[::512] = bytes((i + at) & 255 for at in range(len(a) // 512))
        alive[i % 8] = a
        other = alive[(i * 5 + 3) % 8] or a
        total += sum(other[::1024])
    return total


def strings(count):
    seen = {}
    text = []
    numbers = random(7)
    for i in range(count):
        word = "k" + str(next(numbers) % 20000)
        seen[word] = seen.get(word, 0) + 1
        if i % 8 == 0:
            text.append(word)
    again = json.loads(json.dumps(seen))
    return len("".join(text).split("k")) + sum(again[w] * (i % 31) for i, w in enumerate(sorted(again)))


def rows(me, rounds, sums):
    numbers = random(me + 1)
    total = 0
    for _ in range(rounds):
        row = [next(numbers) % 1000 for _ in range(200 + next(numbers) % 800)]
        row.sort()
        total += row[len(row) // 2]
    sums[me] = total


def threads(rounds):
    """Four threads that allocate what they compute with."""
    sums = [0] * 4
    running = [threading.Thread(target=rows, args=(me, rounds, sums)) for me in range(4)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    return sums[0] + 3 * sums[1] + 5 * sums[2] + 7 * sums[3]


def native_memory(count):
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [None] * 256
    numbers = random(3)
    total = 0
    for i in range(count):
        at = i % len(blocks)
        if blocks[at]:
            total += ctypes.c_int32.from_address(blocks[at]).value
            libc.free(blocks[at])
        blocks[at] = libc.malloc(16 + next(numbers) % (200000 if i % 64 == 0 else 2000))
        ctypes.c_int32.from_address(blocks[at]).value = i
    for b in blocks:
        libc.free(b)
    return total


def main():
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    parts = [trees(10 * scale), arrays(), strings(12000 * scale), threads(10 * scale), native_memory(6000 * scale)]
    total = 17
    for p in parts:
        total = (total * 1000003 + p) % (1 << 61)
    print("mixed", *parts, total)


main()
