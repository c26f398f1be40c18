"""The files a run leaves: well-formed and harmless, whatever the names in them are."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof.rules.model import Waiver
from loadproof_report import (
    FORMATS,
    RunResult,
    build_result,
    load_result,
    render_html,
    render_junit,
    render_markdown,
    render_summary_csv,
    render_timeline_csv,
    write_outputs,
)
from loadproof_report.html.render import kinds_shown
from loadproof_report.markdown import escape, sentence
from loadproof_report.result import Change, Comparison, ErrorResult
from loadproof_report.tables import ERRORS_MAX, SAMPLE_CHARS_MAX, SAMPLES_MAX
from loadproof_report.timeline import INTERVALS_MAX
from stored_runs import HOSTILE, Flow, Story, rule

FILES = {
    "run.json", "report.html", "report.md", "junit.xml", "summary.csv", "timeline.csv", "histograms.hlog",
    "intervals.bin", "plan.json", "events.jsonl",
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile() -> RunResult:
    return stored_runs.result_of("hostile")


@pytest.fixture(scope="module")
def regressed() -> RunResult:
    return stored_runs.result_of("regressed")


class _Page(HTMLParser):
    """Collects what matters of a page: elements, attributes, script bodies, visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if not self._script:
            self.text += data


def test_every_file_of_the_interface_is_written_and_nothing_else(tmp_path: Path) -> None:
    """All ten files, no temporary left behind, each not empty where there is something to say."""
    data = stored_runs.run_of("agent_lost")
    result = build_result(data, today="2026-11-23")
    written = write_outputs(result, data, tmp_path / "out")
    assert {path.name for path in written} == FILES == {path.name for path in (tmp_path / "out").iterdir()}
    assert all(path.stat().st_size for path in written)
    assert load_result(tmp_path / "out") == result


def test_rendering_again_from_run_json_gives_the_same_pages(tmp_path: Path, regressed: RunResult) -> None:
    """`loadproof report` needs run.json only, and leaves the histograms alone."""
    write_outputs(regressed, None, tmp_path)
    again = tmp_path / "again"
    write_outputs(load_result(tmp_path), None, again, ["html", "md", "junit", "csv"])
    assert "histograms.hlog" not in {path.name for path in again.iterdir()}
    for path in again.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_formats_pick_files_and_a_typo_is_refused(tmp_path: Path, regressed: RunResult) -> None:
    """Only what was asked for; an unknown format names the known ones."""
    assert [path.name for path in write_outputs(regressed, None, tmp_path, ["md"])] == ["report.md"]
    with pytest.raises(ValueError, match="html"):
        write_outputs(regressed, None, tmp_path, ["pdf"])
    assert FORMATS == ("json", "html", "md", "junit", "csv", "hlog")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, regressed: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle of a write never leaves half a file."""
    write_outputs(regressed, None, tmp_path, ["md"])
    before = (tmp_path / "report.md").read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_outputs(regressed, None, tmp_path, ["md"])
    assert (tmp_path / "report.md").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_hostile_names_stay_text_in_html(hostile: RunResult) -> None:
    """No name becomes an element, an attribute or a script; each is still readable."""
    page = _Page(render_html(hostile))
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "embed", "link", "base", "form")]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on") or name == "style"]
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert all(link is not None and link.startswith("#") for link in links)
    assert HOSTILE[0] in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\u202e" not in page.text


def test_the_page_loads_nothing_and_its_policy_says_so(regressed: RunResult) -> None:
    """No address in an attribute that fetches; the policy allows two hashes and nothing else."""
    html = render_html(regressed)
    page = _Page(html)
    assert not [attrs for _, attrs in page.tags if attrs.get("src")]
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-\S+'; style-src 'sha256-\S+'; img-src data:; base-uri 'none'; "
        r"form-action 'none'",
        policy,
    )
    assert "unsafe" not in policy


def test_the_page_opens_with_the_verdict_in_words(regressed: RunResult) -> None:
    """The first heading is the decision, the next sentence the reason; every table states its error bound."""
    page = _Page(render_html(regressed))
    assert page.text.index("NO-GO") < page.text.index("Checkout is too slow") < page.text.index("Transactions failed")
    assert "at most 0.1 % too high" in page.text
    headings = [tag for tag, _ in page.tags if tag == "h1"]
    assert len(headings) == 1


def test_the_page_says_how_far_apart_agents_began(regressed: RunResult) -> None:
    """From the first agent's start to the last one's, with how well that is known; nothing where it is not."""
    told = "From the first agent's real start to the last one's: 4.2 ms, known to ± 600 µs."
    evidence = regressed.evidence.model_copy(update={"start_skew_us": 4_200, "start_skew_uncertainty_us": 600})
    assert told in _Page(render_html(regressed.model_copy(update={"evidence": evidence}))).text
    assert "real start" not in _Page(render_html(regressed)).text


def _many_errors(error: ErrorResult) -> tuple[ErrorResult, ...]:
    """Return 200 kinds of one error, each with 5 samples of the greatest length."""
    long = {"request": "r" * SAMPLE_CHARS_MAX, "response": "s" * SAMPLE_CHARS_MAX}
    samples = (error.samples[0].model_copy(update=long),) * SAMPLES_MAX
    return tuple(
        error.model_copy(update={"message": f"status 503 of kind {n}", "samples": samples}) for n in range(ERRORS_MAX)
    )


def test_the_page_stays_small_for_fifty_series_and_an_hour() -> None:
    """At most 1.5 MB for 50 transactions of 4 steps and 50 agents, with all kinds of error and samples there can be."""
    steps = tuple((f"Step number {n}", f"POST /path/{n}/{{id}}/of/some/length", 0.25) for n in range(4))
    flows = tuple(
        Flow(f"Transaction number {n}", 0.02, 50_000 + n * 1_000, steps=steps, tags=(f"t{n % 5}",),
             failing=lambda s: 0.3, fails_at=n % 4) for n in range(50)
    )  # fmt: skip
    phases = (ArrivalPhase("hold", 100_000, 100_000, 30 * NS_PER_S),)
    rules = (rule("*", "p95 <= 1s"), rule("*", "success_rate >= 99%"))
    short = build_result(Story(flows=flows, phases=phases, rules=rules, agents=50).build_run(), today="2026-11-23")
    transactions = tuple(t.model_copy(update={"errors": _many_errors(t.errors[0])}) for t in short.transactions)
    timeline = tuple(short.timeline[n % 30].model_copy(update={"second": n}) for n in range(INTERVALS_MAX))
    heatmaps = tuple(
        heat.model_copy(update={"cells": tuple((c + 30 * n, row, k) for n in range(4) for c, row, k in heat.cells)})
        for heat in short.heatmaps
    )
    result = short.model_copy(update={"transactions": transactions, "timeline": timeline, "heatmaps": heatmaps})
    page = render_html(result)
    assert len(page.encode()) <= 1_500_000, len(page.encode())
    assert page.count('<div class="error">') == 50 * kinds_shown(50)
    assert "Sample 1 at" in page


def test_junit_has_a_suite_for_each_transaction_and_a_case_for_each_rule() -> None:
    """Failures for broken rules, errors for no data, skipped for warnings; totals agree."""
    story = stored_runs.regressed()
    story.rules = (
        *story.rules,
        rule("Update profile", "p99.9 <= 1s"),
        rule("Checkout", "mean <= 1ms", severity="warn"),
    )
    root = ET.fromstring(render_junit(build_result(story.build_run(), today="2026-11-23")))
    assert [suite.get("name") for suite in root][-1] == "evidence"
    checkout = next(suite for suite in root if suite.get("name") == "Checkout")
    assert (checkout.get("tests"), checkout.get("failures"), checkout.get("skipped")) == ("4", "2", "1")
    profile = next(suite for suite in root if suite.get("name") == "Update profile")
    assert profile.get("errors") == "1"
    for total, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        assert root.get(total) == str(len(list(root.iter(tag))))
    assert sum(int(suite.get("skipped", "0")) for suite in root) == len(list(root.iter("skipped"))) == 1
    assert root.get("skipped") is None  # Jenkins' xUnit plugin refuses it here


def test_junit_says_when_the_evidence_is_unsound() -> None:
    """A CI that reads only junit.xml does not see green."""
    root = ET.fromstring(render_junit(stored_runs.result_of("agent_lost")))
    assert root.find("testsuite[@name='evidence']/testcase/error") is not None


def test_junit_fails_when_a_rule_stopped_the_run() -> None:
    """NO-GO, though that rule holds by the end: no reader of this file alone may take it for a pass."""
    data = stored_runs.Story(rules=stored_runs.standard_rules()).build_run()
    data.status, data.aborted_by = "aborted", "rule"
    data.abort_reason = "the rule 'p95 <= 1s' on Checkout is broken: 2 s"
    result = build_result(data, today=stored_runs.STARTED_AT[:10])
    assert (result.verdict.decision, {rule.status for rule in result.rules}) == ("NO_GO", {"passed"})
    root = ET.fromstring(render_junit(result))
    (failure,) = root.iter("failure")
    assert failure.get("message") == data.abort_reason
    assert root.get("failures") == "1"


def test_junit_is_well_formed_with_hostile_names(hostile: RunResult) -> None:
    """Control characters and markup in names never break the XML."""
    root = ET.fromstring(render_junit(hostile))
    assert len(root) == len(HOSTILE) + 1


@pytest.mark.parametrize("render", [render_summary_csv, render_timeline_csv])
def test_no_csv_cell_is_a_formula(hostile: RunResult, render) -> None:
    """No cell begins with what a spreadsheet would compute; every row has all columns."""
    rows = list(csv.reader(io.StringIO(render(hostile))))
    assert len({len(row) for row in rows}) == 1
    for row in rows[1:]:
        for cell in row:
            assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert any(cell.startswith("'=HYPERLINK") for row in rows for cell in row)


def test_the_timeline_csv_adds_up(regressed: RunResult) -> None:
    """The rows without a name add up to what was started."""
    rows = list(csv.DictReader(io.StringIO(render_timeline_csv(regressed))))
    assert sum(int(row["started"]) for row in rows if not row["transaction"]) == regressed.delivery.started


def test_markdown_fits_a_comment_and_says_the_decision_first(regressed: RunResult) -> None:
    """Decision, worst reason, changes, configuration; well below a comment's limit."""
    note = render_markdown(regressed)
    assert note.startswith("## ❌ NO-GO: Shop")
    assert "Checkout is too slow" in note.splitlines()[2]
    for part in ("### Changes", "### Transactions", "### Evidence", "### Configuration"):
        assert part in note
    assert len(note) < 60_000


def test_markdown_tells_rules_of_one_transaction_apart() -> None:
    """One requirement on a transaction, on its step and in a phase are three lines with three names."""
    story = stored_runs.regressed()
    waiver = Waiver("ticket 12", "payments team", "2026-11-30")
    story.rules = (
        rule("Checkout", "p95 <= 800ms"),
        rule("Checkout", "p95 <= 800ms", step="Confirm"),
        rule("Checkout", "p95 <= 800ms", phase="peak", waiver=waiver),
    )
    note = render_markdown(build_result(story.build_run(), today="2026-11-23"))
    assert "| **failed** | Checkout | `p95 <= 800ms` |" in note
    assert "| passed | Checkout, step Confirm | `p95 <= 800ms` |" in note
    assert "| **failed** | Checkout, phase peak | `p95 <= 800ms` |" in note
    assert "- Checkout, phase peak, `p95 <= 800ms`: in use" in note
    assert "Checkout, phase peak broke p95" in note


def test_the_notes_configuration_has_the_concurrency(regressed: RunResult) -> None:
    """How many transactions may be in flight is part of what was run."""
    assert f"at most {regressed.plan.max_in_flight:,} in flight" in render_markdown(regressed)


def test_a_no_go_says_its_risks_and_what_to_try_first(regressed: RunResult) -> None:
    """Every broken blocking rule is a risk with evidence (since when, from which load, at which step) and advice."""
    risks = [risk for risk in regressed.verdict.risks if risk.code == "rule_broken"]
    assert [risk.text for risk in risks] == [
        f"Checkout (critical) breaks {require}." for require in ("p95 <= 800ms", "p99 <= 1500ms")
    ]
    note = render_markdown(regressed)
    told = note[note.index("### Risks") : note.index("### Changes")]
    assert told.count("Evidence: observed ") == told.count("Suggested: Find what the step Pay waits for") == 2
    assert "since 0:30, from an offered load of 58/s on; slower with load first at the step Pay (median 115 ms" in told
    assert "with traces from 0:30 on" in told
    page = _Page(render_html(regressed)).text
    assert page.index("breaks p95 <= 800ms") < page.index("Suggested: Find what the step Pay waits for")


def test_a_not_proven_says_what_to_do_about_each_weakness() -> None:
    """Late starts, a busy processor and a lagging loop each come with what they mean and a suggestion."""
    result = stored_runs.result_of("saturated")
    unsound = [finding.text for finding in result.evidence.findings if finding.severity == "unsound"]
    risks = [risk for risk in result.verdict.risks if risk.code == "unproven"]
    assert [risk.evidence for risk in risks] == unsound
    assert all(risk.mitigation.endswith("and run again.") for risk in risks)
    note = render_markdown(result)
    assert note[note.index("### Risks") : note.index("### Changes")].count("Suggested: ") == len(unsound) == 3


def test_markdown_keeps_hostile_names_literal(hostile: RunResult) -> None:
    """No HTML, no link, no table break from a name."""
    note = render_markdown(hostile)
    assert "<script" not in note
    assert "<img" not in note
    assert not re.search(r"(?<!\\)\]\(", note)
    for line in note.splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| |")):
            assert line.rstrip().endswith("|")


def test_markdown_reads_well_as_raw_text(regressed: RunResult) -> None:
    """Dates, times, comparisons and names with dashes stand as they are; no escape is left in a usual note."""
    build = regressed.model_copy(update={"build": "shop 4.13.0-rc.1_b"})
    note = render_markdown(build)
    assert "2026-11-23T09:30:00Z" in note
    assert "breaks p95 <= 800ms" in note
    assert "build shop 4.13.0-rc.1_b" in note
    assert "\\" not in note
    assert "&#" not in note.replace("http&#58;//", "")


@pytest.mark.parametrize(
    "text", ["<script>", "a <b", "> quote", ">= quote", "- item", "a_b_", "__a__", ":tada:", "a:b:", "a~b~", "*a*"]
)
def test_markup_is_still_escaped_where_it_would_mean_something(text: str) -> None:
    """What stays is only what cannot begin a list, emphasis, emoji, HTML or quote at its place."""
    assert escape(text) != text


@pytest.mark.parametrize("text", ["# heading", "- item", "+ item"])
def test_a_sentence_that_begins_with_a_hostile_name_begins_nothing(text: str) -> None:
    """Sentences keep most signs, but not at their start, where a name could make a heading or a list."""
    assert sentence(text) == f"\\{text}"
    assert sentence(f"Name {text}") == f"Name {text}"


def test_markdown_of_a_huge_run_is_cut_to_fit() -> None:
    """Hundreds of transactions with long names still fit into one comment, which says what is missing."""
    flows = tuple(Flow(f"{n} " + "long name " * 18, 0.005, failing=lambda s: 0.5) for n in range(200))
    phases = (ArrivalPhase("hold", 400_000, 400_000, 5 * NS_PER_S),)
    story = Story(flows=flows, phases=phases, rules=(rule("*", "success_rate >= 99%"),))
    note = render_markdown(build_result(story.build_run(), today="2026-11-23"))
    assert len(note) <= 60_000
    assert "more" in note


def test_a_comparison_is_shown_on_page_and_note(regressed: RunResult) -> None:
    """What changed since the baseline, with its interval and the least change that could be seen."""
    change = Change(
        transaction="Checkout", metric="p95", baseline=400_000, current=1_490_000, change=2.7, low=2.4, high=3.0,
        judgement="worse", text="Checkout p95 rose by 270 % (240 to 300 %).",
    )  # fmt: skip
    comparison = Comparison(
        baseline_run_id="before", baseline_build="shop 4.12.0", changes=(change,), minimum_detectable_change=0.07
    )
    result = regressed.model_copy(update={"comparison": comparison})
    note, page = render_markdown(result), _Page(render_html(result)).text
    assert "Checkout p95 rose by 270 %" in note
    assert "7 %" in note
    assert "Changes since shop 4.12.0" in page
    assert "+240.0 to +300.0 %" in page


def test_an_incomparable_baseline_says_why(regressed: RunResult) -> None:
    """Another plan is not compared, and both outputs say so."""
    comparison = Comparison(baseline_run_id="b", comparable=False, obstacles=("The plans differ.",))
    result = regressed.model_copy(update={"comparison": comparison})
    assert "The plans differ." in render_markdown(result)
    assert "The plans differ." in _Page(render_html(result)).text


def test_events_are_lines_of_json_in_time_order(tmp_path: Path) -> None:
    """events.jsonl: one object a line."""
    events = (stored_runs.RunEvent(5.0, "b", "later"), stored_runs.RunEvent(-1.0, "a", "before"))
    result = build_result(Story(events=events).build_run(), today="2026-11-23")
    write_outputs(result, None, tmp_path, ["json"])
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["a", "b"]
