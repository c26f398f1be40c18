"""Pushes metrics to an OpenTelemetry collector: OTLP over HTTP, JSON encoding (protocol 1.x)."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
import orjson

from loadproof_controller.web.telemetry import BOUNDS_S, Distribution, Family, Labels

LOGGER = logging.getLogger(__name__)
EACH_S = 10.0
TIMEOUT_S = 5.0
CUMULATIVE = 2


def request_body(families: Iterable[Family], *, start_ns: int, now_ns: int, version: str) -> dict[str, Any]:
    """Return an ExportMetricsServiceRequest. 64-bit integers are texts, as protobuf's JSON mapping has them."""
    resource = [_attribute("service.name", "loadproof-controller"), _attribute("service.version", version)]
    metrics = [_metric(family, start_ns, now_ns) for family in families if family.points]
    scope = {"scope": {"name": "loadproof"}, "metrics": metrics}
    return {"resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": [scope]}]}


def _metric(family: Family, start_ns: int, now_ns: int) -> dict[str, Any]:
    unit = "s" if family.name.endswith("_seconds") else "By" if family.name.endswith("_bytes") else "1"
    made: dict[str, Any] = {"name": family.name, "description": family.about, "unit": unit}
    points = [_point(labels, value, start_ns, now_ns) for labels, value in family.points]
    if family.kind == "histogram":
        made["histogram"] = {"aggregationTemporality": CUMULATIVE, "dataPoints": points}
    elif family.kind == "counter":
        made["sum"] = {"aggregationTemporality": CUMULATIVE, "isMonotonic": True, "dataPoints": points}
    else:
        made["gauge"] = {"dataPoints": points}
    return made


def _point(labels: Labels, value: float | Distribution, start_ns: int, now_ns: int) -> dict[str, Any]:
    point: dict[str, Any] = {
        "attributes": [_attribute(name, text) for name, text in labels],
        "startTimeUnixNano": str(start_ns),
        "timeUnixNano": str(now_ns),
    }
    if isinstance(value, Distribution):
        edges = (0, *value.at_or_below, value.count)
        point |= {
            "count": str(value.count),
            "sum": value.sum_s,
            "explicitBounds": list(BOUNDS_S),
            "bucketCounts": [str(after - before) for before, after in itertools.pairwise(edges)],
        }
    else:
        point["asDouble"] = value
    return point


def _attribute(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


class Exporter:
    """Pushes each 10 s until cancelled. A collector that is away costs nothing but one line in the log."""

    def __init__(self, url: str, collect: Callable[[], list[Family]], version: str, *, each_s: float = EACH_S) -> None:
        self._url = url
        self._collect = collect
        self._version = version
        self._each_s = each_s
        self._start_ns = time.time_ns()
        self._failing = False

    async def serve(self) -> None:
        """Push, rest, push."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self.push(session)
                await asyncio.sleep(self._each_s)

    async def push(self, session: aiohttp.ClientSession) -> bool:
        """Push once; False when the collector did not take it."""
        now_ns = time.time_ns()
        body = request_body(self._collect(), start_ns=self._start_ns, now_ns=now_ns, version=self._version)
        headers = {"Content-Type": "application/json"}
        try:
            async with session.post(
                self._url, data=orjson.dumps(body), headers=headers, allow_redirects=False
            ) as answer:
                problem = "" if answer.status < 300 else f"it answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = str(error) or type(error).__name__
        if problem and not self._failing:
            LOGGER.warning("metrics cannot be pushed to %s: %s; trying on", self._url, problem)
        self._failing = bool(problem)
        return not problem
