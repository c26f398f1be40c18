"""The runs a controller knows, one folder each: they outlive it. Nothing in there holds a secret of a suite."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from loadproof_controller.errors import RunRefused, ServiceError
from loadproof_controller.runlog import has_log
from loadproof_controller.security.files import private_folder, write_private

LOGGER = logging.getLogger(__name__)
RunState = Literal["queued", "running", "finished", "aborted", "failed"]
RUNS = "runs"
"""The folder of all runs in a controller's data folder."""
ENTRY = "entry.json"
RESULT = "result"
LOG = "log"
BUNDLE = "bundle.zip"
RESTARTED = "the controller was restarted before the run ended; submit it again"


@dataclass(frozen=True, slots=True)
class RunEntry:
    """What is known of a run. Moments are UTC, ISO 8601, empty before they came.

    `decision` is the verdict, empty without one. `loaded` says whether any load was started, so whether there are
    files. `problems` are what went wrong before the load, `warnings` what was found in the suite when it was submitted.
    `submitted_by` is a token's name. `recorded` says whether the run is in the run history.
    """

    run_id: str
    suite: str = ""
    profile: str = ""
    build: str = ""
    state: RunState = "queued"
    submitted_at: str = ""
    submitted_by: str = ""
    started_at: str = ""
    ended_at: str = ""
    agents_wanted: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    decision: str = ""
    aborted_by: str = ""
    reason: str = ""
    loaded: bool = False
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    recorded: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state not in {"queued", "running"}


_ADAPTER: TypeAdapter[RunEntry] = TypeAdapter(RunEntry)


def now_text() -> str:
    """Return the moment, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class RunStore:
    """The folder of runs. Opening it ends what an earlier process left in its queue, in words.

    `interrupted` are the runs it left in the middle of, with a log to go on from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)
        self._entries: dict[str, RunEntry] = {}
        self.interrupted: list[RunEntry] = []
        for path in sorted(folder.glob(f"*/{ENTRY}")):
            try:
                entry = _ADAPTER.validate_json(path.read_bytes())
            except (OSError, ValidationError):
                LOGGER.warning("%s cannot be read; that run is not listed", path)
                continue
            self._entries[entry.run_id] = entry
            if entry.state == "running" and has_log(self.folder(entry.run_id) / LOG):
                self.interrupted.append(entry)
            elif not entry.over:
                self.put(dataclasses.replace(entry, state="failed", aborted_by="infrastructure", reason=RESTARTED))

    def __iter__(self) -> Iterator[RunEntry]:
        """Go through the runs, the newest first."""
        return iter(sorted(self._entries.values(), key=lambda entry: (entry.submitted_at, entry.run_id), reverse=True))

    def get(self, run_id: str) -> RunEntry | None:
        """Return that run, None when there is none."""
        return self._entries.get(run_id)

    def create(self, entry: RunEntry, bundle: bytes, baselines: Sequence[Mapping[str, bytes]]) -> None:
        """Keep a new run, its bundle and its baselines. Raises `RunRefused` when the id is taken or the disk full."""
        if entry.run_id in self._entries:
            raise RunRefused(f"there is a run {entry.run_id} already")
        folder = self.folder(entry.run_id)
        try:
            folder.mkdir(mode=0o700)
            (folder / LOG).mkdir(mode=0o700)
            write_private(folder / BUNDLE, bundle)
            for index, files in enumerate(baselines):
                place = self.baseline(entry.run_id, index)
                place.mkdir(mode=0o700)
                for name, data in files.items():
                    write_private(place / name, data)
            self.put(entry)
        except (OSError, ServiceError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._entries.pop(entry.run_id, None)
            raise RunRefused(f"the controller cannot keep the run: {error}") from error

    def put(self, entry: RunEntry) -> None:
        """Keep what is known now. A full disk costs the entry on it, not the run."""
        self._entries[entry.run_id] = entry
        try:
            data = orjson.dumps(dataclasses.asdict(entry), option=orjson.OPT_INDENT_2)
            write_private(self.folder(entry.run_id) / ENTRY, data)
        except ServiceError:
            LOGGER.exception("the entry of run %s could not be written", entry.run_id)

    def folder(self, run_id: str) -> Path:
        """Return that run's folder; the id was checked when it was taken."""
        return self._folder / run_id

    def baseline(self, run_id: str, index: int) -> Path:
        """Return the folder with the run's baseline of that number."""
        return self.folder(run_id) / f"baseline-{index}"

    def files(self, run_id: str) -> list[Path]:
        """Return the files of the run's result."""
        return sorted(path for path in (self.folder(run_id) / RESULT).glob("*") if path.is_file())

    def tidy(self, run_id: str, *, keep_log: bool) -> None:
        """Remove what only a run that goes on needs."""
        folder = self.folder(run_id)
        (folder / BUNDLE).unlink(missing_ok=True)
        for path in folder.glob("baseline-*"):
            shutil.rmtree(path, ignore_errors=True)
        if not keep_log:
            shutil.rmtree(folder / LOG, ignore_errors=True)
