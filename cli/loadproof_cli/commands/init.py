"""`loadproof init DIR`: a new suite that runs as it is, against a practice target of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from loadproof_cli.console import Console, console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode

EXAMPLES = """[bold]Examples[/]

loadproof init my-suite          a new folder with a suite in it

loadproof run my-suite           and its first verdict
"""

TEMPLATE_SUFFIX = ".template"


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet, or is empty.")],
) -> int:
    """Make a new suite that runs as it is: one transaction, data, a smoke profile, rules and a practice target."""
    console = console_of(context)
    target = console.resolve(folder)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UsageProblem(f"{folder} is there already and not an empty folder; nothing was written.")
    written = write_template(target)
    _explain(console, folder, target, written)
    return ExitCode.OK


def write_template(target: Path) -> tuple[str, ...]:
    """Write the template's files as `target`, all or none, and return their names."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise UsageProblem(f"cannot write {target}: {error.strerror or error}.") from error
    names = []
    try:
        for item in files("loadproof_cli.templates").iterdir():
            if item.name.endswith(TEMPLATE_SUFFIX):
                name = item.name.removesuffix(TEMPLATE_SUFFIX).replace("__", "/")
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(item.read_bytes())
                names.append(name)
        scratch.chmod(0o777 & ~_umask())
        scratch.replace(target)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise UsageProblem(f"cannot write {target}: {error.strerror or error}.") from error
    return tuple(sorted(names))


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _explain(console: Console, folder: Path, target: Path, written: tuple[str, ...]) -> None:
    purposes = {
        "suite.py": "what users do: transactions of named steps with checks",
        "loadproof.toml": "how much load, and the rules a release is judged by",
        "data/terms.csv": "test data: a row for each arrival",
        "practice_target.py": "something to load until the suite points at your system",
    }
    console.line(f"Wrote {console.shown(target)}:")
    for name in written:
        console.line(f"  {name:<20} {purposes.get(name, '')}".rstrip())
    console.line("")
    console.line("Next:")
    typed = shlex.quote(str(folder))
    console.line(f"  loadproof check {typed}   what would be run")
    console.line(f"  loadproof try {typed}     each transaction once")
    console.line(f"  loadproof run {typed}     the first verdict, in half a minute")
