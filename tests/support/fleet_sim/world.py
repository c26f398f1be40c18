"""Virtual time and the numbers that are counted."""

from __future__ import annotations

import hashlib
import heapq
import marshal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from loadproof.metrics import Sums
from loadproof.metrics.delta import Delivery, Delta
from loadproof.plan import Arrival, ArrivalSchedule, Plan
from loadproof.plan.model import ArrivalPhase, TransactionPlan

MS = 1_000_000
S = 1_000_000_000
STEPS_MAX = 5_000_000

Fate = str
"""started, dropped or missed."""


class World:
    """A clock nobody waits for, and what is to happen when. Nanoseconds."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 1_000 * S
        self.steps = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0

    def after(self, delay_ns: int, do: Callable[[], None]) -> None:
        """Do something later; equal moments keep their order."""
        self._number += 1
        heapq.heappush(self._due, (self.now + max(delay_ns, 0), self._number, do))

    def run(self, until_ns: int, over: Callable[[], bool]) -> None:
        """Let things happen until then, or until `over`."""
        while self._due and self._due[0][0] <= until_ns and not over():
            self.now, _, do = heapq.heappop(self._due)
            self.steps += 1
            assert self.steps < STEPS_MAX, f"over {STEPS_MAX:,} steps: something answers itself for ever"
            do()

    def between(self, low_s: float, high_s: float) -> int:
        """Return a random duration in nanoseconds."""
        return int(self.random.uniform(low_s, high_s) * S)

    def chance(self, probability: float) -> bool:
        """Say yes that often."""
        return self.random.random() < probability


@dataclass(slots=True)
class Tally:
    """What a delta is here: how many arrivals met which fate, and which ones they were."""

    counts: Counter[tuple[Fate, str, str]] = field(default_factory=Counter)
    arrivals: list[int] = field(default_factory=list)

    def add(self, fate: Fate, transaction: str, phase: str, k: int) -> None:
        """Count one arrival."""
        self.counts[fate, transaction, phase] += 1
        self.arrivals.append(k)

    @property
    def delivery(self) -> dict[tuple[str, str], Delivery]:
        """Return what the agent's ledger reads of a delta."""
        out: dict[tuple[str, str], Delivery] = {}
        for (fate, transaction, phase), n in self.counts.items():
            found = out.setdefault((transaction, phase), Delivery())
            setattr(found, fate, getattr(found, fate) + n)
        return out

    def digest(self) -> str:
        """Return the sha256 of its canonical form."""
        return hashlib.sha256(marshal.dumps((sorted(self.counts.items()), sorted(self.arrivals)), 2)).hexdigest()

    def as_delta(self) -> Delta:
        """Return the real thing with the same counts."""
        return Delta(from_ns=0, to_ns=S, delivery=self.delivery)


def merge(a: Tally, b: Tally) -> Tally:
    """Add two tallies."""
    return Tally(a.counts + b.counts, a.arrivals + b.arrivals)


def encode(tally: Tally) -> bytes:
    """Return a tally's bytes."""
    return marshal.dumps((dict(tally.counts), tally.arrivals), 2)


def sums(tally: Tally) -> Sums:
    """Return what a relay says of a tally."""
    checks = (_mixed(k) for k in tally.arrivals)
    return Sums(len(tally.arrivals), sum(tally.arrivals), sum(checks) & _MASK)


def _mixed(k: int) -> int:
    return ((k + 1) * 0x9E3779B97F4A7C15 ^ (k << 29)) & _MASK


_MASK = (1 << 64) - 1


def decode(data: bytes) -> Tally:
    """Read `encode` back."""
    counts, arrivals = marshal.loads(data)
    return Tally(Counter(counts), arrivals)


class CachedSchedule:
    """An `ArrivalSchedule` that deals each shard once for all seeds."""

    def __init__(self, plan: Plan) -> None:
        self._schedule = ArrivalSchedule(plan)
        self._shards: dict[tuple[int, int], list[Arrival]] = {}
        self.total = self._schedule.total
        self.count_until = cache(self._schedule.count_until)
        self.arrivals = list(self._schedule.shard(0, 1))

    def shard(self, i: int, n: int, first_k: int = 0) -> Any:
        """Return the shard's arrivals from `first_k` on."""
        dealt = self._shards.get((i, n))
        if dealt is None:
            dealt = self._shards[i, n] = [arrival for arrival in self.arrivals if arrival.k % n == i]
        return iter(dealt[max(0, -(-(first_k - i) // n)) :])


@cache
def plan_of(rate_per_s: int, seconds: int) -> tuple[Plan, CachedSchedule]:
    """Return a plan of a ramp and a plateau, and its schedule."""
    phases = (
        ArrivalPhase("ramp", 1_000, rate_per_s * 1_000, seconds * S // 3),
        ArrivalPhase("peak", rate_per_s * 1_000, rate_per_s * 1_000, seconds * S * 2 // 3),
    )
    mix = (TransactionPlan("Search", 3), TransactionPlan("Checkout", 1))
    plan = Plan("shop", "release", "open", phases, mix, graceful_stop_ns=2 * S)
    return plan, CachedSchedule(plan)
