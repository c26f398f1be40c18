"""Checkpoints: files that stand for the segments before them, so that those can be removed.

A checkpoint holds what the log says (`LogFacts`), the merged totals and the books of the agents. The timeline is not in
it: its rows are appended to a history, and the checkpoint says how far that counts. Both begin with a frame that says
what they are; a checkpoint ends with a frame that says how many there were.

The newest two checkpoints are kept with the segments behind the older one: should the newest be damaged, the older one
and those segments say the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from loadproof.histogram import sum_counts
from loadproof.metrics import (
    CodecError,
    Delta,
    Health,
    MergedState,
    RunningTotals,
    Sums,
    decode_delta,
    decode_totals,
    encode_delta,
    encode_totals,
    restored,
    rows_are_void,
    save_rows,
    save_totals,
)
from loadproof_controller.ledger import AgentBook
from loadproof_controller.runlog import disk, folder
from loadproof_controller.runlog.facts import LOG_VERSION, LogFacts
from loadproof_controller.runlog.frames import FRAME, frame, payloads

HISTORY_SLACK_BYTES = 1024 * 1024
PIECE_BYTES_MAX = 8 * 1024 * 1024
"""A record that is larger is written in pieces: a frame holds 16 MiB."""
Books = dict[tuple[str, int], AgentBook]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that was written or read: its number, and how far which history counts."""

    number: int
    history: int
    history_bytes: int


@dataclass(slots=True)
class Restored:
    """What a checkpoint says."""

    checkpoint: Checkpoint
    facts: LogFacts
    merged: MergedState
    books: Books = field(default_factory=dict)


class CheckpointWriter:
    """Writes one checkpoint after another into `place`; `previous` is the one the run was resumed from.

    A history is begun anew when intervals were added up in pairs, when it has grown to twice what it began with and a
    megabyte, and after every failure and every restart: then all rows are written.
    """

    def __init__(self, place: Path, previous: Checkpoint | None = None) -> None:
        self._place = place
        self._previous = previous
        self._history: Checkpoint | None = None
        self._first_bytes = 0
        self.removed_to = 0
        """Segments up to this number were removed."""

    def write(self, number: int, facts: LogFacts, merged: MergedState, books: Books) -> Iterator[None]:
        """Write checkpoint `number`. Yields once, after which nothing of the arguments is read any more.

        `merged` and `books` must not be added to until then. Raises OSError; then the checkpoints before it count, and
        the segments too.
        """
        last, self._history = self._history, None
        old = last.history_bytes if last is not None else 0
        whole = last is None or rows_are_void(merged) or old > 2 * self._first_bytes + HISTORY_SLACK_BYTES
        history = number if whole or last is None else last.history
        start = 0 if whole else old
        files: list[int] = []
        try:
            files.append(disk.create(folder.history(self._place, history), fresh=False))
            disk.cut(files[0], start)
            head = [msgpack.packb(("history", LOG_VERSION, history))] if whole else []
            end = start + _write(files[0], head) + _write(files[0], save_rows(merged, whole=whole))
            temporary = folder.checkpoint(self._place, number).with_suffix(".tmp")
            files.append(disk.create(temporary, fresh=False))
            disk.cut(files[1], 0)
            made = Checkpoint(number, history, end)
            _write(files[1], _in_pieces(_records(made, facts, merged, books)))
            yield
            for file in files:
                os.fsync(file)
        finally:
            for file in files:
                os.close(file)
        disk.rename(temporary, folder.checkpoint(self._place, number))
        disk.sync_folder(self._place)
        self._first_bytes = end if whole else self._first_bytes
        self._history = made
        kept, self._previous = self._previous, made
        self._tidy(made, kept)

    def _tidy(self, newest: Checkpoint, older: Checkpoint | None) -> None:
        """Remove what neither of the two needs."""
        known = [newest] if older is None else [older, newest]
        self.removed_to = older.number if older is not None else 0
        for number in folder.numbers(self._place, "log"):
            if number <= self.removed_to:
                disk.remove(folder.segment(self._place, number))
        for number in folder.numbers(self._place, "checkpoint"):
            if number not in {checkpoint.number for checkpoint in known}:
                disk.remove(folder.checkpoint(self._place, number))
        for number in folder.numbers(self._place, "history"):
            if number not in {checkpoint.history for checkpoint in known}:
                disk.remove(folder.history(self._place, number))


def _write(file: int, records: Iterable[bytes]) -> int:
    written = 0
    for record in records:
        data = frame(record)
        disk.write(file, data)
        written += len(data)
    return written


def _in_pieces(records: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the records; one that is too large for a frame as ("piece", bytes, whether it is the last)."""
    for record in records:
        if len(record) <= PIECE_BYTES_MAX:
            yield record
            continue
        for start in range(0, len(record), PIECE_BYTES_MAX):
            end = start + PIECE_BYTES_MAX
            yield msgpack.packb(("piece", record[start:end], end >= len(record)))


def _joined(records: Iterable[bytes]) -> Iterator[list[Any]]:
    """Yield the records that `_in_pieces` was given, unpacked."""
    pieces: list[bytes] = []
    for payload in records:
        kind, *values = msgpack.unpackb(payload)
        if kind != "piece":
            yield [kind, *values]
            continue
        pieces.append(values[0])
        if values[1]:
            yield msgpack.unpackb(b"".join(pieces))
            pieces.clear()


def _records(made: Checkpoint, facts: LogFacts, merged: MergedState, books: Books) -> Iterator[bytes]:
    yield msgpack.packb(("checkpoint", LOG_VERSION, made.number, made.history, made.history_bytes))
    yield msgpack.packb(("facts", facts.pack()))
    count = 2
    for piece in save_totals(merged):
        yield msgpack.packb(("totals", piece))
        count += 1
    for (agent_id, epoch), book in books.items():
        health = Health(book.cpu_permille_max, memory_bytes=book.memory_bytes_max, lag=sum_counts(book.lags))
        readings = encode_delta(Delta(health=health))
        relayed = None if book.relayed_sums is None else [str(number) for number in book.relayed_sums]
        yield msgpack.packb(
            ("book", agent_id, epoch, encode_totals(book.totals), readings, book.started, relayed, book.started_known)
        )
        count += 1
    yield msgpack.packb(("end", count))


def newest_readable(place: Path) -> Restored | None:
    """Return what the newest whole checkpoint in `place` says, with its part of the history; None without one."""
    for number in reversed(folder.numbers(place, "checkpoint")):
        try:
            return _read(place, number)
        except (OSError, CodecError, ValueError, TypeError, KeyError, msgpack.UnpackException):
            continue
    return None


def _read(place: Path, number: int) -> Restored:
    records = list(_joined(payloads(folder.checkpoint(place, number))))
    (kind, version, said, history, history_bytes), (_, facts), *middle, end = records
    if (kind, version, said, *end) != ("checkpoint", LOG_VERSION, number, "end", len(records) - 1):
        raise ValueError("not a whole checkpoint")
    rows = list(payloads(folder.history(place, history), bytes_max=history_bytes))
    if sum(FRAME.size + len(row) for row in rows) != history_bytes:
        raise ValueError("the history is cut short or damaged")
    merged = restored([record[1] for record in middle if record[0] == "totals"], rows[1:])
    out = Restored(Checkpoint(number, history, history_bytes), LogFacts.unpack(facts), merged)
    for record in middle:
        if record[0] == "book":
            _, agent_id, epoch, *said = record
            out.books[agent_id, epoch] = _book(*said)
    return out


def _book(
    totals: bytes, readings: bytes, started: int, relayed: list[str] | None, started_known: bool | None = None
) -> AgentBook:
    health = decode_delta(readings).health
    return AgentBook(
        running=RunningTotals(decode_totals(totals)),
        relayed_sums=None if relayed is None else Sums(*map(int, relayed)),
        cpu_permille_max=health.worker_cpu_permille,
        memory_bytes_max=health.memory_bytes,
        lags=[] if health.lag is None else [health.lag],
        started=started,
        started_known=relayed is None if started_known is None else started_known,  # an earlier version did not say
    )
