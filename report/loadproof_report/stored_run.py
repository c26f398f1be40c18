"""A stored run with what a comparison needs of it: the result and its interval histograms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadproof.metrics import IntervalsError
from loadproof.metrics.intervals import IntervalsFile, read_intervals
from loadproof_report.result import RunResult
from loadproof_report.stored import load_result

INTERVALS = "intervals.bin"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run read back. `intervals` is None where they are not at hand; `missing` then says why."""

    result: RunResult
    intervals: IntervalsFile | None = None
    missing: str = "its interval histograms are not at hand"


def load_run(place: Path) -> StoredRun:
    """Return the run stored in a folder, or beside a run.json. Raises `ResultError` when run.json cannot be used.

    Interval histograms that are missing or damaged raise nothing: such a run cannot be compared, but shown.
    """
    result = load_result(place)
    folder = place if place.is_dir() else place.parent
    try:
        return StoredRun(result, read_intervals(folder / INTERVALS))
    except (OSError, IntervalsError) as error:
        return StoredRun(result, None, missing_text(result.run_id, error))


def missing_text(run_id: str, error: Exception) -> str:
    """Return why a run has no interval histograms."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"the interval histograms of {run_id} cannot be read: {reason}"
