"""What contenders say of their own latency: percentiles read from what they print."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

Percentiles = dict[int, float]
"""Microseconds by percent; a percentile that a contender does not print is not in it."""
WANTED = (50, 95, 99)
_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}
_DURATION = re.compile(r"(?:(\d+)m(?!s))?([\d.]+)(ms|us|µs|ns|s)")


def reported(name: str, said: str) -> Percentiles:
    """Return the percentiles that contender `name` printed itself."""
    reader = _READERS.get(name)
    return {} if reader is None else reader(said)


def _us(text: str) -> float | None:
    match = _DURATION.fullmatch(text)
    return None if match is None else (int(match[1] or 0) * 60e6 + float(match[2]) * _UNITS[match[3]])


def _by_pattern(pattern: str) -> Callable[[str], Percentiles]:
    """Return a reader of durations with a unit; `%d` in the pattern stands for the percent."""

    def read(said: str) -> Percentiles:
        found = {}
        for percent in WANTED:
            match = re.search(pattern.replace("%d", str(percent)), said)
            took = None if match is None else _us(match[1])
            if took is not None:
                found[percent] = took
        return found

    return read


def _vegeta(said: str) -> Percentiles:
    match = re.search(r"Latencies\s+\[min, mean, 50, 90, 95, 99, max\]\s+([^\n]+)", said)
    took = [] if match is None else [_us(part.strip()) for part in match[1].split(",")]
    pairs = ((50, 2), (95, 4), (99, 5))
    return {percent: took[place] or 0.0 for percent, place in pairs if len(took) == 7 and took[place] is not None}


def _oha(said: str) -> Percentiles:
    begin = said.find("{")
    if begin < 0:
        return {}
    try:
        spread = json.loads(said[begin : said.rfind("}") + 1])["latencyPercentiles"]
    except (ValueError, KeyError):
        return {}
    return {percent: spread[f"p{percent}"] * 1e6 for percent in WANTED if spread.get(f"p{percent}") is not None}


def _gatling(said: str) -> Percentiles:
    found = {}
    for percent in WANTED:
        match = re.search(rf"response time {percent}th percentile \(ms\)[^|\n]*\|\s*([\d,]+)", said)
        if match is not None:
            found[percent] = float(match[1].replace(",", "")) * 1e3
    return found


def _locust(said: str) -> Percentiles:
    """The row `Aggregated` of its table of percentiles: 50, 66, 75, 80, 90, 95, 98, 99 %, ... in milliseconds."""
    for line in said.splitlines():
        match = re.match(r"\s+Aggregated\s+((?:\d+\s+){8,})", line)
        if match is not None:
            columns = match[1].split()
            if len(columns) >= 11:  # the other table's row has counts and a rate
                return {50: float(columns[0]) * 1e3, 95: float(columns[5]) * 1e3, 99: float(columns[7]) * 1e3}
    return {}


_READERS: dict[str, Callable[[str], Percentiles]] = {
    "wrk": _by_pattern(r"\n\s+%d%\s+([\d.]+\w+)"),
    "wrk2": _by_pattern(r"%d\.000%\s+([\d.]+\w+)"),
    "k6": _by_pattern(r"http_req_duration[^\n]*p\(%d\)=([\w.µ]+)"),
    "vegeta": _vegeta,
    "oha": _oha,
    "gatling": _gatling,
    "locust": _locust,
}
