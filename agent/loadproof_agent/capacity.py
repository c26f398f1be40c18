"""How fast one worker of this machine is, so that shards can be dealt in proportion."""

from __future__ import annotations

import time

LOOPS = 20_000
ROUNDS = 7
REFERENCE_LOOPS_PER_S = 10_000_000
"""1,000 thousandths: about one core of a server of 2024."""
STEP_PERMILLE = 100
"""Readings are rounded to a tenth, so that equal machines get equal shares."""


def measured_capacity() -> int:
    """Return this machine's capacity per worker in thousandths of the reference; takes some 20 ms of one core."""
    best_s = min(_round() for _ in range(ROUNDS))
    permille = LOOPS / best_s / REFERENCE_LOOPS_PER_S * 1_000
    return max(STEP_PERMILLE, round(permille / STEP_PERMILLE) * STEP_PERMILLE)


def _round() -> float:
    """Time what workers mostly do: interpret Python over small objects."""
    began = time.perf_counter()
    table: dict[int, int] = {}
    for number in range(LOOPS):
        key = number & 255
        table[key] = table.get(key, 0) + number
    return time.perf_counter() - began
