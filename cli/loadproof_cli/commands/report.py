"""`loadproof report RUN`: renders a stored run again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadproof_cli.console import Console, console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.runs_folder import RUNS, check_folder, writing_to
from loadproof_cli.stores import StoreOption, find_anywhere, result_problem
from loadproof_cli.summary import terminal_summary
from loadproof_report.stored_run import INTERVALS

if TYPE_CHECKING:
    from loadproof_report.history import RunFiles

EXAMPLES = """[bold]Examples[/]

loadproof report 20261123-150405-smoke-3f9a   report.html anew

loadproof report runs/last -f md,junit -o ci  others, elsewhere

loadproof report candidate.lprun -o note      of a run that was exported
"""

FORMATS = ("html", "md", "json", "junit", "csv", "hlog")


def report(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run id, also of the history; a folder, a run.json or an exported run."),
    ],
    formats: Annotated[
        str, typer.Option("--format", "-f", metavar="LIST", help=f"Which, with commas between: {', '.join(FORMATS)}.")
    ] = "html",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Where to.", show_default="the run's own folder, else runs/RUN"
        ),
    ] = None,
    store: StoreOption = None,
) -> int:
    """Render a stored run again, from its run.json. The exit code says whether that worked, not the verdict."""
    from loadproof_report import ResultError, parse_result, write_outputs
    from loadproof_report.history.archive import SUFFIX

    console = console_of(context)
    wanted = parse_formats(formats)
    files = find_anywhere(console, run, store)
    try:
        result = parse_result(files.result, source=files.source)
    except ResultError as error:
        raise result_problem(console, error) from error
    own = files.folder or console.cwd / RUNS / Path(run).name.removesuffix(SUFFIX)
    folder = console.resolve(out) if out is not None else own
    shown = out if out is not None else Path(console.shown(folder))
    check_folder(folder, shown, "nothing was written")
    with writing_to(shown):
        written = write_outputs(result, None, folder, formats=wanted)
        if "hlog" in wanted:
            written += _histograms(console, files, folder)
    console.result(terminal_summary(result))
    for file in written:
        console.line(f"wrote {console.shown(file)}")
    return ExitCode.OK


def _histograms(console: Console, files: RunFiles, folder: Path) -> list[Path]:
    """Copy the histogram files of the run, which run.json does not hold, and return the copies.

    A run out of an archive or the history has its interval histograms only.
    """
    copied = []
    for name in ("histograms.hlog", INTERVALS):
        if files.folder is not None and (files.folder / name).is_file():
            if folder != files.folder:
                copied.append(Path(shutil.copyfile(files.folder / name, folder / name)))
        elif name == INTERVALS and files.intervals is not None:
            (folder / name).write_bytes(files.intervals)
            copied.append(folder / name)
        else:
            console.say(f"{name} is not kept with this run, and cannot be made from run.json")
    return copied


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats named in `text`, each once. Raises UsageProblem on one there is not."""
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise UsageProblem(f"--format {text}: there are {', '.join(FORMATS)}.")
    return names
