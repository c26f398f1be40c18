"""The promises in small: few false alarms on equal builds, planted regressions found. The full table is a benchmark."""

from __future__ import annotations

from loadproof_report.comparison import compare
from simulated_runs import Change, World, simulated

WORLD = World(seconds=150, transactions=("Search", "Checkout"), steps=(), per_second=12)
PAIRS = 30


def test_equal_builds_rarely_show_a_change() -> None:
    """Runs that differ by the assumed effect of a run: at most 2 of 30 pairs alarm (5 % promised, seeded)."""
    alarms = 0
    for pair in range(PAIRS):
        result = compare(simulated(WORLD, 2 * pair + 1_000), [simulated(WORLD, 2 * pair + 1_001)], resamples=300)
        alarms += any(change.judgement in {"better", "worse"} for change in result.changes)
    assert alarms <= 2


def test_regressions_above_the_printed_minimum_are_found() -> None:
    """Planted just above what the comparison says it can see, found in at least 9 of 10 (seeded)."""
    found = 0
    for pair in range(PAIRS):
        seed = 3 * pair + 5_000
        baseline = simulated(WORLD, seed)
        clean = compare(simulated(WORLD, seed + 1), [baseline], resamples=300)
        size = next(c.detectable for c in clean.changes if (c.transaction, c.metric) == ("Checkout", "p95"))
        assert size is not None
        slower = simulated(WORLD, seed + 1, Change("Checkout", slower=1 + 1.05 * size))
        judged = compare(slower, [baseline], resamples=300).changes
        found += any((c.transaction, c.metric, c.judgement) == ("Checkout", "p95", "worse") for c in judged)
    assert found >= 0.9 * PAIRS
