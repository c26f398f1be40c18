"""Which steps a suite's Python can open, as far as its text tells."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from loadproof.bundle.build import SKIPPED_FOLDERS
from loadproof.runtime.context import NO_STEP, USER_START

FILES_MAX = 500
"""Python files read at most."""
ENTRIES_MAX = 10_000
"""Files and folders looked at to find them."""
FILE_BYTES_MAX = 1_000_000


def step_names(folder: Path) -> frozenset[str] | None:
    """Return every name that the Python files in `folder` call `.step("...")` with, and the two that Loadproof gives.

    None where they don't tell: a name that is put together, `.step` passed on, a file that can't be read, too many.
    """
    names = {NO_STEP, USER_START}
    try:
        for file in python_files(folder):
            if file.stat().st_size > FILE_BYTES_MAX:
                return None
            found = _names_in(ast.parse(file.read_bytes()))
            if found is None:
                return None
            names |= found
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return frozenset(names)


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files that travel with a suite. Raises OSError where there are too many files to look at."""
    seen = files = 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        python = [name for name in names if name.endswith(".py")]
        seen, files = seen + len(folders) + len(names), files + len(python)
        if seen > ENTRIES_MAX or files > FILES_MAX:
            raise OSError("too many files")
        yield from (Path(place, name) for name in python)


def _names_in(tree: ast.AST) -> set[str] | None:
    names: set[str] = set()
    mentioned = called = 0
    for node in ast.walk(tree):
        if (isinstance(node, ast.Attribute) and node.attr == "step") or (
            isinstance(node, ast.Constant) and node.value == "step"
        ):
            mentioned += 1
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "step":
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if len(given) != 1 or not isinstance(given[0], ast.Constant) or not isinstance(given[0].value, str):
                return None
            called += 1
            names.add(given[0].value)
    return names if mentioned == called else None
