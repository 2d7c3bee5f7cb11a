#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the JSON lines of the benchmark programs as one table.

usage: bench_table.py FILE...
"""
import json
import sys


def shown(value):
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "" if value is None else str(value)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rows = [("metric", "value", "unit", "goal", "reference")]
    for name in sys.argv[1:]:
        try:
            lines = open(name, encoding="utf-8").read().splitlines()
        except OSError as error:
            print(f"bench_table: {name}: {error.strerror}", file=sys.stderr)
            continue
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                print(f"bench_table: {name}: not a JSON line: {line[:60]}", file=sys.stderr)
                continue
            rows.append(tuple(shown(row.get(key)) for key in rows[0]))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[i].rjust(widths[i]) if i in (1, 3) else row[i].ljust(widths[i]) for i in range(len(row))]
        print("  ".join(cells).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
