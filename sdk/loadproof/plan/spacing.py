"""Where on the rate curve's area arrivals sit: evenly, one per unit, or as a Poisson process.

Positions are integers of `curve.AREA_PER_ARRIVAL` units. Poisson gaps are exponential on the *area*, so a rate that
changes stretches the process instead of thinning it, and the curve's inverse serves both.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from typing import Protocol

import numpy as np
import numpy.typing as npt

from loadproof.plan.curve import AREA_PER_ARRIVAL
from loadproof.plan.seeding import Stream, mix64, mix64_into

POISSON_BLOCK = 4_096
"""Gaps drawn from one key. Part of what a plan means: never change it."""

_GAP_BITS = 32  # a gap is an integer of 2**-32 arrivals
_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
_CACHED_BLOCKS = 128  # 4 MB; the shards of a worker read the same ones at about the same time


class Spacing(Protocol):
    """Positions of arrivals in order, k = 0, 1, 2, ..."""

    def position(self, k: int) -> int:
        """Return the position of arrival `k`."""

    def below(self, area: int) -> int:
        """Return how many arrivals have a position less than `area`."""


class EvenSpacing:
    """Arrival k at exactly k arrivals' area: the first at the first instant of load."""

    __slots__ = ()

    def position(self, k: int) -> int:
        """Return the position of arrival `k`."""
        return k * AREA_PER_ARRIVAL

    def below(self, area: int) -> int:
        """Return how many arrivals have a position less than `area`."""
        return -(-area // AREA_PER_ARRIVAL)


class PoissonSpacing:
    """Exponential gaps of mean one arrival's area, drawn in blocks of 4,096 keyed (seed, block).

    Every shard sums every gap (27 ns each with numpy), so all agree to the bit without a message.
    """

    __slots__ = ("_blocks", "_offsets", "_stream")

    def __init__(self, seed: int) -> None:
        self._stream = mix64(seed, Stream.POISSON)
        self._offsets = [0]  # sum of all gaps before block b
        self._blocks: OrderedDict[int, npt.NDArray[np.int64]] = OrderedDict()

    def position(self, k: int) -> int:
        """Return the position of arrival `k`."""
        number, inside = divmod(k, POISSON_BLOCK)
        sums = self._sums(number)
        return (self._offsets[number] + int(sums[inside])) * AREA_PER_ARRIVAL >> _GAP_BITS

    def below(self, area: int) -> int:
        """Return how many arrivals have a position less than `area`."""
        # floor(s * A / 2**32) < area  <=>  s < area * 2**32 / A  <=>  s < ceil(area * 2**32 / A)
        limit = -(-(area << _GAP_BITS) // AREA_PER_ARRIVAL)
        while self._offsets[-1] < limit:
            self._sums(len(self._offsets) - 1)
        number = bisect_left(self._offsets, limit) - 1
        if number < 0:
            return 0
        sums = self._sums(number)
        return number * POISSON_BLOCK + int(np.searchsorted(sums, limit - self._offsets[number], side="left"))

    def _sums(self, number: int) -> npt.NDArray[np.int64]:
        """Return the running sums inside a block, and note where the next one begins."""
        found = self._blocks.get(number)
        if found is not None:
            self._blocks.move_to_end(number)
            return found
        while len(self._offsets) <= number:
            self._sums(len(self._offsets) - 1)
        sums = np.cumsum(exponential_gaps(mix64(self._stream, number), POISSON_BLOCK))
        if len(self._offsets) == number + 1:
            self._offsets.append(self._offsets[number] + int(sums[-1]))
        self._blocks[number] = sums
        if len(self._blocks) > _CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return sums


def exponential_gaps(key: int, count: int) -> npt.NDArray[np.int64]:
    """Return `count` exponential gaps of mean 2**32, as integers.

    The logarithm is computed with IEEE additions, multiplications and divisions only, one operation at a time:
    numpy's and libm's `log` may differ in the last bit between processors, and then machines would disagree about the
    plan.
    """
    words = mix64_into(np.full(count, key, dtype=np.uint64), np.arange(count, dtype=np.uint64))
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53  # in (0, 1]
    mantissa, exponent = np.frexp(uniform)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    power = exponent.astype(np.float64) - small
    # ln(m) = 2 artanh(z), z = (m - 1) / (m + 1), |z| <= 0.1716: eleven odd terms reach the last bit of a double.
    z = (mantissa - 1.0) / (mantissa + 1.0)
    square = z * z
    series = np.full(count, 1.0 / 21.0)
    for odd in range(19, 0, -2):
        series = series * square
        series = series + 1.0 / odd
    logarithm = power * _LN2
    logarithm = logarithm + 2.0 * (z * series)
    gaps: npt.NDArray[np.int64] = np.floor(-logarithm * 2.0**_GAP_BITS + 0.5).astype(np.int64)
    return gaps


def spacing_for(spacing: str, seed: int) -> Spacing:
    """Return the positions that a plan's `spacing` names."""
    return EvenSpacing() if spacing == "even" else PoissonSpacing(seed)
