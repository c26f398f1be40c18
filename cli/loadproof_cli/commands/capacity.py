"""`loadproof capacity`: searches for the highest load at which rules hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadproof_cli.console import console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.suites import AllowRequirementsOption, ProfileOption, SuiteArgument, choose_profile, load

EXAMPLES = """[bold]Examples[/]

loadproof capacity -p release --from 50/s --to 2000/s      by the profile's own rules

loadproof capacity --rule "Checkout: p95 <= 800ms" --rule "success_rate >= 99.5%" --from 50/s --to 2000/s

[bold]Exit codes[/]

0 an answer: the highest load, or at least --to, 1 broken at --from already, 2 wrong usage, 3 NOT PROVEN (the load
generator gave out, or too few samples), 4 aborted by a person, 5 infrastructure
"""


def capacity(
    context: typer.Context,
    suite: SuiteArgument = Path(),
    profile: ProfileOption = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE", help='Such as "Checkout: p95 <= 800ms"; may be repeated; else the profile\'s rules.'
        ),
    ] = None,
    low: Annotated[str, typer.Option("--from", metavar="RATE", help="The lowest load, such as 50/s.")] = "10/s",
    high: Annotated[str, typer.Option("--to", metavar="RATE", help="The highest load to try.")] = "1000/s",
    hold: Annotated[str, typer.Option("--hold", metavar="TIME", help="How long each step is judged.")] = "20s",
    settle: Annotated[str, typer.Option("--settle", metavar="TIME", help="Before that, not judged.")] = "5s",
    precision: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="How near the loads that hold and break must come, as a share.")
    ] = 0.1,
    confirmations: Annotated[
        int, typer.Option("--confirm", min=0, max=10, help="How often the load must hold again.")
    ] = 2,
    agents: Annotated[int, typer.Option(min=1, max=64, help="Agents to start on this machine.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Worker processes of each agent.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where files go.", show_default="runs/RUN_ID")
    ] = None,
    build: Annotated[str | None, typer.Option(help="The build under test, for the report.")] = None,
    allow_requirements: AllowRequirementsOption = False,
) -> int:
    """Search for the highest load at which rules hold: up until one breaks, then between, then that load again."""
    from loadproof_cli.capacity_runs import CapacityRun, find_capacity, parse_rule, read_rate, read_time
    from loadproof_report.capacity import Limits

    console = console_of(context)
    rules = tuple(parse_rule(text) for text in rule or ())
    lowest, highest = read_rate("--from", low), read_rate("--to", high)
    if lowest > highest:
        raise UsageProblem(f"--from {low} is more than --to {high}; nothing was started.")
    project = load(console, suite, allow_requirements=allow_requirements)
    return find_capacity(
        console,
        CapacityRun(
            project=project,
            profile=choose_profile(project, profile),
            rules=rules,
            limits=Limits(lowest, highest, precision=precision, confirmations=confirmations),
            hold_ns=read_time("--hold", hold),
            settle_ns=read_time("--settle", settle),
            agents=agents,
            workers=workers,
            out=out,
            build=build,
            allow_requirements=allow_requirements,
        ),
    )
