# SPDX-License-Identifier: MIT
# fork_asked.py MIB CHILDREN LIBRARY: takes MIB of bytes in a cycle and computes for a while without giving up the GIL, so
# that a collection that is asked for then (by a pending call, not seen before that up to 3.11) is not begun; then
# forks CHILDREN, which come to it, and prints how each ended. It has had a thread, so they get none that asks, and
# LIBRARY's handler of fork starts one in each, in the memory of the stacks that were their parent's.
import ctypes
import gc
import os
import sys
import threading
import time


class Block:
    pass


ctypes.CDLL(sys.argv[3])
once = threading.Thread(target=int)
once.start()
once.join()
gc.collect()
block = Block()
block.itself = block
block.bytes = [bytearray(1 << 20) for _ in range(int(sys.argv[1]))]
del block
end = time.monotonic() + 0.3
while time.monotonic() < end:
    pass
pids = []
for _ in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        for _ in range(10):
            time.sleep(0.01)
        os._exit(7)
    pids.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids], flush=True)
