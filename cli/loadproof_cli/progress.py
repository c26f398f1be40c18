"""A run while it goes on: a live table on a terminal, a plain line every few seconds elsewhere. To standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadproof.plan.model import NS_PER_S
from loadproof_cli.console import Console
from loadproof_cli.words import count, duration, latency
from loadproof_controller.request import Progress

PLAIN_EACH_NS = 5 * NS_PER_S
EVENTS_SHOWN_MAX = 6
RULES_SHOWN = 3
BAR_COLUMNS = 40

VERDICT_STYLES = {"holding": "green", "warning": "yellow", "broken": "red", "no rules": "dim"}


class ProgressDisplay:
    """Shows each `Progress` it is given. Enter it around the run; leaving clears the live table away."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console.err, auto_refresh=False, transient=True) if console.live else None
        self._phase = ""
        self._told_ns: int | None = None
        self._events: list[str] = []

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    async def show(self, progress: Progress) -> None:
        """Show the run as it is now."""
        for event in progress.events:
            if event.kind not in QUIET_EVENTS:
                self._tell(event.text)
        if self._live:
            self._live.update(self._table(progress), refresh=True)
        else:
            self._plain(progress)
        self._phase = progress.phase

    def tell(self, text: str) -> None:
        """Say something between two looks at the run."""
        self._tell(text)

    def _tell(self, text: str) -> None:
        if self._live:
            self._events = [*self._events, text][-EVENTS_SHOWN_MAX:]
        else:
            self._console.say(text)

    def _plain(self, progress: Progress) -> None:
        elapsed = progress.elapsed_ns
        changed = progress.phase != self._phase
        due = (
            elapsed is not None and elapsed >= 0 and (self._told_ns is None or elapsed - self._told_ns >= PLAIN_EACH_NS)
        )
        if changed or due:
            self._console.say(plain_line(progress))
            if elapsed is not None and elapsed >= 0:
                self._told_ns = elapsed

    def _table(self, progress: Progress) -> RenderableType:
        parts: list[RenderableType] = [_heading(progress)]
        if progress.elapsed_ns is not None and progress.elapsed_ns >= 0:
            if progress.duration_ns:
                done = min(progress.elapsed_ns, progress.duration_ns)
                parts.append(ProgressBar(total=progress.duration_ns, completed=done, width=BAR_COLUMNS))
            parts.append(_transactions(progress))
        parts += [Text(text, style="dim") for text in self._events]
        return Group(*parts)


QUIET_EVENTS = frozenset({"phase", "progress"})
"""Kinds of event that the display itself already shows."""


def plain_line(progress: Progress) -> str:
    """Return a run at one moment as one line of a log."""
    parts = [progress.phase]
    if progress.elapsed_ns is not None and progress.elapsed_ns >= 0:
        started = sum(transaction.started for transaction in progress.transactions)
        planned = sum(transaction.planned for transaction in progress.transactions)
        failed = sum(transaction.failed for transaction in progress.transactions)
        slowest = max((t.p95_us for t in progress.transactions if t.p95_us is not None), default=None)
        parts[0] = f"{_clock(progress)} {progress.phase}"
        due = f" of {count(planned)} due" if progress.phase == "running" else ""
        parts += [f"started {count(started)}{due}", f"failed {count(failed)}"]
        parts += [f"in flight {count(progress.in_flight)}", f"slowest p95 {latency(slowest)}", _rules(progress)]
    parts.append(_agents(progress))
    return ", ".join(parts)


def _heading(progress: Progress) -> Text:
    text = Text(progress.phase, style="bold")
    if progress.elapsed_ns is not None and progress.elapsed_ns >= 0:
        text.append(f"  {_clock(progress)}", style="")
        text.append(f"  in flight {count(progress.in_flight)}", style="not bold")
        text.append(f"  {_rules(progress)}", style=VERDICT_STYLES[progress.verdict])
    text.append(f"  {_agents(progress)}", style="red" if progress.agents_lost else "not bold dim")
    return text


def _clock(progress: Progress) -> str:
    elapsed = duration(max(0, progress.elapsed_ns or 0) // NS_PER_S * NS_PER_S)
    return f"{elapsed} of {duration(progress.duration_ns)}" if progress.duration_ns else elapsed


def _rules(progress: Progress) -> str:
    if progress.verdict == "no rules":
        return "no rules"
    if not progress.rules_broken:
        return "rules hold"
    more = len(progress.rules_broken) - RULES_SHOWN
    return f"broken: {'; '.join(progress.rules_broken[:RULES_SHOWN])}" + (f" and {more} more" if more > 0 else "")


def _agents(progress: Progress) -> str:
    text = f"{progress.agents_attached} of {progress.agents_wanted} agents"
    return f"{text}, {progress.agents_lost} lost" if progress.agents_lost else text


def _transactions(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("transaction", overflow="ellipsis", no_wrap=True)
    for name in ("due", "started", "completed", "failed", "late", "not run", "p50", "p95"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in progress.transactions:
        table.add_row(
            Text(item.name),
            count(item.planned),
            count(item.started),
            count(item.completed),
            Text(count(item.failed), style="red" if item.failed else ""),
            Text(count(item.late), style="yellow" if item.late else ""),
            Text(count(item.dropped + item.missed), style="yellow" if item.dropped + item.missed else ""),
            latency(item.p50_us),
            latency(item.p95_us),
        )
    return table
