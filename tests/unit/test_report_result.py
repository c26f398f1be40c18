"""The result of a run: what is in it, its schema, and reading it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof_report import ResultError, RunResult, build_result, load_result, parse_result, render_html
from loadproof_report.outputs import run_json
from loadproof_report.schema import run_schema, schema_bytes
from loadproof_report.timeline import ALL, INTERVALS_MAX
from stored_runs import Story, rule

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def result() -> RunResult:
    return stored_runs.result_of("small_but_dangerous")


def test_every_planned_arrival_is_accounted_for() -> None:
    """planned = started + dropped + missed + lost, for the run, each transaction and each phase."""
    story = Story(lost=lambda s: 0.02, missed=lambda s: 0.03, dropped=lambda s: 0.04, late=lambda s: 0.05)
    run = build_result(story.build_run())
    parts = [run.delivery, *(t.delivery for t in run.transactions)]
    parts += [phase.delivery for t in run.transactions for phase in t.by_phase]
    for part in parts:
        assert part.planned == part.started + part.dropped + part.missed + part.lost
        assert part.late <= part.started
    assert min(run.delivery.lost, run.delivery.missed, run.delivery.dropped) > 0


def test_counts_add_up_from_steps_to_the_run(result: RunResult) -> None:
    """Phases add up to the transaction, ok and failed to the count, statuses to the endpoint's responses."""
    for t in result.transactions:
        assert t.count == t.ok + t.failed == sum(phase.count for phase in t.by_phase)
        assert t.response_time_us.count == t.ok
        for step in t.steps:
            assert step.count + step.not_reached == t.count
            for endpoint in step.endpoints:
                assert sum(endpoint.statuses.values()) == endpoint.count


def test_steps_keep_the_order_in_which_they_run(result: RunResult) -> None:
    """Not by name, not by count."""
    checkout = next(t for t in result.transactions if t.name == "Checkout")
    assert [step.name for step in checkout.steps] == ["Add to cart", "Pay", "Confirm"]


def test_the_failure_story_names_step_onset_load_and_knock_on(result: RunResult) -> None:
    """Which step failed first, since when, under which load, and which steps were never reached."""
    story = result.stories[0]
    assert (story.transaction, story.step, story.category) == ("Checkout", "Pay", "http_status")
    assert story.first_seen_s >= 40
    assert story.load_per_s == pytest.approx(60, abs=3)
    assert story.not_reached == {"Confirm": story.count}
    assert story.agents
    error = next(t for t in result.transactions if t.name == "Checkout").errors[0]
    assert 1 <= len(error.samples) <= 5
    assert "[redacted]" in error.samples[0].request


def test_the_timeline_adds_up_to_the_run(result: RunResult) -> None:
    """Intervals lie end to end and their counts are the run's."""
    assert [interval.second for interval in result.timeline] == list(range(90))
    assert sum(interval.planned for interval in result.timeline) == result.delivery.planned
    assert sum(interval.completed for interval in result.timeline) == result.delivery.completed
    assert all(sum(p.started for p in i.transactions.values()) == i.started for i in result.timeline)
    assert any(interval.service_time_us.p95 for interval in result.timeline)


def test_a_long_run_has_wider_intervals_and_loses_nothing() -> None:
    """What does not fit into 600 seconds is told in wider intervals; every arrival is still in one."""
    phases = (ArrivalPhase("soak", 1_000, 1_000, 1_250 * NS_PER_S),)
    run = build_result(Story(flows=(stored_runs.Flow("Only", 1.0),), phases=phases).build_run())
    assert len(run.timeline) <= INTERVALS_MAX
    assert sum(interval.completed for interval in run.timeline) == run.delivery.completed
    assert {interval.interval_s for interval in run.timeline} == {5}
    heat = run.heatmaps[0]
    assert heat.transaction == ALL
    assert sum(count for _, _, count in heat.cells) == run.delivery.completed


def test_load_bands_are_merged_and_cover_everything(result: RunResult) -> None:
    """Bands rise without gaps, and their completed counts are the transaction's."""
    for t in result.transactions:
        assert sum(band.completed for band in t.load_bands) == t.count
        lows = [band.from_per_s for band in t.load_bands]
        assert lows == sorted(lows)


def test_the_knee_is_the_load_from_which_response_time_stays_high() -> None:
    """A flow that slows down above 40/s has its knee there; a steady one has none."""
    phases = (ArrivalPhase("ramp", 10_000, 80_000, 60 * NS_PER_S),)
    flows = (
        stored_runs.Flow("Slows down", 0.5, 50_000, slow=lambda s: 1.0 if s < 26 else 5.0),
        stored_runs.Flow("Steady", 0.5, 50_000),
    )
    slows, steady = build_result(Story(flows=flows, phases=phases).build_run(), today="2026-11-23").transactions
    assert slows.knee_per_s == pytest.approx(40, abs=10)
    assert steady.knee_per_s is None


def test_the_agents_of_a_failure_are_counted() -> None:
    """All 12 agents saw it: each is there with its own number, those that saw most of it first, also on the page."""
    flow = stored_runs.Flow("Checkout", 0.5, failing=lambda second: 0.1)
    often = build_result(Story(flows=(flow,), agents=12).build_run(), today="2026-11-23")
    error = often.transactions[0].errors[0]
    assert (len(error.agents), error.agents_complete) == (12, True)
    assert sum(error.agent_failures.values()) == error.count
    (first, most), *others = error.agent_failures.items()
    assert most == max(error.agent_failures.values())
    page = render_html(often)
    assert f"from {first} ({most})" in page
    assert "and 4 more agents" in page
    assert len(others) == 11


def test_agents_that_were_not_counted_are_said_to_be_those_of_the_samples() -> None:
    """A run stored before failures were counted by agent, or one whose relay does not count, says what it knows."""
    flow = stored_runs.Flow("Checkout", 0.5, failing=lambda second: 0.1)
    data = Story(flows=(flow,), agents=12).build_run()
    for stats in data.merged.errors.values():
        stats.agents = {}
    old = build_result(data, today="2026-11-23")
    error = old.transactions[0].errors[0]
    assert (len(error.agents) < 12, error.agents_complete, error.agent_failures) == (True, False, {})
    assert "kept samples (not all there were) from agent-" in render_html(old)
    for stats in data.merged.errors.values():
        stats.agents = {"agent-1": 1}
    part = build_result(data, today="2026-11-23")
    counted = part.transactions[0].errors[0]
    known = len(data.merged.errors)
    assert (counted.agents_complete, counted.agent_failures) == (False, {"agent-1": known})
    assert f"from agent-1 ({known}); {counted.count - known} from agents that are not listed" in render_html(part)


def test_one_agent_that_nearly_all_failures_come_from_is_named() -> None:
    """Nine of ten from one of several agents: the story says so, since that points at the agent and not the target."""
    flow = stored_runs.Flow("Checkout", 0.5, failing=lambda second: 0.1)
    data = Story(flows=(flow,), agents=3).build_run()
    for stats in data.merged.errors.values():
        stats.agents = {"agent-2": stats.count - 1, "agent-1": 1}
    (story,) = build_result(data, today="2026-11-23").stories
    assert f"{story.count - len(data.merged.errors)} of them come from agent agent-2." in story.text


def test_a_failure_seen_by_one_agent_says_so() -> None:
    """Where one of many agents saw it, it alone is named."""
    flow = stored_runs.Flow("Checkout", 0.02, failing=lambda second: 1.0 if second == 30 else 0.0)
    seldom = build_result(Story(flows=(flow,), agents=12).build_run(), today="2026-11-23")
    error = seldom.transactions[0].errors[0]
    assert (error.count, error.agents, error.agents_complete) == (1, ("agent-7",), True)
    assert (seldom.stories[0].agents, seldom.stories[0].agents_complete) == (("agent-7",), True)
    assert "all from agent-7" in render_html(seldom)


def test_the_published_schema_is_the_models() -> None:
    """`docs/reference/run.schema.json` is made from the models; `python -m loadproof_report.schema` writes it."""
    published = (ROOT / "docs/reference/run.schema.json").read_bytes()
    assert json.loads(published) == json.loads(schema_bytes())


@pytest.mark.parametrize("name", ["small_but_dangerous", "agent_lost", "hostile"])
def test_stored_runs_fit_the_schema_and_reads_back_equal(name: str) -> None:
    """JSON Schema validates run.json, and reading it gives the same result."""
    run = stored_runs.result_of(name)
    content = run_json(run)
    jsonschema.Draft202012Validator(run_schema()).validate(json.loads(content))
    assert parse_result(content) == run


def test_the_interfaces_names_are_in_run_json(result: RunResult) -> None:
    """The names that others rely on are spelled as documented."""
    data = json.loads(run_json(result))
    assert data["schema"] == "loadproof.run/1"
    expected = {
        "schema", "run_id", "suite", "profile", "status", "started_at", "duration_s", "tool_version", "verdict", "plan",
        "build", "environment", "datasets", "bundle", "digest", "delivery", "evidence", "fleet", "transactions",
        "rules", "comparison", "timeline",
    }  # fmt: skip
    assert expected <= set(data)
    assert {"planned", "started", "completed", "late", "dropped", "missed", "lost"} == set(data["delivery"])
    transaction = data["transactions"][0]
    latency = {"p50", "p75", "p90", "p95", "p99", "p99_9", "max", "min", "mean"}
    assert latency <= set(transaction["response_time_us"])
    assert latency <= set(transaction["service_time_us"])
    assert {"agent_id", "pid", "host", "cores", "workers", "labels", "lost", "cpu_max"} <= set(data["fleet"][0])
    assert {"transaction", "require", "severity", "status", "observed", "limit"} <= set(data["rules"][0])


def _changed(result: RunResult, **fields: Any) -> bytes:
    data = json.loads(run_json(result))
    data.update(fields)
    return json.dumps(data).encode()


def test_files_that_are_no_run_are_refused_in_plain_words(result: RunResult, tmp_path: Path) -> None:
    """Missing, empty, cut off, not JSON, not a run, another version, broken numbers: each says what and what to do."""
    whole = run_json(result)
    cases = {
        b"": "it is empty",
        whole[: len(whole) // 2]: "it ends too early",
        b"<html></html>": "it is not JSON",
        b"[1, 2]": "not a run",
        b"{}": "not a run",
        _changed(result, schema="loadproof.run/9"): "another version",
        _changed(result, schema={"a": 1}): "not written by Loadproof",
        _changed(result, duration_s="soon"): "duration_s",
        _changed(result, verdict={"decision": "MAYBE", "reasons": []}): "verdict.decision",
        _changed(result, delivery={"planned": -1}): "delivery.planned",
        b'{"schema": "loadproof.run/1", "duration_s": NaN}': "not JSON",
    }
    for content, expected in cases.items():
        path = tmp_path / "run.json"
        path.write_bytes(content)
        with pytest.raises(ResultError) as caught:
            load_result(tmp_path)
        assert expected in str(caught.value), content[:60]
        assert str(path) in str(caught.value)
    with pytest.raises(ResultError, match="no such file"):
        load_result(tmp_path / "elsewhere")


def test_deep_nesting_is_refused_and_does_not_crash() -> None:
    """A hostile file cannot exhaust the stack."""
    deep = b'{"schema": "loadproof.run/1", "events": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(ResultError):
        parse_result(deep)


def test_a_stored_file_of_anyone_is_made_harmless(result: RunResult) -> None:
    """Terminal sequences and direction marks written into a run.json are gone once it is read."""
    name = "a\x1b[31m\u202eb\u0000"
    read = parse_result(_changed(result, suite=name, counters={name: 1}))
    assert read.suite == "a [31m�b "
    assert list(read.counters) == [read.suite]


def test_unknown_fields_are_ignored(result: RunResult) -> None:
    """A newer version may add fields under the same schema number."""
    assert parse_result(_changed(result, added_later={"a": [1]})) == result


def test_a_warm_up_has_a_judged_summary_beside_the_whole() -> None:
    """What was run in a warm-up is reported, and left out of `judged`."""
    phases = (
        ArrivalPhase("warm", 40_000, 40_000, 10 * NS_PER_S, warmup=True),
        ArrivalPhase("hold", 40_000, 40_000, 10 * NS_PER_S),
    )
    only = build_result(Story(flows=(stored_runs.Flow("Only", 1.0),), phases=phases).build_run()).transactions[0]
    assert only.judged is not None
    assert (only.count, only.judged.count) == (800, 400)
    assert [phase.warmup for phase in only.by_phase] == [True, False]


def test_findings_have_codes_and_plain_sentences() -> None:
    """Late, busy, lagging: each with its code, value and threshold; the suite's own blocking code is named."""
    run = stored_runs.result_of("saturated")
    unsound = {finding.code: finding for finding in run.evidence.findings if finding.severity == "unsound"}
    assert set(unsound) == {"late_starts", "generator_cpu", "loop_lag"}
    assert all(f.text.endswith(".") and f.value is not None and f.threshold is not None for f in unsound.values())


def test_user_code_that_holds_the_loop_is_named_by_step() -> None:
    """The longest stretch of each step, from 10 ms on; often and long makes it degraded, never unsound."""
    data = stored_runs.healthy().build_run()
    for index, (_, _, health) in enumerate(data.merged.health_seconds):
        health.user_cpu_us = {("Search", "Find"): 38_000 if index % 4 == 0 else 6_000, ("Checkout", ""): 9_000}
    data.merged.health_seconds[0][2].user_cpu_us["Checkout", "Pay"] = 12_000
    data.merged.health_seconds[0][2].gc_pause_us_max = 45_000
    found = build_result(data).evidence
    assert found.sound
    step, pay = (finding for finding in found.findings if finding.code == "user_code")
    assert (step.severity, step.value) == ("degraded", 38_000)
    assert step.text.startswith("Step Find of Search kept its worker for 38 ms in one go, in your own code")
    assert (pay.severity, pay.value) == ("info", 12_000)
    [pause] = (finding for finding in found.findings if finding.code == "gc_pause")
    assert (pause.severity, pause.value) == ("info", 45_000)


@pytest.mark.parametrize(
    ("story", "code"),
    [
        (Story(fleet=(stored_runs.agent(1, final=False),)), "agent_incomplete"),
        (Story(events=(stored_runs.RunEvent(1, "final_mismatch", "n differs", "agent-1"),)), "final_mismatch"),
        (Story(missed=lambda s: 1.0 if 40 <= s < 44 else 0.0), "missed_or_lost"),
        (Story(lost=lambda s: 1.0 if 40 <= s < 44 else 0.0), "missing_seconds"),
        (Story(exhausted={"products": 500}), "dataset_exhausted"),
        (Story(status="failed", aborted_by="infrastructure", abort_reason="set-up failed"), "run_failed"),
        (Story(status="aborted", aborted_by="person", stop_s=20), "stopped_by_person"),
    ],
)
def test_what_makes_evidence_unsound(story: Story, code: str) -> None:
    """Each weakness on its own caps the verdict, and says so by code."""
    story.rules = (rule("*", "success_rate >= 90%"),)
    run = build_result(story.build_run(), today="2026-11-23")
    assert code in {finding.code for finding in run.evidence.findings if finding.severity == "unsound"}
    assert run.verdict.decision == "NOT_PROVEN"


def test_a_stop_by_a_person_is_said_once() -> None:
    """The reason every Ctrl+C gives adds nothing to the sentence; a reason of the person's own stays."""
    texts = []
    for reason in ("stopped by a person", "the database is being moved"):
        story = Story(status="aborted", aborted_by="person", stop_s=20, abort_reason=reason)
        found = build_result(story.build_run()).evidence.findings
        texts += [finding.text for finding in found if finding.code == "stopped_by_person"]
    assert texts[0].count("stopped by a person") == 1
    assert texts[1].endswith(": the database is being moved.")
