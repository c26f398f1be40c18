"""The repository as the architecture tests see it: tracked or trackable files, rooms, modules and their imports."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ROOMS = {
    "sdk": "loadproof",
    "agent": "loadproof_agent",
    "controller": "loadproof_controller",
    "report": "loadproof_report",
    "cli": "loadproof_cli",
    "proto/python": "loadproof_proto",
}
"""Import root -> the one package in it."""


@functools.cache
def files() -> tuple[Path, ...]:
    """Return every file git tracks or would track, relative to the root; all files below it without git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", ".git", "__pycache__", "runs", "build", "dist", "node_modules"}
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        return tuple(sorted(path for path in found if not skipped & set(path.parts) and (ROOT / path).is_file()))
    return tuple(sorted(Path(name) for name in set(listed.split("\0")) if name and (ROOT / name).is_file()))


def python_files(*, generated: bool = False) -> tuple[Path, ...]:
    """Return the Python files, without the generated ones unless asked for."""
    return tuple(path for path in files() if path.suffix == ".py" and (generated or "_pb2" not in path.name))


@functools.cache
def source(path: Path) -> str:
    """Return a file's text."""
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def tree(path: Path) -> ast.Module:
    """Return a Python file's syntax tree."""
    return ast.parse(source(path), str(path))


def product_modules() -> dict[str, Path]:
    """Return every hand-written module of the rooms by its import name."""
    modules = {}
    for root in ROOMS:
        for path in python_files():
            if path.is_relative_to(root):
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                modules[name] = path
    return modules


def imported_names(path: Path, module: str) -> set[str]:
    """Return every dotted name a module may import: `from a.b import c` gives a.b and a.b.c. Relative ones resolved."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names
