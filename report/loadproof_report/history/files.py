"""A stored run as bytes: what the store and the one-file form keep of it. Everything else is rendered from them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from loadproof.metrics import IntervalsError
from loadproof.metrics.intervals import read_intervals_from
from loadproof_report.errors import ResultError
from loadproof_report.stored import BYTES_MAX, parse_result
from loadproof_report.stored_run import INTERVALS, StoredRun, missing_text

RESULT = "run.json"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The bytes of run.json and, where there are any, of intervals.bin. `source` names them in errors.

    `folder` is where they lie as files; None for a run out of an archive or a store.
    """

    result: bytes
    intervals: bytes | None = None
    source: str = RESULT
    folder: Path | None = None

    @classmethod
    def from_place(cls, place: Path) -> RunFiles:
        """Read a run's folder, or a run.json with what lies beside it. Raises `ResultError`."""
        file = place / RESULT if place.is_dir() else place
        try:
            size = file.stat().st_size
            if size > BYTES_MAX:
                raise ResultError(file, f"it has {size:,} bytes", f"The most that is read is {BYTES_MAX:,}.")
            result = file.read_bytes()
        except OSError as error:
            raise ResultError(file, f"it cannot be read ({error.strerror})", "Name a run's folder.") from None
        beside = file.parent / INTERVALS
        try:
            intervals = beside.read_bytes() if beside.stat().st_size <= BYTES_MAX else None
        except OSError:
            intervals = None
        return cls(result, intervals, str(file), file.parent)

    def parse(self) -> StoredRun:
        """Return the run. Raises `ResultError`; unreadable interval histograms only leave them out."""
        result = parse_result(self.result, source=self.source)
        if self.intervals is None:
            return StoredRun(result, None, f"the interval histograms of {result.run_id} were not kept")
        try:
            return StoredRun(result, read_intervals_from(io.BytesIO(self.intervals)))
        except IntervalsError as error:
            return StoredRun(result, None, missing_text(result.run_id, error))

    def write(self, folder: Path) -> None:
        """Write the files into `folder`, made if need be. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((INTERVALS, self.intervals), (RESULT, self.result)):
            if content is not None:
                temporary = folder / f".{name}.tmp"
                temporary.write_bytes(content)
                temporary.replace(folder / name)
