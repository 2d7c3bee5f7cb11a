# SPDX-License-Identifier: MIT
# Holds MIB of bytes, says "ready"; at the line "drop" only a cycle holds them, says "dropped"; at the end of its
# input it ends. Bytecode runs all the time: a collection that was asked for is done between two instructions.
import gc
import os
import select
import sys


class Block:
    pass


gc.collect()
block = Block()
block.itself = block
block.bytes = [bytearray(1 << 20) for _ in range(int(sys.argv[1]))]
print("ready", flush=True)
while True:
    if not select.select([0], [], [], 0.01)[0]:
        continue
    if not os.read(0, 64):
        break
    del block
    print("dropped", flush=True)
