"""`loadproof compare RUN [BASELINE...]`: what changed between stored runs, with confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadproof_cli.comparison_view import comparison_view
from loadproof_cli.console import Console, console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.runs_folder import check_folder, writing_to
from loadproof_cli.stores import StoreOption, find_files, open_store, result_problem
from loadproof_report.result import Comparison
from loadproof_report.stored_run import StoredRun

EXAMPLES = """[bold]Examples[/]

loadproof compare RUN                    against the baseline that has been set

loadproof compare RUN runs/stable        against one run

loadproof compare RUN A B C --out diff   against three of one build, with a report

[bold]Exit codes[/]

0 nothing got worse, 1 something did, 2 wrong usage, 3 not comparable, 5 the run history cannot be reached
"""

FAIL_ON = ("worse", "not-comparable", "none")


def compare(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, a run's folder or a run.json.")],
    baseline: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BASELINE]...", help="One run, or several of one build; else the baseline set."),
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show every step, not only what changed.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write the run's report with the comparison too.")
    ] = None,
    fail_on: Annotated[
        str, typer.Option(metavar="LIST", help=f"What fails the command: {', '.join(FAIL_ON)}.")
    ] = "worse,not-comparable",
    store: StoreOption = None,
) -> int:
    """Compare a run with a baseline: is what differs more than noise, and what could not have been seen?"""
    from loadproof_report import compare_stored, with_comparison, write_outputs

    console = console_of(context)
    failing = parse_fail_on(fail_on)
    if out is not None:
        check_folder(console.resolve(out), out, "nothing was written")
    current, baselines = _load(console, run, baseline or [], store)
    comparison = compare_stored(current, baselines)
    console.result(comparison_view(current.result, comparison, steps=steps))
    if out is not None:
        with writing_to(out):
            written = write_outputs(
                with_comparison(current.result, comparison), None, console.resolve(out), formats=("json", "html", "md")
            )
        for file in written:
            console.line(f"wrote {console.shown(file)}")
    return exit_code_of(comparison, failing)


def exit_code_of(comparison: Comparison, failing: frozenset[str]) -> ExitCode:
    """Return what a comparison means for a script."""
    if not comparison.comparable:
        return ExitCode.NOT_PROVEN if "not-comparable" in failing else ExitCode.OK
    worse = any(change.judgement == "worse" for change in comparison.changes)
    return ExitCode.NO_GO if worse and "worse" in failing else ExitCode.OK


def parse_fail_on(text: str) -> frozenset[str]:
    """Return what fails the command. Raises UsageProblem on a word there is not."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FAIL_ON:
            raise UsageProblem(f"--fail-on {text}: {name} is none of {', '.join(FAIL_ON)}.")
    return frozenset(names) - {"none"}


def _load(console: Console, run: str, baseline: list[str], store: str | None) -> tuple[StoredRun, list[StoredRun]]:
    from loadproof_report import ResultError

    with open_store(console, store) as opened:
        try:
            current = find_files(console, run, opened).parse()
            if baseline:
                return current, [find_files(console, name, opened).parse() for name in baseline]
            result = current.result
            named = opened.baseline(result.suite, result.profile) if opened is not None else None
            if opened is None or named is None:
                raise UsageProblem(
                    f"no baseline is set for {result.suite}, profile {result.profile}.",
                    hint="Name a run to compare with, or set one: loadproof baseline set RUN.",
                )
            return current, [opened.load(run_id) for run_id in named.run_ids]
        except ResultError as error:
            raise result_problem(console, error) from error
