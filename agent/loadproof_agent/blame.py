"""Which transaction and step a crashed worker was in, read from the stack it left behind. Nothing is executed here.

A process that dies in C code can only print its Python stack: files, lines, functions. The suite's text says the rest:
a function decorated with `.transaction("Name")` and, around the line, `with user.step("Name")`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE_BYTES_MAX = 1024 * 1024
_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+)')

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the suite, and the transaction and step it belongs to where its text says so."""

    file: str
    line: int
    transaction: str = ""
    step: str = ""


def place_of(folder: Path, stack: Iterable[str]) -> Place | None:
    """Return the suite's innermost place on a printed `stack` (most recent call first); None when it is not on it."""
    first: Place | None = None
    for file, line in _frames(folder, stack):
        transaction, step = _names(folder / file, line)
        if first is None:
            first = Place(file, line)
        if transaction:
            return Place(first.file, first.line, transaction, step)
    return first


def _frames(folder: Path, stack: Iterable[str]) -> Iterator[tuple[str, int]]:
    roots = (folder, folder.resolve())
    for text in stack:
        found = _FRAME.match(text)
        if found is None:
            continue
        path = Path(found["file"])
        for root in roots:
            if path.is_relative_to(root):
                yield path.relative_to(root).as_posix(), int(found["line"])
                break


def _names(path: Path, line: int) -> tuple[str, str]:
    """Return transaction and step around `line`, empty where there is none or it is no plain text."""
    try:
        if path.stat().st_size > SOURCE_BYTES_MAX:
            return "", ""
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return "", ""
    for node in ast.walk(tree):
        if isinstance(node, Function) and _holds(node, line):
            transaction = next((name for name in map(_transaction, node.decorator_list) if name), "")
            if transaction:
                return transaction, _step(node, line)
    return "", ""


def _step(function: Function, line: int) -> str:
    step = ""
    for node in ast.walk(function):  # outer blocks come before inner ones
        if isinstance(node, ast.With | ast.AsyncWith) and _holds(node, line):
            for item in node.items:
                step = _called_with(item.context_expr, "step") or step
    return step


def _transaction(decorator: ast.expr) -> str:
    return _called_with(decorator, "transaction")


def _called_with(call: ast.expr, method: str) -> str:
    """Return the text of the first argument of `something.method("text", ...)`."""
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == method and call.args:
        argument = call.args[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
    return ""


def _holds(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)
