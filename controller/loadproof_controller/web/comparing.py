"""Two runs of this controller beside each other."""

from __future__ import annotations

from dataclasses import dataclass

from loadproof_controller.fleet_service import FleetService
from loadproof_report import ReportError
from loadproof_report.compared import compare_stored
from loadproof_report.result import Comparison, RunResult
from loadproof_report.stored_run import StoredRun, load_run


class ComparingError(Exception):
    """The runs cannot be read; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A run, the one it is compared with, and what differs."""

    base: RunResult
    run: RunResult
    comparison: Comparison


def compare_runs(service: FleetService, base_id: str, run_id: str) -> Compared:
    """Compare two stored runs; takes a second or two. Raises `ComparingError`."""
    base, run = _load(service, base_id), _load(service, run_id)
    return Compared(base.result, run.result, compare_stored(run, [base]))


def _load(service: FleetService, run_id: str) -> StoredRun:
    entry = service.entry(run_id)
    files = service.files(run_id) if entry is not None and entry.over else []
    found = next((path for path in files if path.name == "run.json"), None)
    if found is None:
        raise ComparingError(
            f"run {run_id[:100]} has no result here: it is unknown, not over, or ended before any load"
        )
    try:
        return load_run(found.parent)
    except ReportError as error:
        raise ComparingError(f"run {run_id} cannot be read: {error}") from error
