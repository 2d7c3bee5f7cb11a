# SPDX-License-Identifier: MIT
"""The mistakes that tools/planted_faults.py plants, a table for each part of the tree.

A mistake is one row of the table of the part whose file it changes; every module here is a table."""

import importlib
import pathlib
import pkgutil
from typing import NamedTuple, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "fuzz" / "corpus"


class Fault(NamedTuple):
    what: str  # is wrong
    file: str
    text: str  # its first occurrence is replaced
    replacement: str
    noticed_by: str  # a test's build target, or a script
    arguments: Sequence[str] = ()  # the test's


def faults():
    """The rows of every table."""
    tables = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return [Fault(*row) for table in tables for row in table.FAULTS]
