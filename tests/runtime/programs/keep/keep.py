# SPDX-License-Identifier: MIT
# keep.py MIB: keeps that many arrays of 1 MiB, makes garbage meanwhile, ends with 0.
import sys

kept, total = [], 0
for _ in range(int(sys.argv[1])):
    kept.append(bytearray(1 << 20))
    total += sum(len("x" * (100 + n)) for n in range(200))
print(len(kept), total)
