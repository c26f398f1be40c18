"""`report.md`: the release-risk note. Fits a pull-request comment, and says first what was decided and why."""

from __future__ import annotations

from loadproof_report.degradation import first_to_degrade
from loadproof_report.headroom import knee_sentence
from loadproof_report.result import RuleResult, RunResult
from loadproof_report.story import worst_first
from loadproof_report.text import (
    clean,
    count_text,
    duration_text,
    plural,
    rate_text,
    seconds_text,
    share_text,
)

BYTES_MAX = 60_000
"""A pull-request comment holds 65,536 characters; what does not fit is left out with a note."""
RISKS_MAX = 8
RULES_MAX = 40
KNEES_MAX = 3
STORIES_MAX = 5
CHANGES_MAX = 10
NOTES_MAX = 5
FINDINGS_MAX = 10
DATASETS_MAX = 10
TRANSACTIONS_MAX = 30
WORDS = {"GO": "GO", "GO_WITH_RISK": "GO WITH RISK", "NO_GO": "NO-GO", "NOT_PROVEN": "NOT PROVEN"}
ICONS = {"GO": "✅", "GO_WITH_RISK": "⚠️", "NO_GO": "❌", "NOT_PROVEN": "❔"}
_MARKUP = frozenset("\\`*_{}[]()#+-!~")
"""Characters that a backslash makes literal."""
_ENTITIES = frozenset("<>&@|:")
"""Characters written as entities: HTML, mentions, table cells and links recognised on their own."""
_IN_SENTENCE = frozenset("()#+-!{}:")
"""Of both, what may stand as it is within our own sentences."""


def escape(text: str) -> str:
    """Return hostile text as literal Markdown on one line: no markup, link, mention, table break or HTML."""
    return _escape(clean(text, 500), frozenset())


def sentence(text: str) -> str:
    """Return one of our own sentences, with names in it, escaped so that it still reads well in plain text."""
    return _escape(clean(text, 1_000), _IN_SENTENCE).replace("://", "&#58;//")


def _escape(text: str, kept: frozenset[str]) -> str:
    out = []
    for index, char in enumerate(text):
        begins = not index and char in "#+-"  # a heading or a list, also within a list
        if (char in kept and not begins) or char not in _MARKUP | _ENTITIES or _plain(text, index):
            out.append(char)
        else:
            out.append(f"&#{ord(char)};" if char in _ENTITIES else f"\\{char}")
    return "".join(out)


def _plain(text: str, index: int) -> bool:
    """Return whether a character means nothing where it stands: within a word, a date, a time or before `=`.

    There it begins no list, emphasis, emoji, HTML or quote, and the note stays readable as raw text.
    """
    char, before, after = text[index], text[index - 1 : index], text[index + 1 : index + 2]
    if char in "-_+":
        return before.isalnum() and after.isalnum()
    if char == ":":
        return before.isdigit() and after.isdigit()
    return char in "<>" and bool(before) and after == "="


def render_markdown(result: RunResult) -> str:
    """Return the note, at most `BYTES_MAX` characters."""
    parts = [_head(result), _risks(result), _stories(result), _waivers(result), _changes(result)]
    parts += [_rules(result), _transactions(result), _evidence(result), _configuration(result)]
    text = ""
    left_out = False
    for part in parts:
        if not part:
            continue
        if len(text) + len(part) + 200 > BYTES_MAX:
            left_out = True
            continue
        text += part + "\n\n"
    if left_out:
        text += "_Some parts did not fit here; `report.html` has everything._\n"
    return text.rstrip() + "\n"


def _head(result: RunResult) -> str:
    decision = result.verdict.decision
    build = f" · build {escape(result.build)}" if result.build else ""
    lines = [
        f"## {ICONS[decision]} {WORDS[decision]}: {escape(result.suite)}, profile {escape(result.profile)}{build}",
        "",
        f"**{sentence(result.verdict.reasons[0])}**" if result.verdict.reasons else "",
    ]
    lines += [f"- {sentence(reason)}" for reason in result.verdict.reasons[1:]]
    return "\n".join(lines)


def _risks(result: RunResult) -> str:
    if not result.verdict.risks:
        return ""
    lines = ["### Risks", ""]
    for risk in result.verdict.risks[:RISKS_MAX]:
        lines.append(f"- **{sentence(risk.text)}**" if risk.severity != "note" else f"- {sentence(risk.text)}")
        if risk.evidence:
            lines.append(f"  - Evidence: {sentence(risk.evidence)}")
        if risk.mitigation:
            lines.append(f"  - Suggested: {sentence(risk.mitigation)}")
    return "\n".join([*lines, *_more(len(result.verdict.risks), RISKS_MAX, "risk")])


def _stories(result: RunResult) -> str:
    if not result.stories:
        return ""
    told = result.stories[:STORIES_MAX]
    kinds = sum(len(transaction.errors) for transaction in result.transactions)
    aside = ["In the whole run, warm-up too.", ""] if any(t.judged for t in result.transactions) else []
    lines = ["### What failed", "", *aside, *(f"- {sentence(story.text)}" for story in told)]
    return "\n".join([*lines, *_more(kinds, len(told), "kind of failure", "kinds of failure")])


def _waivers(result: RunResult) -> str:
    waived = [rule for rule in result.rules if rule.waiver is not None]
    if not waived:
        return ""
    lines = ["### Waivers", ""]
    for rule in waived[:RISKS_MAX]:
        assert rule.waiver is not None
        state = (
            "in use"
            if rule.waiver.active and rule.status == "failed"
            else "not needed"
            if rule.waiver.active
            else "expired"
        )
        lines.append(
            f"- {escape(rule.scope)}, `{_code(rule.require)}`: {state}, until {escape(rule.waiver.until)}, "
            f"{escape(rule.waiver.owner)}: {sentence(rule.waiver.reason)}"
        )
    return "\n".join([*lines, *_more(len(waived), RISKS_MAX, "waiver")])


def _changes(result: RunResult) -> str:
    comparison = result.comparison
    if comparison is None:
        return "### Changes\n\nNot compared: no baseline was given or set."
    lines = [f"### Changes since {escape(comparison.baseline_build or comparison.baseline_run_id)}", ""]
    if not comparison.comparable:
        return "\n".join([*lines, *(f"- {sentence(why)}" for why in comparison.obstacles)])
    told = [change for change in comparison.changes if change.judgement in ("worse", "better")]
    told.sort(key=lambda change: change.judgement == "better")
    lines += [f"- {sentence(change.text or f'{change.transaction} {change.metric}')}" for change in told[:CHANGES_MAX]]
    lines += _more(len(told), CHANGES_MAX, "change")
    if not told:
        lines.append("- Nothing changed beyond the noise of the runs.")
    if comparison.minimum_detectable_change is not None:
        lines.append(
            "- This pair of runs could not have seen a change of p95 of less than "
            f"{share_text(round(comparison.minimum_detectable_change, 3))}."
        )
    lines += [f"- {sentence(note)}" for note in comparison.notes[:NOTES_MAX]]
    return "\n".join([*lines, *_more(len(comparison.notes), NOTES_MAX, "note")])


def _rules(result: RunResult) -> str:
    if not result.rules:
        return ""
    lines = ["### Rules", "", "| | transaction | rule | observed |", "|---|---|---|---|"]
    order = {"failed": 0, "no_data": 1, "passed": 2}
    lines += [
        f"| {_mark(rule)} | {escape(rule.scope)} | `{_code(rule.require)}` | {escape(rule.observed_text)} |"
        for rule in sorted(result.rules, key=lambda rule: order[rule.status])[:RULES_MAX]
    ]
    lines_after = ["", "In a rule a failed transaction ranks slower than any limit; warm-up phases are not judged."]
    if len(result.rules) > RULES_MAX:
        lines.append(f"| | and {plural(len(result.rules) - RULES_MAX, 'more rule')} in report.html | | |")
    return "\n".join([*lines, *lines_after])


def _mark(rule: RuleResult) -> str:
    if rule.status == "passed":
        return "passed"
    word = "no data" if rule.status == "no_data" else "**failed**"
    return f"{word} (warning)" if rule.severity == "warn" else word


def _transactions(result: RunResult) -> str:
    lines = [
        "### Transactions",
        "",
        "| transaction | criticality | count | failed | p50 | p95 | p99 |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    ranked = [result.transactions[index] for index in worst_first(result)]
    for t in ranked[:TRANSACTIONS_MAX]:
        part = t.judged or t
        latency = part.response_time_us
        lines.append(
            f"| {escape(t.name)} | {escape(t.criticality)} | {count_text(part.count)} | {count_text(part.failed)} | "
            f"{duration_text(latency.p50)} | {duration_text(latency.p95)} | {duration_text(latency.p99)} |"
        )
    if len(ranked) > TRANSACTIONS_MAX:
        more = plural(len(ranked) - TRANSACTIONS_MAX, "more transaction")
        lines.append(f"| and {more} in report.html | | | | | | |")
    lines += [
        "",
        "Response times of successful transactions, from the intended start; at most 0.1 % too high, never too low."
        + (" Warm-up is left out." if any(t.judged for t in ranked) else ""),
    ]
    climbing = [t for t in ranked[:TRANSACTIONS_MAX] if t.knee_per_s is not None or t.failing_per_s is not None]
    knees = climbing[:KNEES_MAX]
    if knees:
        lines += ["", sentence(first_to_degrade(result.transactions))]
        lines += ["", *(f"- {sentence(t.name)}: {sentence(knee_sentence(result, t))}" for t in knees)]
        lines += _more(len(climbing), KNEES_MAX, "transaction")
    return "\n".join(lines)


def _evidence(result: RunResult) -> str:
    lines = [f"### Evidence: {'sound' if result.evidence.sound else 'unsound'}", ""]
    d = result.delivery
    lines.append(
        f"- {count_text(d.planned)} planned, {count_text(d.started)} started ({count_text(d.late)} late), "
        f"{count_text(d.dropped)} dropped, {count_text(d.missed)} missed, {count_text(d.lost)} lost."
    )
    findings = result.evidence.findings
    lines += [f"- {sentence(finding.text)}" for finding in findings[:FINDINGS_MAX]]
    return "\n".join([*lines, *_more(len(findings), FINDINGS_MAX, "finding")])


def _configuration(result: RunResult) -> str:
    plan, agents = result.plan, result.fleet
    peak = max((max(p.rate_from or 0, p.rate_to or 0) for p in plan.phases), default=0)
    users = max((max(p.users_from or 0, p.users_to or 0) for p in plan.phases), default=0)
    load = f"up to {plural(users, 'user')}"
    if plan.model == "open":
        load = f"up to {rate_text(peak)}, at most {count_text(plan.max_in_flight)} in flight"
    data = ", ".join(
        f"{escape(d.name)} ({count_text(d.rows)} rows, {_code(d.sha256[:12])})" for d in result.datasets[:DATASETS_MAX]
    )
    if len(result.datasets) > DATASETS_MAX:
        data += f" and {plural(len(result.datasets) - DATASETS_MAX, 'more dataset')}"
    rows = [
        ("Run", f"`{_code(result.run_id)}`, {escape(result.started_at)}, {seconds_text(result.duration_s)}"),
        ("Load", f"{load}, {plural(len(plan.phases), 'phase')}, seed {plan.seed}"),
        ("Target", f"{escape(result.environment.name)} {escape(result.environment.base_url)}".strip()),
        ("Agents", f"{len(agents)} with {plural(sum(a.workers for a in agents), 'worker')}"),
        ("Data", data or "none"),
        ("Plan", f"`{_code(plan.sha256[:16])}`"),
        ("Suite", f"`{_code((result.bundle.git_revision or result.bundle.sha256)[:16])}`"
         + (" with uncommitted changes" if result.bundle.git_dirty else "")),
        ("Packages", f"lock `{_code(result.bundle.requirements_sha256[:16])}`"
         if result.bundle.requirements_sha256 else ""),
        ("Loadproof", escape(result.tool_version)),
    ]  # fmt: skip
    return "\n".join(
        ["### Configuration", "", "| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows if text)]
    )


def _more(count: int, shown: int, one: str, many: str | None = None) -> list[str]:
    """Return the line that says how many are not told here and where they are; none where all are told."""
    return (
        [f"- and {plural(count - shown, f'more {one}', many and f'more {many}')} in report.html"]
        if count > shown
        else []
    )


def _code(text: str) -> str:
    return clean(text, 120).replace("`", "'").replace("|", "\\|")
