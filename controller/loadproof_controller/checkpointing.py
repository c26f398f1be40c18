"""When a run's checkpoint is written, and how without holding up the loop.

The loop completes the segment and copies what is small. The merged state is lent to a thread that makes bytes of it:
until that is done deltas that come are logged and acked as always, but wait to be added up. Reading goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

from loadproof.metrics import MergedState, RunningTotals
from loadproof_controller.runlog import LogFacts, RunLog
from loadproof_controller.runlog.checkpoint import Books, Checkpoint, CheckpointWriter

CHECKPOINT_NS = 60 * 1_000_000_000
WRITING_SHARE_MAX = 20
"""Writing takes at most one twentieth of the time: what takes long is done less often."""
WAITING_MAX = 4_096
WAITING_BYTES_MAX = 64 * 1024 * 1024
"""Deltas that may wait while the state is lent, their number and size; beyond it the loop waits for the thread. A
relay's is that of many agents, and may have megabytes.
"""


class Checkpoints:
    """The checkpoints of one run, written into `place`, at most one at a time."""

    def __init__(self, place: Path, clock: Callable[[], int], *, previous: Checkpoint | None = None) -> None:
        self._writer = CheckpointWriter(place, previous)
        self._clock = clock
        self._due_ns = clock() + CHECKPOINT_NS
        self._busy = False
        self._lent = threading.Lock()

    @property
    def due(self) -> bool:
        """Return whether it is time to `take` one."""
        return not self._busy and self._clock() >= self._due_ns

    def must_wait(self, waiting: int, size_bytes: int) -> bool:
        """Say whether `waiting` deltas of that size must wait on, because the merged state is lent."""
        return self._lent.locked() and waiting < WAITING_MAX and size_bytes < WAITING_BYTES_MAX

    def add(self, merge: Callable[[], None]) -> None:
        """Change the merged state, once it is not lent any more."""
        with self._lent:
            merge()

    async def take(self, log: RunLog, merged: MergedState, books: Books) -> None:
        """Write one. Nothing may wait to be merged when this is first resumed: it then acts at once, before it waits.

        Raises OSError and `RunLogError`; the log is whole all the same, and the next one is tried when it is due.
        """
        self._busy, began_ns = True, self._clock()
        try:
            number = log.seal()
            copies = {
                name: dataclasses.replace(book, running=RunningTotals(book.totals), lags=list(book.lags))
                for name, book in books.items()
            }
            self._lent.acquire()
            await asyncio.to_thread(self._write, number, log.facts.snapshot(), merged, copies)
            log.removed(self._writer.removed_to)
        finally:
            now_ns = self._clock()
            self._busy, self._due_ns = False, now_ns + max(CHECKPOINT_NS, WRITING_SHARE_MAX * (now_ns - began_ns))

    def _write(self, number: int, facts: LogFacts, merged: MergedState, books: Books) -> None:
        try:
            steps = self._writer.write(number, facts, merged, books)
            next(steps)
        finally:
            self._lent.release()
        next(steps, None)
