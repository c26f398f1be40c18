"""The numbers behind the page's charts: columns, not rows, and milliseconds with three digits keep the page small."""

from __future__ import annotations

import math
from typing import Any

from loadproof_report.result import HeatMap, IntervalOfTransaction, RunResult

SERIES_MAX = 50
"""Transactions with charts of their own, beside the total; the tables show all."""


def chart_data(result: RunResult) -> dict[str, Any]:
    """Return JSON-able data: `t` seconds, `series` (the total, then each transaction), phases, heat maps, health."""
    names = [transaction.name for transaction in result.transactions][:SERIES_MAX]
    width = result.timeline[0].interval_s if result.timeline else 1
    heat = {heatmap.transaction: heatmap for heatmap in result.heatmaps}
    total = result.heatmaps[0] if result.heatmaps else None
    empty = IntervalOfTransaction()
    series = [_columns(list(result.timeline))]
    series += [_columns([interval.transactions.get(name, empty) for interval in result.timeline]) for name in names]
    return {
        "t": [interval.second for interval in result.timeline],
        "w": width,
        "closed": result.plan.model == "closed",
        "phases": [
            {
                "name": phase.name[:40],
                "at": phase.start_s,
                "end": phase.start_s + (phase.duration_s or result.duration_s),
                "warmup": phase.warmup,
            }
            for phase in result.plan.phases
            if len(result.plan.phases) > 1 or phase.warmup
        ],
        "series": series,
        "heat": [
            None if found is None else {"w": found.interval_s, "edges": found.edges_us, "columns": _heat_columns(found)}
            for found in [total, *(heat.get(name) for name in names)]
        ],
        "health": {
            "t": [reading.second for reading in result.health],
            "cpu": [reading.worker_cpu_permille / 10 for reading in result.health],
            "machine": [reading.machine_cpu_permille / 10 for reading in result.health],
            "lag": [milliseconds(reading.loop_lag_us_p99) for reading in result.health],
        },
    }


def _columns(parts: list[Any]) -> dict[str, Any]:
    columns: dict[str, list[float | int | None]] = {
        "planned": [part.planned for part in parts],
        "started": [part.started for part in parts],
        "completed": [part.completed for part in parts],
        "failed": [part.failed for part in parts],
        "dropped": [part.dropped for part in parts],
        "lost": [part.late + part.missed for part in parts],
        "p50": [milliseconds(part.response_time_us.p50) for part in parts],
        "p95": [milliseconds(part.response_time_us.p95) for part in parts],
        "p99": [milliseconds(part.response_time_us.p99) for part in parts],
        "s95": [milliseconds(part.service_time_us.p95) for part in parts],
    }
    first: dict[tuple[float | int | None, ...], str] = {}
    return {name: _packed(column, first.setdefault(tuple(column), name), name) for name, column in columns.items()}


def _packed(column: list[float | int | None], same_as: str, name: str) -> list[float | int | None] | float | str | None:
    """A column of one value all through is written as that value, one like an earlier column as that one's name."""
    if column and all(value == column[0] for value in column):
        return column[0]
    return column if same_as == name else same_as


def whole_column(series: dict[str, Any], name: str, count: int) -> list[float | int | None]:
    """Return all `count` values of a column of a series as `chart_data` wrote it."""
    column = series[name]
    column = series[column] if isinstance(column, str) else column
    return column if isinstance(column, list) else [column] * count


def drawn_column(series: dict[str, Any], name: str) -> list[float | int | None]:
    """Return a column of a series as `chart_data` wrote it; none of a column that does not change."""
    return whole_column(series, name, 0)


def _heat_columns(heat: HeatMap) -> list[list[int]]:
    """Return for each column row and count in turn: [row, count, row, count, ...]."""
    columns: list[list[int]] = [[] for _ in range(max((column for column, _, _ in heat.cells), default=-1) + 1)]
    for column, row, count in heat.cells:
        columns[column] += (row, count)
    return columns


def milliseconds(us: int | None) -> float | int | None:
    """Return microseconds as milliseconds with three significant digits."""
    if us is None:
        return None
    if us <= 0:
        return 0
    value = us / 1_000
    rounded = round(value, max(0, 2 - math.floor(math.log10(value))))
    return int(rounded) if float(rounded).is_integer() else rounded


def sparkline(values: list[float | int | None]) -> str:
    """Return `points` for an SVG polyline in a box of 92 x 24, "" with fewer than two values."""
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return ""
    step = max(1, len(known) // 90)
    known = known[::step]
    top = max(value for _, value in known) or 1
    last = max(1, len(values) - 1)
    return " ".join(f"{index / last * 90 + 1:.1f},{22 - value / top * 20:.1f}" for index, value in known)
