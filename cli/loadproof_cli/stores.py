"""Where runs are kept, and finding one by a path, an id or the name of a baseline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadproof_cli.console import Console
from loadproof_cli.errors import CliError, InfrastructureProblem, UsageProblem
from loadproof_cli.runs_folder import RunNotFound, find_run

if TYPE_CHECKING:
    from loadproof_report.errors import ResultError
    from loadproof_report.history import HistoryStore, RunFiles, StoreError

STORE_VARIABLE = "LOADPROOF_STORE"
STORE_FOLDER = ".loadproof"
STORE_FILE = "history.db"
ZIP_BEGINS = b"PK\x03\x04"

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The run history: postgresql://... or sqlite:///FILE; LOADPROOF_STORE says it too.",
        show_default=f"{STORE_FOLDER}/{STORE_FILE}",
    ),
]


def store_address(console: Console, store: str | None) -> str:
    """Return the database address: the option's, LOADPROOF_STORE's, else the file in this folder."""
    from loadproof_report.history import sqlite_url

    given = store or console.environ.get(STORE_VARIABLE)
    return given or sqlite_url(default_file(console))


def default_file(console: Console) -> Path:
    """Return the file that the history is in unless told otherwise."""
    return console.cwd / STORE_FOLDER / STORE_FILE


def store_chosen(console: Console, store: str | None) -> bool:
    """Return whether somebody said where the history is."""
    return bool(store or console.environ.get(STORE_VARIABLE))


@contextlib.contextmanager
def open_store(console: Console, store: str | None, *, create: bool = False) -> Iterator[HistoryStore | None]:
    """Give the store; None where it would be the default file and there is none yet, unless `create`.

    Raises InfrastructureProblem when it cannot be reached, UsageProblem when it cannot be used.
    """
    from loadproof_report.history import HistoryStore, StoreError

    if not store_chosen(console, store):
        file = default_file(console)
        if not create and not file.exists():
            yield None
            return
        try:
            _make(file.parent)
        except OSError as error:
            raise InfrastructureProblem(f"{file.parent} cannot be made: {error.strerror}.") from error
    try:
        with HistoryStore(store_address(console, store)) as opened:
            yield opened
    except StoreError as error:
        raise store_problem(error) from error


def _make(folder: Path) -> None:
    """Make the default folder, of which git wants to know nothing: else every run would call the suite changed."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def store_problem(error: StoreError) -> CliError:
    """Return a store's error as the command's."""
    from loadproof_report.history import StoreUnavailable

    kind = InfrastructureProblem if isinstance(error, StoreUnavailable) else UsageProblem
    return kind(str(error))


def find_files(console: Console, run: str, store: HistoryStore | None) -> RunFiles:
    """Return the bytes of the run that RUN means: a path, an exported file, an id below ./runs or in the history.

    Raises UsageProblem.
    """
    from loadproof_report import ResultError
    from loadproof_report.history import ArchiveError, RunFiles, UnknownRun, read_archive

    try:
        if _is_archive(console.resolve(Path(run))):
            return read_archive(console.resolve(Path(run)))
        try:
            return RunFiles.from_place(find_run(console, run))
        except RunNotFound:
            if store is None:
                raise
            with contextlib.suppress(UnknownRun):
                return store.files(run)
            raise
    except (ResultError, ArchiveError) as error:
        raise UsageProblem(str(error)) from error


def _is_archive(path: Path) -> bool:
    """Return whether a file is an exported run, whatever it is called: `history export` asks for no ending."""
    from loadproof_report.history.archive import SUFFIX

    try:
        with path.open("rb") as file:
            return path.suffix == SUFFIX or file.read(4) == ZIP_BEGINS
    except OSError:
        return False


def find_anywhere(console: Console, run: str, store: str | None) -> RunFiles:
    """Return what `find_files` does, and open the run history only for what is not found without. Raises CliError."""
    try:
        return find_files(console, run, None)
    except RunNotFound:
        with open_store(console, store) as opened:
            return find_files(console, run, opened)


def result_problem(console: Console, error: ResultError) -> UsageProblem:
    """Return why a stored run cannot be used, its file named once and as a person would type it."""
    return UsageProblem(f"{console.shown(Path(error.path))}: {error.reason}. {error.remedy}")
