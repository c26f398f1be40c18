"""Which numbered deltas are applied: exactly the next one, once.

Identity is (agent id, epoch); numbers count from 1. A delta [from, to] is applied iff from = last + 1. One already seen
is acked and ignored, a gap or an overlap is acked with what is applied so far and waits for its sender to fill it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Verdict = Literal["apply", "seen", "wait"]


class SequenceBook:
    """Last applied number by (agent id, epoch)."""

    __slots__ = ("_last",)

    def __init__(self, last: dict[tuple[str, int], int] | None = None) -> None:
        self._last = dict(last or {})

    def last(self, agent_id: str, epoch: int) -> int:
        """Return the last applied number, 0 when there is none."""
        return self._last.get((agent_id, epoch), 0)

    def judge(self, agent_id: str, epoch: int, from_seq: int, to_seq: int) -> Verdict:
        """Say what becomes of deltas `from_seq` to `to_seq`, without taking them."""
        last = self.last(agent_id, epoch)
        if to_seq <= last:
            return "seen"
        return "apply" if from_seq == last + 1 and to_seq >= from_seq else "wait"

    def judge_all(self, ranges: Iterable[tuple[str, int, int, int]]) -> Verdict:
        """Say what becomes of a block of several agents' (id, epoch, from, to) as a whole: never in part."""
        last, verdicts = self._last, set[Verdict]()
        for agent_id, epoch, from_seq, to_seq in ranges:
            known = last.get((agent_id, epoch), 0)
            if to_seq <= known:
                verdicts.add("seen")
            elif from_seq == known + 1:
                verdicts.add("apply")
            else:
                return "wait"
        return verdicts.pop() if len(verdicts) == 1 else "wait"

    def take(self, agent_id: str, epoch: int, to_seq: int) -> None:
        """Note that everything up to `to_seq` is applied."""
        self._last[(agent_id, epoch)] = to_seq
