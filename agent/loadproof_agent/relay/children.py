"""What a relay knows of one child: its stream, its lease, and the deltas of it that are not durable yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from loadproof.metrics import Sums
from loadproof_agent import records as r

P = TypeVar("P")
HELD_MAX = 8
"""Blocks of one child that wait here; a child has at most 4 in flight, so only one that breaks the rules has more."""

Key = tuple[str, int]
"""Agent id and epoch: one process."""


@dataclass(frozen=True, slots=True)
class Held(Generic[P]):
    """A child's block as it came. `payload` None: it cannot be read, which is for the controller to judge."""

    from_seq: int
    to_seq: int
    data: bytes = field(repr=False)
    payload: P | None = field(repr=False)
    sums: Sums
    started: int | None = None


@dataclass(slots=True)
class Child(Generic[P]):
    """One process. `link` is the number of its stream, None when it has none.

    `acked_seq` is what the controller has said of it here, None before. `apart`: its blocks travel alone, because one
    they were part of could not be.
    """

    agent_id: str
    epoch: int
    link: int | None
    run_id: str = ""
    held: deque[Held[P]] = field(default_factory=deque)
    acked_seq: int | None = None
    apart: bool = False
    lease: r.Lease | None = None
    beat: r.Heartbeat | None = None

    @property
    def key(self) -> Key:
        """Return what tells processes apart."""
        return self.agent_id, self.epoch

    def start_run(self, run_id: str) -> None:
        """Forget what belongs to another run: numbers count from 1 in each."""
        if self.run_id != run_id:
            self.run_id = run_id
            self.held.clear()
            self.acked_seq, self.apart, self.lease = None, False, None

    def takes(self, from_seq: int, to_seq: int) -> bool:
        """Say whether a block is held next: what follows on the last one, or anything but a gap when none is held."""
        if to_seq < from_seq or len(self.held) >= HELD_MAX:
            return False
        if self.held:
            return from_seq == self.held[-1].to_seq + 1
        return self.acked_seq is None or from_seq <= self.acked_seq + 1

    def settle(self, last_seq: int) -> None:
        """The controller has everything up to `last_seq`: let go of it, and of what does not follow on it."""
        last = self.acked_seq = max(last_seq, self.acked_seq or 0)  # an answer may be overtaken by a later one
        while self.held and self.held[0].to_seq <= last:
            self.held.popleft()
        if self.held and self.held[0].from_seq != last + 1:
            self.held.clear()  # the child keeps it, and will send it again
