"""Progress: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from loadproof_cli.console import Console
from loadproof_cli.progress import ProgressDisplay, plain_line
from loadproof_controller.request import Progress, TransactionProgress

NS_PER_S = 1_000_000_000
CHECKOUT = TransactionProgress("Checkout", 100, 98, 90, 3, 1, 0, 2, 12_300, 45_600)
RUNNING = Progress("r", "running", 12 * NS_PER_S, 30 * NS_PER_S, (CHECKOUT,), 8, 2, 0, 2, "holding")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def world(stream: io.StringIO, **environ: str) -> Console:
    return Console((), {"TERM": "xterm", "COLUMNS": "120", "LINES": "40", **environ}, Path("/"), io.StringIO(), stream)


def test_a_plain_line_says_what_counts() -> None:
    """One line holds the time, delivery, failures, the slowest p95, the rules and the agents."""
    line = plain_line(RUNNING)
    for part in (
        "12s of 30s running",
        "started 98 of 100 due",
        "failed 3",
        "in flight 8",
        "p95 45.6 ms",
        "2 of 2 agents",
    ):
        assert part in line


def test_broken_rules_and_lost_agents_are_named() -> None:
    """A broken rule stands in the line by name, and lost agents by number."""
    line = plain_line(replace(RUNNING, verdict="broken", rules_broken=("Checkout: p95 <= 1ms",), agents_lost=1))
    assert "broken: Checkout: p95 <= 1ms" in line
    assert "1 lost" in line


async def test_plain_lines_come_every_five_seconds_and_at_changes() -> None:
    """Elsewhere than on a terminal a line is printed at each change of phase and then every five seconds."""
    stream = io.StringIO()
    with ProgressDisplay(world(stream)) as display:
        await display.show(replace(RUNNING, phase="preparing", elapsed_ns=None))
        for second in range(12):
            await display.show(replace(RUNNING, elapsed_ns=second * NS_PER_S))
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["preparing,", "0s", "5s", "10s"]


@pytest.mark.parametrize(("environ", "live"), [({}, True), ({"CI": "true"}, False)])
async def test_a_terminal_gets_a_table_unless_in_ci(environ: dict[str, str], live: bool) -> None:
    """On a terminal progress is drawn over itself; with CI set it is plain lines."""
    stream = Terminal()
    with ProgressDisplay(world(stream, **environ)) as display:
        await display.show(RUNNING)
        display.tell("something happened")
        await display.show(RUNNING)
    text = stream.getvalue()
    assert ("\x1b[" in text) == live
    assert "Checkout" in text or not live
    assert "something happened" in text


async def test_names_are_shown_as_they_are() -> None:
    """A transaction's name is text, not markup."""
    stream = Terminal()
    named = replace(CHECKOUT, name="[red]Odd[/] name")
    with ProgressDisplay(world(stream)) as display:
        await display.show(replace(RUNNING, transactions=(named,)))
    assert "[red]Odd[/] name" in stream.getvalue()
