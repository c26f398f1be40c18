"""Adds the workers' deltas of one interval up into one, and keeps the totals that Final carries. Pure."""

from __future__ import annotations

from loadproof.metrics import SeriesKey, SeriesTotals, add_totals, encode_totals, merge_delta, series_totals
from loadproof.metrics.delta import Delta


class Intervals:
    """What was measured and not yet numbered. Bounded: deltas are added as they come."""

    def __init__(self, snapshot_ns: int) -> None:
        self._snapshot_ns = snapshot_ns
        self._pending: Delta | None = None
        self._heard: set[int] = set()
        self._since_ns: int | None = None
        self._totals: dict[SeriesKey, SeriesTotals] = {}

    def add(self, delta: Delta, now_ns: int, worker: int | None = None) -> None:
        """Add one delta of `worker`, or of the supervisor itself."""
        if self._pending is None:
            self._pending = delta
            self._since_ns = now_ns
        else:
            self._pending = merge_delta(self._pending, delta)
        if worker is not None:
            self._heard.add(worker)

    def due(self, expected: set[int], now_ns: int) -> bool:
        """Say whether an interval is complete: heard of all `expected` workers, or one and a half of it have passed."""
        if self._pending is None or self._since_ns is None:
            return False
        complete = bool(expected) and expected <= self._heard
        return complete or now_ns - self._since_ns >= self._snapshot_ns * 3 // 2

    def take(self, machine_cpu_permille: int) -> Delta | None:
        """Return what was added since the last call, counted into the totals; None when that is nothing."""
        delta, self._pending = self._pending, None
        self._heard.clear()
        if delta is None:
            return None
        delta.health.machine_cpu_permille = max(delta.health.machine_cpu_permille, machine_cpu_permille)
        self._totals = add_totals(self._totals, series_totals(delta))
        return delta

    def encoded_totals(self) -> bytes:
        """Return n, sum and checksum per series of everything taken, as Final carries them."""
        return encode_totals(self._totals)
