# SPDX-License-Identifier: MIT
"""Leaks one kind of memory until Python raises, lets go, works on and says in a line of JSON what was
caught. README.md has the words.

   memreeve run --limit 256M -- python3 leaks.py arrays
"""
import gc
import json
import mmap
import sys
import threading
import time
import types

BLOCK = 1 << 20
PAGE = 4096
USAGE = "usage: leaks.py arrays|objects|native|threads|code [MIB] | steady SECONDS LIVE_MIB NATIVE_MIB"


class Leak:
    def __init__(self, enough):
        self.enough = enough
        self.count = 0
        self.bytes = 0
        self.held = []
        self.let_go = threading.Event()

    def _grew(self, size):
        self.count += 1
        self.bytes += size

    def arrays(self):
        while self.bytes < self.enough:
            self.held.append([self.count] * (BLOCK // 8))
            self._grew(BLOCK)

    def objects(self):
        while self.bytes < self.enough:
            self.held = (self.held, {"number": self.count, "half": self.count / 2})
            self._grew(340)

    def native(self):
        while self.bytes < self.enough:
            if self.count % 2:
                block = bytearray(BLOCK)
            else:
                block = mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for i in range(0, BLOCK, PAGE):
                block[i] = 1
            self.held.append(block)
            self._grew(BLOCK)

    def threads(self):
        def stay(ready):
            def deeper(n):
                return 1 + deeper(n - 1) if n else 0

            deeper(200)
            ready.set()
            self.let_go.wait()

        while self.count < 8000:
            ready = threading.Event()
            thread = threading.Thread(target=stay, args=(ready,), daemon=True)
            thread.start()
            ready.wait()
            self.held.append(thread)
            self._grew(64 << 10)

    def code(self):
        while self.bytes < self.enough:
            source = "".join(f"def f{i}(x):\n    y = x * {i} + {self.count}\n    return [y, 'text {self.count} {i}']\n" for i in range(50))
            module = types.ModuleType(f"made{self.count}")
            exec(compile(source, module.__name__, "exec"), module.__dict__)
            if module.f3(2)[0] != 6 + self.count:
                sys.exit("generated code computed wrongly")
            self.held.append(module)
            self._grew(len(source))

    def release(self):
        self.let_go.set()
        for thread in self.held:
            thread.join()
        self.held = []
        gc.collect()


def work():
    """Work that allocates and drops small objects and an array, as programs do."""
    composite = bytearray(200000)
    found = []
    for i in range(2, len(composite)):
        if not composite[i]:
            found.append(str(i))
            for j in range(i * i, len(composite), i):
                composite[j] = 1
    return len(found)


def steady(seconds, live, native):
    """Garbage and long-lived objects of all sizes in a table of live bytes, blocks of 64 KiB that hold
    native bytes, one of them replaced every 64 operations; an operation is one object."""
    piece = 64 << 10
    table = [None] * max(live // 1024, 64)
    blocks = [bytearray(piece) for _ in range(native // piece)]
    random, operations, timed, caught, begun = 12345, 0, 0, 0, None
    zero = time.monotonic()
    while True:
        now = time.monotonic() - zero
        if begun is None and now >= seconds * 0.2:
            begun, timed = now, operations
        if now >= seconds:
            return {"mode": "steady", "operations": operations, "seconds": round(now, 3),
                    "per_second": round((operations - timed) / (now - begun), 1), "caught": caught}
        for _ in range(256):
            random = (random * 1664525 + 1013904223) & 0xFFFFFFFF
            size = (random >> 12) % 8192 + 1 if (random >> 8) % 32 == 0 else (random >> 12) % 1536 + 64
            slot = (random >> 7) % len(table)
            try:
                fresh = bytearray(size)
                fresh[-1] = size & 255
                old = table[slot]
                if old is not None and old[-1] != len(old) & 255:
                    sys.exit("contents changed")
                table[slot] = fresh
                if operations % 64 == 0 and blocks:
                    blocks[(random >> 9) % len(blocks)] = bytearray(piece)
            except MemoryError:
                caught += 1
            operations += 1


def main(words):
    mode = words[0] if words else ""
    if mode == "steady" and len(words) == 4:
        print(json.dumps(steady(int(words[1]), int(words[2]) << 20, int(words[3]) << 20)))
        return 0
    if mode not in ("arrays", "objects", "native", "threads", "code"):
        print(USAGE, file=sys.stderr)
        return 2
    leak = Leak((int(words[1]) if len(words) > 1 else 1024) << 20)
    before = work()
    print("leaking", mode, file=sys.stderr)
    caught = None
    try:
        getattr(leak, mode)()
        leak.held = ()
    except MemoryError:
        leak.held = ()  # before anything else: the next line may need memory, too
        caught = "MemoryError"
    except RuntimeError as e:  # a thread that cannot be started
        caught = f"RuntimeError: {e}"
    except OSError as e:  # mmap
        leak.held = ()
        caught = f"OSError: {e.strerror}"
    leak.release()
    same = work() == before
    print(json.dumps({"mode": mode, "caught": caught, "count": leak.count, "bytes": leak.bytes, "worked": same}))
    return 0 if same else 3


sys.exit(main(sys.argv[1:]))
