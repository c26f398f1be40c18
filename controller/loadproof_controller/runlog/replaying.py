"""Reads a log back: the newest whole checkpoint, then the segments behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from loadproof.metrics import Block, CodecError, MergedState, Sums, attribute, decode_block
from loadproof_controller.errors import RunLogError
from loadproof_controller.ledger import AgentBook
from loadproof_controller.messages import UserDraws
from loadproof_controller.runlog import folder
from loadproof_controller.runlog.checkpoint import Books, Checkpoint, newest_readable
from loadproof_controller.runlog.facts import LOG_VERSION, LogFacts
from loadproof_controller.runlog.frames import FRAME, payloads

MERGED_TOGETHER = 64


@dataclass(slots=True)
class Replayed:
    """What a log says: its facts, the merged state and the books of its agents.

    `records` were read from segments behind `checkpoint` (None: there was none); `torn_bytes` were cut off at the end.
    """

    facts: LogFacts = field(default_factory=LogFacts)
    merged: MergedState = field(default_factory=MergedState)
    books: Books = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    records: int = 0
    torn_bytes: int = 0
    _waiting: list[Block] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """Return the run's id, empty where the log does not say."""
        return self.facts.run_id

    @property
    def seqs(self) -> dict[tuple[str, int], int]:
        """Return the last applied number by (agent id, epoch)."""
        return self.facts.seqs

    @property
    def draws(self) -> dict[tuple[int, int], UserDraws]:
        """Return how many rows each user has reserved, by (user, dataset)."""
        return self.facts.draws

    @property
    def run_state(self) -> dict[str, object]:
        """Return what the machine last remembered of the run."""
        return self.facts.run_state

    @property
    def members(self) -> dict[tuple[str, int], dict[str, object]]:
        """Return what it last remembered of each agent."""
        return self.facts.members

    @property
    def events(self) -> list[tuple[int, str, str, str]]:
        """Return what happened, as (moment, kind, text, agent id)."""
        return self.facts.events

    def merge(self) -> None:
        """Add up what waits."""
        waiting, self._waiting = self._waiting, []
        self.merged.apply_all(waiting)

    def take(self, payload: bytes) -> bool:
        """Add one record; False when it cannot be understood, which ends the log like a torn tail."""
        try:
            kind, *values = msgpack.unpackb(payload, strict_map_key=False)
            block = decode_block(values[-1]) if kind in {"delta", "block"} else None
            if kind == "segment" and values[0] != LOG_VERSION:
                return False
            if not self.facts.take(kind, values):
                return False
        except (CodecError, ValueError, TypeError, IndexError, KeyError):
            return False
        if block is not None:
            self._note_parts(kind, values, block)
            self._waiting.append(block)
            if len(self._waiting) >= MERGED_TOGETHER:
                self.merge()
        self.records += 1
        return True

    def _note_parts(self, kind: str, values: list[Any], block: Block) -> None:
        """Book what an agent sent on its own, or its part of what a relay merged."""
        if kind == "delta":
            self.books.setdefault((values[0], values[1]), AgentBook()).took(block)
            attribute(block.rest, values[0])
            return
        agents = {where[0] for where in values[0]}
        if len(agents) == 1:
            attribute(block.rest, *agents)
        for name, epoch, _from_seq, _to_seq, n, total, checksum, *started in values[0]:
            book = self.books.setdefault((name, epoch), AgentBook())
            book.relayed(Sums(n, total, checksum), *started)


def replay(path: Path) -> Replayed:
    """Read back the log whose segment in use is (or was to be) at `path`.

    Raises `RunLogError` when there is none that can be read, or when a segment is missing.
    """
    place = path.parent
    try:
        start = newest_readable(place)
        out = Replayed() if start is None else Replayed(start.facts, start.merged, start.books, start.checkpoint)
        read = _segments(path, out.checkpoint.number if out.checkpoint is not None else 0)
        whole = True
        for segment in read:
            used = 0
            for payload in payloads(segment) if whole else ():
                if not out.take(payload):
                    break
                used += FRAME.size + len(payload)
            torn = segment.stat().st_size - used
            out.torn_bytes += torn
            whole = whole and not torn
    except OSError as error:
        raise RunLogError(str(path), f"the run's log cannot be read: {error.strerror}") from error
    damaged = folder.numbers(place, "checkpoint")
    if damaged and not out.run_id:
        raise RunLogError(str(path), f"the run's log cannot be read: checkpoint {damaged[-1]} is damaged")
    out.merge()
    return out


def _segments(path: Path, after: int) -> list[Path]:
    """Return the segments behind checkpoint `after` in their order. Raises `RunLogError` when one is missing."""
    place = path.parent
    sealed = [number for number in folder.numbers(place, "log") if number > after]
    if sealed != list(range(after + 1, after + 1 + len(sealed))):
        damaged = [number for number in folder.numbers(place, "checkpoint") if number > after]
        what = f"checkpoint {damaged[-1]} is damaged" if damaged else "there is no checkpoint"
        wanted = next(n for n in range(after + 1, max(sealed) + 1) if n not in sealed)
        raise RunLogError(
            str(path), f"the run's log cannot be read: {what}, and segment {wanted} is not there any more"
        )
    if path.exists() or not (sealed or after):
        return [*(folder.segment(place, number) for number in sealed), path]
    return [folder.segment(place, number) for number in sealed]
