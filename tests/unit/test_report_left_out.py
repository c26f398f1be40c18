"""What a part of the report has no room for, it says, and where the rest is."""

from __future__ import annotations

import pytest
from rich.console import Console

import stored_runs
from loadproof_cli.summary import terminal_summary
from loadproof_report import build_result
from loadproof_report.assemble import EVENTS_MAX
from loadproof_report.html.render import EVENTS_SHOWN, render_html
from loadproof_report.markdown import render_markdown
from loadproof_report.result import Change, Comparison, EventResult, Finding, Risk, RunResult
from loadproof_report.rundata import RunEvent
from loadproof_report.story import stories_of
from loadproof_report.verdict import REASONS_MAX, _bounded
from stored_runs import Story


def events(count: int, kind: str = "note") -> tuple[EventResult, ...]:
    """Return events, a second apart."""
    return tuple(EventResult(at_s=n, kind=kind, text=f"{kind} {n} happened") for n in range(count))


@pytest.fixture(scope="module")
def regressed() -> RunResult:
    return stored_runs.result_of("regressed")


@pytest.fixture(scope="module")
def failing() -> RunResult:
    return stored_runs.result_of("small_but_dangerous")


def test_the_page_says_how_many_events_it_does_not_show(regressed: RunResult) -> None:
    """And where they are; of what is shown, nothing was pushed out by lines of logs."""
    many = events(EVENTS_SHOWN, "log") + events(EVENTS_SHOWN - 1, "agent_late")
    page = render_html(regressed.model_copy(update={"events": many, "events_total": len(many)}))
    assert "99 more events are not shown here, lines of logs before others" in page
    assert "run.json and events.jsonl have all of them" in page
    assert "agent_late 98 happened" in page
    assert "log 0 happened" in page
    assert "log 1 happened" not in page
    cut = render_html(regressed.model_copy(update={"events": many, "events_total": 5_000}))
    assert "4,900 more events are not shown here" in cut
    assert "run.json and events.jsonl have 199 of all 5,000" in cut
    few = render_html(regressed.model_copy(update={"events": many[:EVENTS_SHOWN], "events_total": EVENTS_SHOWN}))
    assert "not shown here" not in few


def test_a_run_that_logs_much_keeps_every_other_event() -> None:
    """run.json has 2,000 of them: lines of logs are left out first, and all are counted."""
    data = Story().build_run()
    logs = tuple(RunEvent(at_s=float(n), kind="log", text="chatter") for n in range(EVENTS_MAX + 7))
    data.events = (*logs, RunEvent(at_s=9_999.0, kind="agent_lost", text="agent-1 was lost"))
    result = build_result(data, today="2026-11-23")
    assert (len(result.events), result.events_total) == (EVENTS_MAX, EVENTS_MAX + 8)
    assert result.events[-1].kind == "agent_lost"


def test_the_note_says_what_it_leaves_out(failing: RunResult) -> None:
    """Of risks, findings, changes, notes and kinds of failure: how many more there are, and that the page has them."""
    changes = tuple(
        Change(transaction=f"T{n}", metric="p95", judgement="worse", text=f"T{n} is slower.") for n in range(11)
    )
    comparison = Comparison(baseline_run_id="base", changes=changes, notes=tuple(f"Note {n}." for n in range(7)))
    verdict = failing.verdict.model_copy(
        update={"risks": tuple(Risk(code="x", severity="high", text=f"Risk {n}.") for n in range(9))}
    )
    findings = tuple(Finding(code="x", severity="info", text=f"Finding {n}.") for n in range(13))
    evidence = failing.evidence.model_copy(update={"findings": findings})
    worst = max(failing.transactions, key=lambda transaction: len(transaction.errors))
    kinds = tuple(worst.errors[0].model_copy(update={"message": f"Kind {n}"}) for n in range(9))
    bad = worst.model_copy(update={"errors": kinds})
    result = failing.model_copy(
        update={"comparison": comparison, "verdict": verdict, "evidence": evidence, "transactions": (bad,),
                "stories": failing.stories[:1] * 5}
    )  # fmt: skip
    note = render_markdown(result)
    for line in ("1 more risk", "1 more change", "2 more notes", "3 more findings", "4 more kinds of failure"):
        assert f"- and {line} in report.html\n" in note
    assert "in report.html\n" not in render_markdown(failing)
    note = render_markdown(result.model_copy(update={"stories": stories_of([bad])}))  # three of each transaction
    assert "- and 6 more kinds of failure in report.html\n" in note


def test_the_page_says_what_it_leaves_out_of_errors_and_changes(failing: RunResult) -> None:
    """Kinds of failure, samples for which there is no room, changes beyond the table's end."""
    worst = max(failing.transactions, key=lambda transaction: len(transaction.errors))
    sample = worst.errors[0].samples[0].model_copy(update={"response": "x" * 2_000})
    error = worst.errors[0].model_copy(update={"samples": (sample,) * 5})
    kinds = tuple(error.model_copy(update={"message": f"Kind {n}"}) for n in range(40))
    bad = worst.model_copy(update={"errors": kinds, "errors_total": 40 * error.count + 1})
    changes = tuple(Change(transaction=f"T{n}", metric="p95", judgement="worse") for n in range(101))
    comparison = Comparison(baseline_run_id="base", changes=changes)
    page = render_html(failing.model_copy(update={"transactions": (bad,), "comparison": comparison}))
    assert "of more than 40 kinds" in page
    assert "25 more kinds are in run.json; it has the 40 most frequent." in page
    assert "5 more samples are in run.json: there was no room here." in page
    assert "1 more change: run.json has all of them." in page
    shown = len(failing.stories[:8])
    assert f"{40 - shown} more kinds of failure: see the errors of each transaction below." in page


def test_the_terminal_says_how_many_risks_it_does_not_show(regressed: RunResult) -> None:
    """Nine risks, eight lines, and a line about the ninth."""
    risks = tuple(Risk(code="x", severity="high", text=f"Risk {n}.") for n in range(9))
    result = regressed.model_copy(update={"verdict": regressed.verdict.model_copy(update={"risks": risks})})
    console = Console(width=200)
    with console.capture() as capture:
        console.print(terminal_summary(result))
    assert "and 1 more risk in the report" in capture.get()


def test_reasons_are_bounded_and_say_so() -> None:
    """The last of twelve says how many more there are, and where they are told."""
    reasons = [f"Reason {n}." for n in range(REASONS_MAX + 3)]
    kept = _bounded(reasons)
    assert len(kept) == REASONS_MAX
    assert kept[-1] == "4 more reasons are told with the rules, the risks and the evidence."
    assert _bounded(reasons[:REASONS_MAX]) == tuple(reasons[:REASONS_MAX])
