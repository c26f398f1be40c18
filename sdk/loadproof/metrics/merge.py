"""Adding deltas: pure, associative, commutative."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from loadproof.histogram.counts import Counts, merge_counts, sum_counts
from loadproof.metrics.by_agent import merge_agents
from loadproof.metrics.delta import Delivery, Delta, ErrorKey, ErrorStats, Health, Sample, SecondStats, SeriesKey
from loadproof.metrics.text import OTHER

SAMPLES_MAX = 5
"""Samples kept for each kind of error."""
ERRORS_MAX = 2_000
"""Kinds of error in one delta; a sum that has more keeps the most frequent half of that and adds up the rest."""
STRETCHES_MAX = 20
"""Stretches of user code that held the loop, kept in health readings."""


def merge_delta(a: Delta, b: Delta) -> Delta:
    """Return the sum of two deltas, covering both; neither is changed.

    Samples: the 5 lowest ranks of each error. Exact in any order and grouping, short of 2,000 kinds of error.
    """
    out = Delta(from_ns=min(a.from_ns, b.from_ns), to_ns=max(a.to_ns, b.to_ns))
    out.series = dict(a.series)
    for series, counts in b.series.items():
        known = out.series.get(series)
        out.series[series] = counts if known is None else merge_counts(known, counts)
    out.errors = dict(a.errors)
    for error, stats in b.errors.items():
        known_error = out.errors.get(error)
        out.errors[error] = stats if known_error is None else merge_errors(known_error, stats)
    if len(out.errors) > ERRORS_MAX:
        out.errors = fold_errors(out.errors, ERRORS_MAX // 2)
    out.step_order = dict(a.step_order)
    for step, ordinal in b.step_order.items():
        out.step_order[step] = min(ordinal, out.step_order.get(step, ordinal))
    out.delivery = dict(a.delivery)
    for name, delivery in b.delivery.items():
        known_delivery = out.delivery.get(name)
        out.delivery[name] = delivery if known_delivery is None else merge_delivery(known_delivery, delivery)
    out.seconds = dict(a.seconds)
    for second, second_stats in b.seconds.items():
        known_second = out.seconds.get(second)
        out.seconds[second] = second_stats if known_second is None else merge_seconds(known_second, second_stats)
    out.statuses = _sum(a.statuses, b.statuses)
    out.counters = _sum(a.counters, b.counters)
    out.draws = _sum(a.draws, b.draws)
    out.exhausted = _sum(a.exhausted, b.exhausted)
    out.health = merge_health(a.health, b.health)
    return out


def merge_deltas(deltas: Sequence[Delta]) -> Delta:
    """Return the sum of one or more deltas, as `merge_delta` one by one would make it but without folding errors.

    Much cheaper than one by one: histograms of a name are added up at once.
    """
    out = Delta(min(delta.from_ns for delta in deltas), max(delta.to_ns for delta in deltas))
    series: dict[SeriesKey, list[Counts]] = {}
    seconds: dict[tuple[int, str], list[SecondStats]] = {}
    lags: list[Counts] = []
    steps: object = None
    for delta in deltas:
        for key, counts in delta.series.items():
            series.setdefault(key, []).append(counts)
        for second, stats in delta.seconds.items():
            seconds.setdefault(second, []).append(stats)
        for error, error_stats in delta.errors.items():
            known = out.errors.get(error)
            out.errors[error] = error_stats if known is None else merge_errors(known, error_stats)
        if delta.step_order is not steps:  # mostly the very same: see `names`
            steps = delta.step_order
            for step, ordinal in delta.step_order.items():
                out.step_order[step] = min(ordinal, out.step_order.get(step, ordinal))
        for name, delivery in delta.delivery.items():
            into_delivery = out.delivery.get(name)
            if into_delivery is None:
                into_delivery = out.delivery[name] = Delivery()
            add_delivery(into_delivery, delivery)
        for into, more in (
            (out.counters, delta.counters), (out.draws, delta.draws), (out.exhausted, delta.exhausted),
        ):  # fmt: skip
            _count(into, more)
        _count(out.statuses, delta.statuses)
        health = delta.health
        if health.lag is not None:
            lags.append(health.lag)
            health = dataclasses.replace(health, lag=None)
        out.health = merge_health(out.health, health)
    out.series = {key: parts[0] if len(parts) == 1 else _sum_of(parts) for key, parts in series.items()}
    out.seconds = {key: parts[0] if len(parts) == 1 else _sum_seconds(parts) for key, parts in seconds.items()}
    out.health.lag = sum_counts(lags)
    return out


def _sum_of(parts: list[Counts]) -> Counts:
    total = sum_counts(parts)
    assert total is not None
    return total


def _sum_seconds(parts: list[SecondStats]) -> SecondStats:
    total = SecondStats()
    for more in parts:
        add_second(total, more)
        total.in_flight += more.in_flight
    total.response = sum_counts([more.response for more in parts if more.response is not None])
    return total


_Key = TypeVar("_Key", bound=Hashable)


def _count(into: dict[_Key, int], more: Mapping[_Key, int]) -> None:
    for key, n in more.items():
        into[key] = into.get(key, 0) + n


def _sum(a: Mapping[_Key, int], b: Mapping[_Key, int]) -> dict[_Key, int]:
    out = dict(a)
    for key, n in b.items():
        out[key] = out.get(key, 0) + n
    return out


def add_delivery(into: Delivery, more: Delivery) -> None:
    """Add `more` to a delivery that is one's own."""
    into.started += more.started
    into.completed += more.completed
    into.failed += more.failed
    into.late += more.late
    into.dropped += more.dropped
    into.missed += more.missed


def add_second(into: SecondStats, more: SecondStats) -> None:
    """Add the counts of `more` to stats that are one's own; numbers in flight and response times are not counts."""
    into.started += more.started
    into.completed += more.completed
    into.failed += more.failed
    into.late += more.late
    into.dropped += more.dropped
    into.missed += more.missed


def merge_delivery(a: Delivery, b: Delivery) -> Delivery:
    """Add two deliveries."""
    return Delivery(
        a.started + b.started,
        a.completed + b.completed,
        a.failed + b.failed,
        a.late + b.late,
        a.dropped + b.dropped,
        a.missed + b.missed,
    )


def merge_seconds(a: SecondStats, b: SecondStats) -> SecondStats:
    """Add two workers' stats of one second."""
    return SecondStats(
        a.started + b.started,
        a.completed + b.completed,
        a.failed + b.failed,
        a.late + b.late,
        a.dropped + b.dropped,
        a.missed + b.missed,
        a.in_flight + b.in_flight,
        merge_optional(a.response, b.response),
    )


def merge_optional(a: Counts | None, b: Counts | None) -> Counts | None:
    """Add two sparse histograms either of which may be absent."""
    if a is None or b is None:
        return b if a is None else a
    return merge_counts(a, b)


def merge_samples(a: list[Sample], b: list[Sample]) -> list[Sample]:
    """Return the 5 samples of lowest rank, ties broken by every other field, so that order does not matter."""
    if not a or not b:
        return a or b
    unique = {dataclasses.astuple(sample): sample for sample in (*a, *b)}
    return [unique[key] for key in sorted(unique)[:SAMPLES_MAX]]


def merge_errors(a: ErrorStats, b: ErrorStats) -> ErrorStats:
    """Add two counts of one kind of error."""
    return ErrorStats(
        a.count + b.count,
        min(a.first_ns, b.first_ns),
        max(a.last_ns, b.last_ns),
        merge_samples(a.samples, b.samples),
        merge_agents(a.agents, b.agents),
    )


def fold_errors(errors: Mapping[ErrorKey, ErrorStats], cap: int) -> dict[ErrorKey, ErrorStats]:
    """Keep the `cap` most frequent kinds (ties by name); add up the rest by transaction, category and phase."""
    ranked = sorted(errors, key=lambda key: (-errors[key].count, key))
    out = {key: errors[key] for key in ranked[:cap]}
    for key in ranked[cap:]:
        other = ErrorKey(key.transaction, "", "", key.category, OTHER, key.phase)
        known = out.get(other)
        out[other] = dataclasses.replace(errors[key]) if known is None else merge_errors(known, errors[key])
    return out


def merge_health(a: Health, b: Health) -> Health:
    """Keep the worst reading of each kind; lag samples are added; of user stretches the 20 longest stay."""
    stretches = a.user_cpu_us | b.user_cpu_us if a.user_cpu_us or b.user_cpu_us else {}
    for name in a.user_cpu_us.keys() & b.user_cpu_us.keys():
        stretches[name] = max(a.user_cpu_us[name], b.user_cpu_us[name])
    if len(stretches) > STRETCHES_MAX:
        longest_first = sorted(stretches.items(), key=lambda item: (-item[1], item[0]))
        stretches = dict(longest_first[:STRETCHES_MAX])
    return Health(
        max(a.worker_cpu_permille, b.worker_cpu_permille),
        max(a.machine_cpu_permille, b.machine_cpu_permille),
        max(a.memory_bytes, b.memory_bytes),
        max(a.open_files, b.open_files),
        max(a.gc_pause_us_max, b.gc_pause_us_max),
        merge_optional(a.lag, b.lag),
        stretches,
    )
