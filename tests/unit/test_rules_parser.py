"""The language of `require`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof.plan import NS_PER_S
from loadproof.rules import (
    ERROR_CATEGORIES,
    BaselineLimit,
    Criterion,
    RuleSyntaxError,
    format_criterion,
    format_value,
    parse_require,
)


def test_a_percentile_of_the_response_time() -> None:
    """Limits of latencies are in microseconds."""
    assert parse_require("p95 <= 800ms") == Criterion("p95", "response", 0.95, None, "<=", 800_000.0, "us", None)


def test_every_part_of_the_grammar() -> None:
    """Measure, any percentile, window."""
    criterion = parse_require("service p99.9 < 1.5s over 1m30s")
    assert (criterion.measure, criterion.quantile, criterion.comparison) == ("service", 0.999, "<")
    assert (criterion.limit, criterion.window_ns) == (1_500_000.0, 90 * NS_PER_S)
    assert parse_require("response mean > 3us").limit == 3.0


@pytest.mark.parametrize(
    ("text", "unit", "limit"),
    [
        ("success_rate >= 99.5%", "ratio", 0.995),
        ("error_rate < 0.1%", "ratio", 0.001),
        ("errors.timeout <= 0", "number", 0.0),
        ("errors.http_status <= 0.5%", "ratio", 0.005),
        ("throughput >= 300/m", "per_s", 5.0),
        ("count >= 1000", "number", 1000.0),
        ("max <= 1h", "us", 3_600_000_000.0),
        ("p95 <= baseline", "us", BaselineLimit()),
        ("p95 <= baseline + 10%", "us", BaselineLimit(relative=0.1)),
        ("p95<=baseline+50ms", "us", BaselineLimit(absolute=50_000.0)),
        ("success_rate >= baseline - 0.5%", "ratio", BaselineLimit(relative=-0.005)),
        ("throughput >= baseline - 5/s", "per_s", BaselineLimit(absolute=-5.0)),
    ],
)
def test_limits_have_the_metric_s_unit(text: str, unit: str, limit: object) -> None:
    """Shares are in [0, 1], throughput per second, counts plain; a baseline may move by a share or an amount."""
    criterion = parse_require(text)
    assert (criterion.unit, criterion.limit) == (unit, limit)


@pytest.mark.parametrize(
    ("text", "column", "suggestion"),
    [
        ("", 1, None),
        ("p95", 4, None),
        ("p95 <=", 7, None),
        ("p95 800ms", 5, None),
        ("p95 =< 800ms", 5, "p95 <= 800ms"),
        ("p95 ≤ 800ms", 5, "p95 <= 800ms"),
        ("p95 = 800ms", 5, "p95 <= 800ms"),
        ("success_rate == 99%", 14, "success_rate >= 99%"),
        ("error_rate = 1%", 12, "error_rate <= 1%"),
        ("throughput != 50/s", 12, "throughput >= 50/s"),
        ("p95 <= 800", 11, "p95 <= 800ms"),
        ("p95 <= 800 msec", 12, "p95 <= 800 ms"),
        ("p95 <= 5%", 9, None),
        ("p955 <= 3s", 1, None),
        ("p0 <= 3s", 1, None),
        ("sucess_rate >= 99%", 1, "success_rate >= 99%"),
        ("success_rate >= 0.99", 21, "success_rate >= 99%"),
        ("success_rate >= 99", 19, "success_rate >= 99%"),
        ("success_rate >= 101%", 17, None),
        ("throughput >= 50", 17, "throughput >= 50/s"),
        ("throughput >= 50/sec", 18, "throughput >= 50/s"),
        ("errors.timout <= 1", 1, "errors.timeout <= 1"),
        ("count > 3ms", 10, None),
        ("service count > 3", 9, None),
        ("p95 <= basline + 10%", 8, "p95 <= baseline + 10%"),
        ("p95 <= baseline + x", 19, None),
        ("p95 <= baseline + 10", 21, "p95 <= baseline + 10ms"),
        ("p95 <= 8s over", 15, None),
        ("p95 <= 8s over 30", 16, "p95 <= 8s over 30s"),
        ("p95 <= 8s over 1500ms", 16, None),
        ("p95 <= 8s foo", 11, None),
        ("p95 <= 8s over 30s and more", 16, None),
        ("<= 8s", 1, None),
    ],
)
def test_mistakes_have_a_column_and_where_possible_a_suggestion(text: str, column: int, suggestion: str | None) -> None:
    """The suggestion is the whole text as it was probably meant; where it is complete, it parses."""
    with pytest.raises(RuleSyntaxError) as caught:
        parse_require(text)
    assert (caught.value.column, caught.value.suggestion) == (column, suggestion)
    if suggestion is not None:
        parse_require(suggestion)


DURATIONS = st.integers(1, 10**7).map(lambda value: f"{value}us") | st.decimals("0.1", 900, places=1).map(
    lambda v: f"{v}s"
)
PERCENTAGES = st.decimals(0, 100, places=2).map(lambda value: f"{value}%")
RATES = st.tuples(st.decimals(0, 9999, places=1), st.sampled_from("smh")).map(lambda pair: f"{pair[0]}/{pair[1]}")
NUMBERS = st.integers(0, 10**9).map(str)
LATENCIES = st.sampled_from(["p50", "p75", "p90", "p95", "p99", "p99.9", "p97.25", "mean", "max"])


@st.composite
def requirements(draw: st.DrawFn) -> str:
    """Any sentence of the grammar."""
    kind = draw(st.sampled_from(["latency", "share", "errors", "throughput", "count"]))
    metric, limit = {
        "latency": (LATENCIES, DURATIONS),
        "share": (st.sampled_from(["success_rate", "error_rate"]), PERCENTAGES),
        "errors": (st.sampled_from(ERROR_CATEGORIES).map(lambda name: f"errors.{name}"), NUMBERS | PERCENTAGES),
        "throughput": (st.just("throughput"), RATES),
        "count": (st.just("count"), NUMBERS),
    }[kind]
    text = draw(st.sampled_from(["", "service ", "response "])) if kind == "latency" else ""
    text += f"{draw(metric)} {draw(st.sampled_from(['<=', '<', '>=', '>']))} "
    if draw(st.booleans()):
        text += f"baseline {draw(st.sampled_from('+-'))} {draw(PERCENTAGES)}"
    else:
        text += draw(limit)
    return text + draw(st.sampled_from(["", " over 5s", " over 2m"]))


@given(requirements())
def test_what_is_read_is_written_back_the_same(text: str) -> None:
    """Rendering a criterion and reading it again changes nothing."""
    criterion = parse_require(text)
    assert parse_require(format_criterion(criterion)) == criterion


WORDS = ["p95", "<=", "800ms", "baseline", "+", "10", "%", "over", "5s", "/", "."]
PIECES = st.lists(st.sampled_from(WORDS)).map(" ".join)


@given(st.text(max_size=40) | PIECES)
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    """Nothing else is ever raised, and the column lies in the text or just behind it."""
    refused = None
    try:
        criterion = parse_require(text)
    except RuleSyntaxError as error:
        refused = error
    if refused is not None:
        assert 1 <= refused.column <= len(text) + 1
    else:
        assert parse_require(format_criterion(criterion)) == criterion


def test_values_are_shown_as_rules_write_them() -> None:
    """The unit that reads best."""
    shown = [format_value(*pair) for pair in [(800_000, "us"), (1_500_000, "us"), (12, "us"), (0.995, "ratio")]]
    assert shown == ["800ms", "1.5s", "12us", "99.5%"]
    assert [format_value(2.5, "per_s"), format_value(7, "number"), format_value(0, "us")] == ["2.5/s", "7", "0us"]
