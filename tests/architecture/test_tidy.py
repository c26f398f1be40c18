"""Style that a machine can hold us to: sizes, one package a room, no orphans, no loose tasks, no machine names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tree

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

LOOSE_TASKS = {"create_task", "gather", "ensure_future"}
LOOSE_TASKS_ALLOWED: dict[str, str] = {}
"""File -> why it may start a task outside a TaskGroup."""

ENTRY_MODULES = {
    "loadproof_controller.web.prepare": "python -m, reads an uploaded suite in a process of its own",
    "loadproof_cli.main": "the console script",
    "loadproof_report.schema": "python -m, writes the published schema",
}

SLEEPS_ALLOWED: dict[str, str] = {}
"""Test file -> why it sleeps for a fixed time (a poll with a deadline belongs in tests/support)."""

VIRTUAL_CLOCKS = {"virtual_time"}
"""Support modules under whose clock a sleep costs nothing."""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree.tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def called_name(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_modules_are_short() -> None:
    """No module is longer than 500 lines."""
    long = {
        str(path): n for path in tree.python_files() if (n := len(tree.source(path).splitlines())) > MODULE_LINES_MAX
    }
    assert not long


def test_functions_are_short() -> None:
    """No function is longer than 70 lines."""
    long = {
        f"{path}:{function.lineno} {function.name}": n
        for path in tree.python_files()
        for function in functions(path)
        if (n := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long


def test_a_room_has_exactly_one_package() -> None:
    """Each import root holds the one package named after it and no loose Python file."""
    for root, package in tree.ROOMS.items():
        inside = {
            path.relative_to(root).parts[0] for path in tree.python_files(generated=True) if path.is_relative_to(root)
        }
        assert inside == {package}, root


def test_every_module_is_imported() -> None:
    """No module of a room lies about unused: something else imports it, or it is an entry point."""
    modules = tree.product_modules()
    imported: set[str] = set()
    for name, path in modules.items():
        imported |= tree.imported_names(path, name)
    orphans = {
        name
        for name, path in modules.items()
        if name not in imported
        and path.name not in {"__main__.py", "__init__.py"}
        and name not in ENTRY_MODULES
        and not name.startswith("loadproof.testing")
    }
    assert not orphans, sorted(orphans)


def name_of(node: ast.expr | None) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def task_groups(path: Path) -> set[str]:
    """Return the names that a module gives to task groups: by `as`, by assignment, by annotation."""
    names = set()
    for node in ast.walk(tree.tree(path)):
        if isinstance(node, ast.withitem) and "TaskGroup" in ast.unparse(node.context_expr):
            names.add(name_of(node.optional_vars))
        elif isinstance(node, ast.AnnAssign) and "TaskGroup" in ast.unparse(node.annotation):
            names.add(name_of(node.target))
        elif isinstance(node, ast.Assign) and "TaskGroup" in ast.unparse(node.value):
            names.update(name_of(target) for target in node.targets)
        elif isinstance(node, ast.arg) and node.annotation and "TaskGroup" in ast.unparse(node.annotation):
            names.add(node.arg)
    return names


def test_tasks_have_a_parent() -> None:
    """Tasks are started in a TaskGroup: no bare create_task, gather or ensure_future in the rooms."""
    loose = []
    for path in tree.product_modules().values():
        groups = task_groups(path)
        for node in ast.walk(tree.tree(path)):
            if isinstance(node, ast.Call) and called_name(node) in LOOSE_TASKS and str(path) not in LOOSE_TASKS_ALLOWED:
                owner = node.func.value if isinstance(node.func, ast.Attribute) else None
                if name_of(owner) not in groups:
                    loose.append(f"{path}:{node.lineno} {ast.unparse(node)[:80]}")
    assert not loose


MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work|home/\w+|root|Users/\w+)/")
REGISTRY = re.compile(
    r"(?:pypi|pythonhosted|npmjs|crates|maven)\.(?:org|com|io)|proxy\.golang\.org|index-url\s*=", re.IGNORECASE
)


def test_nothing_belongs_to_one_machine() -> None:
    """No tracked text names a home folder, a build machine's folder or a package registry's host."""
    found = []
    for path in tree.files():
        if path.suffix in {".png", ".ico", ".gz", ".zip", ".bin", ".woff2"} or path == Path(
            "tests/architecture/test_tidy.py"
        ):
            continue
        for number, line in enumerate(tree.source(path).splitlines(), 1):
            if MACHINE_PATH.search(line) or (REGISTRY.search(line) and path.name != "LICENSE"):
                found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not found


def test_tests_wait_for_events() -> None:
    """Tests do not sleep: `asyncio.sleep(0)` gives way, anything longer is a wait for an event."""
    sleeps = []
    for path in tree.python_files():
        if path.parts[0] != "tests" or path.parts[1] == "support" or str(path) in SLEEPS_ALLOWED:
            continue
        if VIRTUAL_CLOCKS & tree.imported_names(path, path.stem):
            continue
        for node in ast.walk(tree.tree(path)):
            if isinstance(node, ast.Call) and called_name(node) == "sleep" and isinstance(node.func, ast.Attribute):
                zero = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                if not zero and getattr(node.func.value, "id", "") in {"asyncio", "time"}:
                    sleeps.append(f"{path}:{node.lineno}")
    assert not sleeps, "\n".join(sleeps)


def test_test_files_have_their_own_names() -> None:
    """No two test or support modules share a name, so that helpers can be imported by it."""
    seen: dict[str, Path] = {}
    doubles = []
    for path in tree.python_files():
        if path.parts[0] == "tests" and path.name not in {"conftest.py", "__init__.py"}:
            if path.name in seen:
                doubles.append((path, seen[path.name]))
            seen[path.name] = path
    assert not doubles
