"""A finished run as it is printed to standard output: a table by transaction, the rules, the evidence, the verdict."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadproof_cli.comparison_view import comparison_lines
from loadproof_cli.words import count, latency, percent
from loadproof_report.blockers import CODES
from loadproof_report.result import RunResult
from loadproof_report.text import plural, seconds_text

VERDICT_WORDS = {"GO": "GO", "GO_WITH_RISK": "GO WITH RISK", "NO_GO": "NO-GO", "NOT_PROVEN": "NOT PROVEN"}
VERDICT_STYLES = {"GO": "bold green", "GO_WITH_RISK": "bold yellow", "NO_GO": "bold red", "NOT_PROVEN": "bold magenta"}
RULE_STYLES = {"passed": "green", "failed": "red", "no_data": "magenta"}
RULE_WORDS = {"passed": "holds", "failed": "broken", "no_data": "no data"}

ERRORS_SHOWN_MAX = 5
RISKS_SHOWN_MAX = 8


def terminal_summary(result: RunResult) -> RenderableType:
    """Return what `loadproof run` and `loadproof report` print of a run."""
    parts: list[RenderableType] = [_heading(result), Text(), _transactions(result)]
    errors = _errors(result)
    if errors is not None:
        parts += [Text(), errors]
    if result.rules:
        parts += [Text(), _rules(result)]
    if result.comparison is not None:
        against = f"Against {result.comparison.baseline_run_id} (build {result.comparison.baseline_build or '-'}):"
        parts += [Text(), Text(against, style="dim"), *comparison_lines(result.comparison)]
    parts += [Text(), *_verdict(result)]
    return Group(*parts)


def _heading(result: RunResult) -> Text:
    delivery = result.delivery
    text = Text.assemble((result.suite, "bold"), f", profile {result.profile}, build {result.build or '-'}")
    text.append(f"\n{result.run_id}: {result.status}, {seconds_text(result.duration_s)} on {len(result.fleet)} ")
    text.append("agent" if len(result.fleet) == 1 else "agents")
    text.append(f"\nplanned {count(delivery.planned)}, started {count(delivery.started)}")
    for name in ("late", "dropped", "missed", "lost"):
        number = getattr(delivery, name)
        text.append(f", {name} ")
        text.append(count(number), style="bold yellow" if number else "")
    return text


def _transactions(result: RunResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("transaction", overflow="fold")
    for name in ("count", "failed", "success", "p50", "p95", "p99", "max", "service p95"):
        table.add_column(name, justify="right", no_wrap=True)
    for transaction in result.transactions:
        part = transaction.judged or transaction
        response = part.response_time_us
        table.add_row(
            Text(transaction.name),
            count(part.count),
            Text(count(part.failed), style="red" if part.failed else ""),
            percent(part.success_rate),
            latency(response.p50),
            latency(response.p95),
            latency(response.p99),
            latency(response.max),
            latency(part.service_time_us.p95),
        )
    if any(transaction.judged for transaction in result.transactions):
        table.caption, table.caption_justify = "without warm-up", "left"
    return table


def _errors(result: RunResult) -> Table | None:
    found = [(transaction, error) for transaction in result.transactions for error in transaction.errors]
    if not found:
        return None
    found.sort(key=lambda pair: (-pair[1].count, pair[0].name, pair[1].message))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("failed", justify="right")
    for name in ("transaction", "step", "kind", "what"):
        table.add_column(name, overflow="fold")
    for transaction, error in found[:ERRORS_SHOWN_MAX]:
        table.add_row(
            count(error.count), Text(transaction.name), Text(error.step), Text(error.category), Text(error.message)
        )
    if len(found) > ERRORS_SHOWN_MAX:
        more = plural(len(found) - ERRORS_SHOWN_MAX, "more kind")
        table.add_row("", Text(f"and {more} in the report", style="dim"))
    if any(transaction.judged for transaction in result.transactions):
        table.caption, table.caption_justify = "with warm-up", "left"
    return table


def _rules(result: RunResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("rule", "requires", "severity", "observed", ""):
        table.add_column(name, overflow="fold")
    for rule in result.rules:
        status = Text(RULE_WORDS[rule.status], style=RULE_STYLES[rule.status])
        if rule.waiver is not None and rule.waiver.active and rule.status != "passed":
            status.append(f", waived until {rule.waiver.until}", style="yellow")
        observed = rule.observed_text or rule.detail or "-"
        table.add_row(Text(rule.scope), Text(rule.require), rule.severity, Text(observed), status)
    return table


def _verdict(result: RunResult) -> list[Text]:
    decision = result.verdict.decision
    lines = [Text.assemble("Verdict: ", (VERDICT_WORDS[decision], VERDICT_STYLES[decision]))]
    lines += [Text(f"  {reason}") for reason in result.verdict.reasons]
    told = set(result.verdict.reasons)
    others = [risk for risk in result.verdict.risks if risk.severity != "note" and risk.code not in CODES]
    risks = [risk for risk in others if risk.text not in told]
    lines += [Text(f"  risk: {risk.text}", style="yellow") for risk in risks[:RISKS_SHOWN_MAX]]
    if len(risks) > RISKS_SHOWN_MAX:
        lines.append(Text(f"  and {plural(len(risks) - RISKS_SHOWN_MAX, 'more risk')} in the report", style="dim"))
    return lines
