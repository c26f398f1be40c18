"""Turns a run's state into `Progress`: pure reading, nothing is changed."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from loadproof.metrics import Delivery, MergedState, add_delivery
from loadproof.plan import Plan
from loadproof_controller.request import TransactionProgress

NS_PER_S = 1_000_000_000


class PlannedSoFar:
    """How many arrivals of each transaction are due before a moment, to the second. Empty in the closed model."""

    def __init__(self, planned_seconds: dict[tuple[int, str], int]) -> None:
        by_name: dict[str, list[tuple[int, int]]] = {}
        for (second, name), count in sorted(planned_seconds.items()):
            by_name.setdefault(name, []).append((second, count))
        self._seconds = {name: [second for second, _ in rows] for name, rows in by_name.items()}
        self._sums = {name: list(accumulate(count for _, count in rows)) for name, rows in by_name.items()}

    def due(self, name: str, elapsed_ns: int) -> int:
        """Return the arrivals of `name` in the whole seconds before `elapsed_ns`."""
        if name not in self._seconds or elapsed_ns <= 0:
            return 0
        index = bisect_right(self._seconds[name], elapsed_ns // NS_PER_S - 1)
        return self._sums[name][index - 1] if index else 0


def transactions_progress(
    plan: Plan, merged: MergedState, planned: PlannedSoFar, elapsed_ns: int
) -> tuple[TransactionProgress, ...]:
    """Return each transaction of the mix as it stands `elapsed_ns` after the start."""
    sums: dict[str, Delivery] = {}
    for (name, _phase), more in merged.delivery.items():
        add_delivery(sums.setdefault(name, Delivery()), more)
    rows: list[TransactionProgress] = []
    for transaction in plan.transactions:
        if not transaction.weight:
            continue
        name, got = transaction.name, sums.get(transaction.name, Delivery())
        histogram = merged.histogram(name, outcome="ok")
        accounted = got.started + got.dropped + got.missed
        # Whole seconds are counted, snapshots reach a little into the next one: what was decided was due.
        due = max(planned.due(name, elapsed_ns), accounted) if plan.model == "open" else got.started
        rows.append(
            TransactionProgress(
                name=name,
                planned=due,
                started=got.started,
                completed=got.completed,
                failed=got.failed,
                late=got.late,
                dropped=got.dropped,
                missed=got.missed,
                p50_us=histogram.quantile(0.5),
                p95_us=histogram.quantile(0.95),
            )
        )
    return tuple(rows)
