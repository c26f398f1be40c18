"""`summary.csv` and `timeline.csv`: RFC 4180, UTF-8, whole microseconds and counts, no cell is a formula."""

from __future__ import annotations

import csv
import io

from loadproof_report.result import Latency, RunResult
from loadproof_report.text import formula_safe

LATENCY_FIELDS = ("p50", "p75", "p90", "p95", "p99", "p99_9", "max", "min", "mean")


def render_summary_csv(result: RunResult) -> str:
    """Return one row per transaction, phase, step and endpoint. Steps and endpoints have service time only."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["transaction", "phase", "step", "endpoint", "count", "ok", "failed", "success_rate", "not_reached"]
        + [f"response_time_us_{name}" for name in LATENCY_FIELDS]
        + [f"service_time_us_{name}" for name in LATENCY_FIELDS]
    )
    empty = Latency()
    for t in result.transactions:
        rows: list[tuple[str, str, str, int, int, int, int | str, Latency, Latency]] = [
            ("", "", "", t.count, t.ok, t.failed, "", t.response_time_us, t.service_time_us)
        ]
        rows += [
            (p.phase, "", "", p.count, p.ok, p.failed, "", p.response_time_us, p.service_time_us) for p in t.by_phase
        ]
        for s in t.steps:
            rows.append(("", s.name, "", s.count, s.ok, s.failed, s.not_reached, empty, s.service_time_us))
            rows += [("", s.name, e.name, e.count, e.ok, e.failed, "", empty, e.service_time_us) for e in s.endpoints]
        for phase, step, endpoint, count, ok, failed, not_reached, response, service in rows:
            rate = f"{ok / count:.6f}" if count else ""
            names = [formula_safe(text) for text in (t.name, phase, step, endpoint)]
            writer.writerow([*names, count, ok, failed, rate, not_reached, *_values(response), *_values(service)])
    return out.getvalue()


def render_timeline_csv(result: RunResult) -> str:
    """Return one row per interval for all transactions ("" as name) and one for each that did something in it."""
    out = io.StringIO()
    writer = csv.writer(out)
    counts = ("planned", "started", "completed", "failed", "late", "dropped", "missed", "in_flight")
    percentiles = ("p50", "p95", "p99")
    writer.writerow(
        ["second", "interval_s", "transaction", *counts]
        + [f"response_time_us_{name}" for name in percentiles]
        + [f"service_time_us_{name}" for name in percentiles]
    )
    for interval in result.timeline:
        for name, part in [("", interval), *interval.transactions.items()]:
            row = [interval.second, interval.interval_s, formula_safe(name), *(getattr(part, key) for key in counts)]
            for quartiles in (part.response_time_us, part.service_time_us):
                row += ["" if (value := getattr(quartiles, key)) is None else value for key in percentiles]
            writer.writerow(row)
    return out.getvalue()


def _values(latency: Latency) -> list[int | str]:
    return ["" if (value := getattr(latency, name)) is None else value for name in LATENCY_FIELDS]
