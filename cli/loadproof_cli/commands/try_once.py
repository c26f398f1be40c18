"""`loadproof try`: each transaction once, step by step, as it would run under load."""

from __future__ import annotations

import asyncio
import difflib
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from loadproof.config import Project, secret_values
from loadproof_cli.console import Console, console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.suites import AllowRequirementsOption, SuiteArgument, load
from loadproof_cli.trial import CheckTried, Failure, RequestTried, StepTried, Trial, Trials
from loadproof_cli.words import count, latency

EXAMPLES = """[bold]Examples[/]

loadproof try                              each transaction of the suite in this folder

loadproof try shop -t Checkout --row 3     one of them, with the third row of its data

[bold]Exit codes[/]

0 all went well, 1 a transaction failed, 2 usage or configuration, 5 set-up or teardown failed
"""


def try_once(
    context: typer.Context,
    suite: SuiteArgument = Path(),
    transaction: Annotated[
        list[str] | None, typer.Option("--transaction", "-t", metavar="NAME", help="Only this one; may be repeated.")
    ] = None,
    row: Annotated[int, typer.Option(min=1, help="Which row of its data each one gets.")] = 1,
    allow_requirements: AllowRequirementsOption = False,
) -> int:
    """Run each transaction once, without load, and show its steps, requests and checks."""
    console = console_of(context)
    project = load(console, suite, allow_requirements=allow_requirements)
    names = _chosen(project, transaction or [])
    trials = Trials(project, secret_values(project, console.environ))
    done = asyncio.run(trials.run([project.suite.transactions[name] for name in names], row - 1))
    for trial in done:
        _show(console, trial)
    failed = sum(not trial.ok for trial in done)
    console.line(f"{count(len(done))} tried, {count(failed)} failed")
    return ExitCode.NO_GO if failed else ExitCode.OK


def _chosen(project: Project, wanted: list[str]) -> list[str]:
    known = list(project.suite.transactions)
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(known)}"
            raise UsageProblem(f'unknown transaction "{name}" ({hint})')
    return list(dict.fromkeys(wanted)) or known


def _show(console: Console, trial: Trial) -> None:
    heading = Text.assemble((trial.name, "bold"), "  ", _outcome(ok=trial.ok), f"  {latency(trial.took_ns // 1_000)}")
    console.result(heading)
    if trial.row:
        console.result(Text(f"  row {trial.row}", style="dim"))
    for step in trial.steps:
        _show_step(console, step)
    console.line("")


def _show_step(console: Console, step: StepTried) -> None:
    took = latency(step.service_ns // 1_000) if step.service_ns is not None else ""
    console.result(Text.assemble(f"  {step.name}  ", _outcome(ok=step.ok), f"  {took}"))
    for event in step.events:
        if isinstance(event, RequestTried):
            _show_request(console, event)
        elif isinstance(event, CheckTried):
            said = event.name if event.held else event.message
            console.result(
                Text(f"      {'holds' if event.held else 'BROKEN'}  {said}", style="" if event.held else "red")
            )
        elif isinstance(event, Failure):
            console.result(Text(f"      {event.category}: {event.message}", style="red"))


def _show_request(console: Console, request: RequestTried) -> None:
    what = f"{request.status}, {count(request.size_bytes)} bytes" if request.status else request.error
    style = "red" if request.status == 0 or request.status >= 400 else ""
    console.result(Text(f"    {request.endpoint}  {what}, {latency(request.service_ns // 1_000)}", style=style))
    if request.body:
        console.result(Text(f"      {request.body}", style="dim"))


def _outcome(*, ok: bool) -> tuple[str, str]:
    return ("ok", "green") if ok else ("FAILED", "bold red")
