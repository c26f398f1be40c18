"""Metrics: buckets from merged histograms, text that no name can break, OTLP's JSON, and the dashboard's queries."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.histogram import Histogram
from loadproof_controller.web.otlp import Exporter, request_body
from loadproof_controller.web.prometheus import exposition
from loadproof_controller.web.telemetry import BOUNDS_S, COUNTERS, Distribution, Family, distribution
from tree import ROOT


def _family(kind: Any, value: Any, label: str = "Look") -> Family:
    return Family("loadproof_x_seconds", kind, "Something.", (((("transaction", label),), value),))


@settings(deadline=None)
@given(st.lists(st.integers(1, 100_000_000), max_size=200))
def test_buckets_are_cumulative_and_hold_every_sample(samples: list[int]) -> None:
    """Counts never fall, the last bound and infinity bracket the count, the sum is exact."""
    histogram = Histogram()
    for sample in samples:
        histogram.record(sample)
    got = distribution(histogram)
    assert list(got.at_or_below) == sorted(got.at_or_below)
    assert got.count == len(samples)
    assert got.sum_s == pytest.approx(sum(samples) / 1e6)
    for bound, count in zip(BOUNDS_S, got.at_or_below, strict=True):
        below = sum(sample <= bound * 1e6 * 0.998 for sample in samples)
        above = sum(sample <= bound * 1e6 * 1.002 for sample in samples)
        assert below <= count <= above


def test_no_label_can_make_a_line_of_its_own() -> None:
    """Quotes, backslashes and line feeds in names are escaped."""
    text = exposition([_family("gauge", 1.0, 'a"} 1\nevil{x="\\')])
    assert len(text.splitlines()) == 3
    assert text.splitlines()[2] == r'loadproof_x_seconds{transaction="a\"} 1\nevil{x=\"\\"} 1'


def test_a_histogram_has_buckets_infinity_sum_and_count() -> None:
    """The classic form, as Prometheus's text format has it."""
    lines = exposition([_family("histogram", Distribution((1,) * len(BOUNDS_S), 3, 1.5))]).splitlines()
    assert lines[2] == 'loadproof_x_seconds_bucket{transaction="Look",le="0.001"} 1'
    assert lines[-3:] == [
        'loadproof_x_seconds_bucket{transaction="Look",le="+Inf"} 3',
        'loadproof_x_seconds_sum{transaction="Look"} 1.5',
        'loadproof_x_seconds_count{transaction="Look"} 3',
    ]


def test_otlp_counts_are_texts_and_not_cumulative() -> None:
    """64-bit integers are strings, bucket counts are one more than bounds and add up to the count."""
    steps = Distribution(tuple(range(len(BOUNDS_S))), 40, 2.0)
    body = request_body([_family("histogram", steps), _family("counter", 2.0)], start_ns=1, now_ns=2, version="1")
    histogram, counter = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    point = histogram["histogram"]["dataPoints"][0]
    assert len(point["bucketCounts"]) == len(point["explicitBounds"]) + 1
    assert sum(map(int, point["bucketCounts"])) == int(point["count"]) == 40
    assert histogram["unit"] == "s"
    assert counter["sum"]["isMonotonic"]
    assert counter["sum"]["dataPoints"][0]["timeUnixNano"] == "2"


async def test_the_exporter_pushes_json_and_survives_a_collector_that_is_away() -> None:
    """What arrives is OTLP; a refusal or nobody there is no exception."""
    got: list[Any] = []

    async def collect(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response(status=200 if len(got) == 1 else 503)

    app = web.Application()
    app.router.add_post("/v1/metrics", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/metrics"
    exporter = Exporter(url, lambda: [_family("gauge", 1.0)], "1")
    async with aiohttp.ClientSession() as session:
        assert await exporter.push(session)
        assert not await exporter.push(session)
        await runner.cleanup()
        assert not await exporter.push(session)
    assert got[0]["resourceMetrics"][0]["resource"]["attributes"][0]["key"] == "service.name"


def test_the_dashboard_asks_only_for_metrics_there_are() -> None:
    """Every name in its queries is in telemetry, every panel fits the grid."""
    source = (ROOT / "controller" / "loadproof_controller" / "web" / "telemetry.py").read_text(encoding="utf-8")
    known = set(re.findall(r'"(loadproof_[a-z_]+)"', source))
    known |= {f"loadproof_transactions_{name}_total" for name in COUNTERS}
    known |= {f"{name}_bucket" for name in known if name.endswith("_seconds")}
    text = (ROOT / "deploy" / "grafana" / "loadproof.json").read_text(encoding="utf-8")
    dashboard = json.loads(text)
    asked = set(re.findall(r"loadproof_[a-z_]+", " ".join(re.findall(r'"(?:expr|query)": "(.*)"', text))))
    assert len(asked) >= 15
    assert asked <= known
    for panel in dashboard["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert "http" not in re.sub(r'"uid"[^,]*', "", text)


def test_the_reference_names_every_metric() -> None:
    """docs/reference/rest.md lists what is served, in full or by its ending."""
    page = (ROOT / "docs" / "reference" / "rest.md").read_text(encoding="utf-8")
    source = (ROOT / "controller" / "loadproof_controller" / "web" / "telemetry.py").read_text(encoding="utf-8")
    for name in re.findall(r'"loadproof_([a-z_]+)"', source):
        parts = name.split("_")
        assert any("_".join(parts[start:]) in page for start in range(len(parts))), name
    for name in COUNTERS:
        assert f"_{name}_" in page, name
