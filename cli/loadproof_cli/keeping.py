"""The run history from a run's side: the baselines it is compared with before, and recording it after."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loadproof_cli.console import Console
from loadproof_cli.errors import CliError, UsageProblem
from loadproof_cli.runs_folder import RunNotFound
from loadproof_cli.stores import default_file, find_files, open_store, store_chosen
from loadproof_report.errors import ResultError
from loadproof_report.stored_run import StoredRun
from loadproof_report.text import clean

if TYPE_CHECKING:
    from loadproof_report.history import HistoryStore


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a run has of the history. `record` False: nothing is kept of it. `named` is the baseline's name, if any."""

    store: str | None
    record: bool
    baselines: tuple[StoredRun, ...] = ()
    named: str = ""


def prepare(
    console: Console, store: str | None, wanted: Sequence[str], suite: str, profile: str, *, record: bool
) -> Keeping:
    """Open the history before any load and find the baselines: runs, a baseline's name, or the one called stable.

    Raises InfrastructureProblem or UsageProblem when the history or a baseline that was named cannot be used. Where the
    default file cannot be made, as in a read-only folder, the run is not recorded, and that is said.
    """
    if record and not store_chosen(console, store) and not _writable(default_file(console)):
        console.say("no run history is kept: this folder cannot be written to (--store says where to)", style="yellow")
        record = False
    suite, profile = clean(suite), clean(profile)
    with open_store(console, store) as opened:
        try:
            if wanted:
                runs, named = _wanted(console, opened, wanted, suite, profile)
            else:
                found = opened.baseline(suite, profile) if opened is not None else None
                runs = [opened.load(run_id) for run_id in found.run_ids] if opened is not None and found else []
                named = found.name if found else ""
        except ResultError as error:
            raise UsageProblem(f"the baseline cannot be used: {error}") from error
    return Keeping(store, record, tuple(runs), named)


def _wanted(
    console: Console, store: HistoryStore | None, wanted: Sequence[str], suite: str, profile: str
) -> tuple[list[StoredRun], str]:
    runs: list[StoredRun] = []
    named = ""
    for run in wanted:
        try:
            runs.append(find_files(console, run, store).parse())
        except RunNotFound:
            found = store.baseline(suite, profile, run) if store is not None else None
            if store is None or found is None:
                raise
            named = found.name
            runs += [store.load(run_id) for run_id in found.run_ids]
    return runs, named


def announce(console: Console, keeping: Keeping) -> None:
    """Say what the run will be compared with."""
    if keeping.baselines:
        last = keeping.baselines[0].result
        more = f" and {len(keeping.baselines) - 1} more" if len(keeping.baselines) > 1 else ""
        name = f"the baseline {keeping.named}: " if keeping.named else ""
        console.say(f"compared with {name}{last.run_id} (build {last.build or '-'}){more}")


def record(console: Console, keeping: Keeping, folder: Path) -> None:
    """Keep a finished run. What goes wrong here is said and changes neither the files nor the verdict."""
    from loadproof_report.history import RunFiles, StoreError

    if not keeping.record:
        return
    try:
        with open_store(console, keeping.store, create=True) as opened:
            assert opened is not None
            opened.record(RunFiles.from_place(folder))
    except (CliError, ResultError, StoreError) as error:
        console.say(f"the run was not recorded: {error}", style="yellow")
        console.say(f"its files are complete; later: loadproof history import {console.shown(folder)}")


def _writable(file: Path) -> bool:
    if file.exists():
        return os.access(file, os.W_OK)
    folder = file.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)
