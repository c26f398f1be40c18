"""Runs that are hostile, huge or out of date: a clear error or a safe rendering, never a wrong verdict."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import xmlschema

import junit_grammar
import stored_runs
from loadproof.histogram import Counts
from loadproof.metrics import Delta, ErrorKey, ErrorStats, MergedState, SeriesKey
from loadproof.metrics.intervals import IntervalsFile
from loadproof.rules.model import Waiver
from loadproof_report import (
    ResultError,
    StoredRun,
    build_result,
    load_result,
    load_run,
    parse_result,
    render_html,
    render_junit,
    render_markdown,
    render_summary_csv,
    write_outputs,
)
from loadproof_report.outputs import run_json
from stored_runs import CORPUS, Story, rule

TODAY = "2026-11-23"
JUNIT_SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[1] / "support/junit.xsd")


@pytest.mark.parametrize("name", [*CORPUS, "hostile"])
def test_junit_follows_its_format(name: str) -> None:
    """Elements, order, attributes, numbers and totals, for every run of the corpus."""
    assert junit_grammar.problems(render_junit(stored_runs.result_of(name))) == []


def test_the_junit_grammar_notices_departures() -> None:
    """The check itself: each kind of mistake is found in an otherwise right file."""
    good = render_junit(stored_runs.result_of("regressed"))
    changes = (
        ("<system-out>", "<system-in>"),
        ("classname=", "class="),
        ('time="0"', 'time="soon"'),
        ('failures="0"', 'failures="7"'),
        ("<failure type=", "<failure kind="),
        ("<testsuite name=", "<testsuite label="),
    )
    for old, new in changes:
        assert old in good
        bad = good.replace(old, new)
        if new == "<system-in>":
            bad = bad.replace("</system-out>", "</system-in>")
        assert junit_grammar.problems(bad), old


@pytest.mark.parametrize("name", [*CORPUS, "hostile"])
def test_junit_is_valid_by_its_schema(name: str) -> None:
    """A validator of XML Schema finds nothing in any run of the corpus, whatever its names hold."""
    text = render_junit(stored_runs.result_of(name))
    assert [error.reason for error in JUNIT_SCHEMA.iter_errors(text)] == []


def test_rules_of_one_text_are_cases_of_different_names() -> None:
    """Readers ignore a second case of one name: a warning would hide the rule that blocks."""
    story = stored_runs.regressed()
    story.rules = tuple(rule("Checkout", "mean <= 1ms", severity=severity) for severity in ("warn", "block", "block"))
    text = render_junit(build_result(story.build_run(), today=TODAY))
    assert [error.reason for error in JUNIT_SCHEMA.iter_errors(text)] == []
    cases = ET.fromstring(text).findall("testsuite[@name='Checkout']/testcase")
    assert [(case.get("name"), case[0].tag) for case in cases] == [
        ("mean <= 1ms", "skipped"),
        ("mean <= 1ms (2)", "failure"),
        ("mean <= 1ms (3)", "failure"),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("classname=", "class="),
        ('time="0"', 'time="soon"'),
        ('failures="0"', 'failures="none"'),
        ("<failure type=", "<failure kind="),
        ("<testsuite name=", "<testsuite label="),
        ("<testsuites name=", '<testsuites skipped="1" name='),
        ("</system-out>", "</system-out><failure type='late'/>"),
        ("<testcase ", "<system-out/><testcase "),
        ("T09:30:00", "T09:30:00Z"),
        ('name="the run can prove something"', 'name=""'),
        ('<testsuite name="evidence"', '<testsuite name="Checkout"'),
    ],
)
def test_the_schema_notices_departures(old: str, new: str) -> None:
    """The check itself: each kind of mistake in an otherwise right file is refused."""
    good = render_junit(stored_runs.result_of("regressed"))
    assert old in good
    assert not JUNIT_SCHEMA.is_valid(good.replace(old, new))


def test_a_hundred_thousand_error_messages_are_bounded() -> None:
    """A target with a new message for each failure: files stay small, the verdict is NO-GO, counts stay whole."""
    story = stored_runs.target_down()
    data = story.build_run()
    delta = Delta(from_ns=0, to_ns=1)
    for number in range(100_000):
        key = ErrorKey("Checkout", "Pay", "POST /payments", "check", f"message {number:x} <script>", "peak")
        delta.errors[key] = ErrorStats(1, number, number, [])
    data.merged.apply(delta)
    began = time.process_time()
    data.merged.fold()
    result = build_result(data, today=TODAY)
    assert time.process_time() - began < 30
    assert result.verdict.decision == "NO_GO"
    checkout = next(t for t in result.transactions if t.name == "Checkout")
    assert len(checkout.errors) < 500
    assert checkout.errors_total >= 100_000
    assert len(render_html(result)) < 4_000_000
    assert len(render_markdown(result)) <= 65_536
    assert parse_result(run_json(result)) == result


def _billion() -> MergedState:
    """Return a state whose one series counts a billion samples in a few buckets."""
    merged = MergedState()
    delta = Delta(from_ns=0, to_ns=10**9)
    indices = np.array([1_000, 5_000, 9_000], np.uint16)
    counts = np.array([900_000_000, 99_000_000, 1_000_000], np.int64)
    part = Counts(indices, counts, 1_000_000_000, 10**15, 900, 700_000)
    for measure in ("response", "service"):
        delta.series[SeriesKey("Checkout", "", "", "peak", "ok", measure)] = part
    merged.apply(delta)
    return merged


def test_a_billion_samples_are_a_histogram_like_any_other() -> None:
    """Size costs nothing: the count is exact, percentiles are read from buckets, every output is rendered."""
    data = stored_runs.run_of("healthy")
    huge = replace(data, merged=_billion(), rules=(rule("Checkout", "p99.9 <= 10s"),))
    began = time.process_time()
    result = build_result(huge, today=TODAY)
    for render in (render_html, render_markdown, render_junit, render_summary_csv):
        assert render(result)
    assert time.process_time() - began < 20
    checkout = next(t for t in result.transactions if t.name == "Checkout")
    assert checkout.response_time_us.count == 1_000_000_000
    assert parse_result(run_json(result)) == result


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("loadproof.run/1", "loadproof.run/2", 1), "another version"),
        (lambda text: text[: len(text) // 2], "ends too early"),
        (lambda text: text.replace(",", ";", 50), "not JSON"),
        (lambda text: text.replace('"decision":"GO"', '"decision":"YES"', 1), "decision"),
        (lambda text: "", "empty"),
    ],
    ids=["schema", "cut", "mangled", "decision", "empty"],
)
def test_a_changed_run_json_is_refused_wherever_it_is_read(change, said: str, tmp_path: Path) -> None:
    """As a result, as a run to compare, as a baseline: the same plain error, never a verdict."""
    text = run_json(stored_runs.result_of("healthy")).decode()
    (tmp_path / "run.json").write_text(change(text))
    for read in (load_result, load_run):
        with pytest.raises(ResultError, match=said):
            read(tmp_path)


def test_a_baseline_of_another_plan_never_decides() -> None:
    """Not compared, no rule judged by it, and a blocking one makes NOT PROVEN."""
    other = Story(rules=(rule("Checkout", "p95 <= 1s"),), run_id="other", seed=1)
    other.phases = other.phases[1:]
    before = other.build_run()
    stored = StoredRun(build_result(before, today=TODAY), IntervalsFile(1, before.merged.intervals))
    data = replace(stored_runs.run_of("healthy"), rules=(rule("Checkout", "p95 <= baseline + 500%"),))
    result = build_result(data, [stored], today=TODAY)
    assert result.verdict.decision == "NOT_PROVEN"
    assert result.comparison is not None
    assert "plan differs" in result.comparison.obstacles[0]
    assert result.comparison.changes == ()


def test_an_expired_waiver_blocks_again_and_is_told() -> None:
    """The day after its date it lets nothing pass, and the report says that it ended."""
    waived = tuple(
        replace(one, waiver=Waiver("ticket 12", "payments team", "2026-11-22")) for one in stored_runs.standard_rules()
    )
    data = replace(stored_runs.run_of("regressed"), rules=waived)
    assert build_result(data, today="2026-11-22").verdict.decision == "GO_WITH_RISK"
    late = build_result(data, today=TODAY)
    assert late.verdict.decision == "NO_GO"
    assert any("waiver" in finding.text for finding in late.evidence.findings)
    assert "waiver" in render_markdown(late)


def test_hostile_numbers_are_refused_or_rendered(tmp_path: Path) -> None:
    """Infinite, negative, huge or of another kind: never a crash while reading or drawing."""
    fields = orjson.loads(run_json(stored_runs.result_of("healthy")))
    for path, value in (
        (("duration_s",), 1e308),
        (("duration_s",), -1.0),
        (("delivery", "planned"), -1),
        (("plan", "arrivals"), 1 << 63),
        (("transactions",), [{}]),
        (("timeline",), "x" * 100_000),
        (("percentile_error_bound",), None),
    ):
        changed = orjson.loads(orjson.dumps(fields))
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        try:
            result = parse_result(orjson.dumps(changed))
        except ResultError:
            continue
        write_outputs(result, None, tmp_path)
