"""A comparison as it is printed: what changed first, then what could not have been seen."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadproof_cli.words import latency
from loadproof_report.result import Change, Comparison, RunResult

STYLES = {"worse": "bold red", "better": "green", "same": "dim", "unclear": "yellow"}
ORDER = {"worse": 0, "better": 1, "unclear": 2, "same": 3}


def comparison_view(result: RunResult, comparison: Comparison, *, steps: bool = False) -> RenderableType:
    """Return all of a comparison; of steps only what changed, unless `steps`."""
    parts: list[RenderableType] = [_heading(result, comparison)]
    if not comparison.comparable:
        return Group(*parts, *(Text(f"  {why}", style="yellow") for why in comparison.obstacles))
    shown = [c for c in comparison.changes if not c.step or steps or c.judgement in ("worse", "better")]
    parts += [Text(), *comparison_lines(comparison), Text(), _table(shown)]
    parts += [Text(), *(Text(note, style="dim") for note in comparison.notes)]
    return Group(*parts)


def comparison_lines(comparison: Comparison) -> list[Text]:
    """Return a comparison in a few sentences, what got worse first."""
    if not comparison.comparable:
        return [Text(why, style="yellow") for why in comparison.obstacles]
    changed = sorted(
        (change for change in comparison.changes if change.judgement in ("worse", "better")),
        key=lambda change: ORDER[change.judgement],
    )
    lines = [Text(change.text, style=STYLES[change.judgement]) for change in changed]
    if not changed:
        lines.append(Text("Nothing changed that these runs could have shown."))
    unseen = comparison.minimum_detectable_change
    if unseen is not None:
        lines.append(Text(f"A change of p95 of less than {unseen:.1%} could not have been seen."))
    return lines


def _heading(result: RunResult, comparison: Comparison) -> Text:
    text = Text.assemble(
        (result.run_id, "bold"), f" (build {result.build or '-'}) against ", (comparison.baseline_run_id, "bold"),
        f" (build {comparison.baseline_build or '-'})",
    )  # fmt: skip
    others = comparison.baselines - 1
    if comparison.comparable and others > 0:
        text.append(f" and {others} more of its baseline")
    if not comparison.comparable:
        text.append(": not comparable", style="bold yellow")
    return text


def _table(changes: list[Change]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("transaction", overflow="fold")
    for name in ("", "baseline", "now", "change", "95 % interval", "unseen below"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    table.add_column("")
    for change in changes:
        name = f"{change.transaction}, step {change.step}" if change.step else change.transaction
        table.add_row(
            Text(name),
            change.metric.replace("_", " "),
            _value(change.metric, change.baseline),
            _value(change.metric, change.current),
            _share(change.metric, change.change),
            _interval(change),
            _share(change.metric, change.detectable, sign=False),
            Text(change.judgement, style=STYLES[change.judgement]),
        )
    return table


def _value(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3%}" if metric == "success_rate" else latency(value)


def _share(metric: str, value: float | None, *, sign: bool = True) -> str:
    if value is None:
        return "-"
    unit = " pt" if metric == "success_rate" else " %"
    return f"{value * 100:{'+' if sign else ''}.{2 if metric == 'success_rate' else 1}f}{unit}"


def _interval(change: Change) -> str:
    if change.low is None or change.high is None:
        return "-"
    return f"{_share(change.metric, change.low)} to {_share(change.metric, change.high)}"
