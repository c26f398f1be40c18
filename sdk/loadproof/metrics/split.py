"""Cuts a delta in two that add up to it, for where one message may hold only so much."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, TypeVar

from loadproof.metrics.delta import Delta

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")
_MAPPINGS: Final = (
    "series", "statuses", "errors", "step_order", "delivery", "seconds", "counters", "draws", "exhausted",
)  # fmt: skip


def split_delta(delta: Delta) -> tuple[Delta, Delta] | None:
    """Return two deltas of the same interval whose sum is `delta`, each with half of every kind; None when it has no
    kind with two entries. Readings of health stay with the first.
    """
    if all(len(getattr(delta, name)) < 2 for name in _MAPPINGS):
        return None
    first, second = Delta(delta.from_ns, delta.to_ns), Delta(delta.from_ns, delta.to_ns)
    first.health = delta.health
    for name in _MAPPINGS:
        one, other = _halves(getattr(delta, name))
        setattr(first, name, one)
        setattr(second, name, other)
    return first, second


def _halves(mapping: dict[_Key, _Value]) -> tuple[dict[_Key, _Value], dict[_Key, _Value]]:
    items = list(mapping.items())
    middle = (len(items) + 1) // 2
    return dict(items[:middle]), dict(items[middle:])
