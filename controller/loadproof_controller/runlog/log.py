"""Writes the log."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgpack

from loadproof_controller.errors import RunLogError
from loadproof_controller.runlog import disk, folder
from loadproof_controller.runlog.facts import LOG_VERSION, LogFacts
from loadproof_controller.runlog.frames import frame, whole_bytes

LOG_BYTES_MAX = 16 * 1024 * 1024 * 1024
"""Quota of one run's segments; only a run whose checkpoints fail gets there. It goes on in memory and says so."""


class RunLog:
    """Appends records; each append is in the kernel when it returns. Not for several writers.

    Opening an existing log with `resume` cuts a torn tail off and goes on behind it; `facts` are then what it said, and
    `checkpoint` is the number of the checkpoint it was read from.
    """

    def __init__(
        self,
        path: Path,
        *,
        resume: bool = False,
        facts: LogFacts | None = None,
        checkpoint: int = 0,
        bytes_max: int = LOG_BYTES_MAX,
    ) -> None:
        self.path = path
        self.facts = facts or LogFacts()
        self.number = 1
        """Of the segment that is written to."""
        self._resume = resume
        self._checkpoint = checkpoint
        self._bytes_max = bytes_max
        self._file = -1
        self._sealed_files: list[int] = []
        self._sealed_bytes: dict[int, int] = {}
        self._bytes = 0
        self._synced_bytes = 0

    def __enter__(self) -> Self:
        """Open the file. Raises `RunLogError` when that fails, or when it exists and is not to be resumed."""
        try:
            if self._resume:
                self._survey()
            self._file = disk.create(self.path, fresh=not self._resume)
            disk.cut(self._file, self._bytes)
        except OSError as error:
            self._close()
            raise RunLogError(str(self.path), f"the run's log cannot be opened: {error.strerror}") from error
        if self.number > 1 and not self._bytes:
            self.append("segment", LOG_VERSION, self.number)
        return self

    def _survey(self) -> None:
        """Find out what there is; cut off what is not whole, and all that follows it."""
        place = self.path.parent
        sealed = folder.numbers(place, "log")
        self.number = max([self._checkpoint, *sealed, *folder.numbers(place, "checkpoint")]) + 1
        for index, number in enumerate(sealed):
            path = folder.segment(place, number)
            size, whole = path.stat().st_size, whole_bytes(path)
            self._sealed_bytes[number] = size
            if whole < size and number > self._checkpoint:
                os.truncate(path, whole)
                for later in sealed[index + 1 :]:
                    disk.remove(folder.segment(place, later))
                disk.remove(self.path)
                self.number = number + 1
                break
        if self.path.exists():
            self._bytes = whole_bytes(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def append(self, kind: str, *values: Any) -> None:
        """Write one record to the kernel. Raises `RunLogError` when it does not fit; then nothing of it is left."""
        try:
            data = frame(msgpack.packb((kind, *values)))
        except OSError as error:
            raise RunLogError(str(self.path), f"the run's log cannot be written: {error.strerror}") from error
        if sum(self._sealed_bytes.values()) + self._bytes + len(data) > self._bytes_max:
            raise RunLogError(str(self.path), f"the log has reached its limit of {self._bytes_max} bytes")
        try:
            disk.write(self._file, data)
        except OSError as error:
            disk.cut(self._file, self._bytes)
            raise RunLogError(str(self.path), f"the run's log cannot be written: {error.strerror}") from error
        self._bytes += len(data)
        self.facts.take(kind, values)

    def seal(self) -> int:
        """Complete the segment, begin the next, and return the number of the complete one.

        Raises `RunLogError`; then the segment goes on if that can be.
        """
        number, sealed = self.number, folder.segment(self.path.parent, self.number)
        try:
            disk.rename(self.path, sealed)
            try:
                file = disk.create(self.path, fresh=True)
            except OSError:
                disk.rename(sealed, self.path)
                raise
        except OSError as error:
            raise RunLogError(str(self.path), f"no new segment can be begun: {error.strerror}") from error
        self._sealed_bytes[number] = self._bytes
        self._sealed_files.append(self._file)
        self._file, self._bytes, self._synced_bytes, self.number = file, 0, 0, number + 1
        self.append("segment", LOG_VERSION, self.number)
        return number

    def removed(self, up_to: int) -> None:
        """Segments up to that number do not count any more: a checkpoint stands for them."""
        self._sealed_bytes = {number: size for number, size in self._sealed_bytes.items() if number > up_to}

    def sync(self) -> None:
        """Bring what is in the kernel to the disk, if anything is new. Blocks: call it in a thread."""
        while self._sealed_files:
            os.fsync(self._sealed_files[0])
            os.close(self._sealed_files.pop(0))
        end = self._bytes
        if end != self._synced_bytes and self._file >= 0:
            os.fsync(self._file)
            self._synced_bytes = end

    def _close(self) -> None:
        for file in [*self._sealed_files, self._file]:
            if file >= 0:
                with contextlib.suppress(OSError):
                    os.close(file)
        self._sealed_files.clear()
        self._file = -1
