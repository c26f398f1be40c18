"""Seeds: every random draw of a run comes from `mix64` of the plan's seed and the number of what is drawn.

Nothing here depends on the machine, the interpreter's hash seed or the order of calls, so shards need no messages to
agree. The finaliser is SplitMix64's (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
"""

from __future__ import annotations

import enum
import random
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from loadproof.plan.model import Plan

MASK64 = (1 << 64) - 1
_START = 0x6C6F616470726F6F  # "loadproo"
_GOLDEN = 0x9E3779B97F4A7C15
_ODD = 0xD1342543DE82EF95
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


class Stream(enum.IntEnum):
    """Keeps draws of different purpose apart. Values are part of what a plan means: never renumber."""

    MIX = 1
    POISSON = 2
    SHUFFLE = 3
    ARRIVAL = 4
    ITERATION = 5
    USER_MIX = 6


def mix64(*values: int) -> int:
    """Mix any number of integers (each taken modulo 2**64) into one of 64 evenly spread bits."""
    state = _START
    for value in values:
        state = (state * _ODD + value + _GOLDEN) & MASK64
        state = ((state ^ (state >> 30)) * _FIRST) & MASK64
        state = ((state ^ (state >> 27)) * _SECOND) & MASK64
        state ^= state >> 31
    return state


def mix64_into(states: npt.NDArray[np.uint64], values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Add one more value to states that `mix64` gave: `mix64_into([mix64(a)], [b])` is `[mix64(a, b)]`, broadcast."""
    state = states * np.uint64(_ODD) + (values + np.uint64(_GOLDEN))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
    mixed: npt.NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed


def rng_for(seed: int, *values: int) -> random.Random:
    """Return a generator of its own for (seed, values). Creating one costs about 5 us: do it on first use."""
    return random.Random(mix64(seed, *values))


def user_seed(plan: Plan, k: int) -> int:
    """Return the seed of everything random in arrival `k` (open model)."""
    return mix64(plan.seed, Stream.ARRIVAL, k)


def user_seed_closed(plan: Plan, user: int, iteration: int) -> int:
    """Return the seed of everything random in a user's iteration (closed model)."""
    return mix64(plan.seed, Stream.ITERATION, user, iteration)
