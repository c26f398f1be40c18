"""Durations and rates as people write them: `"30s"`, `"1h30m"`, `"5/s"`, `"0.5/s"`, `"300/m"`."""

from __future__ import annotations

import re
from fractions import Fraction

from loadproof._errors import LoadproofError
from loadproof.plan.model import NS_PER_S, RATE_SCALE

DURATION_NS = {
    "us": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
"""Nanoseconds of each unit of time."""

RATE_SECONDS = {"s": 1, "m": 60, "h": 3600}
"""Seconds of each unit a rate may be per."""

DURATION_MAX_NS = 31 * 24 * DURATION_NS["h"]
"""Longest duration accepted: 31 days."""

RATE_MAX = 100_000_000 * RATE_SCALE
"""Highest rate accepted: 100 million per second."""

_ALIASES = {
    "us": ("µs", "μs", "usec", "micros", "microsecond", "microseconds"),
    "ms": ("msec", "msecs", "millis", "millisecond", "milliseconds"),
    "s": ("sec", "secs", "second", "seconds", "S"),
    "m": ("min", "mins", "minute", "minutes", "M"),
    "h": ("hr", "hrs", "hour", "hours", "H"),
}
_CANONICAL = {alias: unit for unit, aliases in _ALIASES.items() for alias in aliases}
_NUMBER = r"\d+(?:\.\d+)?|\.\d+"
_PART = re.compile(rf"\s*({_NUMBER})\s*([^\W\d_]*)\s*")
_RATE = re.compile(rf"\s*({_NUMBER})\s*(?:/|per)\s*([^\W\d_]*)\s*")


class UnitError(LoadproofError, ValueError):
    """A text is no duration or rate. `suggestion` is what was probably meant, as the user would write it, or None."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


def parse_duration(text: str) -> int:
    """Return the nanoseconds of `text`, one or more numbers with `us`, `ms`, `s`, `m` or `h`. Raises UnitError."""
    total = Fraction(0)
    position = 0
    wrong = False
    meant = []
    while match := _PART.match(text, position):
        number, unit = match.groups()
        canonical = _CANONICAL.get(unit, unit)
        known = canonical in DURATION_NS
        wrong = wrong or unit not in DURATION_NS
        meant.append(f"{number}{canonical}" if known else f"{number}s" if not unit else "")
        if known:
            total += Fraction(number) * DURATION_NS[canonical]
        position = match.end()
    if position < len(text) or not meant:
        raise UnitError(f'"{text}" is not a duration such as "30s", "5m" or "1h30m"', None)
    if wrong:
        suggestion = "".join(meant) if all(meant) else None
        raise UnitError(f'"{text}" has no known unit of time (us, ms, s, m, h)', suggestion)
    if total > DURATION_MAX_NS:
        raise UnitError(f'"{text}" is longer than 31 days')
    return round(total)


def rate_fraction(text: str) -> Fraction:
    """Return the exact rate of `text` per second. Raises UnitError."""
    match = _RATE.fullmatch(text)
    if match is None:
        number = re.fullmatch(rf"\s*({_NUMBER})\s*(rps|qps|tps|Hz|hz)?\s*", text)
        suggestion = f"{number.group(1)}/s" if number else None
        raise UnitError(f'"{text}" is not a rate such as "5/s", "300/m" or "0.5/s"', suggestion)
    number_text, unit = match.groups()
    if unit not in RATE_SECONDS:
        canonical = _CANONICAL.get(unit, "s" if not unit else "")
        suggestion = f"{number_text}/{canonical}" if canonical in RATE_SECONDS else None
        raise UnitError(f'"{text}" has no known unit of time after "/" (s, m, h)', suggestion)
    if "per" in text:
        raise UnitError(f'"{text}" is not a rate', f"{number_text}/{unit}")
    return Fraction(number_text) / RATE_SECONDS[unit]


def parse_rate(text: str) -> int:
    """Return the rate of `text` in 1/1000 per second, rounded to the nearest. Raises UnitError.

    A rate that rounding would change by more than 1 % is refused (`"1/h"`: the smallest step is 0.001/s, 3.6/h).
    """
    exact = rate_fraction(text) * RATE_SCALE
    if exact > RATE_MAX:
        raise UnitError(f'"{text}" is more than 100 million per second')
    rounded = round(exact)
    if abs(rounded - exact) * 100 > exact:
        nearest = format_rate(max(1, rounded))
        raise UnitError(f'"{text}" is too fine: rates are whole thousandths per second', nearest)
    return rounded


def format_duration(ns: int) -> str:
    """Return `ns` as a text that `parse_duration` reads back to the same: "1h30m", "1.5s", "250ms", "0s"."""
    if ns < DURATION_NS["s"]:
        for unit in ("ms", "us"):
            if ns >= DURATION_NS[unit]:
                return f"{_decimal(Fraction(ns, DURATION_NS[unit]))}{unit}"
        return f"{_decimal(Fraction(ns, 1000))}us" if ns else "0s"
    parts = []
    for unit in ("h", "m"):
        whole, ns = divmod(ns, DURATION_NS[unit])
        if whole:
            parts.append(f"{whole}{unit}")
    if ns:
        parts.append(f"{_decimal(Fraction(ns, DURATION_NS['s']))}s")
    return "".join(parts)


def format_rate(rate: int) -> str:
    """Return a rate in 1/1000 per second as people write it: "400/s", "0.5/s"."""
    return f"{_decimal(Fraction(rate, RATE_SCALE))}/s"


def _decimal(value: Fraction) -> str:
    whole, rest = divmod(value, 1)
    if not rest:
        return str(whole)
    digits = f"{float(rest):.9f}"[2:].rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
