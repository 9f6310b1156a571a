#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums a profile (refold run --profile FILE) by kernel and prints a markdown table.

    python3 tools/dev/profile_table.py FILE [FILE...]
"""
import json
import sys


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    sums = {}
    for event in events:
        row = sums.setdefault(event["args"]["kernel"], [0, 0.0, 0])
        row[0] += 1
        row[1] += event["dur"] / 1000
        row[2] += event["args"]["macs"]
    return sorted(sums.items(), key=lambda item: -item[1][1])


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for path in sys.argv[1:]:
        rows = rows_of(path)
        total = sum(row[1] for _, row in rows)
        print(f"{path}: {total:.1f} ms\n\n| kernel | calls | ms | share | GFLOP/s |\n|---|---|---|---|---|")
        for kernel, (calls, ms, macs) in rows:
            print(f"| {kernel} | {calls} | {ms:.1f} | {100 * ms / total:.1f}% | "
                  f"{2 * macs / ms / 1e6:.0f} |")
        print()


if __name__ == "__main__":
    main()
