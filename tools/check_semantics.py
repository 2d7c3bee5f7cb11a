#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds docs/semantics.md to the tests: every rule has one row, every test named in it exists and has a
case that bears the rule's number, and every rule that a case of tests/conformance/win32_* bears has a row.

usage: check_semantics.py [ROOT]        exit 1 when something is missing
       check_semantics.py --self-test   plants each kind of fault and expects it to be found
"""
import re
import sys
from pathlib import Path

COUNTS = {"S": 4, "A": 18, "P": 6, "F": 9, "V": 8, "Q": 9, "G": 5, "WW": 9, "L": 5, "PH": 5}
RULES = [f"{group}{number}" for group, count in COUNTS.items() for number in range(1, count + 1)]
ROW = re.compile(r"^\| ([A-Z]{1,2}\d+) \| (.+?) \| (.+?) \|$", re.M)
# A case of a table, or the name of a test.
CASE = re.compile(r'^\s*\{"([^"]+)", R"\(|^TEST\w*\(\w+,\s*(\w+)\)', re.M)
NUMBER = re.compile(r"(?<![A-Za-z0-9])(WW|PH|[SAPFVQGL])(\d+)(?![0-9A-Za-z])", re.I)
FOLDERS = ("tests/conformance/", "tests/")


def numbers_in(text):
    """Rules that the cases of a test source bear in their names."""
    borne = set()
    for case, test in CASE.findall(text):
        name = (case or test).replace("_", " ")
        borne |= {(group + number).upper() for group, number in NUMBER.findall(name)}
    return borne


def check(table, sources):
    """`sources`: path without .cpp -> text. Returns what is wrong."""
    wrong = []
    rules_part = table.partition("## Rules")[2].partition("\n## ")[0]
    rows = ROW.findall(rules_part)
    seen = [rule for rule, _, _ in rows]
    wrong += [f"{rule}: no row" for rule in RULES if rule not in seen]
    wrong += [f"{rule}: {seen.count(rule)} rows" for rule in RULES if seen.count(rule) > 1]
    wrong += [f"{rule}: no such rule" for rule in seen if rule not in RULES]
    for rule, _, cell in rows:
        tests = re.findall(r"`([^`]+)`", cell)
        if not tests:
            wrong.append(f"{rule}: names no test")
        for test in tests:
            text = next((sources[f + test] for f in FOLDERS if f + test in sources), None)
            if text is None:
                wrong.append(f"{rule}: there is no {test}")
            elif rule not in numbers_in(text):
                wrong.append(f"{rule}: {test} has no case of that number")
    for path, text in sources.items():
        if path.startswith(FOLDERS[0] + "win32_"):
            wrong += [f"{path} bears {rule}, which is no rule"
                      for rule in sorted(numbers_in(text)) if rule not in RULES]
    return wrong


def read(root):
    table = (root / "docs/semantics.md").read_text(encoding="utf-8")
    sources = {str(path.relative_to(root).with_suffix("")): path.read_text(encoding="utf-8")
               for path in (root / "tests").rglob("*_test.cpp")}
    return table, sources


def self_test(root):
    table, sources = read(root)
    if check(table, sources):
        sys.exit("check_semantics: the table itself has faults")
    first = "tests/conformance/win32_rules_test"
    plants = {
        "a row is missing": (re.sub(r"\| S2 \|.*\n", "", table), sources),
        "a row is there twice": (table.replace("| S2 |", "| S1 |"), sources),
        "no test": (re.sub(r"(\| S2 \|[^|]*\|) [^|]*\|", r"\1 none |", table), sources),
        "no such test": (table.replace("`win32_edges_test`", "`win32_edge_test`"), sources),
        "no such case": (table, {**sources, first: sources[first].replace('{"S2 ', '{"T2 ')}),
        "no such rule": (table.replace("| S4 |", "| S5 |"), sources),
        "a case of no rule": (table, {**sources, first: sources[first] + '\nTEST(x, S5_new) {}'}),
    }
    for name, planted in plants.items():
        if not check(*planted):
            sys.exit(f"check_semantics: not found: {name}")
    print(f"check_semantics: {len(plants)} planted faults found")


def main():
    arguments = sys.argv[1:]
    root = Path(__file__).resolve().parent.parent
    if arguments == ["--self-test"]:
        self_test(root)
        return
    root = Path(arguments[0]).resolve() if arguments else root
    wrong = check(*read(root))
    for line in wrong:
        print(f"docs/semantics.md: {line}")
    print(f"{len(RULES)} rules, {len(wrong)} faults")
    sys.exit(1 if wrong else 0)


main()
