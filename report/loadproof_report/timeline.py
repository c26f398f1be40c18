"""The run over time: intervals, heat maps, generator health. Histograms are merged, never averaged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from loadproof.histogram import Counts, Histogram, indices_of
from loadproof.metrics import MergedState
from loadproof.metrics.delta import SecondStats
from loadproof.plan.model import NS_PER_S
from loadproof_report.result import HealthInterval, HeatMap, Interval, IntervalOfTransaction, Quartiles
from loadproof_report.rundata import RunData
from loadproof_report.text import clean

INTERVALS_MAX = 600
WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
HEAT_COLUMNS_MAX = 120
HEAT_ROWS = 28
HEAT_TRANSACTIONS_MAX = 60
ALL = "(all)"
LONGEST_S = 30 * 86_400
"""The longest run a timeline covers: 30 days."""


def width_for(seconds: int, intervals_max: int) -> int:
    """Return the shortest usual width in seconds that covers `seconds` in at most `intervals_max` intervals."""
    for width in WIDTHS_S:
        if -(-seconds // width) <= intervals_max:
            return width
    return -(-seconds // intervals_max)


def offered_load(data: RunData) -> dict[int, float]:
    """Return the offered load by second, arrivals or iterations per second over all transactions.

    The plan's intended starts in the open model; what was started in the closed one, where there is no such plan.
    """
    load: dict[int, float] = defaultdict(float)
    if data.plan.model == "open" and data.planned_seconds:
        for (second, _), count in data.planned_seconds.items():
            load[second] += count
    else:
        width = data.merged.seconds_width_s
        for (second, _), stats in data.merged.seconds.items():
            for inside in range(second, second + width):
                load[inside] += stats.started / width
    return dict(load)


Seconds = Mapping[tuple[int, str], SecondStats]
"""`MergedState.seconds`, taken once: reading it builds it anew."""


def last_second(data: RunData, stats: Seconds) -> int:
    """Return the number of seconds up to the last that holds anything, in [1, `LONGEST_S`]."""
    seconds = [second for second, _ in stats] + [second for second, _ in data.planned_seconds]
    spanned = -(-data.duration_ns // NS_PER_S)
    return min(max(spanned, max(seconds, default=0) + 1), LONGEST_S)


def timeline_of(data: RunData, seconds: Seconds) -> tuple[Interval, ...]:
    """Return the run in at most 600 intervals of equal width, empty ones included."""
    length = last_second(data, seconds)
    width = fitting_width(length, INTERVALS_MAX, data.merged.seconds_width_s)
    stats: dict[int, dict[str, list[SecondStats]]] = defaultdict(lambda: defaultdict(list))
    for (second, name), second_stats in seconds.items():
        stats[second // width][name].append(second_stats)
    planned: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (second, name), count in data.planned_seconds.items():
        planned[second // width][name] += count
    closed = data.plan.model == "closed"
    service = _service(data.merged, width)
    errors = _errors(data.merged, width)
    return tuple(
        _interval(
            index * width,
            width,
            stats.get(index, {}),
            planned.get(index, {}),
            service.get(index, {}),
            errors.get(index, {}),
            closed,
        )
        for index in range(-(-length // width))
    )


def fitting_width(seconds: int, intervals_max: int, resolution_s: int) -> int:
    """Return a width as `width_for` does, a multiple of the resolution in which the run was kept."""
    width = width_for(seconds, intervals_max)
    return -(-width // resolution_s) * resolution_s


def _service(merged: MergedState, width: int) -> dict[int, dict[str, list[Counts]]]:
    """Return the transactions' service-time histograms by interval."""
    out: dict[int, dict[str, list[Counts]]] = defaultdict(lambda: defaultdict(list))
    for key, cells in merged.intervals.items():
        if key.step or key.measure != "service":
            continue
        for second, counts in cells.items():
            out[second // width][key.transaction].append(counts)
    return out


def _errors(merged: MergedState, width: int) -> dict[int, dict[str, Counter[str]]]:
    """Return the transactions' failures by category, by interval."""
    out: dict[int, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for key, cells in merged.failures.items():
        for second, n in cells.items():
            out[second // width][key.transaction][key.category] += n
    return out


def _interval(
    second: int,
    width: int,
    stats: Mapping[str, list[SecondStats]],
    planned: Mapping[str, int],
    service: Mapping[str, list[Counts]],
    errors: Mapping[str, Counter[str]],
    closed: bool,
) -> Interval:
    none: Counter[str] = Counter()
    parts = {
        clean(name): _one(
            stats.get(name, []), planned.get(name, 0), service.get(name, []), errors.get(name, none), closed
        )
        for name in sorted({*stats, *planned, *errors})
    }
    whole = _one(
        [item for items in stats.values() for item in items],
        sum(planned.values()),
        [item for items in service.values() for item in items],
        sum(errors.values(), none),
        closed,
    )
    in_flight = sum(part.in_flight for part in parts.values())
    return Interval(second=second, interval_s=width, transactions=parts, **{**dict(whole), "in_flight": in_flight})


def _one(
    stats: list[SecondStats], planned: int, service: list[Counts], errors: Counter[str], closed: bool
) -> IntervalOfTransaction:
    started = sum(item.started for item in stats)
    return IntervalOfTransaction(
        planned=max(planned, started) if closed else planned,
        started=started,
        completed=sum(item.completed for item in stats),
        failed=sum(item.failed for item in stats),
        late=sum(item.late for item in stats),
        dropped=sum(item.dropped for item in stats),
        missed=sum(item.missed for item in stats),
        in_flight=max((item.in_flight for item in stats), default=0),
        errors=dict(sorted(errors.items())),
        response_time_us=_quartiles(item.response for item in stats),
        service_time_us=_quartiles(service),
    )


def _quartiles(parts: Iterable[Counts | None]) -> Quartiles:
    histogram = Histogram()
    for part in parts:
        if part is not None:
            histogram.add(part)
    p50, p95, p99 = histogram.quantiles((0.5, 0.95, 0.99))
    return Quartiles(p50=p50, p95=p95, p99=p99)


def heatmaps_of(data: RunData, seconds: Seconds) -> tuple[HeatMap, ...]:
    """Return completed transactions by time and response time: one map for all, one for each transaction."""
    parts = {key: stats.response for key, stats in seconds.items() if stats.response is not None}
    lows = [counts.minimum for counts in parts.values() if counts.n]
    if not lows:
        return ()
    low = max(1, min(lows))
    high = max([low * 2, *(counts.maximum for counts in parts.values() if counts.n)])
    edges = sorted({round(low * (high / low) ** (row / HEAT_ROWS)) for row in range(HEAT_ROWS + 1)})
    bounds = indices_of(np.array(edges[1:-1], dtype=np.int64)) if len(edges) > 2 else np.zeros(0, np.uint16)
    width = fitting_width(last_second(data, seconds), HEAT_COLUMNS_MAX, data.merged.seconds_width_s)
    cells: dict[str, dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))
    for (second, name), counts in parts.items():
        rows = np.searchsorted(bounds, counts.indices, side="right")
        sums = np.bincount(rows, weights=counts.counts.astype(np.float64), minlength=1)
        for row in np.flatnonzero(sums).tolist():
            cells[ALL][second // width, row] += int(sums[row])
            cells[name][second // width, row] += int(sums[row])
    order = [ALL, *(t.name for t in data.plan.transactions if t.name in cells)][: HEAT_TRANSACTIONS_MAX + 1]
    return tuple(
        HeatMap(
            transaction=clean(name),
            interval_s=width,
            edges_us=tuple(edges),
            cells=tuple((column, row, count) for (column, row), count in sorted(cells[name].items())),
        )
        for name in order
    )


def _merged(parts: Iterable[Counts | None]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        if part is not None:
            histogram.add(part)
    return histogram


def health_of(data: RunData) -> tuple[HealthInterval, ...]:
    """Return the worst generator readings in at most 600 intervals."""
    readings = [entry for entry in data.merged.health_seconds if entry[0] >= 0]
    if not readings:
        return ()
    width = width_for(max(1, -(-max(to for _, to, _ in readings) // NS_PER_S)), INTERVALS_MAX)
    groups = defaultdict(list)
    for from_ns, _, health in readings:
        groups[from_ns // NS_PER_S // width].append(health)
    out = []
    for index in sorted(groups):
        part = groups[index]
        out.append(
            HealthInterval(
                second=index * width,
                interval_s=float(width),
                worker_cpu_permille=max(item.worker_cpu_permille for item in part),
                machine_cpu_permille=max(item.machine_cpu_permille for item in part),
                memory_bytes=max(item.memory_bytes for item in part),
                open_files=max(item.open_files for item in part),
                gc_pause_us_max=max(item.gc_pause_us_max for item in part),
                loop_lag_us_p99=_merged(item.lag for item in part).quantile(0.99),
            )
        )
    return tuple(out)
