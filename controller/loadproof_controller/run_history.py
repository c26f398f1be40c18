"""The controller's run history: where runs that are over are recorded, and where baselines have their names.

Recording comes after a run's files are written, and beside the queue: a database that is down costs the record, never
the files, the verdict or the next run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loadproof_controller.fleet_service import Update
from loadproof_controller.run_store import RESULT, RUNS, RunEntry
from loadproof_report import ReportError
from loadproof_report.history import HistoryStore, RunFiles, sqlite_url

LOGGER = logging.getLogger(__name__)
FILE: Final = "history.db"
WAITING_MAX: Final = 1_000
RECORD_S: Final = 30.0
"""How long recording one run may take; a database that accepts and then says nothing must not hold up the others."""


class RunHistory:
    """A store at `url`, by default a file in `data`, the controller's folder. The address may hold a password.

    `shown` is the address without it. Constructing raises `StoreError` for an address of no database and connects to
    nothing. `serve()` records what `observe` was told of, until `close()` and the end of what waits.
    """

    def __init__(self, url: str, data: Path) -> None:
        self._file = None if url else data / FILE
        self._url = url or sqlite_url(data / FILE)
        self._runs = data / RUNS
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue()
        self.shown = HistoryStore(self._url).shown

    @contextlib.contextmanager
    def opened(self) -> Iterator[HistoryStore]:
        """Give the store, connected; a file is for this user's eyes only. Raises `StoreError`; use it in a thread."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # which connecting says better
                self._file.touch(0o600)
                self._file.chmod(0o600)
        with HistoryStore(self._url) as store:
            yield store

    def check(self) -> None:
        """Connect once to what is there already, or should be. Raises `StoreError`; call it in a thread."""
        if self._file is None or self._file.exists():
            with self.opened():
                pass

    def observe(self, run_id: str, update: Update) -> None:
        """Take note of a run that is over and left files; for `FleetService.observers`."""
        if not isinstance(update, RunEntry) or not update.loaded:
            return
        if self._waiting.qsize() >= WAITING_MAX:
            self._missed(run_id, f"{WAITING_MAX} wait to be recorded already")
            return
        self._waiting.put_nowait(run_id)

    def close(self) -> None:
        """Let `serve` return when what waits is recorded."""
        self._waiting.put_nowait(None)

    async def serve(self) -> None:
        """Record runs as they end. What goes wrong is logged, with the command that records the run later."""
        while (run_id := await self._waiting.get()) is not None:
            try:
                async with asyncio.timeout(RECORD_S):
                    await asyncio.to_thread(self._record, run_id)
            except TimeoutError:
                self._missed(run_id, f"run history {self.shown}: it did not answer within {RECORD_S:g} s")
            except ReportError as error:
                self._missed(run_id, str(error))
            except Exception:  # a bug of ours costs this record, not the controller
                LOGGER.exception("recording run %s failed", run_id)
                self._missed(run_id, "an internal error")

    def _record(self, run_id: str) -> None:
        with self.opened() as store:
            store.record(RunFiles.from_place(self._runs / run_id / RESULT))

    def _missed(self, run_id: str, why: str) -> None:
        place = self._runs / run_id / RESULT
        text = "run %s was not recorded: %s Its files are complete; later: loadproof history import %s"
        LOGGER.warning(text, run_id, why if why.endswith((".", "?")) else f"{why}.", place)
