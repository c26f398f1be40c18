"""`report.html`: one file, no network, nothing in it runs but our own script, whatever the names in the result say."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import Any

import orjson
from jinja2 import BaseLoader, Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from loadproof.rules.model import TAIL_SAMPLES_MIN
from loadproof_report import text
from loadproof_report.degradation import first_to_degrade
from loadproof_report.events import chosen, left_out
from loadproof_report.headroom import knee_sentence
from loadproof_report.html.chartdata import SERIES_MAX, chart_data, drawn_column, sparkline
from loadproof_report.markdown import WORDS
from loadproof_report.result import Latency, RunResult, SampleResult, TransactionResult
from loadproof_report.story import agents_text, worst_first

TONES = {"GO": "go", "GO_WITH_RISK": "risk", "NO_GO": "stop", "NOT_PROVEN": "open"}
ERRORS_SHOWN = 15
"""Most kinds of error shown of a transaction, the most frequent ones; run.json holds more."""
ERRORS_MAX = 200
"""Kinds of error on the whole page, dealt evenly to the transactions that fail; three of each are shown in any case."""
EVENTS_SHOWN = 100
"""Events on the page."""
SAMPLE_BYTES_MAX = 150_000
"""Bytes of request and response samples on the whole page, as they stand in it."""


def render_html(result: RunResult) -> str:
    """Return the page. Offline, with a Content-Security-Policy that allows its own script and style by hash only."""
    style, script = asset("vendor/uPlot.min.css") + asset("report.css"), _script()
    charts = chart_data(result)
    events = chosen(result.events, EVENTS_SHOWN)
    kinds = kinds_shown(sum(bool(transaction.errors) for transaction in result.transactions))
    context: dict[str, Any] = {
        "r": result,
        "word": WORDS[result.verdict.decision],
        "tone": TONES[result.verdict.decision],
        "policy": _policy(style, script),
        "style": Markup(style),  # noqa: S704  our own file
        "script": Markup(script),  # noqa: S704  our own files
        "data": Markup(embeddable(charts)),  # noqa: S704  `<`, `>` and `&` are written as \u escapes
        "flows": [_flow(result, index, charts, kinds) for index in worst_first(result)],
        "tags": sorted({tag for transaction in result.transactions for tag in transaction.tags}),
        "grades": [
            g for g in ("critical", "high", "normal", "low") if any(t.criticality == g for t in result.transactions)
        ],
        "facts": _facts(result),
        "slows_first": first_to_degrade(result.transactions),
        "rules_open": [rule for rule in result.rules if rule.status != "passed"],
        "rules_held": [rule for rule in result.rules if rule.status == "passed"],
        "samples": _SampleBudget(),
        "errors_shown": kinds,
        "kinds_all": sum(len(transaction.errors) for transaction in result.transactions),
        "events": events,
        "events_more": left_out(len(events), len(result.events), result.events_total),
        "series_max": SERIES_MAX,
        "bound": text.share_text(round(result.percentile_error_bound, 3)),
    }
    return _environment().get_template("report.html.j2").render(context)


def kinds_shown(failing: int) -> int:
    """Return how many kinds of error each of `failing` transactions may show."""
    return min(ERRORS_SHOWN, max(3, ERRORS_MAX // max(failing, 1)))


def embeddable(value: Any) -> str:
    """Return JSON that may stand inside a script element: no `<`, `>`, `&` or line separators of JavaScript."""
    raw = orjson.dumps(value).decode()
    for char in "<>&\u2028\u2029":
        raw = raw.replace(char, f"\\u{ord(char):04x}")
    return raw


@functools.cache
def asset(name: str) -> str:
    """Return the text of one of this folder's files: template, style or script."""
    return (importlib.resources.files("loadproof_report.html") / name).read_text(encoding="utf-8")


@functools.cache
def _script() -> str:
    script = "\n".join(asset(name) for name in ("vendor/uPlot.iife.min.js", "charts.js", "report.js"))
    assert "</script" not in script.lower()
    assert "<!--" not in script
    return script


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


@functools.cache
def _environment() -> Environment:
    return environment(FunctionLoader(asset))


def environment(loader: BaseLoader) -> Environment:
    """Return Jinja with the report's filters and escaping, for whatever shares its look."""
    made = Environment(
        autoescape=True,
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        duration=text.duration_text,
        seconds=text.seconds_text,
        clock=text.clock_text,
        share=text.share_text,
        rate=text.rate_text,
        count=text.count_text,
        bytes=text.bytes_text,
        value=text.value_text,
        unbroken=text.unbroken,
        agents=agents_text,
        json=lambda value: orjson.dumps(value).decode(),
    )
    made.tests["weak"] = _weak
    made.globals["plural"] = text.plural
    return made


QUANTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}


def _weak(latency: Latency, name: str) -> bool:
    """Say whether too few samples lie beyond a percentile to trust it."""
    return name in QUANTILES and 0 < round(latency.count * (1 - QUANTILES[name]), 6) < TAIL_SAMPLES_MIN


def _flow(result: RunResult, index: int, charts: dict[str, Any], kinds: int) -> dict[str, Any]:
    transaction = result.transactions[index]
    rules = [rule for rule in result.rules if rule.transaction == transaction.name]
    states = {rule.status for rule in rules if rule.severity == "block"}
    if "failed" in states:
        state = ("bad", "broken")
    elif "no_data" in states:
        state = ("open", "no data")
    elif any(rule.status != "passed" for rule in rules):
        state = ("warn", "warning")
    else:
        state = ("good", "holds") if rules else ("", "no rule")
    # What only failed has no percentile in the table, so no line of them either.
    drawn = index < SERIES_MAX and transaction.failed < transaction.count
    series = charts["series"][index + 1] if drawn else None
    return {
        "index": index,
        "t": transaction,
        "shown": transaction.judged or transaction,
        "rules": rules,
        "state": state,
        "spark": sparkline(drawn_column(series, "p95")) if series else "",
        "max_errors": transaction.errors[:kinds],
        "headline": _headline(transaction),
        "knee": knee_sentence(result, transaction),
    }


def _headline(transaction: TransactionResult) -> str:
    part = transaction.judged or transaction
    latency = part.response_time_us
    failed = f"{part.failed:,} failed" if part.failed else "none failed"
    p95 = f"p95 {text.duration_text(latency.p95)}" if latency.p95 is not None else "no latency"
    return f"{text.plural(part.count, 'run')} · {failed} · {p95}"


def _facts(result: RunResult) -> list[tuple[str, str, str]]:
    failed = sum(transaction.failed for transaction in result.transactions)
    delivery = result.delivery
    everyone = delivery.completed
    blocking = [rule for rule in result.rules if rule.severity == "block"]
    held = sum(rule.status == "passed" for rule in blocking)
    weak = [finding for finding in result.evidence.findings if finding.severity == "unsound"]
    peak = max((interval.planned / interval.interval_s for interval in result.timeline), default=0.0)
    in_time = delivery.started - delivery.late
    return [
        ("Blocking rules held", f"{held} of {len(blocking)}" if blocking else "none set", ""),
        (
            "Transactions failed",
            text.share_text(failed / everyone) if everyone else "–",
            f"{text.count_text(failed)} of {text.count_text(everyone)}",
        ),
        ("Highest load offered", text.rate_text(peak), f"over {text.seconds_text(result.duration_s)}"),
        (
            "Started in time",
            text.share_text(in_time / delivery.planned) if delivery.planned else "–",
            f"of {text.count_text(delivery.planned)} planned",
        ),
        (
            "Evidence",
            "sound" if result.evidence.sound else "unsound",
            text.plural(len(weak), "finding") if weak else "",
        ),
    ]


class _SampleBudget:
    """Lets samples onto the page until they would make it too big."""

    def __init__(self) -> None:
        self._left = SAMPLE_BYTES_MAX

    def fitting(self, samples: Sequence[SampleResult]) -> list[SampleResult]:
        """Return those that still fit, and count them."""
        return [sample for sample in samples if self._take(sample)]

    def _take(self, sample: SampleResult) -> bool:
        size = sum(len(escape(part).encode()) for part in (sample.request, sample.response, sample.detail))
        if size > self._left:
            return False
        self._left -= size
        return True
