# SPDX-License-Identifier: MIT
# Takes MIB of bytes in a cycle that nobody refers to, says "ready", waits until its input ends, says "done"
# and whether the cycle is gone. With "fork" a child does.
import gc
import os
import select
import sys
import weakref


class Block:
    pass


def hold(mebibytes):
    gc.collect()
    block = Block()
    block.itself = block
    block.bytes = [bytearray(1 << 20) for _ in range(mebibytes)]
    gone = weakref.ref(block)
    del block
    print("ready", flush=True)
    # Bytecode runs meanwhile: a collection that was asked for is done between two instructions.
    while not select.select([0], [], [], 0.01)[0]:
        pass
    print("done", gone() is None, flush=True)


if len(sys.argv) > 2 and os.fork() != 0:
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
hold(int(sys.argv[1]))
