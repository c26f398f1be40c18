"""The controller's run history: where runs that are over are recorded, and where baselines have their names.

Recording comes after a run's files are written, and beside the queue: a database that is down delays the record, never
the files, the verdict or the next run. Runs that wait are recorded when it answers again, also by the next process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from loadproof_controller.fleet_service import Update
from loadproof_controller.run_store import RESULT, RUNS, RunEntry
from loadproof_report import ReportError
from loadproof_report.history import HistoryStore, RunFiles, StoreUnavailable, StoreVersionError, sqlite_url

LOGGER = logging.getLogger(__name__)
FILE: Final = "history.db"
WAITING_MAX: Final = 10_000
RECORD_S: Final = 30.0
"""How long recording one run may take; a database that accepts and then says nothing must not hold up the others."""
PAUSE_S: Final = (2.0, 300.0)
"""First and longest pause between two attempts while the database cannot be used."""
NEXT_TIME: Final = "runs that are not yet in the run history ({}) are recorded at the next start"


class RunHistory:
    """A store at `url`, by default a file in `data`, the controller's folder. The address may hold a password.

    `shown` is the address without it. Constructing raises `StoreError` for an address of no database and connects to
    nothing. `serve()` records what `observe` was told of, until `close()`.
    """

    def __init__(self, url: str, data: Path, *, pause_s: tuple[float, float] = PAUSE_S) -> None:
        self._file = None if url else data / FILE
        self._url = url or sqlite_url(data / FILE)
        self._runs = data / RUNS
        self._pause_s = pause_s
        self._waiting: dict[str, None] = {}
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._attempt: Future[None] | None = None
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
        """Take note of a run that is over, left files and is not recorded; for `FleetService.observers`."""
        if not isinstance(update, RunEntry) or not (update.over and update.loaded) or update.recorded:
            return
        if len(self._waiting) >= WAITING_MAX:
            LOGGER.warning("%d runs wait to be recorded; run %s is at the next start", WAITING_MAX, run_id)
            return
        self._waiting[run_id] = None
        self._news.set()

    def close(self) -> None:
        """Let `serve` return when what waits is recorded, or cannot be now."""
        self._closing.set()
        self._news.set()

    async def serve(self, recorded: Callable[[str], None]) -> None:
        """Record runs as they end, and tell `recorded` of each.

        While the database cannot be used they wait, and it is asked again after growing pauses. A run that it will
        never take is logged, with the command that records it when that is mended.
        """
        first_s, longest_s = self._pause_s
        pause_s = 0.0
        while self._waiting or not self._closing.is_set():
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            run_id = next(iter(self._waiting))
            why_not = await self._tried(run_id, recorded)
            del self._waiting[run_id]
            if not why_not:
                pause_s = 0.0
                continue
            self._waiting[run_id] = None  # behind the others: it may be this run alone that is not taken
            if not pause_s:
                LOGGER.warning("run %s is not yet in the run history, and is tried again: %s", run_id, why_not)
            if self._closing.is_set():
                LOGGER.warning("%s", NEXT_TIME.format(len(self._waiting)))
                return
            pause_s = min(pause_s * 2 or first_s, longest_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._closing.wait()

    async def _tried(self, run_id: str, recorded: Callable[[str], None]) -> str:
        """Record a run; "" when that is settled, else why it could not be done now."""
        try:
            async with asyncio.timeout(RECORD_S):
                if self._attempt is not None:  # it took too long: a database that hangs must not use up threads
                    with contextlib.suppress(Exception):
                        await asyncio.wrap_future(self._attempt)
                self._attempt = self._started(run_id)
                await asyncio.wrap_future(self._attempt)
            recorded(run_id)
        except TimeoutError:
            return f"run history {self.shown}: it did not answer within {RECORD_S:g} s."
        except (StoreUnavailable, StoreVersionError) as error:
            return str(error)
        except ReportError as error:
            self._refused(run_id, str(error))
        except Exception:  # a bug of ours costs this record, not the controller
            LOGGER.exception("recording run %s failed", run_id)
            self._refused(run_id, "an internal error.")
        return ""

    def _started(self, run_id: str) -> Future[None]:
        """Begin to record a run in a thread that, unlike a pool's, the end of this process does not wait for."""
        attempt: Future[None] = Future()
        attempt.set_running_or_notify_cancel()  # who stops waiting for it does not end it

        def record() -> None:
            try:
                self._record(run_id)
            except Exception as error:
                attempt.set_exception(error)
            else:
                attempt.set_result(None)

        threading.Thread(target=record, name="run-history", daemon=True).start()
        return attempt

    def _record(self, run_id: str) -> None:
        with self.opened() as store:
            store.record(RunFiles.from_place(self._runs / run_id / RESULT))

    def _refused(self, run_id: str, why: str) -> None:
        place = self._runs / run_id / RESULT
        LOGGER.warning("run %s was not recorded: %s Later: loadproof history import %s", run_id, why, place)
