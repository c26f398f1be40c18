"""Sentences about changes, for people who were not there."""

from __future__ import annotations

from typing import Final

from loadproof_report.result import Change

_NAMES: Final = {
    "p50": "the median",
    "p95": "95th percentile",
    "p99": "99th percentile",
    "mean": "the mean",
    "success_rate": "the success rate",
}


def share(value: float) -> str:
    """Return 0.074 as "7.4 %", 0.23 as "23 %"."""
    percent = abs(value) * 100
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 0.1 else f"{percent:.2f} %"


def latency(us: float) -> str:
    """Return microseconds as people read them: "850 µs", "12.3 ms", "1.24 s"."""
    if us < 1_000:
        return f"{us:.0f} µs"
    if us < 1_000_000:
        return f"{us / 1_000:.3g} ms"
    return f"{us / 1_000_000:.3g} s"


def sentence(change: Change) -> str:
    """Return what happened to one number, how sure that is, and what could not have been seen."""
    where = change.transaction + (f", step {change.step}" if change.step else "")
    name = _NAMES[change.metric]
    if change.change is None or change.low is None or change.high is None or change.detectable is None:
        return f"{where}: {name} can't be judged, there are too few samples."
    unseen = f"less than {_amount(change.metric, change.detectable)} could not have been seen"
    if change.judgement in ("worse", "better"):
        return (
            f"{where}: {name} is {change.judgement}, {_direction(change.metric, change.change)} "
            f"(from {_value(change.metric, change.baseline)} to {_value(change.metric, change.current)}; "
            f"95 % interval {_range(change)})."
        )
    if change.judgement == "unclear":
        return (
            f"{where}: {name} may have changed ({_direction(change.metric, change.change)}, 95 % interval "
            f"{_range(change)}), but among this many comparisons such a difference is likely chance; {unseen}."
        )
    return f"{where}: no change of {name} was seen ({_direction(change.metric, change.change)}); {unseen}."


def _amount(metric: str, value: float) -> str:
    return f"{abs(value) * 100:.2f} points" if metric == "success_rate" else share(value)


def _direction(metric: str, value: float) -> str:
    if value == 0:
        return "no difference"
    higher, lower = ("higher", "lower") if metric == "success_rate" else ("slower", "faster")
    return f"{_amount(metric, value)} {higher if value > 0 else lower}"


def _range(change: Change) -> str:
    unit = "points" if change.metric == "success_rate" else "%"
    return f"{(change.low or 0) * 100:+.3g} to {(change.high or 0) * 100:+.3g} {unit}"


def _value(metric: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value * 100:.2f} %" if metric == "success_rate" else latency(value)
