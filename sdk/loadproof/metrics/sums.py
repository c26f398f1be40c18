"""Three numbers that say whether two parties counted the same samples over all series at once.

What per-series `totals` say in a row a series, `Sums` say in three integers: enough to notice that something is
missing, doubled or under another name, not to say in which series. They are linear, so sums of a sum of deltas are the
sum of their sums, and a relay's block can say of each agent in it what its part was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from loadproof.metrics.delta import SeriesKey
from loadproof.metrics.totals import SeriesTotals

_MASK = (1 << 64) - 1


class Sums(NamedTuple):
    """Number of samples, their sum in microseconds, and a checksum of (series, sample), each modulo 2^64."""

    n: int = 0
    total: int = 0
    checksum: int = 0

    def plus(self, other: Sums) -> Sums:
        """Return the sum of both."""
        return Sums(
            (self.n + other.n) & _MASK, (self.total + other.total) & _MASK, (self.checksum + other.checksum) & _MASK
        )


def sums_of(totals: Mapping[SeriesKey, SeriesTotals]) -> Sums:
    """Return the sums over all series of `totals`."""
    n = total = check = 0
    for key, entry in totals.items():
        n += entry.n
        total += entry.total
        check += _weight(key) * entry.checksum
    return Sums(n & _MASK, total & _MASK, check & _MASK)


def add_sums(parts: Iterable[Sums]) -> Sums:
    """Return the sum of all."""
    out = Sums()
    for part in parts:
        out = out.plus(part)
    return out


@lru_cache(maxsize=8_192)
def _weight(key: SeriesKey) -> int:
    """Return an odd number that only this series has: the same samples under another name have another checksum."""
    text = "\x00".join(key).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") | 1
