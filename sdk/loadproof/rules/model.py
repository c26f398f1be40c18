"""A rule as data: what it is about, what it requires, how grave breaking it is.

    rule      = [ "service" | "response" ] metric comparison limit [ "over" duration ]
    metric    = "p" number | "mean" | "max"
              | "success_rate" | "error_rate" | "errors." category | "throughput" | "count"
    comparison= "<=" | "<" | ">=" | ">"
    limit     = duration | percentage | rate | number | "baseline" [ ("+" | "-") ( percentage | duration ) ]
    duration  = number ( "us" | "ms" | "s" | "m" | "h" )
    percentage= number "%"
    rate      = number ( "/s" | "/m" | "/h" )

`errors.<category>` is a count, or with a percentage as limit the share of all that were completed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Comparison = Literal["<=", "<", ">=", ">"]
Severity = Literal["block", "warn"]
Unit = Literal["us", "ratio", "per_s", "number"]
"""Unit of a metric's value: microseconds, share in [0, 1], per second, plain count."""

TAIL_SAMPLES_MIN = 5
"""A quantile q of n samples says something when at least this many lie beyond it: n (1 - q) >= 5."""


def samples_needed(quantile: float) -> int:
    """Return the fewest samples that carry a quantile in (0, 1): 100 for a p95, 5,000 for a p99.9."""
    return -(-TAIL_SAMPLES_MIN * 1_000_000 // round((1 - quantile) * 1_000_000))


@dataclass(frozen=True, slots=True)
class BaselineLimit:
    """`baseline + 10%`: relative change in [-1, inf), or an absolute one in the metric's unit."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class Criterion:
    """The parsed `require`. `quantile` in (0, 1) for percentiles, `category` for `errors.*`; `limit` in `unit`."""

    metric: str
    measure: Literal["response", "service"]
    quantile: float | None
    category: str | None
    comparison: Comparison
    limit: float | BaselineLimit
    unit: Unit
    window_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Waiver:
    """Lets a broken rule pass for a while, in sight. `until` is an ISO date, inclusive."""

    reason: str
    owner: str
    until: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One pass/fail criterion. `transaction` is a name or "*"; exactly one of `transaction` and `tag` is set.

    `line` is where `loadproof.toml` has it, 0 where it comes from elsewhere.
    """

    require: str
    criterion: Criterion
    transaction: str | None = None
    tag: str | None = None
    step: str | None = None
    severity: Severity = "block"
    abort_after_ns: int | None = None
    profiles: tuple[str, ...] | None = None
    phase: str | None = None
    waiver: Waiver | None = None
    line: int = field(default=0, compare=False)
