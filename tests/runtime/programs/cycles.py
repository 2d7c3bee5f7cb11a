# SPDX-License-Identifier: MIT
# Garbage in cycles, each with much memory and few objects: Python's own collector, which counts objects,
# comes late. Prints "collected" and how many cycles it took when somebody collected (few: not Python
# itself, whose first collection comes after 700 objects), "not collected" at the end otherwise.
#
#   cycles.py MOST [fork | threads]
import gc
import os
import sys
import threading
import time


def work(most):
    told = []
    gc.callbacks.append(lambda phase, info: told.append(info["generation"]) if phase == "stop" else None)
    for i in range(most):
        cycle = [bytearray(1 << 20)]
        cycle.append(cycle)
        del cycle
        if 2 in told:
            print("collected", i, flush=True)
            return 0
        # Whoever is to collect gets the time for it, however busy the machine is.
        if i == most - 1:
            end = time.monotonic() + 60
            while 2 not in told and time.monotonic() < end:
                time.sleep(0.01)
    print("collected" if 2 in told else "not collected", most, flush=True)
    return 0 if 2 in told else 1


def main():
    most = int(sys.argv[1])
    way = sys.argv[2] if len(sys.argv) > 2 else ""
    if way == "fork":
        child = os.fork()
        if child == 0:
            status = work(most)
            os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if way == "threads":
        threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(4)]
        for t in threads:
            t.start()
    return work(most)


sys.exit(main())
