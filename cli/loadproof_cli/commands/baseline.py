"""`loadproof baseline`: names the last stable run of a suite's profile."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from loadproof_cli.console import console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.stores import StoreOption, find_files, open_store, result_problem
from loadproof_cli.summary import VERDICT_STYLES, VERDICT_WORDS
from loadproof_cli.words import count, latency, percent

EXAMPLES = """[bold]Examples[/]

loadproof baseline set runs/20261123-150405-release-3f9a    runs of its profile are compared with it from now on

loadproof baseline set A B C    three runs of one build, which show how much runs differ

loadproof baseline show         what it measured
"""

app = typer.Typer(help="Name the last stable run, which later ones are compared with.", no_args_is_help=True)

NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="What to call it; one for each profile.")]
SuiteOption = Annotated[str | None, typer.Option("--suite", metavar="NAME", help="Only this suite.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", "-p", metavar="NAME", help="Only this profile.")]


@app.command("set", epilog=EXAMPLES)
def set_(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="A run, or several of one build, newest first.")],
    name: NameOption = "stable",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also runs that ended in NO-GO or NOT PROVEN, or that nothing can be compared with."
        ),
    ] = False,
    store: StoreOption = None,
) -> int:
    """Name runs as the baseline of their suite and profile; runs not in the history yet are recorded."""
    from loadproof_report import ResultError
    from loadproof_report.history import StoreError

    console = console_of(context)
    with open_store(console, store, create=True) as opened:
        assert opened is not None
        found = [find_files(console, run, opened) for run in runs]
        ids = []
        for files in found:
            try:
                stored = files.parse()
                if stored.result.verdict.decision not in ("GO", "GO_WITH_RISK") and not force:
                    said = VERDICT_WORDS[stored.result.verdict.decision]
                    text = f"{stored.result.run_id} ended in {said}: no stable run."
                    raise UsageProblem(text, hint="--force takes it all the same.")
                if stored.intervals is None and not force:
                    text = f"{stored.missing}; nothing could be compared with it."
                    raise UsageProblem(text, hint="Take another copy of the run; --force takes it all the same.")
                opened.record(files)
            except ResultError as error:
                raise result_problem(console, error) from error
            except StoreError as error:
                raise UsageProblem(str(error)) from error
            if stored.intervals is None:
                console.say(f"warning: {stored.missing}; nothing can be compared with it", style="yellow")
            ids.append(stored.result.run_id)
        made = opened.set_baseline(ids, name)
    console.line(f"{made.name} of {made.suite}, profile {made.profile}: {', '.join(made.run_ids)}")
    return ExitCode.OK


@app.command("list", epilog=EXAMPLES)
def list_(
    context: typer.Context, suite: SuiteOption = None, profile: ProfileOption = None, store: StoreOption = None
) -> int:
    """List the baselines that are set."""
    console = console_of(context)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("suite", "profile", "name", "run", "build", "set at"):
        table.add_column(name, overflow="fold")
    with open_store(console, store) as opened:
        found = opened.baselines(suite=suite, profile=profile) if opened is not None else []
        for baseline in found:
            for run_id in baseline.run_ids:
                assert opened is not None
                entry = opened.entry(run_id)
                cells = (baseline.suite, baseline.profile, baseline.name, run_id, entry.build or "-", baseline.set_at)
                table.add_row(*map(Text, cells))
    if found:
        console.result(table)
    else:
        console.line("No baseline is set.")
    return ExitCode.OK


@app.command("show", epilog=EXAMPLES)
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The baseline's name.")] = "stable",
    suite: SuiteOption = None,
    profile: ProfileOption = None,
    store: StoreOption = None,
) -> int:
    """Show the runs of a baseline and what they measured."""
    console = console_of(context)
    with open_store(console, store) as opened:
        all_ = opened.baselines(suite=suite, profile=profile) if opened is not None else []
        found = [baseline for baseline in all_ if baseline.name == name]
        if opened is None or not found:
            raise UsageProblem(f"no baseline {name} is set.", hint="Set one with: loadproof baseline set RUN.")
        for baseline in found:
            console.result(
                Text.assemble((f"{baseline.name}", "bold"), f" of {baseline.suite}, profile {baseline.profile}")
            )
            for run_id in baseline.run_ids:
                entry = opened.entry(run_id)
                line = Text(f"{run_id}, build {entry.build or '-'}, {entry.started_at[:16].replace('T', ' ')}: ")
                line.append(VERDICT_WORDS[entry.decision], style=VERDICT_STYLES[entry.decision])
                console.result(line)
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            table.add_column("transaction", overflow="fold")
            for column in ("count", "success", "p50", "p95", "p99"):
                table.add_column(column, justify="right", no_wrap=True)
            for point in opened.trend(baseline.run_ids[:1]):
                share = 1 - point.failed / point.completed if point.completed else None
                times = (latency(point.p50_us), latency(point.p95_us), latency(point.p99_us))
                table.add_row(Text(point.name), count(point.completed), percent(share), *times)
            console.result(table)
    return ExitCode.OK


@app.command("unset", epilog=EXAMPLES)
def unset(
    context: typer.Context,
    suite: Annotated[str, typer.Option("--suite", metavar="NAME", help="Of this suite.")],
    profile: Annotated[str, typer.Option("--profile", "-p", metavar="NAME", help="Of this profile.")],
    name: NameOption = "stable",
    store: StoreOption = None,
) -> int:
    """Forget a baseline's name; its runs stay in the history."""
    console = console_of(context)
    with open_store(console, store) as opened:
        if opened is None or not opened.unset_baseline(suite, profile, name):
            raise UsageProblem(f"no baseline {name} is set for {suite}, profile {profile}.")
    console.line(f"{name} of {suite}, profile {profile} is no longer set.")
    return ExitCode.OK
