"""`loadproof history`: runs kept, trends over builds, a run as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from loadproof_cli.console import Console, console_of
from loadproof_cli.errors import InfrastructureProblem, UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.stores import StoreOption, find_files, open_store, store_address, store_chosen, store_problem
from loadproof_cli.summary import VERDICT_STYLES, VERDICT_WORDS
from loadproof_cli.words import count, latency, percent

if TYPE_CHECKING:
    from loadproof_report.history import HistoryStore, RunEntry, TrendPoint

EXAMPLES = """[bold]Examples[/]

loadproof history                             the last runs

loadproof history -p release -t Checkout      one transaction over builds

loadproof history export RUN run.lprun        a run as one file, for another machine

loadproof history import run.lprun            and back
"""

BAR_COLUMNS = 20

app = typer.Typer(help="Stored runs and trends over builds.", invoke_without_command=True, epilog=EXAMPLES)


@app.callback()
def history(
    context: typer.Context,
    transaction: Annotated[
        str | None, typer.Option("--transaction", "-t", metavar="NAME", help="One transaction over builds.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", "-p", metavar="NAME", help="Only this profile.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", metavar="NAME", help="Only this suite.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many runs, the newest.")] = 20,
    store: StoreOption = None,
) -> int:
    """Show stored runs, or how one transaction went from build to build."""
    if context.invoked_subcommand is not None:
        return ExitCode.OK
    console = console_of(context)
    with open_store(console, store) as opened:
        runs = opened.runs(suite=suite, profile=profile, limit=limit) if opened is not None else []
        if opened is None or not runs:
            console.line("No run is stored here yet.")
            return ExitCode.OK
        if transaction is None:
            _list(console, opened, runs)
        else:
            _trend(console, opened, runs, transaction)
    return ExitCode.OK


def _list(console: Console, store: HistoryStore, runs: list[RunEntry]) -> None:
    named: dict[str, list[str]] = {}
    for baseline in store.baselines():
        for run_id in baseline.run_ids:
            named.setdefault(run_id, []).append(baseline.name)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("run", "suite", "profile", "build", "verdict"):
        table.add_column(name, overflow="fold")
    for name in ("completed", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("baseline")
    for run in runs:
        verdict = Text(VERDICT_WORDS.get(run.decision, run.decision), style=VERDICT_STYLES.get(run.decision, ""))
        if run.status != "finished":
            verdict.append(f", {run.status}", style="dim")
        cells = (Text(run.run_id), Text(run.suite), Text(run.profile), Text(run.build or "-"), verdict)
        table.add_row(*cells, count(run.completed), count(run.failed), Text(", ".join(named.get(run.run_id, []))))
    console.result(table)


def _trend(console: Console, store: HistoryStore, runs: list[RunEntry], transaction: str) -> None:
    points = store.trend([run.run_id for run in reversed(runs)])
    found = [point for point in points if point.name == transaction]
    if not found:
        known = ", ".join(dict.fromkeys(point.name for point in points)) or "none"
        raise UsageProblem(f'no stored run has a transaction "{transaction}"; there are: {known}.')
    for kind in dict.fromkeys((point.run.suite, point.run.profile) for point in found):
        part = [point for point in found if (point.run.suite, point.run.profile) == kind]
        console.result(Text.assemble((transaction, "bold"), f": {kind[0]}, profile {kind[1]}, oldest first"))
        console.result(_trend_table(part))


def _trend_table(points: list[TrendPoint]) -> Table:
    """Return a line for each run. A change is only shown from one run to the next of the same plan."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("started", "build", "verdict"):
        table.add_column(name, overflow="fold")
    for name in ("count", "success", "p50", "p95", "p99", "p95 change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("p95", no_wrap=True)
    highest = max((point.p95_us or 0 for point in points), default=0)
    before: TrendPoint | None = None
    for point in points:
        share = 1 - point.failed / point.completed if point.completed else None
        verdict = point.run.decision
        table.add_row(
            point.run.started_at[:16].replace("T", " "),
            Text(point.run.build or "-"),
            Text(VERDICT_WORDS.get(verdict, verdict), style=VERDICT_STYLES.get(verdict, "")),
            count(point.completed),
            percent(share),
            latency(point.p50_us),
            latency(point.p95_us),
            latency(point.p99_us),
            _change(before, point),
            _bar(point.p95_us, highest),
        )
        before = point
    return table


def _change(before: TrendPoint | None, point: TrendPoint) -> str:
    if before is None or not before.p95_us or point.p95_us is None:
        return ""
    if before.run.plan_sha256 != point.run.plan_sha256:
        return "other plan"
    return f"{(point.p95_us / before.p95_us - 1) * 100:+.1f} %"


def _bar(value: int | None, highest: int) -> str:
    if value is None or not highest:
        return ""
    eighths = max(1, round(value / highest * BAR_COLUMNS * 8))
    rest = " ▏▎▍▌▋▊▉"[eighths % 8]
    return f"{'█' * (eighths // 8)}{rest}".rstrip()


@app.command("export", epilog=EXAMPLES)
def export(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, a run's folder or a run.json.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, by custom ending in .lprun.")],
    store: StoreOption = None,
) -> int:
    """Write a run as one file, with all that a comparison or a report needs."""
    from loadproof_report import ResultError
    from loadproof_report.history import write_archive

    console = console_of(context)
    with open_store(console, store) as opened:
        files = find_files(console, run, opened)
        try:
            stored = files.parse()
        except ResultError as error:
            raise UsageProblem(str(error)) from error
    target = console.resolve(file)
    try:
        write_archive(files, target)
    except OSError as error:
        raise InfrastructureProblem(f"{file} cannot be written: {error.strerror}.") from error
    if stored.intervals is None:
        console.say(f"warning: {stored.missing}; nothing can be compared with it", style="yellow")
    console.line(f"wrote {console.shown(target)} ({target.stat().st_size:,} bytes): {stored.result.run_id}")
    return ExitCode.OK


@app.command("import", epilog=EXAMPLES)
def import_(
    context: typer.Context,
    places: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Exported runs, or runs' folders.")],
    store: StoreOption = None,
) -> int:
    """Take runs into the history from exported files or runs' folders. One already there is left as it is."""
    from loadproof_report import ResultError
    from loadproof_report.history import ArchiveError, RunFiles, StoreError, read_archive

    console = console_of(context)
    with open_store(console, store, create=True) as opened:
        assert opened is not None
        for place in places:
            path = console.resolve(place)
            try:
                folder = path.is_dir() or path.suffix == ".json"
                files = RunFiles.from_place(path) if folder else read_archive(path)
                new = opened.record(files)
                run_id = files.parse().result.run_id
            except (ResultError, ArchiveError, StoreError) as error:
                raise UsageProblem(str(error)) from error
            console.line(f"{run_id}: {'stored' if new else 'was there already'}")
    return ExitCode.OK


@app.command("upgrade", epilog=EXAMPLES)
def upgrade(context: typer.Context, store: StoreOption = None) -> int:
    """Bring a database server's tables to this version. A file is brought up to date as it is opened."""
    from loadproof_report.history import HistoryStore, StoreError

    console = console_of(context)
    if not store_chosen(console, store):
        raise UsageProblem("name the database with --store URL or LOADPROOF_STORE.")
    try:
        kept = HistoryStore(store_address(console, store))
        kept.upgrade()
    except StoreError as error:
        raise store_problem(error) from error
    console.line(f"{kept.shown} is up to date.")
    return ExitCode.OK
