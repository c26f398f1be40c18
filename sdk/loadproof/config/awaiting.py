"""Requests and pauses of a suite that nobody awaits, as far as its text tells: they look right and do nothing."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path

from loadproof.config.stepnames import FILE_BYTES_MAX, python_files

METHODS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request"})


def never_awaited(folder: Path) -> list[tuple[str, int, str]]:
    """Return file (relative to `folder`), line and text of each statement that is only `user.http.get(...)` or
    `user.think(...)`. Files that cannot be read are passed over: whoever imports them says why.
    """
    found: list[tuple[str, int, str]] = []
    with contextlib.suppress(OSError):  # too many files, and `check` says that of the folder itself
        for file in sorted(python_files(folder)):
            shown = file.relative_to(folder).as_posix()
            found += [(shown, line, text) for line, text in _in_file(file)]
    return found


def _in_file(file: Path) -> list[tuple[int, str]]:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            return []
        tree = ast.parse(file.read_bytes())
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef))
        return sorted({found for function in functions for found in _in_function(function)})
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []


def _in_function(function: ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    """Look for calls on what the function was given: other objects may have methods of these names."""
    given = {argument.arg for argument in (*function.args.posonlyargs, *function.args.args)}
    for node in ast.walk(function):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
            continue
        called = ast.unparse(node.value.func)
        first, *names = called.split(".")
        if first not in given:
            continue
        if names[-2:-1] == ["http"] and names[-1] in METHODS:
            yield node.lineno, f"{called}(...) is not awaited: the request may never be sent, and nobody hears of it"
        elif names[:1] == ["think"]:
            yield node.lineno, f"{called}(...) is not awaited: it does not wait"
