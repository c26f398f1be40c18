"""The parts of a report agree: what is judged, which numbers stand where, and sentences that can be read aloud."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof.rules.model import Waiver
from loadproof_cli.summary import terminal_summary
from loadproof_controller.ruling import RuleWatch
from loadproof_report import build_result, write_outputs
from loadproof_report.history import HistoryStore, RunFiles
from loadproof_report.html.render import render_html
from loadproof_report.junit import render_junit
from loadproof_report.markdown import render_markdown
from loadproof_report.result import ErrorResult, RunResult, StepResult, TransactionResult
from loadproof_report.story import stories_of
from loadproof_report.text import clock_text, value_beside
from loadproof_report.verdict import _most_failures, _target_down
from stored_runs import Story, rule

PHASES = (
    ArrivalPhase("warm", 20_000, 20_000, 10 * NS_PER_S, warmup=True),
    ArrivalPhase("peak", 60_000, 60_000, 60 * NS_PER_S),
)


def with_warmup(**more: Any) -> RunResult:
    """Return the result of a run whose critical transaction fails in the warm-up only."""
    flows = tuple(
        replace(flow, failing=lambda s: 0.5 if s < 10 else 0.0) if flow.name == "Checkout" else flow
        for flow in stored_runs.SHOP
    )
    story = Story(flows=flows, phases=PHASES, rules=(rule("*", "success_rate >= 99%"),), **more)
    return build_result(story.build_run(), today="2026-11-23")


def printed(result: RunResult) -> str:
    """Return the terminal's summary."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(terminal_summary(result))
    return capture.get()


def test_failures_in_a_warm_up_are_no_risk() -> None:
    """A critical transaction that fails in the warm-up alone: reported as a failure, judged as GO, and said so."""
    result = with_warmup()
    assert (result.verdict.decision, result.verdict.risks) == ("GO", ())
    judged = sum(t.judged.count for t in result.transactions if t.judged)
    assert f"over {judged:,} transactions, warm-up left out, and the evidence is sound." in result.verdict.reasons[0]
    assert result.verdict.reasons[1] == "No transaction failed, warm-up left out."
    assert result.stories[0].transaction == "Checkout"
    for told in (render_html(result), render_markdown(result)):
        assert "In the whole run, warm-up too." in told
    assert {"without warm-up", "with warm-up"} <= {line.strip() for line in printed(result).splitlines()}


def test_page_note_and_terminal_show_the_same_counts() -> None:
    """Those that are judged, where a part of the run is not; each says that warm-up is left out."""
    result = with_warmup()
    page, note, text = render_html(result), render_markdown(result), printed(result)
    for t in result.transactions:
        assert t.judged is not None
        count, failed = t.judged.count, t.judged.failed
        assert count < t.count
        assert f'<td data-v="{count}">{count:,}</td>' in page
        assert f"{count:,} runs · {failed or 'none'} failed" in page
        assert re.search(rf"\| {t.name} \| {t.criticality} \| {count:,} \| {failed} \|", note)
        assert re.search(rf"{t.name} +{count:,} +{failed} ", text)
    assert "Warm-up is left out." in note
    assert "without warm-up" in text
    plain = stored_runs.result_of("healthy")
    assert "Warm-up is left out." not in render_markdown(plain)
    assert "without warm-up" not in printed(plain)


def step(name: str, failed: int, not_reached: int) -> StepResult:
    """Return a step of a transaction that was begun 100 times."""
    return StepResult(name=name, count=100 - not_reached, failed=failed, not_reached=not_reached)


def error(at: str, count: int) -> ErrorResult:
    """Return a failure at a step."""
    return ErrorResult(category="check", message="wrong", step=at, count=count, first_seen_s=1, last_seen_s=2)


@pytest.mark.parametrize(
    ("steps", "at", "kept_from"),
    [
        ([("Cart", 6, 0), ("Pay", 26, 0), ("Confirm", 0, 26)], "Cart", {}),  # a soft check: they went on
        ([("Cart", 6, 0), ("Pay", 26, 0), ("Confirm", 0, 26)], "Pay", {"Confirm": 26}),
        ([("Cart", 6, 0), ("Pay", 26, 6), ("Confirm", 0, 32)], "Cart", {"Pay": 6, "Confirm": 6}),
        ([("Cart", 6, 0), ("Pay", 26, 6), ("Confirm", 0, 32)], "Pay", {"Confirm": 26}),
        ([("Cart", 6, 0), ("Pay", 26, 6), ("Confirm", 3, 32)], "Confirm", {}),
    ],
)  # fmt: skip
def test_a_story_counts_the_steps_its_own_step_kept_from_running(steps: Any, at: str, kept_from: Any) -> None:
    """Not those that failures before or after it did."""
    transaction = TransactionResult(
        name="Checkout", criticality="high", count=100, failed=30, steps=tuple(step(*one) for one in steps),
        errors=(error(at, 6),),
    )  # fmt: skip
    (story,) = stories_of([transaction])
    assert story.not_reached == kept_from
    assert ("not reached" in story.text) == bool(kept_from)


@pytest.mark.parametrize(
    ("value", "limit", "unit", "text"),
    [
        (800_400, 800_000, "us", "800.4 ms"),
        (1_002_000, 1_000_000, "us", "1.002 s"),
        (0.0104, 0.01, "ratio", "1.04 %"),
        (0.99496, 0.995, "ratio", "99.496 %"),
        (349.96, 350, "per_s", "349.96/s"),
        (700_000, 800_000, "us", "700 ms"),
        (800_000, 800_000, "us", "800 ms"),
        (None, 800_000, "us", "–"),
    ],
)
def test_a_value_is_told_from_its_limit(value: float | None, limit: float, unit: str, text: str) -> None:
    """As many digits as it takes: "800 ms, where at most 800 ms was required" would be no reason."""
    assert value_beside(value, limit, unit) == text


def test_a_rule_broken_by_little_has_a_sentence_that_shows_it() -> None:
    """An error rate of 1.04 % against 1 % is not "1 %, at most 1 % was required"."""
    flow = stored_runs.Flow("Checkout", 1.0, failing=lambda s: 0.0104)
    run = Story(flows=(flow,), rules=(rule("Checkout", "error_rate <= 1%"),)).build_run()
    share = run.merged.delivery["Checkout", "peak"].failed / 3_600
    limit = f"error_rate <= {round(share * 100, 1)}%"  # as near as it comes
    result = build_result(replace(run, rules=(rule("Checkout", limit, phase="peak"),)), today="2026-11-23")
    (judged,) = result.rules
    assert judged.limit is not None
    assert judged.observed != judged.limit
    assert judged.observed_text not in judged.limit_text


def test_a_warning_that_wants_a_baseline_is_told_to_set_one() -> None:
    """Running longer would not help it."""
    rules = (rule("Checkout", "p95 <= baseline + 10%", severity="warn"), rule("*", "success_rate >= 90%"))
    result = build_result(Story(rules=rules).build_run(), today="2026-11-23")
    (risk,) = [risk for risk in result.verdict.risks if risk.code == "warn_no_data"]
    assert "Set a baseline" in risk.mitigation
    assert "warning only: no data, " in render_junit(result)


def test_a_check_that_met_an_error_status_sends_to_the_targets_logs() -> None:
    """`check(status=200)` that found 503 is the target's failure, not a wrong answer to compare."""
    found = ("check", "expected status 200, found status 503", 503)
    flow = stored_runs.Flow("Checkout", 1.0, failing=lambda s: 0.1, failure=found)
    result = build_result(Story(flows=(flow,), rules=(rule("*", "error_rate <= 1%"),)).build_run(), today="2026-11-23")
    assert result.verdict.risks[0].mitigation.startswith("Look at the samples' trace ids in the target's logs")


def test_a_sample_without_request_shows_no_empty_box() -> None:
    """A check of a value belongs to no request."""
    run = stored_runs.result_of("small_but_dangerous")
    bare = json.loads(run.model_dump_json(by_alias=True))
    for transaction in bare["transactions"]:
        for one in transaction["errors"]:
            for sample in one["samples"]:
                sample.update(request="", response="")
    page = render_html(RunResult.model_validate(bare))
    assert '<details class="inner"><summary>Sample 1' in page
    assert "<pre" not in page


def test_requests_outside_any_step_have_no_count_of_a_step() -> None:
    """The row above them is a heading: it has nothing to count, and so no zeros that contradict what is below it."""
    run = stored_runs.result_of("healthy")
    first = run.transactions[0]
    loose = first.steps[0].model_copy(update={"name": "(no step)", "count": 0, "ok": 0, "failed": 0, "not_reached": 0})
    page = render_html(run.model_copy(update={"transactions": (first.model_copy(update={"steps": (loose,)}),)}))
    row = page.partition('<td class="l name">(no step)</td>')[2].partition("</tr>")[0]
    assert set(re.findall(r"<td>(.*?)</td>", row)) == {""}


@pytest.mark.parametrize(("seconds", "text"), [(-0.4, "0:00"), (-1.2, "−0:01"), (-75, "−1:15"), (0.9, "0:00")])
def test_a_moment_just_before_the_start_is_the_start(seconds: float, text: str) -> None:
    """There is no minus nought."""
    assert clock_text(seconds) == text


def test_what_is_broken_so_far_names_step_and_waiver() -> None:
    """A running run says which step broke a rule; what is waived does not make it "broken"."""
    rules = (
        rule("Checkout", "error_rate <= 1%", step="Pay"),
        rule("Checkout", "p95 <= 1ms", waiver=Waiver("known", "Kim", "2999-12-31")),
    )
    flow = stored_runs.Flow("Checkout", 1.0, failing=lambda s: 0.1, steps=stored_runs.SHOP[2].steps, fails_at=1)
    run = Story(flows=(flow,), rules=rules).build_run()
    watch = RuleWatch(run.rules, run.plan)
    watch.look(run.merged, 90 * NS_PER_S, 90 * NS_PER_S)
    assert watch.broken == ("Checkout, step Pay: error_rate <= 1%", "Checkout: p95 <= 1ms (waived)")
    assert watch.verdict == "broken"
    only_waived = RuleWatch(run.rules[1:], run.plan)
    only_waived.look(run.merged, 90 * NS_PER_S, 90 * NS_PER_S)
    assert only_waived.verdict == "warning"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((30,), "The failures of Checkout happened at the step Pay: wrong (30 times"),
        ((20, 10), "Most failures of Checkout happened at the step Pay: wrong (20 times"),
        ((12, 10, 8), "The most frequent failures of Checkout happened at the step Pay: wrong (12 times"),
    ],
)
def test_most_failures_are_more_than_half(counts: tuple[int, ...], said: str) -> None:
    """The most frequent kind is not most of them by being the most frequent."""
    errors = tuple(error("Pay", count) for count in counts)
    transaction = TransactionResult(name="Checkout", criticality="high", count=100, failed=30, errors=errors)
    assert _most_failures(transaction).startswith(said)


def test_all_or_nothing_is_said_in_words() -> None:
    """Not "succeeded only 0 % of the time" or "all 1 transactions"."""
    down = stored_runs.Flow("Checkout", 1.0, failing=lambda s: 1.0)
    rules = (rule("Checkout", "success_rate >= 99%"), rule("Checkout", "error_rate <= 1%"))
    result = build_result(Story(flows=(down,), rules=rules).build_run(), today="2026-11-23")
    said = " ".join(result.verdict.reasons)
    assert "Checkout never succeeded; at least 99 % was required." in said
    assert "Checkout failed every time; at most 1 % was required." in said
    (t,) = result.transactions
    assert "the only transaction failed" in _target_down([t.model_copy(update={"count": 1, "failed": 1})])


def test_the_history_keeps_what_is_judged(tmp_path: Path) -> None:
    """A trend over builds shows the numbers of the report, without warm-up."""
    run = with_warmup()
    write_outputs(run, None, tmp_path / "run", ("json",))
    with HistoryStore(f"sqlite:///{tmp_path}/history.db") as store:
        store.record(RunFiles.from_place(tmp_path / "run"))
        points = {point.name: (point.completed, point.failed, point.p95_us) for point in store.trend([run.run_id])}
    assert points == {
        t.name: (t.judged.count, t.judged.failed, t.judged.response_time_us.p95) for t in run.transactions if t.judged
    }
