# SPDX-License-Identifier: MIT
"""fork_storm.py FORKS: forks while four threads allocate; what programs/fork_storm.c is for C."""
import os
import select
import signal
import sys
import threading

stopped = False


def work():
    kept = [bytes(i * 13 % 3000) for i in range(300)]
    large = bytearray(700000)
    large[-1] = len(kept) & 255
    return sum(map(len, kept)) + len(large)


def allocate():
    while not stopped:
        work()


wanted = work()
threads = [threading.Thread(target=allocate) for _ in range(4)]
for t in threads:
    t.start()
count, hangs, bad = int(sys.argv[1]), 0, 0
for n in range(count):
    child = os.fork()
    if child == 0:
        good = work() == wanted
        if n % 5 == 0:
            os.execv("/bin/true", ["true"])
        os._exit(0 if good else 1)
    fd = os.pidfd_open(child)
    if not select.select([fd], [], [], 30)[0]:
        hangs += 1
        os.kill(child, signal.SIGKILL)
    os.close(fd)
    bad += os.waitpid(child, 0)[1] != 0 and hangs == 0
stopped = True
for t in threads:
    t.join()
print("forks", count, "hangs", hangs, "bad", bad, flush=True)
sys.stdin.readline()
