"""What a worker says without being asked: snapshots at the run's whole intervals, beats, lines of user code's log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from loadproof.metrics import Delta, Recorder, encode_delta, merge_delta
from loadproof.runtime.redact import Redactor
from loadproof_agent.pipe.connection import PipeClosedError, PipeConnection
from loadproof_agent.pipe.messages import Log, Snapshot
from loadproof_agent.worker.health import HealthMeter

if TYPE_CHECKING:
    from loadproof_agent.worker.running import Runner

UNSENT_BYTES_MAX = 4 * 1024 * 1024
"""While more than this waits in the pipe, deltas are added up here instead."""
LOG_LINES_PER_S = 100
LOG_LINE_MAX = 2_000


class Snapshots:
    """Takes the recorder's deltas and sends them. Offsets in nanoseconds since the run's start."""

    def __init__(self, pipe: PipeConnection, recorder: Recorder, health: HealthMeter, period_ns: int) -> None:
        self._pipe = pipe
        self._recorder = recorder
        self._health = health
        self._period_ns = period_ns
        self._from_ns = 0
        self._unsent: Delta | None = None

    @property
    def next_ns(self) -> int:
        """Offset of the next boundary."""
        return (self._from_ns // self._period_ns + 1) * self._period_ns

    def skip_to(self, offset_ns: int) -> None:
        """Begin the next interval at `offset_ns`, as a worker that comes late or rested does."""
        self._from_ns = max(self._from_ns, offset_ns)

    def take(self, now_ns: int, runner: Runner, *, final: bool = False) -> None:
        """Send what was measured up to the last boundary, or (`final`) up to now, even when that is nothing."""
        to_ns = now_ns if final else now_ns // self._period_ns * self._period_ns
        to_ns = max(to_ns, self._from_ns)
        self._health.fill(self._recorder.health)
        delta = self._recorder.take(self._from_ns, to_ns, runner.in_flight_by_name())
        self._from_ns = to_ns
        if self._unsent is not None:
            delta = merge_delta(self._unsent, delta)
            self._unsent = None
        if not final and self._pipe.unsent_bytes > UNSENT_BYTES_MAX:
            self._unsent = delta
            return
        self._pipe.post(Snapshot(encode_delta(delta)))


class PipeLog(logging.Handler):
    """Sends log lines to the supervisor, without secrets and at most `LOG_LINES_PER_S`; says how many it held back."""

    def __init__(self, pipe: PipeConnection, redactor: Redactor) -> None:
        super().__init__()
        self._pipe = pipe
        self._redactor = redactor
        self._second = 0
        self._sent = 0
        self._held = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; never raises."""
        second = int(time.monotonic())
        if second != self._second:
            held, self._held = self._held, 0
            self._second, self._sent = second, 0
            if held:
                self._post("warning", f"{held} more lines in one second were left out")
        if self._sent >= LOG_LINES_PER_S:
            self._held += 1
            return
        try:
            text = record.getMessage()
        except Exception:  # user code's format and arguments may not fit
            text = str(record.msg)
        user = getattr(record, "user", None)
        self._post(record.levelname.lower(), text if user is None else f"user {user}: {text}")

    def _post(self, level: str, text: str) -> None:
        self._sent += 1
        try:
            self._pipe.post(Log(level, self._redactor.text(text)[:LOG_LINE_MAX]))
        except PipeClosedError:
            return
